"""A member's link to the tunnel server: packets both ways, requests and answers, liveness.

Source: docs/session-protocol, sections 2, 3 and 7.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from porttunnel.errors import (
    CutOff,
    ErrorCode,
    NoSuchNumber,
    PorttunnelError,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.session import request
from porttunnel.session.outbox import Outbox, SlotPool
from porttunnel.session.packet import (
    HEADER_BYTES,
    NO_MEMBER,
    SERVER,
    Header,
    PacketSplitter,
    PacketType,
    encode_packet,
)

__all__ = ["ServerLink", "error_from_report"]

PING_SECONDS = 15.0  # of silence on an idle link, plus jitter
PING_BUSY_SECONDS = 5.0  # of silence while something waits to be acknowledged
PING_JITTER_SECONDS = 5.0  # so that a thousand members don't ping in step
MAX_MISSED_PINGS = 2
MAX_TOLD = 8  # unanswered at a time: the server ends a link that has more than 16 waiting
REQUEST_SECONDS = 15.0  # for the server to answer; it delays refusals on purpose


def error_from_report(report: request.ErrorReport) -> PorttunnelError:
    """The exception for what the tunnel server reported."""
    if report.code is ErrorCode.NO_SUCH_NUMBER:
        return NoSuchNumber(
            "The tunnel server knows no open session with this number: it may be mistyped, "
            "expired, locked or full. Ask for a new code."
        )
    if report.code is ErrorCode.SESSION_ENDED:
        return SessionEnded("This session has ended. Ask for a new code.")
    return RemoteProtocolError(f"The tunnel server says: {report.text}", report.code)


class ServerLink:
    """See the module.

    :param pool: the slots of the packets that go out here.
    :param jitter: 0 to 1, drawn by the caller.
    """

    def __init__(self, pool: SlotPool, jitter: float) -> None:
        self.outbox = Outbox(pool)
        self.member = NO_MEMBER
        self.closed = False
        self._splitter = PacketSplitter()
        self._jitter_seconds = jitter * PING_JITTER_SECONDS
        self._next_request = 1
        self._requests: dict[int, tuple[request.Request, float]] = {}
        self._told: set[int] = set()
        self._to_tell: deque[request.Request] = deque()  # one for each client at most
        self._quiet_since: float | None = None  # heard from the server, or pinged it
        self._missed_pings = 0

    def send(self, kind: PacketType, target: int, body: bytes, number: int = 0) -> bytes:
        """Queue a packet with a plaintext body; the packet, for a later resend."""
        packet = encode_packet(kind, self.member, target, body, number=number)
        self.outbox.append(packet)
        return packet

    def ask(self, message: request.Request, now: float) -> None:
        """Send a request; its answer comes with :meth:`answered`."""
        number = self._next_request
        self._next_request += 1
        self._requests[number] = (message, now + REQUEST_SECONDS)
        self.send(PacketType.REQUEST, SERVER, request.encode(message), number)

    def tell(self, message: request.Request) -> None:
        """Send a request whose answer nobody waits for: the server's help only, no key and no
        packet depends on it.
        """
        if len(self._told) >= MAX_TOLD:
            self._to_tell.append(message)
            return
        self._told.add(self._next_request)
        self.send(PacketType.REQUEST, SERVER, request.encode(message), self._next_request)
        self._next_request += 1

    def tell_last(self, message: request.Request) -> None:
        """As :meth:`tell`, at once: what is still to be told has become pointless."""
        self._told.clear()
        self._to_tell.clear()
        self.tell(message)

    def answered(self, header: Header) -> request.Request:
        """Which request a REPLY answers.

        :raises RemoteProtocolError: none of ours.
        """
        asked = self._requests.pop(header.number, None)
        if asked is None:
            raise RemoteProtocolError("the tunnel server answered what was not asked")
        return asked[0]

    def nobody_waits(self, header: Header) -> bool:
        """Whether a REPLY or ERROR answers what was only told."""
        if header.number not in self._told:
            return False
        self._told.remove(header.number)
        if self._to_tell:
            self.tell(self._to_tell.popleft())
        return True

    def receive(self, data: memoryview, now: float) -> Iterator[tuple[Header, memoryview]]:
        """Packets for this member, one after the other; pings are dealt with here.

        :raises RemoteProtocolError: something else than packets, or for somebody else.
        """
        self._quiet_since = now
        self._missed_pings = 0
        for header, packet in self._splitter.split(data):
            if self.closed:
                return
            if header.kind is PacketType.PING:
                # A flood of pings on a link that takes nothing must not become a queue.
                if self.outbox.waiting_bytes < self.outbox.limit_bytes:
                    self.send(PacketType.PONG, SERVER, bytes(packet[HEADER_BYTES:]))
            elif header.kind is not PacketType.PONG:
                yield header, packet

    def next_deadline(self, busy: bool) -> float | None:
        """When :meth:`handle_timeout` is due; ``busy``: something is unacknowledged."""
        if self._quiet_since is None:
            deadline = None
        else:
            seconds = PING_BUSY_SECONDS if busy else PING_SECONDS + self._jitter_seconds
            # From the last ping on: who was idle and then sends must not miss all at once.
            deadline = self._quiet_since + seconds
        for _, due in self._requests.values():
            # Requests are asked in order with one patience: the first is the earliest.
            return due if deadline is None else min(due, deadline)
        return deadline

    def handle_timeout(self, now: float, busy: bool) -> None:
        """Ping a silent server.

        :raises CutOff: it answers neither pings nor requests.
        """
        for _, due in self._requests.values():
            if now >= due:
                raise CutOff("The tunnel server does not answer. Try again in a minute.")
            break
        deadline = self.next_deadline(busy)
        if self._quiet_since is None or deadline is None or now < deadline:
            return
        if self._missed_pings >= MAX_MISSED_PINGS:
            raise CutOff("The connection to the tunnel server is dead. Join again.")
        self._missed_pings += 1
        self._quiet_since = now
        self.send(PacketType.PING, SERVER, bytes(8))

    def start(self, now: float) -> None:
        """The connection is there: silence counts from now."""
        self._quiet_since = now

    def say_goodbye(self) -> None:
        """Queue one ERROR to the server, the last packet; later input is ignored."""
        if not self.closed:
            self.closed = True
            report = request.ErrorReport(
                code=ErrorCode.UNEXPECTED, text="this member found the protocol broken and stops"
            )
            self.send(PacketType.ERROR, SERVER, request.encode(report))
