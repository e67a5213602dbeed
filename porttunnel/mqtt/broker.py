"""A whole broker without its sockets: connections come from it, and its owner talks to it.

The shell's duties: give each connection its bytes (:meth:`Broker.accept`), look after each call at
those that :meth:`Broker.take_ready` names, and call :meth:`Broker.handle_timeout` when it is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from porttunnel.mqtt.connection import ServerConnection
from porttunnel.mqtt.exchange import Counters, Draining, Exchange
from porttunnel.mqtt.message import make_message
from porttunnel.mqtt.packet import PacketType
from porttunnel.mqtt.policy import Client, Policy
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.property_codec import encode_properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.route import Reach
from porttunnel.mqtt.session import Session
from porttunnel.mqtt.topic import check_name

__all__ = ["Broker"]


class Broker:
    """See the module. Times are seconds of one monotonic clock.

    :param policy: whose rules hold.
    :param now: the time.
    """

    def __init__(self, policy: Policy, now: float) -> None:
        self._exchange = Exchange(policy, now)
        # (due, number, connection): when whom to send away.
        self._leaving: list[tuple[float, int, ServerConnection]] = []

    @property
    def counters(self) -> Counters:
        """What happened so far."""
        return self._exchange.counters

    @property
    def connection_count(self) -> int:
        """Connections that have not ended."""
        return len(self._exchange.connections)

    @property
    def session_count(self) -> int:
        """Sessions, with and without a connection."""
        return len(self._exchange.sessions)

    @property
    def subscription_count(self) -> int:
        """Subscriptions of all sessions."""
        return self._exchange.tree.count

    @property
    def retained_count(self) -> int:
        """Retained messages."""
        return self._exchange.retained.count

    @property
    def held_bytes(self) -> int:
        """What messages, retained messages and subscriptions take in memory, about."""
        exchange = self._exchange
        return exchange.held.held + exchange.retained.held_bytes + exchange.tree.held_bytes

    def accept(self, now: float, *, spare_client_id: str, peer: str = "") -> ServerConnection:
        """The core of a new connection.

        With too many connections, or while draining, it is closed from the beginning, or will
        refuse: the shell treats it like any other.

        :param spare_client_id: new and random: the client gets it if it brings none. 1 to 23 of
            0-9, a-z, A-Z.
        :param peer: where the client comes from, for the policy.
        """
        connection = ServerConnection(self._exchange, peer, spare_client_id, now)
        if len(self._exchange.connections) > self._exchange.bounds.max_connections:
            connection.cut(ReasonCode.SERVER_BUSY, now)
        return connection

    def take_ready(self) -> list[ServerConnection]:
        """Connections for the shell to look at, each once: they have something to send, may be
        read from again, or are closed.

        To be called after everything that may move something: bytes that came or went, a time-out,
        a command, an answer of the policy.
        """
        exchange = self._exchange
        exchange.packets.renew()
        ready = exchange.ready
        if not ready:
            return []
        taken = [each for each in ready if isinstance(each, ServerConnection)]
        ready.clear()
        for connection in taken:
            connection.is_ready = False
        return taken

    def publish(
        self,
        topic: str,
        payload: bytes,
        now: float,
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties = EMPTY,
    ) -> Reach:
        """Publish as the broker's owner; no policy is asked, apart from being told who got it not.

        :param topic: inside the broker.
        :param properties: those of a PUBLISH.
        :raises MqttError: it is no topic, or there is no room to retain it.
        :raises LocalProtocolError: a PUBLISH can't have these properties; nobody gets it.
        """
        check_name(topic)
        encode_properties(properties, PacketType.PUBLISH)
        message = make_message(topic, payload, qos, retain, properties, now=now)
        reach = self._exchange.publish(message, None, None, now)
        self._exchange.mind_pressed(None, now)
        return reach

    def connection(self, session_name: str) -> ServerConnection | None:
        """The connection that a session has now, if it has one."""
        session = self._exchange.sessions.get(session_name)
        outbox = None if session is None else session.outbox
        return outbox if isinstance(outbox, ServerConnection) else None

    def clients(self) -> Iterator[Client]:
        """Who is connected now."""
        for session in self._exchange.sessions.values():
            if session.outbox is not None:
                yield session.client

    def disconnect_user(
        self,
        user_name: str,
        reason: ReasonCode,
        now: float,
        *,
        forget: bool = False,
        with_wills: bool = True,
    ) -> int:
        """Disconnect all clients of a user.

        :param reason: one that DISCONNECT can have.
        :param forget: end the sessions too, also those without a connection.
        :param with_wills: whether their wills are published, or forgotten.
        :returns: how many sessions this was about.
        """
        found = [
            session
            for session in self._exchange.sessions.values()
            if session.client.user_name == user_name
        ]
        for session in found:
            self._disconnect(session, reason, now, forget=forget, with_will=with_wills)
        self._exchange.mind_pressed(None, now)
        return len(found)

    def disconnect_session(
        self,
        session_name: str,
        reason: ReasonCode,
        now: float,
        *,
        forget: bool = False,
        with_will: bool = True,
    ) -> bool:
        """As :meth:`disconnect_user`, for one session; whether there is one."""
        session = self._exchange.sessions.get(session_name)
        if session is None:
            return False
        self._disconnect(session, reason, now, forget=forget, with_will=with_will)
        self._exchange.mind_pressed(None, now)
        return True

    def _disconnect(
        self, session: Session, reason: ReasonCode, now: float, *, forget: bool, with_will: bool
    ) -> None:
        if session.outbox is not None:
            session.outbox.cut(reason, now, with_will=with_will)
        if forget:
            if not with_will:
                session.will = None
            self._exchange.end_session(session, now)

    def forget_routes(self) -> None:
        """Ask the policy anew where the clients' messages go, and what topics they see."""
        self._exchange.routes.forget()

    def drain(
        self,
        now: float,
        *,
        seconds: float = 0.0,
        reason: ReasonCode = ReasonCode.SERVER_SHUTTING_DOWN,
        server_reference: str | None = None,
        with_wills: bool = True,
    ) -> None:
        """Let nobody in any more, and send those who are there away, one after the other.

        :param seconds: over which they are spread, so that they don't all come to the next server
            at once.
        :param reason: that DISCONNECT says: 0x8B, or 0x9C with another server.
        :param server_reference: that one, told in MQTT 5.
        :param with_wills: whether wills are published; not if the clients go on elsewhere.
        """
        exchange = self._exchange
        exchange.draining = Draining(reason, server_reference, with_wills)
        there = [each for each in exchange.connections if isinstance(each, ServerConnection)]
        step = seconds / len(there) if there else 0.0
        self._leaving = [
            (now + index * step, index, connection) for index, connection in enumerate(there)
        ]
        self.handle_timeout(now)

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is to be called, besides those of the connections."""
        exchange = self._exchange
        if exchange.search.is_waited_for or exchange.packets.is_waited_for:
            return exchange.now
        own = self._leaving[0][0] if self._leaving else None
        other = exchange.next_deadline()
        if own is None or other is None:
            return other if own is None else own
        return min(own, other)

    def handle_timeout(self, now: float) -> None:
        """End sessions, publish wills and send clients away whose time has come; and look on for
        retained messages.
        """
        exchange = self._exchange
        exchange.handle_timeout(now)
        exchange.search.go_on(now)
        exchange.packets.go_on(now)
        draining = exchange.draining
        while self._leaving and self._leaving[0][0] <= now and draining is not None:
            connection = heapq.heappop(self._leaving)[2]
            connection.cut(
                draining.reason,
                now,
                with_will=draining.with_wills,
                server_reference=draining.server_reference,
            )
        exchange.mind_pressed(None, now)
