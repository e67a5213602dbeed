"""The broker's side of one connection: bytes in, bytes out, and when it is to be called again.

Source: MQTT 5.0, sections 3 and 4; MQTT 3.1.1, sections 3 and 4.
"""

from __future__ import annotations

from typing import Any

from porttunnel.errors import MqttError
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.direction import check_from_client
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.exchange import Exchange
from porttunnel.mqtt.framing import FrameReader
from porttunnel.mqtt.intake import Intake
from porttunnel.mqtt.outbox import Outbox
from porttunnel.mqtt.packet import (
    Auth,
    Disconnect,
    Packet,
    PacketType,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.reception import ConnectionState, Reception
from porttunnel.mqtt.session import Session
from porttunnel.mqtt.subscribing import subscribe, unsubscribe
from porttunnel.mqtt.token_bucket import TokenBucket

__all__ = ["ServerConnection"]

WINDOW_BYTES = 65_536  # looked at in one piece; from twice as much on, a copy costs page faults

_OPEN = ConnectionState.OPEN  # looked up in its class it costs ten times as much


class ServerConnection(Reception):
    """A core (:class:`porttunnel.machine.Machine`), made by :meth:`Broker.accept`.

    Whenever :meth:`Broker.take_ready` names it, its shell sends what it has to send, reads or does
    not read (:attr:`may_receive`), and closes if it :attr:`is_closed` and all is sent.

    :ivar shell: for whoever carries the bytes; the core does not look at it.
    """

    __slots__ = (
        "_bucket",
        "_ends_later",
        "_has_sent",
        "_heard_at",
        "_intake",
        "_paid_at",
        "_reader",
        "shell",
    )

    def __init__(self, exchange: Exchange, peer: str, spare_client_id: str, now: float) -> None:
        super().__init__(exchange, peer, spare_client_id, now)
        self._reader = FrameReader(exchange.bounds.max_connect_bytes)
        self._heard_at = now
        self._has_sent = False  # since it was looked at why the client is silent
        self._intake: Intake | None = None
        self._bucket: TokenBucket | None = None
        self._paid_at: float | None = None  # when the client may publish again
        self._ends_later = False  # its bytes have ended, and not all of them were looked at
        self.shell: Any = None

    @property
    def may_receive(self) -> bool:
        """Whether the shell is to read."""
        return (
            not self.pauses
            and self._paid_at is None
            and not self._early
            and self.waiting_bytes <= self.limit_bytes
        )

    def receive_data(self, data: memoryview, now: float) -> None:
        exchange = self._exchange
        exchange.now = now
        exchange.counters.bytes_received += len(data)
        intake = self._intake
        try:
            if self._early:
                self._keep_early(data)
            elif (
                intake is not None
                and self.state is _OPEN
                and not self._reader.kept_bytes
                and len(data) <= WINDOW_BYTES
            ):
                # Nearly always: whole packets, and plain ones.
                window = bytes(data)
                walked = intake.walk(window, 0, now)
                if walked:
                    self._heard_at = now
                if walked != len(window) and not self.is_closed:
                    taken = self._take_window(window, now, walked)
                    if taken != len(window) and not self.is_closed:
                        self._keep_early(data[taken:])
            else:
                self._take(data, now)
        except MqttError as error:
            self._flush_acknowledgements()
            self._fail(error, now)
        self._settle(now)

    def pump(self, now: float) -> None:
        """Go on with what came; see :mod:`porttunnel.mqtt.search`."""
        early, self._early = self._early, b""
        self._exchange.counters.bytes_received -= len(early)  # counted a second time now
        self.receive_data(memoryview(early), now)
        if self._ends_later and not self._early:
            self.receive_eof(now)
        self.touch()

    def receive_eof(self, now: float) -> None:
        if self._early and self.state is _OPEN:
            self._ends_later = True  # it may have said goodbye
            return
        if self.state is not ConnectionState.CLOSED:
            self._end(ReasonCode.UNSPECIFIED_ERROR, now)
            self._exchange.mind_pressed(None, now)
        self.discard()

    def data_sent(self, count: int) -> None:
        Outbox.data_sent(self, count)  # with super() it costs twice as much
        if count:
            self._has_sent = True
        exchange = self._exchange
        exchange.counters.bytes_sent += count
        session = self.session
        if session is not None and self.waiting_bytes <= self.high_bytes // 2:
            if session.is_behind:
                session.pump(exchange.now)
            if self.stalled_at is not None:
                self._relieve_if_done(session)

    def next_deadline(self) -> float | None:
        silent_at = self._silent_at()
        deadlines = (self._due, self.stalled_at, self._paid_at, silent_at)
        known = [deadline for deadline in deadlines if deadline is not None]
        return min(known) if known else None

    def handle_timeout(self, now: float) -> None:
        if self._paid_at is not None and self._paid_at <= now:
            self._paid_at = None
            self._heard_at = now
            self.touch()
        silent_at = self._silent_at()
        if self.stalled_at is not None and self.stalled_at <= now:
            self.cut(ReasonCode.QUOTA_EXCEEDED, now)
        elif self._due is not None and self._due <= now:
            self._give_up_waiting(now)
        elif silent_at is not None and silent_at <= now:
            # Who is not read from may have spoken; but who takes nothing either is gone.
            is_stuck = self.waiting_bytes > self.limit_bytes and not self._has_sent
            if self.may_receive or is_stuck:
                self.cut(ReasonCode.KEEP_ALIVE_TIMEOUT, now)
            else:
                self._heard_at = now
                self._has_sent = False
        self._exchange.mind_pressed(None, now)

    def begin(self, session: Session, now: float) -> None:
        profile = session.profile
        self._reader.max_packet_bytes = profile.max_packet_bytes
        self._reader.version = self.version
        self._intake = Intake(self._exchange, session, self.version)
        if profile.messages_per_second is not None:
            self._bucket = TokenBucket(profile.messages_per_second, profile.message_burst, now)

    def _silent_at(self) -> float | None:
        if not self.silence_seconds or self.state is not ConnectionState.OPEN:
            return None
        return self._heard_at + self.silence_seconds

    def _take(self, data: memoryview, now: float) -> None:
        reader = self._reader
        offset = 0
        end = len(data)
        while offset < end:
            if self.state is ConnectionState.CLOSED:
                return
            if self.state is ConnectionState.DECIDING:
                self._keep_early(data[offset:])
                return
            if self.state is ConnectionState.NEW and not reader.kept_bytes:
                _check_first_byte(data[offset])
            if reader.kept_bytes:
                if not (reader.keeps_publish or self._has_turn()):
                    self._keep_early(data[offset:])
                    return
                count = min(reader.missing_bytes, end - offset)
                for first_byte, body in reader.feed(data[offset : offset + count]):
                    self._receive(first_byte, body, now)
                offset += count
            else:
                state = self.state
                window = bytes(data[offset : offset + WINDOW_BYTES])
                taken = self._take_window(window, now)
                offset += taken
                if taken != len(window) and self.state is state:
                    self._keep_early(data[offset:])
                    return

    def _take_window(self, window: bytes, now: float, offset: int = 0) -> int:
        """How much of it was dealt with: all, unless the state has changed, or others have their
        turn.

        :param offset: where to begin.
        """
        end = len(window)
        state = self.state
        intake = self._intake
        while offset < end and self.state is state:
            if intake is not None:
                walked = intake.walk(window, offset, now)
                if walked != offset:
                    self._heard_at = now
                    offset = walked
                    continue
                if self.state is not state:
                    break  # the policy, asked about a topic, has sent the client away
            found = self._reader.find(window, offset)
            if found is None or found[1] > end:
                # It is incomplete: nothing comes out, it is only kept.
                next(self._reader.feed(memoryview(window)[offset:]), None)
                return end
            if not self._has_turn():
                break
            first_byte = window[offset]
            start, offset = found
            self._receive(first_byte, memoryview(window)[start:offset], now)
        return offset

    def _has_turn(self) -> bool:
        # Who was not let in yet sends little, and is not kept waiting by those who were.
        return self._intake is None or self._exchange.packets.take_step(self)

    def _keep_early(self, data: memoryview) -> None:
        self._early += bytes(data)
        is_new = self.state is ConnectionState.DECIDING
        if is_new and len(self._early) > self._exchange.bounds.max_early_bytes:
            raise MqttError(
                "too much was sent before CONNECT was answered", ReasonCode.QUOTA_EXCEEDED
            )

    def _settle(self, now: float) -> None:
        """After some packets were looked at."""
        intake = self._intake
        exchange = self._exchange
        if intake is not None:
            if intake.acknowledgements:
                self._flush_acknowledgements()
            received = intake.received
            if received:
                intake.received = 0
                exchange.counters.messages_received += received
                self._charge(received, now)
        if exchange.routes.pressed:
            exchange.mind_pressed(self, now)
        if self.stalled_at is not None and self.session is not None:
            self._relieve_if_done(self.session)

    def _charge(self, count: int, now: float) -> None:
        """Messages, or filters, came."""
        if self._bucket is not None:
            self._paid_at = self._bucket.charge(count, now)

    def _relieve_if_done(self, session: Session) -> None:
        if not session.is_pressed:
            self.relieve()

    def _flush_acknowledgements(self) -> None:
        intake = self._intake
        if intake is not None and intake.acknowledgements:
            if self.state is _OPEN:
                self.send(bytes(intake.acknowledgements))
            intake.acknowledgements.clear()

    def _receive(self, first_byte: int, body: memoryview, now: float) -> None:
        """One packet that is not plain."""
        self._heard_at = now
        if self.state is ConnectionState.NEW:
            self._receive_connect(first_byte, body, now)
            return
        intake = self._intake
        if intake is not None and first_byte >> 4 == PacketType.PUBLISH:
            intake.acknowledgements += intake.receive_publish(first_byte, body, now)
            return
        self._exchange.packets.weigh(len(body))
        packet = decode(first_byte, body, self.version)
        check_from_client(packet)
        if intake is not None:
            self._receive_packet(packet, intake, now)
        elif isinstance(packet, Auth):
            self._receive_auth(packet, now)
        elif isinstance(packet, Disconnect):
            self._receive_disconnect(packet, now)
        else:
            raise MqttError(
                "only AUTH or DISCONNECT may come before CONNACK", ReasonCode.PROTOCOL_ERROR
            )

    def _receive_packet(self, packet: Packet, intake: Intake, now: float) -> None:
        session = intake.session
        match packet:
            case Puback():
                session.receive_puback(packet.packet_id, now)
            case Pubrec():
                reason = session.receive_pubrec(packet.packet_id, packet.reason, now)
                if reason is not None:
                    self._answer(Pubrel(packet.packet_id, reason))
            case Pubrel():
                self.send(intake.receive_pubrel(packet))
            case Pubcomp():
                session.receive_pubcomp(packet.packet_id, now)
            case Subscribe():
                self._charge(len(packet.subscriptions), now)
                reasons, orders = subscribe(self._exchange, session, packet)
                if self.state is not _OPEN:
                    return  # the policy, asked about a filter, has sent the client away
                self._answer(Suback(packet.packet_id, reasons))
                for order in orders:
                    order.send(self._exchange, now)
            case Unsubscribe():
                self._charge(len(packet.filters), now)
                reasons = unsubscribe(self._exchange, session, packet)
                self._answer(Unsuback(packet.packet_id, reasons))
            case Pingreq():
                self._answer(Pingresp())
            case Disconnect():
                self._receive_disconnect(packet, now)
            case Auth():
                self._receive_auth(packet, now)
            case _:
                raise MqttError("a second CONNECT came", ReasonCode.PROTOCOL_ERROR)

    def _answer(self, packet: Packet) -> None:
        encoded = encode(packet, self.version)
        if len(encoded) > self.packet_limit:
            raise MqttError(
                "the client takes no packet as large as its answer", ReasonCode.PACKET_TOO_LARGE
            )
        self.send(encoded)


def _check_first_byte(first_byte: int) -> None:
    # What is not MQTT could announce a long packet, and never send it.
    if first_byte >> 4 != PacketType.CONNECT:
        raise MqttError("the first packet is no CONNECT", ReasonCode.PROTOCOL_ERROR)
