"""One link of the tunnel server: a :class:`~porttunnel.session.relay.RelayLink` on a carrier.

What a target does not take at once waits here, counted for each member that it came from. A
source is never paused, since a pause would also stop what it sends to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.python.failure import Failure

from porttunnel.net.carriers.interface import Carrier
from porttunnel.net.waiting import WaitingBytes, WaitingTotal
from porttunnel.session.limit import prefix_of
from porttunnel.session.packet import ALL_MEMBERS, MASTER, SERVER
from porttunnel.session.relay import (
    AnswerReady,
    ConnectionFailed,
    FirstPacketReceived,
    LinkState,
    RelayLink,
    RequestReceived,
    Run,
)

__all__ = ["MAX_FLOW_BYTES", "LinkServer", "LiveSession", "TunnelLink"]

PAIR_WINDOW_BYTES = 8 << 20  # what a member may have unacknowledged with another
MAX_FLOW_BYTES = PAIR_WINDOW_BYTES + (1 << 18)  # and acks, which nobody acknowledges
MAX_OWN_BYTES = 1 << 18  # of the server's own packets: a few hundred to who reads none
CLOSE_SECONDS = 5.0  # for the last packets to go out, and for the peer to take them


class LiveSession:
    """A session, as far as its members have links to this server.

    :ivar established: clients that the master has sent sealed packets to: they shook hands.
    """

    __slots__ = ("established", "links", "session_id")

    def __init__(self, session_id: bytes) -> None:
        self.session_id = session_id
        self.links: dict[int, TunnelLink] = {}
        self.established: set[int] = set()

    def concerned(self, member: int) -> list[TunnelLink]:
        """Who is told about a member: all clients about their master, the master about each."""
        if member == MASTER:
            return [link for other, link in self.links.items() if other != MASTER]
        master = self.links.get(MASTER)
        return [] if master is None else [master]

    def broadcast(self, views: Sequence[memoryview]) -> None:
        """Send the master's group packets to every client.

        Who has too much of them waiting gets none: it notices the gap and asks, while nobody
        else waits for it.
        """
        size = sum(map(len, views))
        for link in self.concerned(MASTER):
            if link.has_room(ALL_MEMBERS, size):
                link.take(ALL_MEMBERS, views)


class LinkServer(Protocol):
    """What a link needs of its server."""

    def forward(self, source: TunnelLink, run: Run, views: Sequence[memoryview]) -> None:
        """Pass ``views`` on; ``run`` says where to and what kind they are."""

    def answer(self, link: TunnelLink, asked: RequestReceived) -> None:
        """Answer a request, after those that came before it on the same link."""

    def token_arrived(self, link: TunnelLink) -> None:
        """A resumed member has its new token."""

    def link_failed(self, link: TunnelLink, failed: ConnectionFailed) -> None:
        """The link is being closed because its peer broke a rule."""

    def link_ended(self, link: TunnelLink) -> None:
        """The link takes no more part in anything; what waits may still go out."""

    def link_gone(self, link: TunnelLink) -> None:
        """Its connection is closed; told after ``link_ended``."""

    def waiting_grew(self) -> None:
        """Somewhere bytes had to be kept."""


class TunnelLink:
    """Receives from, and sends to, one connection; see
    :class:`porttunnel.net.carriers.interface.Receiver`.

    :param reactor: for the time.
    :param server: everything beyond this link.
    :param total: counts what waits on all links.
    """

    carrier: Carrier

    def __init__(self, reactor: Any, server: LinkServer, total: WaitingTotal) -> None:
        self.core = RelayLink(reactor.seconds())
        self.session: LiveSession | None = None
        self.requests: list[tuple[RequestReceived, float, LiveSession | None]] = []
        """What waits for its answer, when it came, and in which session; the first one is being
        answered."""
        self.waiting = WaitingBytes(total)
        self.token = b""
        """What the member was given with RESUMED on this link, until it is known to have it."""
        self._reactor = reactor
        self._server = server
        self._peer_ended = False
        self._lost = False
        self._timer: Any = None

    @property
    def member(self) -> int:
        """Whose link it is."""
        return self.core.member

    @property
    def prefix(self) -> str:
        """Whose limits the link counts against; known once bytes came, behind a proxy."""
        return prefix_of(getattr(self.carrier.peer, "host", ""))

    @property
    def open(self) -> bool:
        """Whether the link is in use; False once its end has begun."""
        return self.core.state is not LinkState.CLOSED

    def carrier_made(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self._watch()

    def carrier_received(self, data: memoryview) -> None:
        if not self.open:
            return
        # Runs for the same target that only a kept packet parts are sent together.
        pending: Run | None = None
        views: list[memoryview] = []
        for item in self.core.receive_data(data, self._reactor.seconds()):
            if type(item) is Run:
                if pending is not None and item[:2] == pending[:2]:
                    views.append(item.packets)
                    continue
                if pending is not None:
                    self._server.forward(self, pending, views)
                pending, views = item, [item.packets]
                continue
            if pending is not None:
                self._server.forward(self, pending, views)
                pending = None
            self._act(item)
        if pending is not None:
            self._server.forward(self, pending, views)

    def reading_done(self) -> None:
        """Each run was passed on already."""

    def carrier_writable(self) -> None:
        while self.waiting.count:
            views = self.waiting.views()
            offered = sum(map(len, views))
            taken = self.carrier.send(views)
            del views
            self.waiting.sent(taken)
            if taken < offered:
                return
        if not self.open:
            self._finish()

    def carrier_ended(self) -> None:
        self._peer_ended = True
        if self.open:
            self.close()
        elif not self.waiting.count:
            self.carrier.close()

    def carrier_lost(self, reason: Failure) -> None:
        self._lost = True
        self._stop_watching()
        self.waiting.clear()
        if self.open:
            self.core.end()
            self._server.link_ended(self)
        self._server.link_gone(self)

    def take(self, flow: int, views: Sequence[memoryview]) -> bool:
        """Send, or keep what can't be sent now.

        :param flow: the member that it comes from, SERVER, or ALL_MEMBERS for broadcasts.
        :returns: False if more of this flow waits than may.
        """
        rest = views
        if not self.waiting.count:
            taken = self.carrier.send(views)
            if taken == sum(map(len, views)):
                return True
            rest = _skip(views, taken)
        self.waiting.append(flow, rest)
        self._server.waiting_grew()
        return self.waiting.of_flow(flow) <= MAX_FLOW_BYTES

    def has_room(self, flow: int, count: int) -> bool:
        """Whether ``count`` more bytes of this flow may wait."""
        return self.waiting.of_flow(flow) + count <= MAX_FLOW_BYTES

    def send(self, packet: bytes) -> None:
        """Send a packet of the server's own, unless the link is being closed."""
        if not self.open:
            return
        self.take(SERVER, [memoryview(packet)])
        if self.waiting.of_flow(SERVER) > MAX_OWN_BYTES:
            self.abort()

    def close(self, last: bytes | None = None) -> None:
        """End the link after what waits, and ``last``, have gone out.

        The peer's bytes are read, and ignored, until it closes too: a connection that is closed
        with unread bytes is reset, which would take the last packet with it.
        """
        if not self.open:
            return
        self.core.end()
        self._close(last)

    def abort(self) -> None:
        """End the link at once; what waits is dropped."""
        self.waiting.clear()
        if self._lost:
            return
        was_open = self.open
        self.core.end()
        self._stop_watching()
        self.carrier.abort()
        if was_open:
            self._server.link_ended(self)

    def fail(self, failed: ConnectionFailed) -> None:
        """End the link, which the core has ended already, with a goodbye."""
        self._server.link_failed(self, failed)
        self._close(failed.goodbye)

    def _act(self, item: Any) -> None:
        match item:
            case RequestReceived():
                self._server.answer(self, item)
            case AnswerReady(packet):
                self.send(packet)
            case FirstPacketReceived():
                self._server.token_arrived(self)
            case ConnectionFailed():
                self.fail(item)
            case _:
                self._close(None)

    def _close(self, last: bytes | None) -> None:
        self._stop_watching()
        if last is not None:
            self.take(SERVER, [memoryview(last)])
        if not self._lost:
            self._timer = self._reactor.callLater(CLOSE_SECONDS, self.abort)
        self._server.link_ended(self)
        if not self.waiting.count:
            self._finish()

    def _finish(self) -> None:
        """Everything has gone out."""
        if self._peer_ended:
            self.carrier.close()
        else:
            self.carrier.end()

    def _watch(self) -> None:
        """Be called at the core's deadline; it moves with each read, the timer only when due."""
        deadline = self.core.next_deadline()
        if deadline is not None:
            delay = max(0.0, deadline - self._reactor.seconds())
            self._timer = self._reactor.callLater(delay, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        failed = self.core.handle_timeout(self._reactor.seconds())
        if failed is not None:
            self.fail(failed)
        else:
            self._watch()

    def _stop_watching(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def _skip(views: Sequence[memoryview], count: int) -> list[memoryview]:
    """The views without their first ``count`` bytes."""
    rest = []
    for view in views:
        skipped = min(count, len(view))
        count -= skipped
        if skipped < len(view):
            rest.append(view[skipped:])
    return rest
