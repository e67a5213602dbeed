"""One connection of an MQTT broker: its core on a carrier.

See :class:`porttunnel.net.mqtt_broker.MQTTBrokerFactory`, which flushes links together.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Protocol

from twisted.python.failure import Failure

from porttunnel.mqtt.connection import ServerConnection
from porttunnel.net.carriers.interface import Carrier
from porttunnel.net.carriers.websocket import WebSocketCarrier
from porttunnel.net.turn_batch import TurnBatch
from porttunnel.websocket.close import CloseCode

__all__ = ["LinkOwner", "MQTTLink"]

GOODBYE_SECONDS = 5.0  # for the last bytes to go out, and for the peer to close
# Some deadlines come nearer without a sign: of a client that others wait for, for instance.
LOOK_SECONDS = 5.0


class LinkOwner(Protocol):
    """What a link needs of its broker.

    :ivar batch: looks after the links that are ready; told when something has moved.
    :ivar draining: everybody is sent away, to come back elsewhere or later.
    """

    batch: TurnBatch
    draining: bool

    def accept(self, link: MQTTLink, peer: str) -> ServerConnection:
        """A core for a new connection; its ``shell`` is the link."""

    def seconds(self) -> float:
        """The time."""

    def expect(self, link: MQTTLink, due: float) -> None:
        """Call :meth:`MQTTLink.deadline_came` then."""

    def link_gone(self, link: MQTTLink) -> None:
        """Its connection is closed."""


class _State(Enum):
    OPEN = "its core goes on"
    ENDING = "what the core said last waits to go out"
    ENDED = "all has gone out, and the peer was told so"


class MQTTLink:
    """A receiver of a carrier; see :class:`porttunnel.net.carriers.interface.Receiver`.

    :param owner: its broker.
    :ivar goodbye_seconds: for the last bytes to go out, and for the peer to close.
    :ivar due: see :class:`porttunnel.net.deadline.Waiter`.
    """

    __slots__ = (
        "_blocked",
        "_carrier",
        "_core",
        "_goodbye_due",
        "_owner",
        "_paused",
        "_peer_ended",
        "_silence_seconds",
        "_state",
        "due",
        "goodbye_seconds",
    )

    def __init__(self, owner: LinkOwner) -> None:
        self.due = inf
        self._owner = owner
        self._core: ServerConnection | None = None
        self._carrier: Carrier | None = None
        self._blocked = False  # the carrier is full
        self._paused = False
        self._peer_ended = False
        self._state = _State.OPEN
        self._goodbye_due = inf
        self._silence_seconds = 0.0
        self.goodbye_seconds = GOODBYE_SECONDS

    def carrier_made(self, carrier: Carrier) -> None:
        self._carrier = carrier
        # Behind a proxy the first bytes tell who the client is. Who sends none is let in too, a
        # little later, to be counted and sent away in time.
        self._owner.expect(self, self._owner.seconds() + LOOK_SECONDS)

    def carrier_received(self, data: memoryview) -> None:
        core = self._core or self._begin()
        core.receive_data(data, self._owner.seconds())
        if not core.may_receive:
            self.flush()
            self._expect_deadline(core)
        self._owner.batch.took(len(data))

    def reading_done(self) -> None:
        self._owner.batch.reading_done()

    def carrier_writable(self) -> None:
        self._blocked = False
        self.flush()
        self._owner.batch.soon()

    def carrier_ended(self) -> None:
        self._peer_ended = True
        core = self._core or self._begin()
        core.receive_eof(self._owner.seconds())
        if self._state is _State.ENDED and self._carrier is not None:
            self._carrier.close()
        self.flush()
        self._owner.batch.soon()

    def carrier_lost(self, reason: Failure) -> None:
        self._carrier = None
        if self._core is not None:
            self._core.receive_eof(self._owner.seconds())
            self._owner.batch.soon()
        self._owner.link_gone(self)

    def flush(self) -> None:
        """Send what waits, read or don't read, and close if all is over."""
        core, carrier = self._core, self._carrier
        if carrier is None or core is None:
            return
        while core.waiting_bytes and not self._blocked:
            views = core.data_to_send()
            offered = len(views[0]) if len(views) == 1 else sum(map(len, views))
            taken = carrier.send(views)
            self._blocked = taken < offered
            core.data_sent(taken)
        if core.is_closed:
            self._end(core, carrier)
        elif core.may_receive is self._paused:
            self._paused = not self._paused
            if self._paused:
                carrier.pause_receiving()
            else:
                carrier.resume_receiving()
        if core.silence_seconds != self._silence_seconds:
            # The client was let in: from now on its keep-alive counts.
            self._silence_seconds = core.silence_seconds
            core.events()  # the policy is told the same; kept, they would only take memory
            self._expect_deadline(core)

    def deadline_came(self, now: float) -> float | None:
        carrier = self._carrier
        if carrier is None:
            return None
        core = self._core or self._begin()
        if self._state is not _State.OPEN:
            if now >= self._goodbye_due:
                carrier.abort()
                return None
            return self._goodbye_due
        deadline = core.next_deadline()
        if deadline is not None and deadline <= now:
            core.handle_timeout(now)
            self._owner.batch.soon()
            deadline = core.next_deadline()
        return now + LOOK_SECONDS if deadline is None else min(deadline, now + LOOK_SECONDS)

    def abort(self) -> None:
        """End the connection at once."""
        if self._carrier is not None:
            self._carrier.abort()

    def abort_if_silent(self) -> None:
        """End it if nothing came yet."""
        if self._core is None:
            self.abort()

    def _begin(self) -> ServerConnection:
        host = "" if self._carrier is None else getattr(self._carrier.peer, "host", "")
        core = self._core = self._owner.accept(self, host)
        self._expect_deadline(core)
        self._owner.batch.soon()
        return core

    def _expect_deadline(self, core: ServerConnection) -> None:
        deadline = core.next_deadline()
        if deadline is not None:
            self._owner.expect(self, deadline)

    def _end(self, core: ServerConnection, carrier: Carrier) -> None:
        if self._state is _State.OPEN:
            self._state = _State.ENDING
            self._goodbye_due = self._owner.seconds() + self.goodbye_seconds
            self._owner.expect(self, self._goodbye_due)
            if self._paused:
                # Closed with bytes of the peer unread, the kernel would reset the connection, and
                # with that take the last packet away from the peer.
                self._paused = False
                carrier.resume_receiving()
        if self._state is _State.ENDING and not core.waiting_bytes:
            self._state = _State.ENDED
            if isinstance(carrier, WebSocketCarrier) and self._owner.draining:
                carrier.close(CloseCode.SERVICE_RESTART)
            elif self._peer_ended:
                carrier.close()
            else:
                carrier.end()
