"""An MQTT client on Twisted: it connects, comes back when it was cut off, and loses nothing by it.

The protocol is :class:`porttunnel.mqtt.client.Client`'s, the connection any
:class:`~porttunnel.net.carriers.connector.Connector`'s: TCP, TLS, WebSocket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from porttunnel.errors import (
    BrokerRefused,
    ClientStopped,
    LinkBroken,
    MessagingError,
    PorttunnelError,
)
from porttunnel.mqtt import client_event as event
from porttunnel.mqtt.client import Client, ClientState
from porttunnel.mqtt.client_limit import refusal
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.packet import Subscription
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.carriers.connector import Connector
from porttunnel.net.carriers.interface import Carrier
from porttunnel.net.driver import MachineDriver
from porttunnel.net.reconnect import Reconnector
from porttunnel.net.telling import tell

__all__ = ["MQTTClient", "MQTTClientService", "OnMessage"]

STOP_SECONDS = 5.0  # for what was asked for to be done, before the goodbye

# After these coming back would only lead to the same, or put out somebody else.
FINAL_REASONS = frozenset(
    (
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        ReasonCode.BAD_USER_NAME_OR_PASSWORD,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.BANNED,
        ReasonCode.BAD_AUTHENTICATION_METHOD,
        ReasonCode.SESSION_TAKEN_OVER,
    )
)

OnMessage = Callable[[event.MessageReceived], Awaitable[object] | None]
"""Called with each message. What it returns, if anything, is waited for: until then the message
counts as unfinished. It is acknowledged afterwards, and if too much is unfinished nothing more is
read. What it raises is logged, and the broker is told (in MQTT 5) that the message was of no use.
"""


class MQTTClient:
    """See the module.

    :param reactor: time.
    :param connector: makes the connections.
    :param settings: of the client.
    :param on_message: see :data:`OnMessage`.
    :param on_event: called with the events of :mod:`porttunnel.mqtt.client_event` that are about
        connections and subscriptions, not those that a Deferred tells.
    :param is_final: whether a reason of the broker's ends it all, instead of another try.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        connector: Connector,
        settings: ClientSettings,
        *,
        on_message: OnMessage = lambda message: None,
        on_event: Callable[[Any], None] = lambda happened: None,
        is_final: Callable[[int], bool] = FINAL_REASONS.__contains__,
    ) -> None:
        self._reactor = reactor
        self._connector = connector
        self._on_message = on_message
        self._on_event = on_event
        self._is_final = is_final
        self._core = Client(settings)
        self._driver = _ClientDriver(reactor, self._core, self._report, self._lost)
        self._reconnector = Reconnector(reactor, self._connect)
        self._asked: dict[int, Deferred[Any]] = {}
        self._waiting_for_room: list[Deferred[None]] = []
        self._waiting_for_connection: list[Deferred[None]] = []
        self._waiting_for_idle: list[Deferred[None]] = []
        self._waiting_for_end: list[Deferred[None]] = []
        self._reporting = False
        self._paused = False
        self._stopped: MessagingError | None = None  # why nothing more will be done

    # Life

    def start(self) -> None:
        """Connect, and go on trying until it is stopped or refused for good; once is enough.

        :raises MessagingError: it was.
        """
        if self._stopped is not None:
            raise self._stopped
        if self._driver.carrier is None:
            self._reconnector.begin()

    async def stop(self, patience_seconds: float = STOP_SECONDS) -> None:
        """Say goodbye, and fail with ``ClientStopped`` what is not done.

        :param patience_seconds: how long to wait, while connected, for all to be done before.
        """
        if self.is_connected and not self._core.is_idle and patience_seconds:
            idle: Deferred[None] = Deferred()
            self._waiting_for_idle.append(idle)
            idle.addTimeout(patience_seconds, self._reactor, lambda *_: None)
            await idle
        self._end(ClientStopped("The MQTT client was stopped. Start another one."))
        await self._driver.when_gone()

    @property
    def is_connected(self) -> bool:
        """Whether the broker has taken us, and the connection is there."""
        return self._core.state is ClientState.CONNECTED

    def when_connected(self) -> Deferred[None]:
        """Fires once there is a connection, or fails once there will be none any more."""
        return self._wait(self._waiting_for_connection, self.is_connected)

    def when_ended(self) -> Deferred[None]:
        """Fails with a ``MessagingError`` once the client is stopped, or refused for good."""
        return self._wait(self._waiting_for_end, False)

    # What a program asks for

    def publish(
        self,
        topic: str,
        payload: bytes | memoryview,
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties = EMPTY,
    ) -> Deferred[event.PublishFinished]:
        """Send a message; without a connection, on the next one.

        :param payload: copied.
        :returns: fires when the message is on its way (QoS 0), or the broker has it (QoS 1, 2).
            Fails with ``QueueFull`` if too much waits already: then :meth:`when_room` tells when
            to try again; ``BrokerRefused``; ``OutcomeUnknown``; ``ClientStopped``;
            ``LocalProtocolError`` if it can't be sent at all. Cancelled, it is sent
            nevertheless.
        """
        return self._ask(
            partial(
                self._core.publish, topic, payload, qos=qos, retain=retain, properties=properties
            )
        )

    async def subscribe(
        self, *subscriptions: Subscription | str, qos: int = 0, properties: Properties = EMPTY
    ) -> tuple[int, ...]:
        """Ask for messages. After a lost session it is asked for again.

        :param subscriptions: filters, with or without options.
        :param qos: the highest that is wanted, for those without.
        :param properties: of SUBSCRIBE.
        :returns: the granted QoS of each.
        :raises BrokerRefused: one of them is refused; others may be granted nevertheless.
        :raises MessagingError: as with :meth:`publish`.
        """
        wanted = tuple(
            Subscription(one, qos) if isinstance(one, str) else one for one in subscriptions
        )
        done = await self._ask(partial(self._core.subscribe, wanted, properties))
        names = [one.filter for one in wanted]
        _check_all(names, "to subscribe to", done)
        reasons: tuple[int, ...] = done.reasons
        return reasons

    async def unsubscribe(self, *filters: str, properties: Properties = EMPTY) -> None:
        """Ask for no more messages of these filters.

        :raises BrokerRefused: one of them is refused.
        :raises MessagingError: as with :meth:`publish`.
        """
        done = await self._ask(partial(self._core.unsubscribe, filters, properties))
        _check_all(filters, "to unsubscribe from", done)

    def when_room(self) -> Deferred[None]:
        """Fires once there is room for more after a ``QueueFull``."""
        return self._wait(self._waiting_for_room, self._core.has_room)

    def authenticate(self, properties: Properties) -> None:
        """Answer an ``AuthenticationReceived``, or begin to authenticate anew.

        :raises LocalProtocolError: it is not our turn.
        """
        self._core.authenticate(properties)
        self._driver.flush_soon()

    # Between the core and the program

    def _ask(self, ask: Callable[[], int]) -> Deferred[Any]:
        if self._stopped is not None:
            return fail(self._stopped)
        try:
            token = ask()
        except PorttunnelError as error:
            return fail(error)
        asked: Deferred[Any] = Deferred(lambda _: self._forget(token))
        self._asked[token] = asked
        self._driver.flush_soon()
        return asked

    def _forget(self, token: int) -> None:
        self._asked.pop(token, None)

    def _wait(self, waiting: list[Deferred[None]], over: bool) -> Deferred[None]:
        if self._stopped is not None:
            return fail(self._stopped)
        if over:
            return succeed(None)
        wanted: Deferred[None] = Deferred()
        # Who has given up is forgotten: there may be no connection for days.
        waiting[:] = [*(one for one in waiting if not one.called), wanted]
        return wanted

    def _report(self) -> None:
        if self._reporting:
            return
        self._reporting = True
        try:
            for happened in self._core.events():
                self._take(happened)
        finally:
            self._reporting = False
        self._set_pause()
        # Several times for each packet: most of the time nobody waits.
        if self._waiting_for_room and self._core.has_room:
            _fire(self._waiting_for_room)
        if self._waiting_for_idle and self._core.is_idle:
            _fire(self._waiting_for_idle)

    def _take(self, happened: Any) -> None:
        match happened:
            case event.MessageReceived():
                self._give_out(happened)
                return
            case event.PublishFinished() | event.SubscribeFinished() | event.UnsubscribeFinished():
                self._answer(happened.token, happened)
                return
            case event.RequestFailed():
                self._answer(happened.token, happened.error)
                return
            case event.Connected():
                self._reconnector.succeed()
            case event.ConnectionRefused(error, _):
                self._part(error)
            case event.Disconnected(reason, properties):
                self._part(refusal("to go on", ReasonCode(reason), properties))
            case event.ConnectionFailed(LinkBroken()):
                self._driver.abort()
            case event.ConnectionFailed():
                self._driver.close()
        tell(self._on_event, happened)
        if isinstance(happened, event.Connected):
            _fire(self._waiting_for_connection)

    def _answer(self, token: int, result: object) -> None:
        asked = self._asked.pop(token, None)
        if asked is not None:
            # An exception makes it fail.
            asked.callback(Failure(result) if isinstance(result, Exception) else result)

    def _give_out(self, message: event.MessageReceived) -> None:
        if self._stopped is not None:
            return
        try:
            waits = self._on_message(message)
        except Exception:
            self._finish_badly(message, Failure())
            return
        if waits is None:
            self._core.finish(message.delivery)
            return
        finishing = waits if isinstance(waits, Deferred) else Deferred.fromCoroutine(_await(waits))
        finishing.addCallbacks(
            lambda _: self._core.finish(message.delivery), partial(self._finish_badly, message)
        )
        finishing.addCallback(lambda _: self._driver.flush_soon())

    def _finish_badly(self, message: event.MessageReceived, failure: Failure) -> None:
        # Neither its topic nor its content: others read logs.
        self._log.failure("a message could not be used", failure)
        self._core.finish(message.delivery, ReasonCode.UNSPECIFIED_ERROR)

    def _set_pause(self) -> None:
        # Before it took us a broker sends nothing that could be too much.
        carrier, wanted = self._driver.carrier, self.is_connected and self._core.wants_pause
        if carrier is None or wanted is self._paused:
            return
        self._paused = wanted
        if wanted:
            carrier.pause_receiving()
        else:
            carrier.resume_receiving()

    # Connections

    async def _connect(self) -> None:
        self._paused = False
        try:
            await self._connector.connect(self._driver)
        except PorttunnelError as error:
            tell(self._on_event, event.ConnectionFailed(error))
            raise

    def _lost(self) -> None:
        if self._stopped is None:
            self._reconnector.begin()

    def _part(self, error: BrokerRefused) -> None:
        """The broker ended the connection."""
        if self._is_final(error.reason):
            self._end(error)
        else:
            self._driver.close()

    def _end(self, error: MessagingError) -> None:
        if self._stopped is not None:
            return
        self._stopped = error
        self._reconnector.stop()
        self._core.disconnect()
        self._core.abandon(error)
        self._driver.close()
        # Who stops it wants no more than that it has ended.
        _fire(self._waiting_for_idle)
        _fire(self._waiting_for_room, Failure(error))
        _fire(self._waiting_for_connection, Failure(error))
        _fire(self._waiting_for_end, Failure(error))


class MQTTClientService(Service):
    """Runs a client as long as the service runs; it can be started once."""

    def __init__(self, client: MQTTClient) -> None:
        self.client = client

    def startService(self) -> None:
        Service.startService(self)
        self.client.start()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self.client.stop())


class _ClientDriver(MachineDriver):
    """Lets the core begin each connection."""

    def __init__(
        self,
        reactor: Any,
        core: Client,
        report: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        super().__init__(reactor, core, report, on_gone)
        self._core = core

    def carrier_made(self, carrier: Carrier) -> None:
        self._core.connect(self._reactor.seconds())
        super().carrier_made(carrier)


def _check_all(filters: Sequence[str], wish: str, done: Any) -> None:
    for text, reason in zip(filters, done.reasons, strict=True):
        if reason.is_failure:
            raise refusal(f"{wish} {text!r}", reason, done.properties)


def _fire(waiting: list[Deferred[None]], result: Any = None) -> None:
    fired = waiting[:]
    waiting.clear()
    for deferred in fired:
        if not deferred.called:
            deferred.callback(result)


async def _await(waits: Awaitable[object]) -> object:
    return await waits
