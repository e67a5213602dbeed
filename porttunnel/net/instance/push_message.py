"""What a web system asks of an agent that it shall tell devices, as JSON."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.push import MAX_PUSH_BYTES

__all__ = ["MAX_DEVICES", "PushAsked", "decode_push_asked"]

MAX_DEVICES = 1_000  # named one by one; whoever wants more says the user, or all

DeviceId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class PushAsked(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One push.

    :ivar name: the last level of its topic, by which devices tell pushes apart.
    :ivar devices: to these devices;
    :ivar user: to the devices of this user;
    :ivar all: to all: one of the three.
    :ivar text: the content;
    :ivar base64: the content in base64: one of the two.
    """

    name: Annotated[str, Meta(pattern=r"^[0-9a-z-]{1,64}\Z")]
    devices: Annotated[tuple[DeviceId, ...], Meta(min_length=1, max_length=MAX_DEVICES)] | None = (
        None
    )
    user: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    all: bool = False
    text: str | None = None
    base64: bytes | None = None

    @property
    def plaintext(self) -> bytes:
        """The content."""
        return (self.base64 or b"") if self.text is None else self.text.encode()

    def __repr__(self) -> str:
        return f"PushAsked({self.name!r})"


def decode_push_asked(body: bytes) -> PushAsked:
    """Read a body.

    :raises RemoteProtocolError: it asks for nothing that can be done, with a sentence that quotes
        nothing of it.
    """
    try:
        asked = msgspec.json.decode(body, type=PushAsked)
    except msgspec.DecodeError as error:  # it never quotes values
        raise RemoteProtocolError(f"This is no push: {error}.") from None
    except UnicodeDecodeError:
        raise RemoteProtocolError("This is no push: it is not UTF-8.") from None
    if (asked.devices is not None) + (asked.user is not None) + asked.all != 1:
        raise RemoteProtocolError("Say to whom: devices, user, or all: true; one of them.")
    if (asked.text is None) == (asked.base64 is None):
        raise RemoteProtocolError("Say what: text or base64; one of them.")
    if len(asked.plaintext) > MAX_PUSH_BYTES:
        raise RemoteProtocolError(
            f"A push has at most {MAX_PUSH_BYTES} bytes. Send a notice, and let the device ask "
            "for the rest."
        )
    return asked
