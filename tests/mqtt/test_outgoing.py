"""A session's messages to its client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from porttunnel.errors import MqttError
from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.framing import MAX_PACKET_BYTES, FrameReader
from porttunnel.mqtt.keeping import ID_BYTES
from porttunnel.mqtt.message import Delivery, Message, deliver_as
from porttunnel.mqtt.outgoing import (
    BACKLOG_BYTES,
    SWEEP_SECONDS,
    HeldBytes,
    Outcome,
    Outgoing,
)
from porttunnel.mqtt.paced_outbox import PacedOutbox
from porttunnel.mqtt.packet import Packet, Publish, Pubrel, Version
from porttunnel.mqtt.packet_id import MAX_PACKET_ID
from porttunnel.mqtt.policy import Profile
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.topic_alias import OutgoingAliases

SUCCESS = ReasonCode.SUCCESS


class Connection(PacedOutbox):
    """An outbox whose packets are read."""

    def __init__(self, version: Version = Version.V5, limit_bytes: int = 1 << 20) -> None:
        super().__init__([])
        self.version = version
        self.limit_bytes = limit_bytes
        self.high_bytes = limit_bytes // 2

    def cut(self, reason: ReasonCode, now: float, *, with_will: bool = True) -> None:
        raise AssertionError(reason)

    def read(self) -> list[Packet]:
        reader = FrameReader(MAX_PACKET_BYTES, self.version)
        found: list[Packet] = []
        while data := b"".join(self.data_to_send()):
            self.data_sent(len(data))
            found.extend(
                decode(first, memoryview(bytes(body)), self.version)
                for first, body in reader.feed(memoryview(data))
            )
        return found

    def messages(self) -> list[tuple[int | None, bytes, bool]]:
        """Packet id, payload and DUP of what was sent."""
        return [
            (packet.packet_id, bytes(packet.payload), packet.dup)
            for packet in self.read()
            if isinstance(packet, Publish)
        ]


def outgoing_of(profile: Profile | None = None, limit: int = 1 << 30) -> Outgoing:
    return Outgoing(profile or Profile(), HeldBytes(limit))


def connected(
    profile: Profile | None = None, receive_maximum: int = 0xFFFF, **outbox: int
) -> tuple[Outgoing, Connection]:
    outgoing, connection = outgoing_of(profile), Connection(**outbox)
    outgoing.attach(connection, receive_maximum, 0.0)
    return outgoing, connection


def text(payload: bytes, qos: int = 1, **fields: float) -> Delivery:
    return deliver_as(Message("a", payload, qos, **fields), qos, False, "a", ())


def come_again(outgoing: Outgoing) -> list[Packet]:
    """What the next connection is sent at once: what is under way, and what waits."""
    outgoing.detach()
    connection = Connection()
    outgoing.attach(connection, 0xFFFF, 0.0)
    return connection.read()


def pass_on(outgoing: Outgoing, payload: bytes = b"x", version: int = Version.V5) -> bool:
    """A message of QoS 1 in the packet that it came in; whether it went out."""
    head, tail = Message("a", payload, 1).parts(Version.V5, 1, retain=False)
    return outgoing.pass_on(text(payload), version, head, tail)


class TestPassingOn:
    def test_a_packet_goes_out_with_an_identifier_of_its_own(self) -> None:
        outgoing, connection = connected()
        outgoing.deliver(text(b"w"), 0.0)
        assert pass_on(outgoing, b"x")
        assert pass_on(outgoing, b"y")
        expected = [(1, b"w", False), (2, b"x", False), (3, b"y", False)]
        assert connection.messages() == expected
        for packet_id in (3, 1, 2):
            outgoing.receive_puback(packet_id, 0.0)
        assert (come_again(outgoing), outgoing.held_bytes) == ([], 0)

    def test_identifiers_begin_anew_and_pass_over_one_in_use(self) -> None:
        outgoing, connection = connected()
        assert pass_on(outgoing, b"not acknowledged")
        for packet_id in range(2, MAX_PACKET_ID + 1):
            assert pass_on(outgoing)
            outgoing.receive_puback(packet_id, 0.0)
            if packet_id % 1_000 == 0:
                connection.read()  # it takes only so much
        connection.read()
        assert pass_on(outgoing, b"next")
        assert connection.messages() == [(2, b"next", False)]

    def test_it_is_sent_again_on_the_next_connection(self) -> None:
        outgoing, connection = connected()
        assert pass_on(outgoing)
        outgoing.detach()
        assert not pass_on(outgoing)
        again = Connection()
        outgoing.attach(again, 10, 0.0)
        assert connection.messages() == [(1, b"x", False)]
        assert again.messages() == [(1, b"x", True)]

    def test_not_past_what_stands_in_its_way(self) -> None:
        cost = text(b"x").message.cost
        ready: list[tuple[Outgoing, Connection]] = [connected() for _ in range(4)]
        ready[0][1].plain_version = 0
        ready[1][1].limit_bytes = 0
        ready[2][1].packet_limit = 5
        ready[3][0].deliver(text(b"x"), 0.0)
        ready.append(connected(receive_maximum=1))
        ready[4][0].deliver(text(b"w"), 0.0)
        ready.append(connected(Profile(max_queued_bytes=cost - 1)))
        full = outgoing_of(limit=cost - 1)
        full.attach(Connection(), 10, 0.0)
        for outgoing in [ready[index][0] for index in (0, 1, 2, 4, 5)] + [full]:
            before = outgoing.held_bytes
            assert not pass_on(outgoing)
            assert outgoing.held_bytes == before
            assert len(come_again(outgoing)) == (before > 0)
        assert not pass_on(ready[3][0], version=Version.V3_1_1)
        assert pass_on(ready[3][0])

    def test_nor_past_others_that_wait(self) -> None:
        outgoing, connection = connected(receive_maximum=1)
        for payload in (b"w", b"x"):
            outgoing.deliver(text(payload), 0.0)
        connection.limit_bytes = 0
        outgoing.receive_puback(1, 0.0)
        connection.limit_bytes = 1 << 20
        assert outgoing.is_behind
        assert not pass_on(outgoing)


class TestSending:
    @pytest.mark.mqtt5("2.2.1-2", "3.3.1-2", "4.3.1-1")
    @pytest.mark.mqtt3("2.3.1-5", "3.3.1-2", "4.3.1-1")
    def test_qos_0(self) -> None:
        outgoing, connection = connected()
        assert outgoing.deliver(text(b"x", 0), 0.0) is Outcome.SENT
        (packet,) = connection.read()
        assert packet == Publish("a", b"x")
        assert outgoing.held_bytes == 0

    @pytest.mark.mqtt5("2.2.1-4", "4.3.2-1", "4.3.2-2", "4.3.2-3")
    @pytest.mark.mqtt3("2.3.1-4", "4.3.2-1")
    def test_qos_1_is_held_until_it_is_acknowledged(self) -> None:
        outgoing, connection = connected()
        for payload in (b"x", b"y"):
            assert outgoing.deliver(text(payload), 0.0) is Outcome.SENT
        assert connection.messages() == [(1, b"x", False), (2, b"y", False)]
        held = outgoing.held_bytes
        outgoing.receive_puback(2, 0.0)
        outgoing.receive_puback(2, 0.0)
        assert outgoing.held_bytes == held // 2 > 0
        outgoing.receive_puback(1, 0.0)
        assert (come_again(outgoing), outgoing.held_bytes) == ([], 0)

    @pytest.mark.mqtt5("4.3.3-1", "4.3.3-2", "4.3.3-4", "4.3.3-5", "4.3.3-6", "2.2.1-5")
    @pytest.mark.mqtt3("4.3.3-1", "2.3.1-6")
    def test_qos_2_takes_four_packets(self) -> None:
        outgoing, connection = connected()
        outgoing.deliver(text(b"x", 2), 0.0)
        assert connection.messages() == [(1, b"x", False)]
        assert outgoing.receive_pubrec(1, SUCCESS, 0.0) is SUCCESS
        assert outgoing.held_bytes == ID_BYTES
        assert outgoing.receive_pubrec(1, SUCCESS, 0.0) is SUCCESS  # it did not get our PUBREL
        assert outgoing.held_bytes == ID_BYTES
        outgoing.receive_pubcomp(1, 0.0)
        outgoing.receive_pubcomp(1, 0.0)
        assert outgoing.held_bytes == 0
        assert connection.read() == []
        assert come_again(outgoing) == []

    @pytest.mark.mqtt5("4.4.0-2")
    def test_a_refused_message_is_done_with(self) -> None:
        outgoing, _ = connected()
        outgoing.deliver(text(b"x", 2), 0.0)
        assert outgoing.receive_pubrec(1, ReasonCode.NOT_AUTHORIZED, 0.0) is None
        assert (come_again(outgoing), outgoing.held_bytes) == ([], 0)
        assert outgoing.receive_pubrec(1, ReasonCode.NOT_AUTHORIZED, 0.0) is None
        answer = outgoing.receive_pubrec(1, SUCCESS, 0.0)
        assert answer is ReasonCode.PACKET_IDENTIFIER_NOT_FOUND

    def test_answers_must_fit(self) -> None:
        outgoing, _ = connected()
        outgoing.deliver(text(b"x", 1), 0.0)
        outgoing.deliver(text(b"x", 2), 0.0)
        wrong = (
            lambda: outgoing.receive_pubrec(1, SUCCESS, 0.0),
            lambda: outgoing.receive_puback(2, 0.0),
            lambda: outgoing.receive_pubcomp(2, 0.0),
        )
        for answer in wrong:
            with pytest.raises(MqttError) as caught:
                answer()
            assert caught.value.reason == ReasonCode.PROTOCOL_ERROR
        outgoing.receive_pubrec(2, SUCCESS, 0.0)
        with pytest.raises(MqttError):
            outgoing.receive_puback(2, 0.0)

    def test_ids_that_are_in_use_are_passed_over(self) -> None:
        outgoing, connection = connected(Profile(max_queued_bytes=1 << 30))
        outgoing.deliver(text(b"first"), 0.0)
        for number in range(2, 0x10000):
            outgoing.deliver(text(b""), 0.0)
            outgoing.receive_puback(number, 0.0)
        connection.read()
        outgoing.deliver(text(b"x"), 0.0)
        assert connection.messages() == [(2, b"x", False)]

    def test_large_payloads_are_shared(self) -> None:
        first, one = connected()
        second, other = connected()
        delivery = text(bytes(100_000))
        first.deliver(delivery, 0.0)
        second.deliver(text(b"x"), 0.0)
        second.deliver(delivery, 0.0)
        assert one.pieces[-1] is other.pieces[-1]
        assert one.messages() == [(1, bytes(100_000), False)]
        assert other.messages() == [(1, b"x", False), (2, bytes(100_000), False)]


class TestWaiting:
    @pytest.mark.mqtt5("3.3.4-9", "4.9.0-1", "4.9.0-2", "4.9.0-3", "3.3.4-10")
    def test_no_more_are_under_way_than_the_client_takes(self) -> None:
        outgoing, connection = connected(receive_maximum=2)
        outcomes = [outgoing.deliver(text(b"%d" % number), 0.0) for number in range(4)]
        assert outcomes == [Outcome.SENT, Outcome.SENT, Outcome.QUEUED, Outcome.QUEUED]
        assert outgoing.deliver(text(b"quick", 0), 0.0) is Outcome.SENT
        assert [payload for _, payload, _ in connection.messages()] == [b"0", b"1", b"quick"]
        assert outgoing.is_behind
        outgoing.receive_puback(2, 0.0)
        assert connection.messages() == [(3, b"2", False)]
        outgoing.receive_puback(1, 0.0)
        outgoing.receive_puback(3, 0.0)
        assert connection.messages() == [(4, b"3", False)]
        assert not outgoing.is_behind

    def test_or_than_the_profile_allows(self) -> None:
        outgoing, connection = connected(Profile(max_inflight=1))
        outgoing.deliver(text(b"x", 2), 0.0)
        assert outgoing.deliver(text(b"y", 2), 0.0) is Outcome.QUEUED
        outgoing.receive_pubrec(1, SUCCESS, 0.0)
        assert len(connection.messages()) == 1
        outgoing.receive_pubcomp(1, 0.0)
        assert connection.messages() == [(2, b"y", False)]

    def test_a_full_outbox_makes_qos_1_wait_and_drops_qos_0(self) -> None:
        outgoing, connection = connected(limit_bytes=10)
        outgoing.deliver(text(b"0123456789"), 0.0)
        assert outgoing.deliver(text(b"later"), 0.0) is Outcome.QUEUED
        assert outgoing.deliver(text(b"never", 0), 0.0) is Outcome.DROPPED
        assert outgoing.dropped == 1
        outgoing.pump(0.0)
        assert connection.messages() == [(1, b"0123456789", False)]
        outgoing.pump(0.0)
        assert connection.messages() == [(2, b"later", False)]

    def test_queued_bytes_are_bounded(self) -> None:
        cost = text(b"0123456789").message.cost
        outgoing = outgoing_of(Profile(max_queued_bytes=2 * cost))
        outcomes = [outgoing.deliver(text(b"0123456789"), 0.0) for _ in range(3)]
        assert outcomes == [Outcome.QUEUED, Outcome.QUEUED, Outcome.DROPPED]
        assert outgoing.held_bytes == 2 * cost
        assert outgoing.dropped == 1

    def test_so_are_those_of_all_together(self) -> None:
        cost = text(b"x").message.cost
        held = HeldBytes(3 * cost)
        one, other = Outgoing(Profile(), held), Outgoing(Profile(), held)
        assert one.deliver(text(b"x"), 0.0) is Outcome.QUEUED
        assert other.deliver(text(b"x"), 0.0) is Outcome.QUEUED
        assert other.deliver(text(b"x"), 0.0) is Outcome.DROPPED
        one.discard()
        assert other.deliver(text(b"x"), 0.0) is Outcome.QUEUED
        other.discard()
        assert held.held == 0

    def test_nobody_gets_more_than_he_leaves_to_all_others(self) -> None:
        """Those who read nothing, however many, don't keep others from theirs."""
        cost = text(b"x").message.cost
        held = HeldBytes(100 * cost)
        for _ in range(4):
            deaf = Outgoing(Profile(), held)
            while deaf.deliver(text(b"x"), 0.0) is Outcome.QUEUED:
                pass
        assert held.held == (50 + 25 + 13 + 6) * cost
        ready, connection = Outgoing(Profile(), held), Connection()
        ready.attach(connection, 10, 0.0)
        assert [pass_on(ready) for _ in range(4)] == [True, True, True, False]
        assert ready.deliver(text(b"x"), 0.0) is Outcome.DROPPED
        connection.read()
        for packet_id in (1, 2, 3):
            ready.receive_puback(packet_id, 0.0)
        assert ready.deliver(text(b"x"), 0.0) is Outcome.SENT

    def test_who_publishes_had_better_wait_before_that(self) -> None:
        cost = text(b"x").message.cost
        held = HeldBytes(10 * cost)
        outgoing, connection = Outgoing(Profile(), held), Connection()
        outgoing.attach(connection, 10, 0.0)
        pressed = []
        while outgoing.deliver(text(b"x"), 0.0) is Outcome.SENT:
            pressed.append(outgoing.is_pressed)
        assert pressed == [False, False, False, True, True]

    def test_what_expired_makes_room(self) -> None:
        cost = text(b"x").message.cost
        outgoing = outgoing_of(Profile(max_queued_bytes=3 * cost))
        for payload, expires_at in ((b"a", 5.0), (b"b", 50.0), (b"c", 5.0)):
            outgoing.deliver(text(payload, 1, expires_at=expires_at), 0.0)
        assert outgoing.deliver(text(b"full"), 4.0) is Outcome.DROPPED
        # It was looked a moment ago; a look at a long queue takes time.
        assert outgoing.deliver(text(b"too soon"), 4.0 + SWEEP_SECONDS - 0.1) is Outcome.DROPPED
        assert outgoing.held_bytes == 3 * cost
        for payload in (b"d", b"e"):
            assert outgoing.deliver(text(payload), 4.0 + SWEEP_SECONDS) is Outcome.QUEUED
        assert outgoing.held_bytes == 3 * cost
        connection = Connection()
        outgoing.attach(connection, 10, 10.0)
        assert [payload for _, payload, _ in connection.messages()] == [b"b", b"d", b"e"]

    def test_if_all_expired_nothing_waits(self) -> None:
        cost = text(b"x").message.cost
        outgoing = outgoing_of(Profile(max_queued_bytes=cost))
        outgoing.deliver(text(b"x", 1, expires_at=5.0), 0.0)
        assert outgoing.deliver(text(b"large"), 5.0) is Outcome.DROPPED
        assert (outgoing.is_behind, outgoing.held_bytes) == (False, 0)
        assert outgoing.deliver(text(b"y"), 5.0) is Outcome.QUEUED

    @pytest.mark.mqtt5("3.3.2-5")
    def test_what_expired_is_not_sent(self) -> None:
        outgoing = outgoing_of()
        for payload, expires_at in ((b"a", 5.0), (b"b", 15.0), (b"c", 5.0)):
            outgoing.deliver(text(payload, 1, expires_at=expires_at), 0.0)
        assert outgoing.deliver(text(b"gone", 0), 0.0) is Outcome.ABSENT
        connection = Connection()
        outgoing.attach(connection, 10, 10.0)
        (packet,) = connection.read()
        assert isinstance(packet, Publish)
        assert bytes(packet.payload) == b"b"
        assert packet.properties.message_expiry_interval == 5


class TestComingBack:
    @pytest.mark.mqtt5("4.4.0-1", "3.3.1-1", "4.3.3-7")
    @pytest.mark.mqtt3("4.4.0-1", "3.3.1-1")
    def test_what_was_under_way_goes_first_and_in_order(self) -> None:
        outgoing, first = connected()
        outgoing.deliver(text(b"1", 1, expires_at=1.0), 0.0)
        outgoing.deliver(text(b"2", 2), 0.0)
        outgoing.deliver(text(b"3", 2, expires_at=1.0), 0.0)
        outgoing.deliver(text(b"4"), 0.0)
        outgoing.receive_pubrec(2, SUCCESS, 0.0)
        first.read()
        outgoing.detach()
        outgoing.deliver(text(b"5"), 0.0)
        second = Connection(Version.V3_1_1)
        outgoing.attach(second, 10, 5.0)
        packets = second.read()
        assert packets[0] == Pubrel(2)
        sent = [
            (each.packet_id, bytes(each.payload), each.dup)
            for each in packets
            if isinstance(each, Publish)
        ]
        expected = [(1, b"1", True), (3, b"3", True), (4, b"4", True), (5, b"5", False)]
        assert sent == expected
        outgoing.receive_pubcomp(2, 5.0)
        for number in (1, 4, 5):
            outgoing.receive_puback(number, 5.0)
        outgoing.receive_pubrec(3, SUCCESS, 5.0)
        outgoing.receive_pubcomp(3, 5.0)
        assert outgoing.held_bytes == 0

    def test_a_smaller_window_is_kept_to_as_well(self) -> None:
        outgoing, first = connected()
        for number in range(4):
            outgoing.deliver(text(b"%d" % number, 2), 0.0)
        outgoing.receive_pubrec(4, SUCCESS, 0.0)
        outgoing.receive_pubrec(1, SUCCESS, 0.0)
        first.read()
        outgoing.detach()
        second = Connection()
        outgoing.attach(second, 1, 0.0)
        assert second.read() == [Pubrel(4), Pubrel(1)]
        assert outgoing.deliver(text(b"new"), 0.0) is Outcome.QUEUED
        assert outgoing.is_behind
        # Two wait for PUBCOMP, and so there is no place for anything new.
        outgoing.receive_pubcomp(1, 0.0)
        assert second.read() == []
        outgoing.receive_pubcomp(4, 0.0)
        assert second.messages() == [(2, b"1", True)]
        outgoing.receive_pubrec(2, SUCCESS, 0.0)
        outgoing.receive_pubcomp(2, 0.0)
        assert second.messages() == [(3, b"2", True)]
        outgoing.receive_pubrec(3, ReasonCode.QUOTA_EXCEEDED, 0.0)
        assert second.messages() == [(5, b"new", False)]
        outgoing.receive_puback(5, 0.0)
        assert second.read() == []

    def test_who_never_finishes_gets_no_more_each_time(self) -> None:
        outgoing, _ = connected(Profile(max_inflight=2))
        for payload in (b"1", b"2", b"3", b"4"):
            outgoing.deliver(text(payload, 2), 0.0)
        for _ in range(3):
            for number in (1, 2):
                outgoing.receive_pubrec(number, SUCCESS, 0.0)
            outgoing.detach()
            connection = Connection()
            outgoing.attach(connection, 10, 0.0)
            assert connection.read() == [Pubrel(1), Pubrel(2)]
        outgoing.receive_pubcomp(1, 0.0)
        assert connection.messages() == [(3, b"3", False)]

    def test_what_was_acknowledged_before_its_turn_is_passed_over(self) -> None:
        outgoing, _ = connected()
        outgoing.deliver(text(b"1"), 0.0)
        outgoing.deliver(text(b"2"), 0.0)
        outgoing.detach()
        second = Connection()
        outgoing.attach(second, 1, 0.0)
        outgoing.receive_puback(2, 0.0)
        assert second.messages() == [(1, b"1", True)]
        outgoing.receive_puback(1, 0.0)
        assert not outgoing.is_behind

    def test_the_same_with_qos_2(self) -> None:
        outgoing, _ = connected()
        for payload in (b"1", b"2", b"3"):
            outgoing.deliver(text(payload, 2), 0.0)
        outgoing.detach()
        second = Connection()
        outgoing.attach(second, 1, 0.0)
        assert outgoing.receive_pubrec(2, SUCCESS, 0.0) is SUCCESS
        assert outgoing.receive_pubrec(3, ReasonCode.QUOTA_EXCEEDED, 0.0) is None
        outgoing.deliver(text(b"4", 2), 0.0)
        assert second.messages() == [(1, b"1", True)]
        outgoing.receive_pubrec(1, SUCCESS, 0.0)
        outgoing.receive_pubcomp(1, 0.0)
        assert second.messages() == []
        outgoing.receive_pubcomp(2, 0.0)
        assert second.messages() == [(4, b"4", False)]

    def test_a_full_outbox_stops_what_is_sent_again(self) -> None:
        outgoing, _ = connected()
        outgoing.deliver(text(b"0123456789"), 0.0)
        outgoing.deliver(text(b"2"), 0.0)
        outgoing.detach()
        second = Connection(limit_bytes=10)
        outgoing.attach(second, 10, 0.0)
        assert second.messages() == [(1, b"0123456789", True)]
        outgoing.pump(0.0)
        assert second.messages() == [(2, b"2", True)]

    @pytest.mark.mqtt5("3.1.2-24", "3.1.2-25")
    def test_what_is_too_large_now_counts_as_arrived(self) -> None:
        outgoing, first = connected()
        outgoing.deliver(text(bytes(100)), 0.0)
        outgoing.deliver(text(b"2"), 0.0)
        first.read()
        outgoing.detach()
        second = Connection()
        second.packet_limit = 50
        outgoing.attach(second, 1, 0.0)
        assert second.messages() == [(2, b"2", True)]
        outgoing.receive_puback(2, 0.0)
        assert (come_again(outgoing), outgoing.held_bytes) == ([], 0)

    def test_nothing_is_pumped_while_it_is_away(self) -> None:
        outgoing = outgoing_of()
        outgoing.deliver(text(b"1"), 0.0)
        outgoing.pump(0.0)
        assert outgoing.is_behind


class TestRetained:
    def deliveries(self, count: int, qos: int) -> Iterator[Delivery]:
        return (text(b"r%d" % number, qos) for number in range(count))

    @pytest.mark.parametrize("qos", [0, 1])
    def test_go_before_what_comes_later(self, qos: int) -> None:
        outgoing, connection = connected(limit_bytes=10)
        assert connection.plain_version == 5
        outgoing.deliver_retained(self.deliveries(4, qos), 0.0)
        assert connection.plain_version == 0  # so nothing overtakes them
        assert outgoing.deliver(text(b"live", 0), 0.0) is Outcome.QUEUED
        assert outgoing.deliver(text(b"live1", 1), 0.0) is Outcome.QUEUED
        found: list[bytes] = []
        while sent := connection.messages():
            found += [payload for _, payload, _ in sent]
            outgoing.pump(0.0)
        assert found == [b"r0", b"r1", b"r2", b"r3", b"live", b"live1"]
        assert connection.plain_version == 5
        for number in range(1, 6):
            outgoing.receive_puback(number, 0.0)
        assert outgoing.held_bytes == 0

    @pytest.mark.mqtt5("4.6.0-5")
    @pytest.mark.mqtt3("4.6.0-6")
    def test_later_ones_of_qos_0_keep_their_order(self) -> None:
        outgoing, connection = connected(receive_maximum=1)
        outgoing.deliver_retained(self.deliveries(2, 1), 0.0)
        for payload, qos in ((b"a", 1), (b"b", 1), (b"first", 0)):
            assert outgoing.deliver(text(payload, qos), 0.0) is Outcome.QUEUED
        for number in (1, 2):
            outgoing.receive_puback(number, 0.0)
        assert outgoing.deliver(text(b"second", 0), 0.0) is Outcome.SENT
        found = [payload for _, payload, _ in connection.messages()]
        assert found == [b"r0", b"r1", b"first", b"a", b"second"]
        outgoing.receive_puback(3, 0.0)
        outgoing.receive_puback(4, 0.0)
        assert outgoing.held_bytes == 0

    @pytest.mark.mqtt5("3.3.2-5")
    def test_what_expires_before_its_turn_is_not_sent(self) -> None:
        outgoing, connection = connected(receive_maximum=1)
        old = (text(payload, 1, expires_at=5.0) for payload in (b"now", b"late"))
        outgoing.deliver_retained(old, 0.0)
        outgoing.receive_puback(1, 6.0)
        assert [payload for _, payload, _ in connection.messages()] == [b"now"]
        assert (outgoing.is_behind, outgoing.held_bytes) == (False, 0)

    def test_keep_to_the_window(self) -> None:
        outgoing, connection = connected(receive_maximum=2)
        outgoing.deliver_retained(self.deliveries(3, 1), 0.0)
        assert len(connection.messages()) == 2
        outgoing.receive_puback(1, 0.0)
        assert connection.messages() == [(3, b"r2", False)]

    def test_wait_for_a_client_that_is_away(self) -> None:
        outgoing, _ = connected(receive_maximum=1)
        outgoing.deliver_retained(self.deliveries(2, 1), 0.0)
        outgoing.detach()
        assert outgoing.deliver(text(b"gone", 0), 0.0) is Outcome.ABSENT
        outgoing.deliver_retained(self.deliveries(1, 1), 0.0)
        again = Connection()
        outgoing.attach(again, 10, 0.0)
        assert [payload for _, payload, _ in again.messages()] == [b"r0", b"r1", b"r0"]

    def test_make_a_pause_when_it_takes_too_long_to_find_them(self) -> None:
        outgoing, connection = connected()
        found = iter([text(b"r0"), None, None, text(b"r1")])
        outgoing.deliver_retained(found, 0.0)
        assert outgoing.deliver(text(b"live"), 0.0) is Outcome.QUEUED
        sent: list[list[bytes]] = []
        for _ in range(3):
            sent.append([payload for _, payload, _ in connection.messages()])
            assert outgoing.is_behind is (len(sent) < 3)
            outgoing.pump(0.0)
        assert sent == [[b"r0"], [], [b"r1", b"live"]]

    def test_are_bounded(self) -> None:
        outgoing, connection = connected(Profile(max_queued_bytes=BACKLOG_BYTES - 1))
        outgoing.deliver_retained(self.deliveries(3, 0), 0.0)
        assert (connection.read(), outgoing.dropped) == ([], 1)
        outgoing = outgoing_of(limit=BACKLOG_BYTES - 1)
        outgoing.deliver_retained(self.deliveries(3, 0), 0.0)
        assert (outgoing.held_bytes, outgoing.dropped) == (0, 1)


class TestWhatAClientTakes:
    @pytest.mark.mqtt5("3.1.2-24", "3.1.2-25")
    @pytest.mark.parametrize("qos", [0, 1])
    @pytest.mark.parametrize("special", [False, True])
    def test_too_large_packets_are_passed_over(self, qos: int, special: bool) -> None:
        outgoing, connection = connected()
        connection.packet_limit = 20
        expires = {"expires_at": 9.0} if special else {}
        assert outgoing.deliver(text(bytes(20), qos, **expires), 0.0) is Outcome.SENT
        outgoing.deliver(text(b"x", qos, **expires), 0.0)
        assert [payload for _, payload, _ in connection.messages()] == [b"x"]
        assert len(come_again(outgoing)) == (qos > 0)

    @pytest.mark.mqtt5("3.1.2-26", "3.3.2-11")
    def test_aliases(self) -> None:
        outgoing, connection = connected()
        connection.aliases = OutgoingAliases(1)
        connection.packet_limit = 2_000
        outgoing.pump(0.0)
        assert connection.plain_version == 0
        for topic, size in (("a", 1_995), ("a", 1), ("a", 1), ("b", 1)):
            message = Message(topic, bytes(size))
            outgoing.deliver(deliver_as(message, 0, False, topic, ()), 0.0)
        found = [
            (packet.topic, packet.properties.topic_alias)
            for packet in connection.read()
            if isinstance(packet, Publish)
        ]
        # The first was too large: nobody has learnt an alias from it.
        assert found == [("a", 1), ("", 1), ("b", None)]

    def test_is_pressed_when_it_is_slow(self) -> None:
        outgoing, connection = connected(Profile(max_queued_bytes=2_000), limit_bytes=10)
        assert not outgoing.is_pressed
        outgoing.deliver(text(b"12345678", 0), 0.0)
        assert outgoing.is_pressed
        connection.read()
        assert not outgoing.is_pressed
        for _ in range(3):
            outgoing.deliver(text(b"x"), 0.0)
            connection.read()
        assert outgoing.is_pressed
        outgoing.detach()
        assert not outgoing.is_pressed
