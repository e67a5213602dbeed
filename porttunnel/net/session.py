"""What a shared and a joined session have in common: a core on a link, and streams' ends.

:func:`porttunnel.net.master.share` and :func:`porttunnel.net.client.join` make sessions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint

from porttunnel.errors import (
    CutOff,
    LocalProtocolError,
    NotReachable,
    PorttunnelError,
    StreamCode,
)
from porttunnel.net.carriers.interface import Carrier
from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.driver import MachineDriver
from porttunnel.net.link_connection import connect_link
from porttunnel.net.reconnect import Reconnector
from porttunnel.net.stream_handle import StreamHandle
from porttunnel.net.telling import tell
from porttunnel.session import event
from porttunnel.session.direct import DirectPath
from porttunnel.session.member import Member
from porttunnel.session.multiplex import Multiplex

__all__ = ["Acceptor", "Session"]

CLOSE_SECONDS = 5.0  # to come back and say goodbye: then others must find out by themselves

Acceptor = Callable[[int, int], None]
"""Called with member and stream when one is offered: accepts or refuses it."""


class Session(ABC):
    """A session, whatever connection it has. Made by ``share`` and ``join``.

    :param reactor: the reactor.
    :param machine: the core.
    :param on_event: called with each event of the core that is for people or programs.
    """

    def __init__(self, reactor: Any, machine: Member, *, on_event: Callable[[Any], None]) -> None:
        self._reactor = reactor
        self._machine = machine
        self._on_event = on_event
        self._driver = MachineDriver(reactor, machine, self._report)
        machine.link.wake = self._wake_link
        self._directs: dict[MachineDriver, DirectPath] = {}
        self._endpoint: IStreamClientEndpoint | None = None
        self._reconnector = Reconnector(reactor, self._reconnect)
        self._reporting = False
        self._closing: Callable[[], None] | None = None
        self._close_timer: IDelayedCall | None = None
        self._woken: set[MachineDriver] = set()
        self._handles: dict[tuple[int, int], StreamHandle] = {}
        self._batches: list[Callable[[], None]] = []
        self._acceptors: dict[str, Acceptor] = {}
        self._waiting: list[defer.Deferred[None]] = []
        self._waiting_for_streams: list[defer.Deferred[None]] = []
        self._finished = False
        self._error: PorttunnelError | None = None

    # For the endpoints and forwarders

    @property
    @abstractmethod
    def local_member(self) -> int:
        """Our member number."""

    @abstractmethod
    def streams_with(self, member: int) -> Multiplex:
        """The streams with a member; :raises LocalProtocolError: it is not in the session."""

    def flush(self) -> None:
        """Send what was written, now."""
        self._driver.flush()
        for driver in tuple(self._woken):
            self._woken.discard(driver)
            driver.flush()

    def flush_soon(self) -> None:
        """Send what was written, in the reactor's next turn."""
        self._driver.flush_soon()

    def at_events_end(self, call: Callable[[], None]) -> None:
        """Call once when the events of this moment have been given out."""
        self._batches.append(call)

    def release(self, member: int, stream: int) -> None:
        """The stream's end wants no more calls."""
        self._handles.pop((member, stream), None)
        self._check_streams()

    def open_stream(
        self, member: int, service: str, make: Callable[[int], StreamHandle]
    ) -> StreamHandle:
        """Ask for a stream; its end is made with its id.

        :raises PorttunnelError: the session is over, or too many streams are open.
        """
        if self._finished:
            raise self._error or CutOff("The session is over. Join again.")
        stream = self.streams_with(member).open(service)
        handle = make(stream)
        self._handles[member, stream] = handle
        self._driver.flush_soon()
        return handle

    def adopt(self, member: int, stream: int, handle: StreamHandle) -> None:
        """From now on ``handle`` is this stream's end."""
        self._handles[member, stream] = handle

    def add_acceptor(self, service: str, acceptor: Acceptor) -> None:
        """Who gets the streams to one of our services.

        :raises LocalProtocolError: there is one already.
        """
        if service in self._acceptors:
            raise LocalProtocolError(f"{service!r} is listened to already")
        self._acceptors[service] = acceptor

    def remove_acceptor(self, service: str) -> None:
        """Refuse streams to this service from now on."""
        self._acceptors.pop(service, None)

    # For everybody

    def when_done(self) -> defer.Deferred[None]:
        """Fires with None once the session was ended on purpose; fails with its error."""
        waiting: defer.Deferred[None] = defer.Deferred()
        if not self._finished:
            self._waiting.append(waiting)
        elif self._error is None:
            waiting.callback(None)
        else:
            waiting.errback(self._error)
        return waiting

    def when_streams_done(self) -> defer.Deferred[None]:
        """Fires once no stream is open: all bytes of both sides have arrived, or are lost."""
        done: defer.Deferred[None] = defer.Deferred()
        self._waiting_for_streams.append(done)
        self._check_streams()
        return done

    def when_disconnected(self) -> defer.Deferred[None]:
        """Fires once all connections are gone, and with them all that was to be sent has been."""
        return defer.Deferred.fromCoroutine(self._wait_for_ends())

    async def _wait_for_ends(self) -> None:
        for driver in (*self._directs, self._driver):
            await driver.when_gone()

    def _close(self, close: Callable[[], None]) -> defer.Deferred[None]:
        """Close the session; while the link is away, once it is back: to say goodbye."""
        done = self.when_done()
        if self._finished or not self._machine.is_away:
            self._closing = close
            self._close_now()
        elif self._closing is None:
            self._closing = close
            self._close_timer = self._reactor.callLater(CLOSE_SECONDS, self._close_now)
        # Not before the goodbyes are out: a program may stop its reactor after this.
        return done.addCallback(lambda _: self.when_disconnected())

    def _close_now(self) -> None:
        closing, self._closing = self._closing, None
        if closing is not None:
            closing()
            self.flush()

    def make_protocol(self) -> CarrierProtocol:
        """The protocol of the link."""
        return CarrierProtocol(self._reactor, self._driver)

    @property
    def reactor(self) -> Any:
        """The reactor that runs the session."""
        return self._reactor

    @property
    def carrier(self) -> Carrier | None:
        """The link's carrier, while there is one."""
        return self._driver.carrier

    # Links

    async def _connect(self, endpoint: IStreamClientEndpoint) -> None:
        """Make the first connection; the same endpoint serves when it is lost.

        :raises NotReachable: there is none.
        """
        self._endpoint = endpoint
        await connect_link(self.make_protocol, endpoint)

    async def _reconnect(self) -> None:
        await self._driver.when_gone()
        if self._endpoint is None:
            raise NotReachable("There was no connection to the tunnel server yet.")
        await connect_link(self.make_protocol, self._endpoint)
        self._machine.reconnected(self._reactor.seconds())
        # Not now: who hears of what comes of it may stop the reconnector, which is still at work.
        self._driver.flush_soon()

    def run_direct(self, path: DirectPath) -> CarrierProtocol:
        """The protocol of a connection straight to another member."""
        driver = MachineDriver(
            self._reactor, path, self._report_direct, lambda: self._drop(driver)
        )
        self._directs[driver] = path
        path.wake = partial(self._wake_direct, driver)
        # Not at once: the path may be in the middle of reading.
        path.on_closed = partial(self._reactor.callLater, 0, self._close_direct, driver, path)
        return CarrierProtocol(self._reactor, driver)

    def _close_direct(self, driver: MachineDriver, path: DirectPath) -> None:
        if driver.carrier is None:
            self._drop(driver)  # there was never a connection, so nobody tells of its end
        elif path.peer is None or path.peer.direct is not path:
            # To strangers nothing is left to say, and what was said on a path that was given up is
            # said again on another. Both could have us wait, with any number of connections.
            driver.abort()
        else:
            driver.close()

    def _drop(self, driver: MachineDriver) -> None:
        self._directs.pop(driver, None)
        self._woken.discard(driver)

    def _wake_link(self) -> None:
        # What comes on the link is followed by a flush of it anyway.
        if self._directs:
            self._driver.flush_soon()

    def _wake_direct(self, driver: MachineDriver) -> None:
        self._woken.add(driver)
        driver.flush_soon()

    # Inside

    def _report(self) -> None:
        if self._reporting:
            return  # events keep their order: whoever reports now goes on with the new ones
        self._reporting = True
        try:
            while True:
                for happened in self._machine.events():
                    tell(self._receive_event, happened)
                self._events_done()
                if not self._machine.has_events:
                    break
        finally:
            self._reporting = False

    def _report_direct(self) -> None:
        self._report()
        # What comes on a direct path may want a deadline, or a packet by the relay.
        self._driver.flush_soon()

    def _receive_event(self, happened: Any) -> None:
        kind = type(happened)
        if kind is event.StreamDataReceived:
            # First and without detours: everything else is rare beside it.
            handle = self._handles.get((happened.member, happened.stream))
            if handle is not None:
                handle.stream_received(happened.data)
        elif kind is event.StreamWritable:
            handle = self._handles.get((happened.member, happened.stream))
            if handle is not None:
                handle.stream_writable()
        elif kind in _STREAM_EVENTS:
            self._receive_stream_event(happened)
        elif kind is event.ConnectionFailed:
            self._receive_session_event(self._explain(happened))
        else:
            self._receive_session_event(happened)

    def _explain(self, failed: event.ConnectionFailed) -> event.ConnectionFailed:
        """What the carrier says of its end, where that tells more: a wrong pin, say."""
        reason = self._driver.lost_reason
        if reason is not None and isinstance(reason.value, PorttunnelError):
            return event.ConnectionFailed(reason.value)
        return failed

    def _events_done(self) -> None:
        while self._batches:
            batches, self._batches = self._batches, []
            for call in batches:
                call()

    def _receive_stream_event(self, happened: Any) -> None:
        key = (happened.member, happened.stream)
        if isinstance(happened, event.StreamOffered):
            self._receive_offer(happened)
            return
        handle = self._handles.get(key)
        if handle is None:
            return
        if isinstance(happened, event.StreamAccepted):
            handle.stream_accepted()
        elif isinstance(happened, event.StreamEnded):
            handle.stream_ended()
        else:
            self._handles.pop(key)
            if isinstance(happened, event.StreamRefusedRemotely):
                handle.stream_refused(happened.code, happened.text)
            elif isinstance(happened, event.StreamResetRemotely):
                handle.stream_reset(happened.code)
            else:
                handle.stream_closed()
            self._check_streams()

    def _check_streams(self) -> None:
        if not self._handles:
            waiting, self._waiting_for_streams = self._waiting_for_streams, []
            for deferred in waiting:
                deferred.callback(None)

    def _receive_offer(self, offered: event.StreamOffered) -> None:
        try:
            streams = self.streams_with(offered.member)
        except LocalProtocolError:
            return  # it left in the same moment
        if not streams.may_accept(offered.stream):
            return  # likewise taken back
        acceptor = self._acceptors.get(offered.service)
        if acceptor is not None:
            acceptor(offered.member, offered.stream)
            return
        streams.refuse(
            offered.stream,
            StreamCode.UNKNOWN_SERVICE,
            f"There is no service {offered.service!r} here; ask what is shared.",
        )

    def _receive_session_event(self, happened: Any) -> None:
        if isinstance(happened, event.MemberLeft):
            self._lose_streams(happened.member, happened.reason)
        elif isinstance(happened, event.LinkLost):
            self._driver.abort()
            self._reconnector.begin(happened.retry_after_seconds)
        elif isinstance(happened, event.LinkRestored):
            self._reconnector.succeed()
            self._close_now()
        # Told before when_done() fires, so that whoever waits for that knows why.
        tell(self._on_event, happened)
        if isinstance(happened, event.ConnectionFailed):
            self._finish(happened.error)
        elif isinstance(happened, event.SessionFinished):
            self._finish(None)

    def _lose_streams(self, member: int, reason: str) -> None:
        error = CutOff(f"The other side is gone: {reason}.")
        for key in [key for key in self._handles if key[0] == member]:
            self._handles.pop(key).stream_lost(error)
        self._check_streams()

    def _finish(self, error: PorttunnelError | None) -> None:
        if self._finished:
            return
        self._finished = True
        self._error = error
        handles, self._handles = self._handles, {}
        for handle in handles.values():
            handle.stream_lost(error or CutOff("The session was closed."))
        self._check_streams()
        self._reconnector.stop()
        if self._close_timer is not None and self._close_timer.active():
            self._close_timer.cancel()
        self._driver.close()
        for driver, path in list(self._directs.items()):
            self._close_direct(driver, path)
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if error is None:
                deferred.callback(None)
            else:
                deferred.errback(error)


_STREAM_EVENTS = frozenset(
    (
        event.StreamOffered,
        event.StreamAccepted,
        event.StreamEnded,
        event.StreamRefusedRemotely,
        event.StreamResetRemotely,
        event.StreamClosed,
    )
)
