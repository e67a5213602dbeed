"""What the cores of master and client report: past-tense, frozen, in the order it happened.

``msgspec.Struct`` instead of dataclasses, because a busy link reports hundreds of thousands a
second and a frozen dataclass costs ten times as much to make.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from porttunnel.errors import PorttunnelError, StreamCode
from porttunnel.session.code import SessionCode
from porttunnel.session.record import DirectAddress, MemberName, Service

__all__ = [
    "BroadcastDropped",
    "BroadcastEnded",
    "BroadcastLost",
    "BroadcastReceived",
    "BroadcastWritable",
    "ConnectionFailed",
    "ConsentAsked",
    "DigitsAsked",
    "DigitsShown",
    "DigitsWrong",
    "DirectOffered",
    "InvitationMade",
    "JoiningPaused",
    "KeyWanted",
    "LinkLost",
    "LinkRestored",
    "MemberAway",
    "MemberBack",
    "MemberJoined",
    "MemberLeft",
    "MembersChanged",
    "PathChanged",
    "PathKind",
    "RunFailed",
    "SessionFinished",
    "SessionOpened",
    "StreamAccepted",
    "StreamClosed",
    "StreamDataReceived",
    "StreamEnded",
    "StreamOffered",
    "StreamRefusedRemotely",
    "StreamResetRemotely",
    "StreamWritable",
    "Verified",
    "Welcomed",
]


class PathKind(StrEnum):
    """Which way a pair's packets go."""

    RELAY = "relay"
    DIRECT = "direct"


class ConnectionFailed(msgspec.Struct, frozen=True):
    """It is over, and not on purpose. The last event; the goodbye is queued."""

    error: PorttunnelError


class SessionFinished(msgspec.Struct, frozen=True):
    """It is over, on purpose of one side. The last event."""

    reason: str


class LinkLost(msgspec.Struct, frozen=True):
    """The link to the tunnel server is gone; nothing else is. Connect again, not before
    ``retry_after_seconds``: what was written waits.
    """

    error: PorttunnelError
    retry_after_seconds: float = 0.0


class LinkRestored(msgspec.Struct, frozen=True):
    """The tunnel server has taken the new link."""


class PathChanged(msgspec.Struct, frozen=True):
    """The packets for a member go another way now; ``reason`` is for people."""

    member: int
    path: PathKind
    reason: str


class DirectOffered(msgspec.Struct, frozen=True):
    """To the client: the master may be reached straight at these addresses; try them."""

    addresses: tuple[DirectAddress, ...]


class MemberAway(msgspec.Struct, frozen=True):
    """The tunnel server says that a member has lost its link. It may come back."""

    member: int


class MemberBack(msgspec.Struct, frozen=True):
    """A member that was away is back; nothing was lost."""

    member: int


class SessionOpened(msgspec.Struct, frozen=True):
    """To the master: the tunnel server has given a number."""

    number: int
    session_id: bytes


class InvitationMade(msgspec.Struct, frozen=True):
    """To the master: show this to the next client. The former one is void.

    ``link`` is the same invitation in the form for a QR code; None in SAS mode.
    """

    code: SessionCode
    link: SessionCode | None


class JoiningPaused(msgspec.Struct, frozen=True):
    """To the master: too many wrong tries; nobody can join until its user says otherwise."""

    wrong_tries: int


class RunFailed(msgspec.Struct, frozen=True):
    """To the master: somebody who joins could not be verified; nothing was admitted."""

    member: int
    error: PorttunnelError


class ConsentAsked(msgspec.Struct, frozen=True):
    """To the master: somebody with the right code asks to come in. Admit or refuse."""

    member: int
    name: str
    capabilities: tuple[str, ...]
    verified: bool


class MemberJoined(msgspec.Struct, frozen=True):
    """To the master: a client is in."""

    member: int
    name: str
    verified: bool


class MemberLeft(msgspec.Struct, frozen=True):
    """To the master: a client is out. ``cut_off``: without a goodbye."""

    member: int
    reason: str
    cut_off: bool


class DigitsShown(msgspec.Struct, frozen=True):
    """SAS: read these digits out to the other side."""

    member: int
    digits: str


class DigitsAsked(msgspec.Struct, frozen=True):
    """SAS: type the digits that the other side reads out."""

    member: int


class DigitsWrong(msgspec.Struct, frozen=True):
    """SAS: what was typed is not what the other side shows; more tries are left."""

    member: int
    tries_left: int


class KeyWanted(msgspec.Struct, frozen=True):
    """To the client: a fresh hybrid key is needed; make it off the reactor's thread."""


class Verified(msgspec.Struct, frozen=True):
    """To the client: the other side knows the code; its user is being asked."""

    master_name: str


class Welcomed(msgspec.Struct, frozen=True):
    """To the client: it is in."""

    member: int
    master_name: str
    services: tuple[Service, ...]
    members: tuple[MemberName, ...]


class MembersChanged(msgspec.Struct, frozen=True):
    """To the client: who is in the session now."""

    members: tuple[MemberName, ...]


class StreamOffered(msgspec.Struct, frozen=True):
    """The other side opens a stream: accept or refuse it."""

    member: int
    stream: int
    service: str


class StreamAccepted(msgspec.Struct, frozen=True):
    """A stream that we opened is there."""

    member: int
    stream: int


class StreamRefusedRemotely(msgspec.Struct, frozen=True):
    """A stream that we asked for was refused."""

    member: int
    stream: int
    code: StreamCode
    text: str


class StreamDataReceived(msgspec.Struct, frozen=True, gc=False):
    """Bytes came; the view is valid until the next ``receive_data``."""

    member: int
    stream: int
    data: memoryview


class StreamEnded(msgspec.Struct, frozen=True):
    """The other side has sent its last byte."""

    member: int
    stream: int


class StreamResetRemotely(msgspec.Struct, frozen=True):
    """The other side broke the stream off."""

    member: int
    stream: int
    code: StreamCode


class StreamWritable(msgspec.Struct, frozen=True, gc=False):
    """A stream that had to wait may write again."""

    member: int
    stream: int


class StreamClosed(msgspec.Struct, frozen=True):
    """Both halves have ended; the id is not used again."""

    member: int
    stream: int


class BroadcastReceived(msgspec.Struct, frozen=True, gc=False):
    """To a client: bytes of a broadcast; the view is valid until the next ``receive_data``."""

    channel: int
    data: memoryview


class BroadcastEnded(msgspec.Struct, frozen=True):
    """To a client: all of a broadcast has come."""

    channel: int


class BroadcastLost(msgspec.Struct, frozen=True):
    """To a client: it was too slow and gets nothing more of any broadcast. The session goes on."""

    error: PorttunnelError


class BroadcastDropped(msgspec.Struct, frozen=True):
    """To the master: a member was too slow and gets nothing more of any broadcast."""

    member: int
    error: PorttunnelError


class BroadcastWritable(msgspec.Struct, frozen=True):
    """To the master: a broadcast that had to wait may write again."""

    channel: int
