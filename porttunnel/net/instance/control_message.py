"""What people's commands and a running agent say to each other: one JSON object a line.

A command names itself in ``command``, an answer in ``answer``. Each command gets one answer, but
for ``watch``, which gets one whenever something changes, the last of them ``final``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from porttunnel.errors import RemoteProtocolError

__all__ = [
    "MAX_ANSWER_BYTES",
    "MAX_COMMAND_BYTES",
    "Answer",
    "Command",
    "DeviceEntry",
    "DeviceList",
    "DigitsChecked",
    "Done",
    "EnterDigits",
    "Invitation",
    "Invite",
    "ListDevices",
    "Login",
    "MarkRestored",
    "Outcome",
    "Progress",
    "Refused",
    "Revoke",
    "Watch",
    "decode_answer",
    "decode_command",
    "encode_line",
]

MAX_COMMAND_BYTES = 4_096  # a user's name is the longest thing in one
MAX_ANSWER_BYTES = 4 << 20  # the list of 10,000 devices; whatever else is a few hundred
MAX_INVITATION_SECONDS = 86_400  # as the gateway has it
DEFAULT_INVITATION_SECONDS = 600

DeviceId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
# It goes out in a field of HTTP, of which 255 bytes are its share; see IdentityRules.
UserName = Annotated[
    str, Meta(pattern=r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]{0,253}[^\x00-\x20\x7f])?\Z")
]


class _Command(msgspec.Struct, tag_field="command", forbid_unknown_fields=True, frozen=True):
    pass


class _Answer(msgspec.Struct, tag_field="answer", frozen=True):
    pass


class Login(_Command, tag="login", frozen=True):
    """First of all where the socket can't tell who comes.

    :ivar token: of the file that only the agent's user can read.
    """

    token: Annotated[str, Meta(max_length=128)]

    def __repr__(self) -> str:
        return "Login(<secret>)"


class Invite(_Command, tag="invite", frozen=True):
    """Make a code for a device.

    :ivar user: whose it will be.
    :ivar immediate: ask for no digits.
    :ivar expires_seconds: how long the code may be used.
    """

    user: UserName
    immediate: bool = False
    expires_seconds: Annotated[int, Meta(ge=1, le=MAX_INVITATION_SECONDS)] = (
        DEFAULT_INVITATION_SECONDS
    )


class EnterDigits(_Command, tag="digits", frozen=True):
    """What a user has read on a device."""

    device_id: DeviceId
    digits: Annotated[str, Meta(max_length=32)]

    def __repr__(self) -> str:
        return f"EnterDigits({self.device_id}, <secret>)"


class ListDevices(_Command, tag="devices", frozen=True):
    """Which devices there are."""


class Revoke(_Command, tag="revoke", frozen=True):
    """Put a device out for good."""

    device_id: DeviceId


class MarkRestored(_Command, tag="restored", frozen=True):
    """The agent's state is older than what happened."""


class Watch(_Command, tag="watch", frozen=True):
    """Tell how a pairing goes."""

    device_id: DeviceId


class Invitation(_Answer, tag="invitation", frozen=True):
    """A code was made.

    :ivar code: its text: whoever has it can become the device.
    :ivar expires: seconds since 1970.
    """

    device_id: DeviceId
    code: str
    expires: int

    def __repr__(self) -> str:
        return f"Invitation({self.device_id}, <secret>, {self.expires})"


Outcome = Literal["paired", "wrong", "ended"]


class DigitsChecked(_Answer, tag="digits", frozen=True):
    """What comes of digits.

    :ivar tries_left: after wrong ones.
    :ivar reason: why it has ended, if it has.
    """

    outcome: Outcome
    tries_left: int = 0
    reason: str = ""


class DeviceEntry(msgspec.Struct, frozen=True):
    """One of the devices.

    :ivar state: of :class:`~porttunnel.net.instance.device_record.DeviceState`.
    :ivar invited: seconds since 1970, as are the next two.
    :ivar paired: None if it isn't yet.
    :ivar last_seen: None if it never came.
    :ivar online: whether the gateway has a connection of it.
    """

    device_id: DeviceId
    user: str
    state: str
    invited: int
    paired: int | None = None
    last_seen: int | None = None
    online: bool = False


class DeviceList(_Answer, tag="devices", frozen=True):
    """All devices.

    :ivar instance_id: of the agent; empty before it has registered.
    :ivar connected: whether it has its connection to the gateway.
    """

    instance_id: str
    connected: bool
    devices: tuple[DeviceEntry, ...]


class Done(_Answer, tag="done", frozen=True):
    """It was done."""


class Progress(_Answer, tag="progress", frozen=True):
    """How a pairing goes.

    :ivar state: ``invited``, ``waiting`` (for digits), ``paired`` or ``ended``.
    :ivar tries_left: wrong digits that end it, where that is known.
    :ivar reason: why it has ended, if it has.
    """

    state: Literal["invited", "waiting", "paired", "ended"]
    tries_left: int | None = None
    reason: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing more follows."""
        return self.state in ("paired", "ended")


class Refused(_Answer, tag="error", frozen=True):
    """It was not done.

    :ivar code: for programs.
    :ivar text: for people: what happened and what to do.
    """

    code: str
    text: str


Command = Login | Invite | EnterDigits | ListDevices | Revoke | MarkRestored | Watch
Answer = Invitation | DigitsChecked | DeviceList | Done | Progress | Refused

_COMMANDS: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_ANSWERS: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def encode_line(message: Command | Answer) -> bytes:
    """The line, with its end."""
    return msgspec.json.encode(message) + b"\n"


def decode_command(line: bytes) -> Command:
    """Read a command.

    :raises RemoteProtocolError: it is none; with a sentence that quotes nothing of it.
    """
    try:
        return _COMMANDS.decode(line)
    except msgspec.DecodeError as error:  # it never quotes values
        raise RemoteProtocolError(f"The agent knows no such command: {error}.") from None
    except (UnicodeDecodeError, RecursionError):
        raise RemoteProtocolError("The agent knows no such command: it is no JSON.") from None


def decode_answer(line: bytes) -> Answer:
    """Read an answer.

    :raises RemoteProtocolError: it is none.
    """
    try:
        return _ANSWERS.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(
            f"The agent gave an answer that can't be read: {error}. Are this program and the "
            "agent of the same version?"
        ) from None
