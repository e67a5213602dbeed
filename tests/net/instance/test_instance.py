"""porttunnel.net.instance.instance: from the first start to a page, and what its owner can do."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from porttunnel.errors import (
    BrokerRefused,
    ConfigurationError,
    GatewayError,
    GatewayRefused,
    GatewayUnreachable,
    LocalProtocolError,
    PairingError,
)
from porttunnel.gateway.event import EventName
from porttunnel.gateway.http_head import RequestHead, ResponseHead
from porttunnel.gateway.pairing_code import PairingCode
from porttunnel.gateway.pairing_instance import Waiting
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_step import EndReason, PairingEnded
from porttunnel.gateway.push import MAX_PUSH_BYTES, decode_push
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway_client.answer import OfferedDevice
from porttunnel.net.gateway_client.rest import Login
from porttunnel.net.instance import push_desk, turns
from porttunnel.net.instance.application import ServedRequest
from porttunnel.net.instance.device_record import DeviceState, PushReport
from porttunnel.net.instance.event import (
    DevicePaired,
    DeviceRemoved,
    DigitsWanted,
    GatewayConnected,
    GatewayLost,
    InstanceRefused,
    InstanceRegistered,
    PairingFailed,
    RestoreNoticed,
    SetupRaced,
)
from porttunnel.net.instance.gateway_chore import FIRST_DELAY_SECONDS
from porttunnel.net.instance.instance import CHECK_SECONDS
from porttunnel.net.instance.pairing_desk import DIGITS_SECONDS, IDLE_SECONDS, LATE_SECONDS
from porttunnel.net.instance.serving import TRUST_CHECKS
from tests.net.instance.around import INSTANCE_ID, NOW, Phone, Surroundings

WAITING = Refusal(RefusalReason.WAITING)
ROTATE = Refusal(RefusalReason.ROTATE)


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Surroundings]:
    surroundings = Surroundings(tmp_path)
    surroundings.application = answer_page
    yield surroundings
    surroundings.end()


def answer_page(request: ServedRequest) -> None:
    writer = request.respond(ResponseHead(200))
    writer.write(b"a page for " + request.user.encode())
    writer.end()


def wrong(digits: str) -> str:
    return f"{(int(digits) + 1) % 1_000_000:06}"


def begin_pairing(around: Surroundings) -> tuple[Phone, str]:
    """As far as the digits."""
    phone = around.invite()
    phone.exchange()
    assert phone.confirm().end == WAITING
    assert phone.confirming is not None
    return phone, phone.confirming.digits


class TestPairing:
    def test_from_the_first_start_to_a_page(self, around: Surroundings) -> None:
        instance = around.start()
        assert instance.instance_id == INSTANCE_ID
        phone, digits = begin_pairing(around)
        assert phone.ask().end == WAITING
        assert [record.state for record in instance.devices()] == [DeviceState.WAITING]
        entered = around.run(instance.enter_digits(phone.device_id, f" {digits[:3]}-{digits[3:]}"))
        assert isinstance(entered, Paired)
        phone.confirm()
        asked = phone.ask()
        assert (asked.status, asked.content, asked.end) == (200, b"a page for anna", ())
        assert around.events == [
            InstanceRegistered(INSTANCE_ID),
            GatewayConnected(),
            DigitsWanted(phone.device_id, "anna", 3),
            DevicePaired(phone.device_id, "anna"),
        ]
        assert around.rest.devices == {phone.device_id: "confirmed"}
        (record,) = instance.devices()
        assert (record.state, record.is_online) == (DeviceState.PAIRED, True)
        assert (record.invited, record.paired, record.last_seen) == (NOW, NOW, NOW)

    def test_the_code_leads_to_the_gateway(self, around: Surroundings) -> None:
        instance = around.start()
        invitation = around.run(instance.invite("anna", expires_seconds=60))
        code = PairingCode.parse(invitation.code.format())
        assert (code.gateway, code.expires) == ("https://gateway.example", NOW + 60)
        assert [record.state for record in instance.devices()] == [DeviceState.INVITED]

    @pytest.mark.parametrize("user", ["", " anna", "anna\r\nX-Admin: yes", "\u00e4" * 128])
    def test_what_is_no_user_s_name(self, around: Surroundings, user: str) -> None:
        instance = around.start()
        with pytest.raises(PairingError, match="user's name"):
            around.run(instance.invite(user))
        assert instance.devices() == []

    def test_a_gateway_that_offers_a_device_that_there_is(self, around: Surroundings) -> None:
        around.start()
        phone, gone = around.pair(), around.pair("berta")
        around.rest.refuses = GatewayUnreachable("not now")
        around.run(around.instance.revoke(gone.device_id))
        around.rest.refuses = None
        offered: list[str] = []

        async def offer(login: Login, expires_seconds: int) -> OfferedDevice:
            return OfferedDevice(offered[-1], "0" * 32, int(NOW) + expires_seconds)

        around.rest.offer_device = offer  # type: ignore[method-assign]  # a test
        for device_id in (phone.device_id, gone.device_id):
            offered.append(device_id)
            with pytest.raises(GatewayError, match="already"):
                around.run(around.instance.invite("carla"))
        phone.ask()
        assert [request.user for request in around.requests] == ["anna"]

    def test_wrong_digits_end_it_the_third_time(self, around: Surroundings) -> None:
        instance = around.start()
        phone, digits = begin_pairing(around)
        for left in (2, 1):
            entered = around.run(instance.enter_digits(phone.device_id, wrong(digits)))
            assert isinstance(entered, Waiting)
            assert entered.tries_left == left
            assert around.events[-1] == DigitsWanted(phone.device_id, "anna", left)
        with pytest.raises(PairingError, match="6 digits"):
            around.run(instance.enter_digits(phone.device_id, "12345"))
        entered = around.run(instance.enter_digits(phone.device_id, wrong(digits)))
        assert isinstance(entered, PairingEnded)
        assert around.events[-1] == PairingFailed(phone.device_id, "anna", EndReason.WRONG_DIGITS)
        assert phone.confirm().end == "revoked"
        assert not around.rest.devices
        with pytest.raises(PairingError, match="no device"):
            around.run(instance.enter_digits(phone.device_id, digits))

    def test_digits_are_wanted_only_in_their_time(self, around: Surroundings) -> None:
        instance = around.start()
        phone = around.pair()
        with pytest.raises(PairingError, match="No digits"):
            around.run(instance.enter_digits(phone.device_id, "123456"))

    def test_two_phones_with_one_code(self, around: Surroundings) -> None:
        instance = around.start()
        invitation = around.run(instance.invite("anna", immediate=True))
        first, second = (Phone(around, invitation.code, invitation.device_id) for _ in "ab")
        around.phones[first.device_id] = first
        assert first.exchange().raw
        around.phones[first.device_id] = second
        around.turn(0.001)
        assert second.exchange().end == Refusal(RefusalReason.NOT_EXECUTED)
        assert around.events[-1] == PairingFailed(first.device_id, "anna", EndReason.RACE)
        around.phones[first.device_id] = first
        assert first.confirm().end == "revoked"
        assert instance.devices() == []

    def test_a_race_at_the_gateway(self, around: Surroundings) -> None:
        instance = around.start()
        paired, waiting = around.pair(), around.invite("berta")
        around.tell_event(EventName.SETUP_RACE, paired.device_id)
        assert around.events[-1] == SetupRaced(paired.device_id, "anna")
        around.tell_event(EventName.SETUP_RACE, waiting.device_id)
        assert around.events[-2:] == [
            SetupRaced(waiting.device_id, "berta"),
            PairingFailed(waiting.device_id, "berta", EndReason.RACE),
        ]
        assert [record.device_id for record in instance.devices()] == [paired.device_id]

    def test_a_race_that_the_gateway_ended(self, around: Surroundings) -> None:
        instance = around.start()
        raced, late = around.invite(), around.invite("berta")
        for phone in (raced, late):
            around.tell_event(EventName.DEVICE_REMOVED, phone.device_id)
        around.tell_event(EventName.SETUP_RACE, raced.device_id)
        around.turn(CHECK_SECONDS)
        assert around.events[2:] == [
            SetupRaced(raced.device_id, "anna"),
            PairingFailed(raced.device_id, "anna", EndReason.RACE),
            PairingFailed(late.device_id, "berta", None),
        ]
        assert instance.devices() == []

    def test_codes_expire(self, around: Surroundings) -> None:
        instance = around.start()
        around.invite()
        begin_pairing(around)
        around.turn(600 + LATE_SECONDS + CHECK_SECONDS)
        around.turn(CHECK_SECONDS)
        assert [record.state for record in instance.devices()] == [DeviceState.WAITING]
        around.turn(DIGITS_SECONDS)
        around.turn(CHECK_SECONDS)
        assert instance.devices() == []
        ended = [event for event in around.events if isinstance(event, PairingFailed)]
        assert [event.reason for event in ended] == [None, None]

    def test_rotation(self, around: Surroundings) -> None:
        around.start()
        phone = around.pair()
        for generation in (2, 3):
            before = phone.secret
            phone.exchange()
            assert phone.ask().status == 200, "the old secret counts until the new is confirmed"
            phone.confirm()
            assert phone.secret.generation == generation
            assert phone.ask().status == 200
            asked = phone.begin(before)
            asked.send_whole(RequestHead(b"GET", b"https", b"", b"/"))
            around.turn()
            assert asked.end == "broken"

    def test_the_gateway_is_told_until_it_understands(self, around: Surroundings) -> None:
        around.start()
        phone = around.invite(immediate=True)
        around.rest.refuses = GatewayUnreachable("not now")
        phone.exchange()
        phone.confirm()
        assert around.rest.devices[phone.device_id] == "invited"
        around.turn(FIRST_DELAY_SECONDS)
        around.rest.refuses = None
        around.turn(2 * FIRST_DELAY_SECONDS)
        assert around.rest.devices[phone.device_id] == "confirmed"
        calls = len(around.rest.calls)
        around.turn(1_000)
        assert len(around.rest.calls) == calls

    def test_also_after_a_restart(self, around: Surroundings) -> None:
        around.start()
        phone, gone = around.invite(immediate=True), around.pair()
        around.rest.refuses = GatewayRefused("overloaded", 503, "busy", 1.0)
        phone.exchange()
        phone.confirm()
        around.run(around.instance.revoke(gone.device_id))
        around.stop()
        around.rest.refuses = None
        around.start()
        assert around.rest.devices == {phone.device_id: "confirmed"}

    def test_what_the_gateway_understands_undoes_no_step(
        self, around: Surroundings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A rotation is being written when the gateway says that it knows the device."""
        around.start()
        phone = around.invite(immediate=True)
        around.rest.refuses = GatewayUnreachable("not now")
        phone.exchange()
        phone.confirm()
        phone.exchange()
        commit = around.instance._serving.commit  # type: ignore[union-attr]  # a test
        write = commit._write
        held: list[Deferred[None]] = []

        def write_late(changes: Any) -> Any:
            held.append(Deferred())
            return held[-1].addCallback(lambda _: write(changes))

        monkeypatch.setattr(commit, "_write", write_late)
        asked = phone.confirm()
        held.pop().callback(None)  # its counter
        around.rest.refuses = None
        around.turn(FIRST_DELAY_SECONDS)
        while held:
            held.pop().callback(None)
            around.turn()
        assert around.rest.devices == {phone.device_id: "confirmed"}
        assert phone.confirming is not None
        phone.secret = phone.confirming.receive_confirmed(asked.raw)
        monkeypatch.undo()
        assert phone.ask().status == 200
        around.stop()
        around.start()
        assert phone.ask().status == 200

    def test_one_that_is_refused_holds_up_no_other(self, around: Surroundings) -> None:
        around.start()
        phone, gone = around.pair(), around.pair("berta")
        confirm = around.rest.confirm_device

        async def refuse(login: Login, device_id: str) -> None:
            raise GatewayRefused("not claimed", 409, "not-claimed", None)

        around.rest.confirm_device = refuse  # type: ignore[method-assign]  # a test
        waiting = around.pair("carl")
        around.run(around.instance.revoke(gone.device_id))
        assert around.rest.devices == {
            phone.device_id: "confirmed",
            waiting.device_id: "invited",
        }
        around.rest.confirm_device = confirm  # type: ignore[method-assign]  # a test
        around.turn(2 * FIRST_DELAY_SECONDS)
        assert around.rest.devices[waiting.device_id] == "confirmed"

    def test_a_device_that_the_gateway_does_not_know_has_left(self, around: Surroundings) -> None:
        instance = around.start()
        phone = around.invite(immediate=True)
        around.rest.devices.clear()
        phone.exchange()
        phone.confirm()
        assert [record.state for record in instance.devices()] == [DeviceState.LEFT]


class TestDevices:
    def test_revoking(self, around: Surroundings) -> None:
        around.application = lambda request: None
        instance = around.start()
        phone, other = around.pair(), around.pair("berta")
        phone.ask()
        cancelled: list[bool] = []
        around.requests[0].on_cancelled = lambda: cancelled.append(True)
        around.rest.refuses = GatewayUnreachable("not now")
        around.run(instance.revoke(phone.device_id))
        assert cancelled == [True]
        assert around.forgotten == [phone.device_id]
        assert around.events[-1] == DeviceRemoved(phone.device_id, "anna", True)
        assert phone.ask().end == "revoked"
        around.rest.refuses = None
        around.turn(FIRST_DELAY_SECONDS)
        assert list(around.rest.devices) == [other.device_id]
        with pytest.raises(PairingError, match="no device"):
            around.run(instance.revoke(phone.device_id))

    def test_revoking_while_nothing_can_be_written(self, around: Surroundings) -> None:
        """It can't be said to be done, but is once something can, and not undone by a restart."""
        around.start()
        phone = around.pair()

        def refuse(changes: Any) -> None:
            raise ConfigurationError("the disk is full")

        around.thread.before = refuse
        with pytest.raises(ConfigurationError):
            around.run(around.instance.revoke(phone.device_id))
        assert phone.ask().end == "revoked"
        around.thread.before = lambda changes: None
        around.turn(FIRST_DELAY_SECONDS)
        assert around.rest.devices == {}
        around.stop()
        assert around.start().devices() == []
        assert phone.ask().end == "revoked"

    def test_a_device_that_left_by_itself(self, around: Surroundings) -> None:
        around.application = lambda request: None
        instance = around.start()
        phone = around.pair()
        phone.ask()
        cancelled: list[bool] = []
        around.requests[0].on_cancelled = lambda: cancelled.append(True)
        for _ in range(2):
            around.tell_event(EventName.DEVICE_REMOVED, phone.device_id)
        assert around.events[-1] == DeviceRemoved(phone.device_id, "anna", False)
        assert around.events.count(around.events[-1]) == 1
        assert cancelled == [True]
        (record,) = instance.devices()
        assert (record.state, record.is_online) == (DeviceState.LEFT, False)

    def test_presence(self, around: Surroundings) -> None:
        instance = around.start()
        phone = around.pair()
        for name, online in (
            (EventName.DEVICE_OFFLINE, False),
            (EventName.DEVICE_ONLINE, True),
        ):
            around.tell_event(name, phone.device_id)
            assert [record.is_online for record in instance.devices()] == [online]
        around.client.lose()
        assert [record.is_online for record in instance.devices()] == [False]

    def test_nobody_uses_it_any_more(self, around: Surroundings) -> None:
        instance = around.start()
        phone, other = around.pair(), around.pair("berta")
        around.clock_offset = IDLE_SECONDS - 10
        other.ask()
        around.clock_offset += 20
        around.turn(CHECK_SECONDS)
        assert len(instance.devices()) == 2, "a clock that jumps at the start may be wrong"
        self.let_be_trusted(around)
        assert [record.device_id for record in instance.devices()] == [other.device_id]
        assert around.forgotten == [phone.device_id]
        assert list(around.rest.devices) == [other.device_id]

    def test_a_clock_that_jumps_erases_nothing(self, around: Surroundings) -> None:
        instance = around.start()
        phone, quiet = around.pair(), around.pair("berta")
        self.let_be_trusted(around)
        for jump in (20 * IDLE_SECONDS, -20 * IDLE_SECONDS):
            around.clock_offset += jump
            around.turn(CHECK_SECONDS)
            phone.ask()
            assert len(instance.devices()) == 2
        self.let_be_trusted(around)
        assert len(instance.devices()) == 2
        seen = {record.device_id: record.last_seen for record in instance.devices()}
        assert seen[quiet.device_id] == NOW
        assert NOW < (seen[phone.device_id] or 0) <= around.unix_time()

    def test_who_is_in_the_middle_of_a_step_is_erased_afterwards(
        self, around: Surroundings
    ) -> None:
        instance = around.start()
        invited = around.invite()
        device = around.instance._serving.book.demand(invited.device_id)  # type: ignore[union-attr]  # a test
        device.line.acquire()
        around.turn(100_000)
        assert len(instance.devices()) == 1
        device.line.release()
        around.turn(CHECK_SECONDS)
        assert instance.devices() == []

    def let_be_trusted(self, around: Surroundings) -> None:
        for _ in range(TRUST_CHECKS):
            around.turn(CHECK_SECONDS)

    def test_hints_about_strangers_mean_nothing(self, around: Surroundings) -> None:
        around.start()
        before = list(around.events)
        for name in EventName:
            around.tell_event(name, "f" * 32)
        around.client.receive(f"instance/{INSTANCE_ID}/event/device-online", b"{")
        around.client.receive("instance/other", b"{}")
        assert around.events == before


class TestPushing:
    def test_more_than_may_wait_at_a_time(
        self, around: Surroundings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "MAX_SAID_OVERALL_BYTES", 40_000)
        monkeypatch.setattr(push_desk, "BATCH_BYTES", 25_000)
        instance = around.start()
        phones = [around.pair() for _ in range(5)]
        report = around.run(instance.push("news", bytes(10_000)))
        assert set(report.sent) == {phone.device_id for phone in phones}
        assert [len(phone.pushes) for phone in phones] == [1] * 5

    def test_to_all_to_some_to_one_user(self, around: Surroundings) -> None:
        instance = around.start()
        anna, berta, away = around.pair(), around.pair("berta"), around.pair("berta")
        away.is_online = False
        around.invite("carl")
        report = around.run(instance.push("news", b"to all"))
        assert sorted(report.sent) == sorted([anna.device_id, berta.device_id])
        assert report.offline == (away.device_id,)
        report = around.run(instance.push("news", b"to berta", user="berta"))
        assert report == PushReport((berta.device_id,), (away.device_id,))
        report = around.run(instance.push("mail", b"to anna", devices=[anna.device_id] * 2))
        assert report == PushReport((anna.device_id,), ())
        assert anna.pushes == [("news", b"to all"), ("mail", b"to anna")]
        assert berta.pushes == [("news", b"to all"), ("news", b"to berta")]

    def test_what_can_t_be_pushed(self, around: Surroundings) -> None:
        instance = around.start()
        around.pair()
        with pytest.raises(LocalProtocolError, match="name"):
            around.run(instance.push("News", b""))
        with pytest.raises(LocalProtocolError, match="bytes"):
            around.run(instance.push("news", bytes(MAX_PUSH_BYTES + 1)))
        with pytest.raises(PairingError, match="no device"):
            around.run(instance.push("news", b"", devices=["f" * 32]))

    def test_without_a_connection_all_are_offline(self, around: Surroundings) -> None:
        instance = around.start()
        phone = around.pair()
        around.client.holds = True
        reports: list[PushReport] = []
        Deferred.fromCoroutine(instance.push("news", b"")).addCallback(reports.append)
        around.turn()
        assert not reports
        around.client.lose()
        assert reports == [PushReport((), (phone.device_id,))]
        assert around.run(instance.push("news", b"")) == reports[0]

    def test_numbers_rise_though_the_clock_goes_back(self, around: Surroundings) -> None:
        around.start()
        phone = around.pair()
        around.run(around.instance.push("news", b"1"))
        around.stop()
        around.clock_offset = -1_000
        around.start()
        around.client.holds = True
        Deferred.fromCoroutine(around.instance.push("news", b"2"))
        around.turn()
        ((_, payload, _),) = around.client.held
        assert decode_push(payload).head.counter > NOW * 1_000
        around.client.release()
        assert len(phone.pushes) == 2


class TestLife:
    def test_a_connection_that_goes_and_comes(self, around: Surroundings) -> None:
        instance = around.start(connect=False)
        assert not instance.is_connected
        around.client.fail_to_connect()
        around.client.fail_to_connect()
        around.connect()
        assert instance.is_connected
        around.client.lose()
        assert not instance.is_connected
        around.connect()
        kinds = [type(event) for event in around.events]
        assert kinds == [
            InstanceRegistered,
            GatewayLost,
            GatewayConnected,
            GatewayLost,
            GatewayConnected,
        ]

    @pytest.mark.parametrize("connect", [False, True])
    def test_the_gateway_does_not_want_us_any_more(
        self, around: Surroundings, connect: bool
    ) -> None:
        around.start(connect=connect)
        error = BrokerRefused("no", ReasonCode.BAD_USER_NAME_OR_PASSWORD)
        around.client.refuse(error)
        assert around.events[-1] == InstanceRefused(error)
        # It is not as if it would come back.
        assert GatewayLost not in map(type, around.events)
        assert not around.instance.is_connected

    def test_a_gateway_that_sends_all_away(self, around: Surroundings) -> None:
        around.start()
        around.client.send_away()
        assert around.events[-1] == GatewayLost(None)
        assert [type(event) for event in around.events].count(GatewayLost) == 1
        around.connect()
        assert around.instance.is_connected

    def test_a_registration_that_fails_may_be_tried_again(self, around: Surroundings) -> None:
        around.rest.refuses = GatewayUnreachable("not now")
        with pytest.raises(GatewayUnreachable):
            around.start()
        around.rest.refuses = None
        assert around.start().instance_id == INSTANCE_ID

    def test_registers_once(self, around: Surroundings) -> None:
        for _ in range(3):
            around.start()
            around.stop()
        assert around.rest.registered == 1

    def test_nothing_can_be_asked_before_and_after(self, around: Surroundings) -> None:
        instance = around.start()
        around.stop()
        around.run(instance.stop())
        with pytest.raises(LocalProtocolError, match="Start it"):
            instance.devices()
        assert not instance.is_connected

    def test_an_owner_s_fault_harms_nothing(self, around: Surroundings) -> None:
        instance = around.start()
        instance._on_event = lambda happened: 1 // 0
        assert around.pair().ask().status == 200


class TestRestored:
    """What was restored from a backup is noticed, and each device rotates first."""

    def check_rotates(self, around: Surroundings, phone: Phone) -> None:
        assert phone.ask().end == ROTATE
        phone.exchange()
        assert phone.ask().end == ROTATE
        phone.confirm()
        assert phone.ask().status == 200

    def test_by_the_witness(self, around: Surroundings, tmp_path: Path) -> None:
        around.start()
        phone = around.pair()
        around.stop()
        backup = (tmp_path / "instance.sqlite").read_bytes()
        around.start()
        assert RestoreNoticed() not in around.events
        phone.ask()
        around.stop()
        (tmp_path / "instance.sqlite").write_bytes(backup)
        around.start()
        assert RestoreNoticed() in around.events
        self.check_rotates(around, phone)
        around.stop()
        around.events.clear()
        around.start()
        assert RestoreNoticed() not in around.events
        assert phone.ask().status == 200

    def test_by_the_gateway_s_list(self, around: Surroundings) -> None:
        around.start()
        phone = around.pair()
        around.stop()
        around.rest.devices[secrets.token_hex(16)] = "invited"
        around.start()
        assert RestoreNoticed() not in around.events
        around.stop()
        around.rest.devices[secrets.token_hex(16)] = "confirmed"
        around.start()
        assert RestoreNoticed() in around.events
        self.check_rotates(around, phone)

    def test_a_list_that_can_t_be_had_is_asked_for_again(self, around: Surroundings) -> None:
        around.start()
        phone = around.pair()
        around.stop()
        around.rest.refuses = GatewayUnreachable("not now")
        around.start()
        around.rest.refuses = None
        around.rest.devices.clear()
        around.client.lose()
        around.connect()
        assert [record.state for record in around.instance.devices()] == [DeviceState.LEFT]
        assert phone.ask().status == 200

    def test_by_its_owner_s_word(self, around: Surroundings) -> None:
        around.start()
        phone = around.pair()
        around.invite("berta")
        around.run(around.instance.mark_restored())
        around.stop()
        around.start()
        assert around.run(around.instance.push("news", b"")).offline == (phone.device_id,)
        self.check_rotates(around, phone)

    def test_a_witness_is_left_every_hour(self, around: Surroundings, tmp_path: Path) -> None:
        around.start()
        witness = tmp_path / "instance.sqlite.witness"
        before = witness.read_bytes()
        for _ in range(241):
            around.turn(CHECK_SECONDS)
        assert witness.read_bytes() != before

    def test_a_state_that_can_t_be_read_is_an_error_in_words(
        self, around: Surroundings, tmp_path: Path
    ) -> None:
        around.start()
        around.pair()
        around.stop()
        around.damage_phases()
        with pytest.raises(ConfigurationError, match="damaged"):
            around.start()
