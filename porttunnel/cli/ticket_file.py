"""What `join --remember` keeps in the data folder, to come back without a code."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from porttunnel.cli import text
from porttunnel.errors import ConfigurationError
from porttunnel.session.rejoin import RejoinTicket

__all__ = ["RememberedSession", "TicketFile"]

FOLDER_NAME = "rejoin"
MAX_FILE_BYTES = 4_096  # a server's address and 100 digits; a larger file is something else

Number = Annotated[int, Meta(ge=1, le=99_999_999)]
Member = Annotated[int, Meta(ge=2, le=0xFFFD)]


class RememberedSession(NamedTuple):
    """A session that we may come back to.

    :ivar server: the tunnel server's address, as it was given.
    :ivar ticket: takes the code's place.
    """

    server: str
    ticket: RejoinTicket


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    server: Annotated[str, Meta(max_length=1_024)]
    number: Number
    session_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    member: Member
    secret: Annotated[bytes, Meta(min_length=32, max_length=32)]

    def __repr__(self) -> str:
        return f"<rejoin ticket of session {self.number} (secret)>"


class TicketFile:
    """The file of one session, which only its owner can read.

    :param data_dir: the data folder.
    :param number: session number.
    """

    def __init__(self, data_dir: Path, number: int) -> None:
        self._folder = data_dir / FOLDER_NAME
        self._number = number
        self.path = self._folder / f"{number}.json"

    def read(self) -> RememberedSession | None:
        """What was kept, or None: nothing was.

        :raises ConfigurationError: the file can't be read, or somebody else has written it.
        """
        try:
            with self.path.open("rb") as file:
                line = file.read(MAX_FILE_BYTES)
            content = msgspec.json.decode(line, type=_Content)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(
                text.UNREADABLE.format(path=self.path, reason=error.strerror)
            ) from None
        except (ValueError, msgspec.DecodeError):  # its words could quote the secret
            raise ConfigurationError(text.BAD_TICKET.format(path=self.path)) from None
        if content.number != self._number:
            raise ConfigurationError(text.BAD_TICKET.format(path=self.path))
        ticket = RejoinTicket(content.number, content.session_id, content.member, content.secret)
        return RememberedSession(content.server, ticket)

    def write(self, server: str, ticket: RejoinTicket) -> None:
        """Keep a ticket in place of the former one, all or nothing.

        :raises ConfigurationError: it can't be written.
        """
        content = _Content(
            server, ticket.number, ticket.session_id, ticket.member, bytes(ticket.secret)
        )
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # It may be older than this program, or made by a person.
            self._folder.chmod(0o700)
            # mkstemp makes files with mode 0600; in the same folder, so that a rename will do.
            descriptor, name = tempfile.mkstemp(prefix=f".{self._number}.", dir=self._folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(msgspec.json.encode(content))
                    # Power may fail as well as processes do.
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, self.path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name)
                raise
        except OSError as error:
            raise ConfigurationError(
                text.TICKET_NOT_WRITTEN.format(path=self.path, reason=error.strerror)
            ) from None

    def remove(self) -> None:
        """It is void."""
        with suppress(OSError):
            self.path.unlink()
