"""An MQTT broker on Twisted: one for all of its listeners, TCP, TLS and WebSocket.

The rules are a :class:`~porttunnel.mqtt.policy.Policy`'s, the protocol is
:class:`~porttunnel.mqtt.broker.Broker`'s. What becomes ready in one turn of the reactor goes out
together, with one write for each connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from secrets import token_hex
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.connection import ServerConnection
from porttunnel.mqtt.policy import Attempt, Decision, Policy
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.route import Reach
from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.carriers.watch import watch_for
from porttunnel.net.deadline import Deadlines
from porttunnel.net.mqtt_link import GOODBYE_SECONDS, MQTTLink
from porttunnel.net.place_pace import PlacePace
from porttunnel.net.server_address import is_loopback
from porttunnel.net.turn_batch import TurnBatch
from porttunnel.net.websocket import WebSocketFactory, WebSocketResource
from porttunnel.session.limit import ConnectionLimiter, prefix_of
from porttunnel.websocket.handshake import Accepted, Refused, Terms

__all__ = ["SUBPROTOCOL", "MQTTBrokerFactory"]

SUBPROTOCOL = "mqtt"  # of WebSocket [MQTT-6.0.0-3]
LAST_SECONDS = 15.0  # for all to be gone, once all are told: a link has five
SERVICE_UNAVAILABLE = 503
CLIENT_ID_BYTES = 9  # of an assigned client id; with its beginning it has 22 characters of 23

_DRAINING = Refused(
    SERVICE_UNAVAILABLE, "Service Unavailable", "This broker is being stopped. Come back later."
)


class MQTTBrokerFactory(Factory):
    """Makes the connections of one broker; for any stream endpoint, and for several.

    WebSocket listeners of the same broker come from :meth:`websocket_factory` and
    :meth:`websocket_resource`.

    :param policy: who may do what; see :class:`porttunnel.mqtt.policy.AllowAll`.
    :param reactor: time, and what watches the sockets; None: the process's.

    :ivar broker: the core, to look at. What is done to it, do by the methods here: they let what
        moves go out.
    :ivar batch: ``batch.soon()`` lets go out what was done to the core all the same.
    :ivar links: all connections, also those that are being closed.
    :ivar draining: whether nobody is let in any more.
    :ivar seconds: the time.
    """

    noisy = False
    _log = Logger()

    def __init__(self, policy: Policy, *, reactor: Any = None) -> None:
        if reactor is None:
            # At the top it would choose the reactor of whatever program imports this module.
            from twisted.internet import reactor  # noqa: PLC0415  # see above
        self._reactor = reactor
        self.seconds: Callable[[], float] = reactor.seconds
        self.broker = Broker(policy, reactor.seconds())
        self.links: set[MQTTLink] = set()
        bounds = policy.bounds
        self._places = ConnectionLimiter(
            per_prefix=bounds.max_connections_per_prefix, overall=bounds.max_connections
        )
        self._pace = PlacePace(
            bounds.connects_per_second_per_prefix, bounds.connect_burst_per_prefix
        )
        self._place_of: dict[MQTTLink, str] = {}
        self.draining = False
        self.due = inf  # of the broker's own deadline
        self._deadlines = Deadlines(reactor)
        self.batch = TurnBatch(reactor, self._settle)
        self._sockets = watch_for(reactor, self.batch)
        self._all_gone: Deferred[None] | None = None

    # Listeners

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.draining:
            return None
        return CarrierProtocol(self._sockets, self._make_link())

    def websocket_factory(
        self, *, path: str | None = None, origins: Iterable[str] | None = None
    ) -> WebSocketFactory:
        """For a WebSocket listener of its own.

        :param path: the only one that is served, or None for all.
        :param origins: of web pages that may connect, as ``https://example.org``; None for all.
        :raises ConfigurationError: an origin or the path is none.
        """
        terms = _terms(path, origins)
        return WebSocketFactory(self._sockets, self._build_receiver, terms=terms)

    def websocket_resource(self, *, origins: Iterable[str] | None = None) -> WebSocketResource:
        """For a place in a web site; the arguments are those of :meth:`websocket_factory`."""
        terms = _terms(None, origins)
        return WebSocketResource(self._sockets, self._build_receiver, terms=terms)

    # For the broker's owner

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties = EMPTY,
    ) -> Reach:
        """Publish as the owner; see :meth:`Broker.publish`."""
        now = self._reactor.seconds()
        reach = self.broker.publish(
            topic, payload, now, qos=qos, retain=retain, properties=properties
        )
        self.batch.soon()
        return reach

    def answer(self, attempt: Attempt, decision: Decision) -> None:
        """Say later what the policy's ``authenticate`` did not say at once."""
        attempt.answer(decision, self._reactor.seconds())
        self.batch.soon()

    def disconnect_user(self, user_name: str, reason: ReasonCode, *, forget: bool = False) -> int:
        """Disconnect all clients of a user; see :meth:`Broker.disconnect_user`."""
        count = self.broker.disconnect_user(
            user_name, reason, self._reactor.seconds(), forget=forget
        )
        self.batch.soon()
        return count

    def disconnect_session(
        self,
        session_name: str,
        reason: ReasonCode,
        *,
        forget: bool = False,
        with_will: bool = True,
        goodbye_seconds: float = GOODBYE_SECONDS,
    ) -> bool:
        """Disconnect one client; see :meth:`Broker.disconnect_session`.

        :param goodbye_seconds: how long it has to close its end; then its socket is cut off.
        """
        connection = self.broker.connection(session_name)
        if connection is not None:
            link: MQTTLink = connection.shell
            link.goodbye_seconds = goodbye_seconds
        found = self.broker.disconnect_session(
            session_name, reason, self._reactor.seconds(), forget=forget, with_will=with_will
        )
        self.batch.soon()
        return found

    async def drain(
        self,
        *,
        seconds: float = 0.0,
        reason: ReasonCode = ReasonCode.SERVER_SHUTTING_DOWN,
        server_reference: str | None = None,
        with_wills: bool = True,
    ) -> None:
        """Take nobody any more, send all away, and return when they are gone.

        Those who do not go within 15 seconds are aborted.

        :param seconds: over which they are spread.
        :param reason: what they are told: 0x8B, or 0x9C with another server.
        :param server_reference: that one.
        :param with_wills: whether wills are published; not if the clients go on elsewhere.
        """
        self.draining = True
        self.broker.drain(
            self._reactor.seconds(),
            seconds=seconds,
            reason=reason,
            server_reference=server_reference,
            with_wills=with_wills,
        )
        for link in tuple(self.links):
            link.abort_if_silent()
        self._settle()
        if self.links:
            gone = self._all_gone = Deferred()
            gone.addTimeout(seconds + LAST_SECONDS, self._reactor, self._give_up_waiting)
            await gone
        self._deadlines.stop()
        self.batch.stop()

    def _give_up_waiting(self, *_: object) -> None:
        self._all_gone = None
        self._log.warn("{count} connections could not be closed", count=len(self.links))
        for link in tuple(self.links):
            link.abort()  # nothing else would: there are no deadlines from now on

    # What links need

    def accept(self, link: MQTTLink, peer: str) -> ServerConnection:
        spare = f"auto{token_hex(CLIENT_ID_BYTES)}"
        now = self._reactor.seconds()
        core = self.broker.accept(now, spare_client_id=spare, peer=peer)
        core.shell = link
        place = prefix_of(peer)
        if not _is_own(peer, place) and not core.is_closed:
            if self._pace.take(place, now) and self._places.connection_made(place):
                self._place_of[link] = place
            else:
                core.cut(ReasonCode.SERVER_BUSY, now)
        return core

    def expect(self, link: MQTTLink, due: float) -> None:
        self._deadlines.expect(link, due)

    def link_gone(self, link: MQTTLink) -> None:
        self.links.discard(link)
        self._deadlines.forget(link)
        place = self._place_of.pop(link, None)
        if place is not None:
            self._places.connection_lost(place)
        if self._all_gone is not None and not self.links:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    # The broker's own

    def deadline_came(self, now: float) -> float | None:
        """See :class:`porttunnel.net.deadline.Waiter`."""
        self.broker.handle_timeout(now)
        self.batch.soon()
        return None  # settling looks when the next one is

    def _make_link(self) -> MQTTLink:
        link = MQTTLink(self)
        self.links.add(link)
        return link

    def _build_receiver(self, accepted: Accepted, peer: IAddress) -> MQTTLink | Refused:
        if self.draining:
            return _DRAINING
        return self._make_link()

    def _settle(self) -> None:
        broker = self.broker
        while ready := broker.take_ready():
            for core in ready:
                link: MQTTLink = core.shell
                try:
                    link.flush()
                except Exception:
                    # Others wait behind it.
                    self._log.failure("an MQTT connection failed")
                    link.abort()
        due = broker.next_deadline()
        if due is not None:
            self._deadlines.expect(self, due)


def _is_own(peer: str, place: str) -> bool:
    """Whether somebody comes from this machine, where a proxy may stand or a whole test."""
    return not peer or is_loopback(peer) or is_loopback(place)


def _terms(path: str | None, origins: Iterable[str] | None) -> Terms:
    allowed = None if origins is None else frozenset(origins)
    return Terms(subprotocols=(SUBPROTOCOL,), origins=allowed, path=path)
