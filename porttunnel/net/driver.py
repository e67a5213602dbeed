"""Runs a core on a carrier: bytes, deadlines, back-pressure. Written once for every core.

When a carrier is lost the core may go on, and be given another one.

The shell's duties (docs/architecture, "One contract"): hand in what came, give out what
happened, send what waits as far as the carrier takes it, call back at the deadline.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from porttunnel.machine import Machine
from porttunnel.net.carriers.interface import Carrier
from porttunnel.net.pace import LinkPace

__all__ = ["MachineDriver"]

GOODBYE_SECONDS = 5.0  # for the last bytes to go out; a peer that reads nothing is cut off


class MachineDriver:
    """A receiver of a carrier, for one core.

    :param reactor: time.
    :param machine: the core.
    :param report: gives out the core's events; views in them are valid until it returns. It may
        be called while it is at work, and then does nothing.
    :param on_gone: called each time that a carrier is gone.
    :ivar lost_reason: why the last carrier is gone, until there is another one.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        machine: Machine,
        report: Callable[[], None],
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._machine = machine
        self._report = report
        self._on_gone = on_gone
        self._carrier: Carrier | None = None
        self.lost_reason: Failure | None = None
        self._pace = LinkPace(reactor.seconds())
        self._timer: IDelayedCall | None = None
        self._timer_due = 0.0
        self._soon: IDelayedCall | None = None
        self._settling = False
        self._again = False
        self._closing = False
        self._ended = False  # our half is closed
        self._peer_ended = False
        self._goodbye: IDelayedCall | None = None
        self._waiting_for_end: list[Deferred[None]] = []

    @property
    def carrier(self) -> Carrier | None:
        """The carrier, while there is one."""
        return self._carrier

    def when_gone(self) -> Deferred[None]:
        """Fires once the carrier is gone; at once if there is none."""
        gone: Deferred[None] = Deferred()
        if self._carrier is None:
            gone.callback(None)
        else:
            self._waiting_for_end.append(gone)
        return gone

    def carrier_made(self, carrier: Carrier) -> None:
        """The connection is there."""
        self._carrier = carrier
        self.lost_reason = None
        self._closing = self._ended = self._peer_ended = False
        self._pace = LinkPace(self._reactor.seconds())
        self._set_pace(carrier)
        self.flush()

    def carrier_received(self, data: memoryview) -> None:
        """Bytes came; what happened is given out while views into them are valid."""
        self._machine.receive_data(data, self._reactor.seconds())
        # A flush that an event's receiver asks for comes at the reading's end.
        settling, self._settling = self._settling, True
        try:
            self._report()
        finally:
            self._settling = settling

    def reading_done(self) -> None:
        """Answer what came."""
        self.flush()

    def carrier_writable(self) -> None:
        """The carrier takes bytes again."""
        self.flush()

    def carrier_ended(self) -> None:
        """The peer half-closed; for a link that is its end."""
        self._peer_ended = True
        self._machine.receive_eof(self._reactor.seconds())
        self.flush()
        self.close()

    def carrier_lost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._carrier = None
        self.lost_reason = reason
        if self._goodbye is not None and self._goodbye.active():
            self._goodbye.cancel()
        self._goodbye = None
        self._machine.receive_eof(self._reactor.seconds())
        self.flush()
        waiting, self._waiting_for_end = self._waiting_for_end, []
        for gone in waiting:
            gone.callback(None)
        self._on_gone()

    def flush(self) -> None:
        """Give out events and send what waits, until nothing moves any more."""
        if self._settling:
            # Called by an event's receiver: the loop below goes round once more.
            self._again = True
            return
        self._settling = True
        try:
            self._settle()
        finally:
            self._settling = False
        self._set_timer()

    def flush_soon(self) -> None:
        """Flush in the reactor's next turn, so that several writes become one packet."""
        if self._settling:
            self._again = True
        elif self._soon is None:
            self._soon = self._reactor.callLater(0, self._flush_now)

    def close(self) -> None:
        """Close the carrier once all that waits has gone out."""
        self._closing = True
        if self._carrier is not None and self._goodbye is None:
            self._goodbye = self._reactor.callLater(GOODBYE_SECONDS, self._carrier.abort)
        self.flush()

    def abort(self) -> None:
        """Close the carrier at once: it is dead, or nothing on it matters any more."""
        if self._carrier is not None:
            self._carrier.abort()

    def _flush_now(self) -> None:
        self._soon = None
        self.flush()

    def _settle(self) -> None:
        machine = self._machine
        blocked = False
        self._again = True
        while self._again:
            self._again = False
            self._report()
            carrier = self._carrier
            if carrier is None or blocked:
                continue
            views = machine.data_to_send()
            if views:
                offered = sum(map(len, views))
                taken = carrier.send(views)
                machine.data_sent(taken)
                blocked = taken < offered
                if self._pace.sent(taken, blocked, self._reactor.seconds()):
                    self._set_pace(carrier)
                self._again = True
            else:
                # Asking for what to send may have woken writers.
                self._report()
                if self._closing and not self._again:
                    self._part(carrier)

    def _set_pace(self, carrier: Carrier) -> None:
        self._machine.limit_ahead(self._pace.ahead_bytes)
        carrier.limit_unsent(self._pace.ahead_bytes // 2)

    def _part(self, carrier: Carrier) -> None:
        # Closed at once, with bytes of the peer still unread, the kernel would reset the
        # connection and with that take our last packets away from the peer.
        if self._peer_ended:
            carrier.close()
        elif not self._ended:
            self._ended = True
            carrier.end()

    def _set_timer(self) -> None:
        due = self._machine.next_deadline()
        if due is None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._start_timer(due)
        elif due < self._timer_due:
            self._timer.cancel()
            self._start_timer(due)
        # A later deadline is met by the timer too: moving it each time would cost more.

    def _start_timer(self, due: float) -> None:
        self._timer_due = due
        self._timer = self._reactor.callLater(
            max(0.0, due - self._reactor.seconds()), self._timer_fired
        )

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        due = self._machine.next_deadline()
        if due is not None and due <= now:
            self._machine.handle_timeout(now)
        self.flush()
