"""What members and the tunnel server say to each other in the clear.

Bodies of REQUEST, REPLY, EVENT and ERROR packets: MessagePack maps, one struct each, strict.
Source: docs/session-protocol, section 3.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from porttunnel.errors import ErrorCode, RemoteProtocolError

__all__ = [
    "Close",
    "Closed",
    "Create",
    "Created",
    "Done",
    "ErrorReport",
    "Event",
    "GoingAway",
    "Join",
    "Joined",
    "Joining",
    "Kick",
    "Leave",
    "Left",
    "Limits",
    "Link",
    "Lock",
    "Redirect",
    "Reply",
    "Request",
    "Resume",
    "Resumed",
    "Status",
    "StatusReport",
    "decode_error",
    "decode_event",
    "decode_reply",
    "decode_request",
    "encode",
]

MAX_LIFETIME_SECONDS = 90 * 86_400  # a number is for ever, a session is not
MAX_CLIENTS = 65_533  # member numbers 2 to 0xFFFD, wait for none
MAX_STATUS_MEMBERS = 10_000  # two lists of them fit into one reply
MAX_TEXT_CHARACTERS = 200  # one sentence for a person

SessionId = Annotated[bytes, Meta(min_length=16, max_length=16)]
Token = Annotated[bytes, Meta(min_length=32, max_length=32)]
Number = Annotated[int, Meta(ge=10_000, le=99_999_999)]
Member = Annotated[int, Meta(ge=1, le=0xFFFD)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS)]


class _Message(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True
):
    def __repr__(self) -> str:
        shown = (
            f"{field}={'<secret>' if field == 'token' else repr(getattr(self, field))}"
            for field in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class Create(_Message, frozen=True, tag="create"):
    """Open a session; the sender becomes its master."""

    lifetime_s: Annotated[int, Meta(ge=60, le=MAX_LIFETIME_SECONDS)]
    max_clients: Annotated[int, Meta(ge=1, le=MAX_CLIENTS)]
    join_window_s: Annotated[int, Meta(ge=0, le=MAX_LIFETIME_SECONDS)]


class Join(_Message, frozen=True, tag="join"):
    """Become a client of the session with this number."""

    number: Number


class Resume(_Message, frozen=True, tag="resume"):
    """Be the same member again on a new link."""

    session_id: SessionId
    member: Member
    token: Token


class Leave(_Message, frozen=True, tag="leave"):
    """A client goes for good."""


class Kick(_Message, frozen=True, tag="kick"):
    """The master puts a client out."""

    member: Member


class Lock(_Message, frozen=True, tag="lock"):
    """The master lets nobody new in, or does again."""

    locked: bool


class Close(_Message, frozen=True, tag="close"):
    """The master ends the session; the number is void."""


class Status(_Message, frozen=True, tag="status"):
    """What does the server know of this session?"""


Request = Create | Join | Resume | Leave | Kick | Lock | Close | Status


class Limits(_Message, frozen=True, tag="limits"):
    """What the server allows each member."""

    waiting_bytes: Annotated[int, Meta(ge=0)]
    master_grace_s: Annotated[int, Meta(ge=0)]
    client_grace_s: Annotated[int, Meta(ge=0)]


class Created(_Message, frozen=True, tag="created"):
    """The answer to CREATE."""

    session_id: SessionId
    number: Number
    token: Token
    limits: Limits


class Joined(_Message, frozen=True, tag="joined"):
    """The answer to JOIN."""

    session_id: SessionId
    member: Member
    token: Token


class Resumed(_Message, frozen=True, tag="resumed"):
    """The answer to RESUME; the old token dies with the first packet on this link."""

    token: Token


class Redirect(_Message, frozen=True, tag="redirect"):
    """JOIN belongs to another server of the template that the user named."""

    x: Annotated[int, Meta(ge=1, le=100)]


class Done(_Message, frozen=True, tag="done"):
    """The answer to LEAVE, KICK, LOCK and CLOSE."""


class StatusReport(_Message, frozen=True, tag="status"):
    """The answer to STATUS. ``members`` are those who may resume, ``linked`` those with a link."""

    members: Annotated[list[Member], Meta(max_length=MAX_CLIENTS + 1)]
    linked: Annotated[list[Member], Meta(max_length=MAX_CLIENTS + 1)]
    locked: bool
    ends_in_s: Annotated[int, Meta(ge=0)]


Reply = Created | Joined | Resumed | Redirect | Done | StatusReport


class Joining(_Message, frozen=True, tag="joining"):
    """To the master: somebody named the right number and will shake hands."""

    member: Member


class Left(_Message, frozen=True, tag="left"):
    """A client is no member any more."""

    member: Member
    reason: Text


class Link(_Message, frozen=True, tag="link"):
    """A member's link to the server came or went; its membership stays."""

    member: Member
    up: bool


class Closed(_Message, frozen=True, tag="closed"):
    """The session is over."""

    reason: Text


class GoingAway(_Message, frozen=True, tag="going-away"):
    """The server stops; come back after this many seconds."""

    retry_after_s: Annotated[float, Meta(ge=0, le=3_600)]


Event = Joining | Left | Link | Closed | GoingAway


class ErrorReport(_Message, frozen=True, tag="error"):
    """The body of an ERROR packet."""

    code: ErrorCode
    text: Text


_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Reply)
_event_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Event)
# A union, because msgspec demands the type of a message only where there is a choice.
_error_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ErrorReport | Done)


def encode(message: _Message) -> bytes:
    """The body for a message of this module."""
    return _encoder.encode(message)


def _decode(decoder: msgspec.msgpack.Decoder[Any], body: bytes | memoryview) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Without the library's words: they can hold the peer's.
        raise RemoteProtocolError("a message to the tunnel is malformed") from None


def decode_request(body: bytes | memoryview) -> Request:
    """A REQUEST's body; :raises RemoteProtocolError: malformed."""
    request: Request = _decode(_request_decoder, body)
    return request


def decode_reply(body: bytes | memoryview) -> Reply:
    """A REPLY's body; :raises RemoteProtocolError: malformed."""
    reply: Reply = _decode(_reply_decoder, body)
    return reply


def decode_event(body: bytes | memoryview) -> Event:
    """An EVENT's body; :raises RemoteProtocolError: malformed."""
    event: Event = _decode(_event_decoder, body)
    return event


def decode_error(body: bytes | memoryview) -> ErrorReport:
    """An ERROR's body; :raises RemoteProtocolError: malformed."""
    report = _decode(_error_decoder, body)
    if not isinstance(report, ErrorReport):
        raise RemoteProtocolError("an ERROR packet without an error")
    return report
