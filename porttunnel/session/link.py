"""A member's link to the tunnel server: packets both ways, requests and answers, liveness.

Source: docs/session-protocol, sections 2, 3 and 7. A link is one connection; when it is lost a
new one takes over what nobody has answered yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from porttunnel.errors import (
    ErrorCode,
    LinkBroken,
    NoSuchNumber,
    PorttunnelError,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.session import request
from porttunnel.session.event import PathKind
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import SERVER, Header, PacketType
from porttunnel.session.path import Path

__all__ = ["ServerLink", "error_from_report"]

PING_SECONDS = 15.0  # of silence on an idle link, plus jitter
PING_BUSY_SECONDS = 5.0  # of silence while something waits to be acknowledged
PING_JITTER_SECONDS = 5.0  # so that a thousand members don't ping in step
MAX_TOLD = 8  # unanswered at a time: the server ends a link that has more than 16 waiting
REQUEST_SECONDS = 15.0  # for the server to answer; it delays refusals on purpose

# What a new link mends: the server had enough of this one, or has another of ours.
_PASSING = frozenset(
    (ErrorCode.TOO_LATE, ErrorCode.LIMIT, ErrorCode.BUSY, ErrorCode.INTERNAL, ErrorCode.REPLACED)
)
_DEAD = "The connection to the tunnel server is dead."


def error_from_report(report: request.ErrorReport, *, answers: bool = False) -> PorttunnelError:
    """The exception for what the tunnel server reported; ``LinkBroken`` if a new link mends it.

    :param answers: it refuses a request: then the same would be refused again.
    """
    if report.code is ErrorCode.NO_SUCH_NUMBER:
        return NoSuchNumber(
            "The tunnel server knows no open session with this number: it may be mistyped, "
            "expired, locked or full. Ask for a new code."
        )
    if report.code is ErrorCode.SESSION_ENDED:
        return SessionEnded("This session has ended. Ask for a new code.")
    if report.code in _PASSING and not answers:
        return LinkBroken(f"The tunnel server ended the connection: {report.text}")
    return RemoteProtocolError(f"The tunnel server says: {report.text}", report.code)


class ServerLink(Path):
    """See the module.

    :param pool: the slots of the packets that go out here.
    :param jitter: 0 to 1, drawn by the caller.
    """

    def __init__(self, pool: SlotPool, jitter: float) -> None:
        super().__init__(PathKind.RELAY, pool)
        self._jitter_seconds = jitter * PING_JITTER_SECONDS
        self._next_request = 1
        self._requests: dict[int, tuple[request.Request, float]] = {}
        self._told: dict[int, request.Request] = {}
        self._to_tell: deque[request.Request] = deque()  # one for each client at most

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
        if self.held or self.closed or len(self._told) >= MAX_TOLD:
            self._to_tell.append(message)
            return
        self._told[self._next_request] = message
        self.send(PacketType.REQUEST, SERVER, request.encode(message), self._next_request)
        self._next_request += 1

    def tell_last(self, message: request.Request) -> None:
        """As :meth:`tell`, at once: what is still to be told has become pointless."""
        self._told.clear()
        self._to_tell.clear()
        self.tell(message)

    def hold(self, untold: Iterable[request.Request]) -> None:
        """Tell nothing before :meth:`release`, then this first: what a lost link did not get
        through. Each request means the same twice as once.
        """
        self.held = True
        self._to_tell.extend(untold)

    def release(self) -> None:
        """The server knows whose link this is."""
        self.held = False
        for _ in range(min(len(self._to_tell), MAX_TOLD)):
            self.tell(self._to_tell.popleft())

    @property
    def untold(self) -> list[request.Request]:
        """What was told, or is to be, without an answer yet."""
        return [*self._told.values(), *self._to_tell]

    def answered(self, header: Header) -> request.Request:
        """Which request a REPLY answers.

        :raises RemoteProtocolError: none of ours.
        """
        asked = self._requests.pop(header.number, None)
        if asked is None:
            raise RemoteProtocolError("the tunnel server answered what was not asked")
        return asked[0]

    def is_asked(self, header: Header) -> bool:
        """Whether an ERROR refuses CREATE or JOIN; a new link may well ask anything else again."""
        asked = self._requests.get(header.number)
        return asked is not None and isinstance(asked[0], request.Create | request.Join)

    def nobody_waits(self, header: Header) -> bool:
        """Whether a REPLY or ERROR answers what was only told."""
        if self._told.pop(header.number, None) is None:
            return False
        if self._to_tell:
            self.tell(self._to_tell.popleft())
        return True

    def next_deadline(self, busy: bool) -> float | None:
        """When :meth:`handle_timeout` is due; ``busy``: something is unacknowledged."""
        deadline = self.ping_deadline(self._patience_seconds(busy))
        for _, due in self._requests.values():
            # Requests are asked in order with one patience: the first is the earliest.
            return due if deadline is None else min(due, deadline)
        return deadline

    def handle_timeout(self, now: float, busy: bool) -> None:
        """Ping a silent server.

        :raises LinkBroken: it answers neither pings nor requests.
        """
        for _, due in self._requests.values():
            if now >= due:
                raise LinkBroken("The tunnel server does not answer.")
            break
        deadline = self.ping_deadline(self._patience_seconds(busy))
        if deadline is not None and now >= deadline:
            self.ping(now, SERVER, _DEAD)

    def say_goodbye(self) -> None:
        """Queue one ERROR to the server, the last packet; later input is ignored."""
        report = request.ErrorReport(
            code=ErrorCode.UNEXPECTED, text="this member found the protocol broken and stops"
        )
        self.send(PacketType.ERROR, SERVER, request.encode(report))
        self.closed = True

    def _patience_seconds(self, busy: bool) -> float:
        return PING_BUSY_SECONDS if busy else PING_SECONDS + self._jitter_seconds
