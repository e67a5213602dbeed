"""The tunnel server's view of one link: who may send what to whom, and where it goes.

Source: docs/session-protocol, sections 2 and 3. Bodies that are meant for members are never
looked at; packets that go the same way stay together as one view, so that forwarding costs the
server a look at each header and nothing else.

The states of a link::

    NEW ──asked──> PENDING ──admitted──> MEMBER
     ^               │  │                  ^
     └────refused────┘  └─readmitted─> RESUMED ──heard──┘        any ──ended──> CLOSED
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from porttunnel.errors import ErrorCode, LimitExceeded, RemoteProtocolError
from porttunnel.session import request
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    HEADER_BYTES,
    MASTER,
    NO_MEMBER,
    SERVER,
    Header,
    PacketSplitter,
    PacketType,
    encode_packet,
)

__all__ = [
    "TRANSITIONS",
    "AnswerReady",
    "ConnectionFailed",
    "FirstPacketReceived",
    "GoodbyeReceived",
    "LinkEvent",
    "LinkState",
    "RelayLink",
    "RequestReceived",
    "Run",
    "encode_error",
    "refusal_of",
]

FIRST_REQUEST_SECONDS = 15.0  # who connects wants something at once
SILENCE_SECONDS = 60.0  # a member pings after 15 to 20 s without a word, and again
MAX_WAITING_REQUESTS = 16  # nobody has reason to ask more before the first answer

_ENTRIES = (request.Create, request.Join, request.Resume)
_MASTERS_ONLY = (request.Kick, request.Lock, request.Close)
_SEALED = frozenset((PacketType.DATA, PacketType.ACK))
_FROM_MASTER = _SEALED | {PacketType.M2, PacketType.M4, PacketType.ERROR}
_FROM_CLIENT = _SEALED | {PacketType.C1, PacketType.C3, PacketType.ERROR}
_TO_SERVER = frozenset((PacketType.REQUEST, PacketType.STORE, PacketType.ERROR))


class LinkState(Enum):
    """How far a link has come."""

    NEW = auto()
    """Nothing was asked yet, or it was refused."""
    PENDING = auto()
    """CREATE, JOIN or RESUME waits for its answer."""
    RESUMED = auto()
    """A member whose new token is not yet known to have arrived."""
    MEMBER = auto()
    CLOSED = auto()


class LinkEvent(Enum):
    """What moves a link from state to state."""

    ASKED = auto()
    REFUSED = auto()
    ADMITTED = auto()
    READMITTED = auto()
    HEARD = auto()
    ENDED = auto()


TRANSITIONS = {
    (LinkState.NEW, LinkEvent.ASKED): LinkState.PENDING,
    (LinkState.PENDING, LinkEvent.REFUSED): LinkState.NEW,
    (LinkState.PENDING, LinkEvent.ADMITTED): LinkState.MEMBER,
    (LinkState.PENDING, LinkEvent.READMITTED): LinkState.RESUMED,
    (LinkState.RESUMED, LinkEvent.HEARD): LinkState.MEMBER,
    **{(state, LinkEvent.ENDED): LinkState.CLOSED for state in LinkState},
}


class Run(NamedTuple):
    """Whole consecutive packets for one target; the view is valid until the next item.

    :ivar target: a member, or ALL_MEMBERS.
    :ivar sealed: DATA and ACK, which nobody has before a finished handshake.
    """

    target: int
    sealed: bool
    packets: memoryview


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """Something is asked; to be answered in the order received."""

    number: int
    request: request.Request


@dataclass(frozen=True, slots=True)
class AnswerReady:
    """Send this packet on the same link."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class FirstPacketReceived:
    """The first packet after RESUMED: the member has its new token."""


@dataclass(frozen=True, slots=True)
class GoodbyeReceived:
    """The member's program gave up this link. The last item."""


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """The link can't go on: send the goodbye, then close. The last item."""

    error: RemoteProtocolError
    goodbye: bytes


Item = (
    Run | RequestReceived | AnswerReady | FirstPacketReceived | GoodbyeReceived | ConnectionFailed
)


def encode_error(target: int, code: ErrorCode, text: str, number: int = 0) -> bytes:
    """An ERROR packet of the server's; ``number`` is the request's, or 0 for the whole link."""
    report = request.ErrorReport(code=code, text=text[: request.MAX_TEXT_CHARACTERS])
    return encode_packet(PacketType.ERROR, SERVER, target, request.encode(report), number=number)


def refusal_of(member: int, asked: request.Request) -> RemoteProtocolError | None:
    """Why this member may not ask that, or None."""
    if member != MASTER and isinstance(asked, _MASTERS_ONLY):
        return RemoteProtocolError("only the master may ask this", ErrorCode.NOT_ALLOWED)
    if member == MASTER and isinstance(asked, request.Leave):
        return RemoteProtocolError(
            "the master can't leave: close the session instead", ErrorCode.NOT_ALLOWED
        )
    return None


class RelayLink:
    """One link, without its socket.

    :param now: seconds, monotonic; the link's patience begins here.
    """

    __slots__ = ("_ask_by", "_heard_at", "_member", "_splitter", "_state", "_waiting_requests")

    def __init__(self, now: float) -> None:
        self._state = LinkState.NEW
        self._member = NO_MEMBER
        self._splitter = PacketSplitter()
        self._waiting_requests = 0
        self._heard_at = now
        self._ask_by = now + FIRST_REQUEST_SECONDS

    @property
    def state(self) -> LinkState:
        """How far the link has come."""
        return self._state

    @property
    def member(self) -> int:
        """Whose link it is; NO_MEMBER until it is known."""
        return self._member

    def receive_data(self, data: memoryview, now: float) -> Iterator[Item]:
        """What the bytes say, in their order. The iteration must be finished, unless it was
        ended with :meth:`end`.

        :param data: valid during the iteration; nothing of it is kept but a packet's beginning.
        """
        if self._is_closed():
            return
        self._heard_at = now
        try:
            for header, packets in self._splitter.runs(data):
                if self._is_closed():
                    return
                self._check(header)
                if self._state is LinkState.RESUMED and header.kind is not PacketType.PING:
                    self._move(LinkEvent.HEARD)
                    yield FirstPacketReceived()
                if header.target != SERVER:
                    yield Run(header.target, header.kind in _SEALED, packets)
                else:
                    yield self._receive_own(header, packets[HEADER_BYTES:])
            # A stranger's packet is refused by its header, before its body is kept for it.
            unfinished = self._splitter.kept_header
            if unfinished is not None and not self._is_closed():
                self._check(unfinished)
        except RemoteProtocolError as error:
            # Behind a goodbye, or once the owner has ended the link, anything may stand.
            if not self._is_closed():
                yield self.fail(error)

    def fail(self, error: RemoteProtocolError) -> ConnectionFailed:
        """End the link with a reason that the peer is told."""
        goodbye = encode_error(self._member, error.code, str(error))
        self.end()
        return ConnectionFailed(error, goodbye)

    def end(self) -> None:
        """The link is over: what still comes is ignored."""
        self._move(LinkEvent.ENDED)

    def admit(self, member: int, *, resumed: bool) -> None:
        """CREATE, JOIN or, with ``resumed``, RESUME succeeded."""
        self._member = member
        self._move(LinkEvent.READMITTED if resumed else LinkEvent.ADMITTED)

    def refuse(self, now: float) -> None:
        """CREATE, JOIN or RESUME was refused; there is time for another try."""
        self._ask_by = now + FIRST_REQUEST_SECONDS
        self._move(LinkEvent.REFUSED)

    def request_answered(self) -> None:
        """The oldest request got its answer."""
        self._waiting_requests -= 1

    def next_deadline(self) -> float | None:
        if self._state is LinkState.CLOSED:
            return None
        silent_at = self._heard_at + SILENCE_SECONDS
        return min(silent_at, self._ask_by) if self._state is LinkState.NEW else silent_at

    def handle_timeout(self, now: float) -> ConnectionFailed | None:
        """Time has passed; the failure, if it was too much."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return None
        if self._state is LinkState.NEW:
            text = "nothing was asked in time; connect again and ask at once"
        else:
            text = "nothing was heard for too long; connect again and resume"
        return self.fail(RemoteProtocolError(text, ErrorCode.TOO_LATE))

    def _is_closed(self) -> bool:
        # Asked anew each time: whoever takes an item may end the link before the next.
        return self._state is LinkState.CLOSED

    def _move(self, event: LinkEvent) -> None:
        self._state = TRANSITIONS[self._state, event]

    def _check(self, header: Header) -> None:
        """Whether this link may send such a packet.

        :raises RemoteProtocolError: it may not.
        """
        if self._state in (LinkState.NEW, LinkState.PENDING):
            self._check_stranger(header)
        elif header.kind is PacketType.PING:
            # The first ones may have been sent before the answer told the member's number.
            if header.target != SERVER or header.sender not in (self._member, NO_MEMBER):
                raise RemoteProtocolError("a ping must go to the server", ErrorCode.NOT_ALLOWED)
        elif header.sender != self._member:
            raise RemoteProtocolError("a packet names another sender", ErrorCode.NOT_ALLOWED)
        elif not self._may_go(header):
            raise RemoteProtocolError(
                "a packet of this type may not go to this member", ErrorCode.NOT_ALLOWED
            )

    def _check_stranger(self, header: Header) -> None:
        if header.target != SERVER or header.kind not in (
            PacketType.REQUEST,
            PacketType.PING,
            PacketType.ERROR,
        ):
            raise RemoteProtocolError(
                "the first packets must ask to create, join or resume", ErrorCode.UNEXPECTED
            )
        if header.kind is PacketType.REQUEST and self._state is LinkState.PENDING:
            raise RemoteProtocolError("wait for the answer first", ErrorCode.UNEXPECTED)

    def _may_go(self, header: Header) -> bool:
        kind, target = header.kind, header.target
        if target == SERVER:
            return kind in _TO_SERVER
        if self._member != MASTER:
            return target == MASTER and kind in _FROM_CLIENT and not header.flags & FLAG_GROUP
        if target == ALL_MEMBERS:
            return bool(header.flags & FLAG_GROUP)
        return (
            MASTER < target < NO_MEMBER and kind in _FROM_MASTER and not header.flags & FLAG_GROUP
        )

    def _receive_own(self, header: Header, body: memoryview) -> Item:
        """A packet for the server itself."""
        if header.kind is PacketType.PING:
            pong = encode_packet(
                PacketType.PONG, SERVER, self._member, bytes(body), number=header.number
            )
            return AnswerReady(pong)
        if header.kind is PacketType.ERROR:
            self.end()
            return GoodbyeReceived()
        if header.kind is PacketType.STORE:
            text = "this server keeps no files; send them to the other member directly"
            return AnswerReady(
                encode_error(self._member, ErrorCode.NOT_ALLOWED, text, header.number)
            )
        return self._receive_request(header, body)

    def _receive_request(self, header: Header, body: memoryview) -> RequestReceived:
        asked = request.decode_request(body)
        if self._state is LinkState.NEW:
            if not isinstance(asked, _ENTRIES):
                raise RemoteProtocolError(
                    "create, join or resume a session first", ErrorCode.UNEXPECTED
                )
            # Who resumes knows its number already, and may say so.
            known = asked.member if isinstance(asked, request.Resume) else NO_MEMBER
            if header.sender not in (NO_MEMBER, known):
                raise RemoteProtocolError("a packet names another sender", ErrorCode.NOT_ALLOWED)
            self._move(LinkEvent.ASKED)
        elif isinstance(asked, _ENTRIES):
            raise RemoteProtocolError("this link has its member already", ErrorCode.UNEXPECTED)
        if self._waiting_requests == MAX_WAITING_REQUESTS:
            raise LimitExceeded("too many requests wait for their answers")
        self._waiting_requests += 1
        return RequestReceived(header.number, asked)
