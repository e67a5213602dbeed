"""Requests at an instance: flowing bodies, ends of all kinds, limits; each carried out once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from porttunnel.errors import ConfigurationError, LocalProtocolError, RequestBroken
from porttunnel.gateway.binary_http import Framing, MessageWriter
from porttunnel.gateway.event import EventName
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead
from porttunnel.gateway.part import Cancel, Credit, Failure, FailureCode
from porttunnel.gateway.part_stream import WINDOW_PARTS
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.net.instance import byte_budget, entrance, group_commit, response_body, serving
from porttunnel.net.instance.entrance import MAX_RUNNING_OF_DEVICE
from porttunnel.net.instance.event import StoreFailed
from porttunnel.net.instance.instance import CHECK_SECONDS
from porttunnel.net.instance.response_body import HIGH_BYTES
from porttunnel.net.instance.running_request import HEAD_SECONDS, SILENCE_SECONDS
from tests.net.instance.around import PAGE, Asked, Phone, Surroundings

POST = RequestHead(b"POST", b"https", b"", b"/upload")
CONNECT = RequestHead(b"CONNECT", b"https", b"", b"/chat", ((b":protocol", b"websocket"),))
NOT_EXECUTED = Refusal(RefusalReason.NOT_EXECUTED)
OK = ResponseHead(200)


class Taker:
    """Takes a body."""

    def __init__(self) -> None:
        self.data = b""
        self.pieces = 0
        self.end: Fields | Exception | None = None

    def body_received(self, data: bytes) -> None:
        self.data += data
        self.pieces += 1

    def body_ended(self, trailers: Fields) -> None:
        assert self.end is None
        self.end = trailers

    def body_broken(self, error: Exception) -> None:
        assert self.end is None
        self.end = error


@implementer(IPushProducer)
class Source:
    """A producer that counts what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Surroundings]:
    surroundings = Surroundings(tmp_path)
    surroundings.start()
    yield surroundings
    surroundings.end()


@pytest.fixture
def phone(around: Surroundings) -> Phone:
    return around.pair()


def respond(request: Any, data: bytes = b"done", trailers: Fields = ()) -> None:
    writer = request.respond(OK)
    writer.write(data)
    writer.end(trailers)


def count_cancels(request: Any) -> list[str]:
    told: list[str] = []
    request.on_cancelled = lambda: told.append("cancelled")
    return told


class TestBodies:
    def test_an_upload_in_pieces(self, around: Surroundings, phone: Phone) -> None:
        taker = Taker()
        around.application = lambda request: request.body.deliver(taker)
        asked = phone.begin()
        asked.send_head(POST)
        around.turn()
        (request,) = around.requests
        assert (request.head, request.device_id, request.user) == (POST, phone.device_id, "anna")
        for data in (b"one", b"two"):
            asked.send_content(data)
        asked.send_end(((b"checksum", b"1"),))
        assert (taker.data, taker.end) == (b"onetwo", ((b"checksum", b"1"),))
        respond(request, b"thanks", ((b"took", b"1"),))
        around.turn()
        assert (asked.status, asked.content, asked.end) == (200, b"thanks", ((b"took", b"1"),))

    def test_pieces_of_a_byte_are_one(self, around: Surroundings, phone: Phone) -> None:
        """Each would cost a hundred bytes while nobody takes them, and count as one."""
        asked = phone.begin()
        writer = MessageWriter(Framing.REQUEST)
        head = writer.write_head(POST)
        content = b"".join(writer.write_content(b"x") for _ in range(10_000))
        asked.send(head + content + writer.end(), last=True)
        around.turn()
        taken: list[bytes] = []
        taker = Taker()
        taker.body_received = taken.append  # type: ignore[method-assign]  # a test
        around.requests[0].body.deliver(taker)
        assert taken == [b"x" * 10_000]

    def test_what_came_before_somebody_took_it(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.begin()
        asked.send_head(POST)
        asked.send_content(b"early")
        around.turn()
        asked.send_end()
        taker = Taker()
        around.requests[0].body.deliver(taker)
        assert (taker.data, taker.end) == (b"early", ())
        with pytest.raises(LocalProtocolError, match="one receiver"):
            around.requests[0].body.deliver(Taker())

    def test_a_paused_body_gives_no_credit(self, around: Surroundings, phone: Phone) -> None:
        taker = Taker()
        around.application = lambda request: request.body.deliver(taker)
        asked = phone.begin()
        asked.send_head(POST)
        around.turn()
        body = around.requests[0].body
        body.pause()
        sent = 0
        while asked.exchange.sendable_parts:
            asked.send_content(bytes(1_000))
            sent += 1
            around.turn()
        assert sent < WINDOW_PARTS
        assert not taker.data
        body.resume()
        around.turn()
        assert len(taker.data) == 1_000 * sent
        assert asked.exchange.sendable_parts

    def test_a_receiver_may_pause_in_the_middle(self, around: Surroundings, phone: Phone) -> None:
        taker = Taker()
        asked = phone.begin()
        asked.send_head(POST)
        for _ in range(3):
            asked.send_content(b"x")
        asked.send_end()
        around.turn()
        body = around.requests[0].body
        taker.body_received = lambda data: body.pause()  # type: ignore[method-assign]  # a test
        body.deliver(taker)
        for _ in range(2):
            assert taker.end is None
            body.resume()
        body.resume()
        assert taker.end == ()

    def test_a_body_that_nobody_wants(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.begin()
        asked.send_head(POST)
        around.turn()
        request = around.requests[0]
        request.body.cancel()
        while asked.exchange.sendable_parts:
            asked.send_content(b"x")
            around.turn()
        taker = Taker()
        request.body.deliver(taker)
        respond(request)
        around.turn()
        assert asked.end == ()
        assert (taker.data, taker.end) == (b"", None)

    def test_an_early_answer_breaks_the_upload_off(
        self, around: Surroundings, phone: Phone
    ) -> None:
        taker = Taker()
        asked = phone.begin()
        asked.send_head(POST)
        around.turn()
        request = around.requests[0]
        told = count_cancels(request)
        request.body.deliver(taker)
        respond(request)
        around.turn()
        assert asked.end == ()
        assert isinstance(taker.end, RequestBroken)
        assert not told
        late = phone.asked[asked.request_id]
        around.client.holds = True
        phone.send_part(late.request_id, Credit(99).encode())
        around.turn()
        assert not around.client.held, "what was under way is passed over"

    def test_credit_that_comes_again_means_that_the_end_was_lost(
        self, around: Surroundings, phone: Phone
    ) -> None:
        asked = phone.ask()
        respond(around.requests[0])
        around.turn()
        around.client.holds = True
        for held in ([], [Failure(FailureCode.BROKEN).encode()]):
            phone.send_part(asked.request_id, Credit(99).encode())
            around.turn()
            assert [payload for _, payload, _ in around.client.held] == held

    def test_a_large_answer_pauses_its_producer(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.ask()
        asked.consumes = False
        source = Source()
        writer = around.requests[0].respond(OK)
        writer.registerProducer(source, True)
        sent = 0
        while "pause" not in source.calls:
            writer.write(bytes(60_000))
            sent += 60_000
            around.turn()
        under_way = len(asked.content)
        assert under_way <= 65_536 * WINDOW_PARTS
        assert sent - under_way <= HIGH_BYTES + 60_000
        asked.consumes = True
        asked.consume(asked.exchange._receiver._opener.index)  # type: ignore[union-attr]  # a test
        around.turn()
        assert source.calls == ["pause", "resume"]
        writer.unregisterProducer()
        writer.end()
        around.turn()
        assert (len(asked.content), asked.end) == (sent, ())

    def test_a_pull_producer(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.ask()
        writer = around.requests[0].respond(OK)
        pieces = iter([b"a", b"b", b"c"])

        class Pulled:
            def resumeProducing(self) -> None:
                piece = next(pieces, b"")
                if piece:
                    writer.write(piece)
                else:
                    writer.unregisterProducer()
                    writer.end()

            def stopProducing(self) -> None:
                raise AssertionError

        writer.registerProducer(Pulled(), False)
        around.turn()
        assert (asked.content, asked.end) == (b"abc", ())

    def test_informational_heads(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.ask()
        request = around.requests[0]
        early = ResponseHead(103, ((b"link", b"</a>"),))
        request.inform(early)
        with pytest.raises(LocalProtocolError, match="below 200"):
            request.inform(OK)
        with pytest.raises(LocalProtocolError, match="200 and above"):
            request.respond(early)
        respond(request)
        with pytest.raises(LocalProtocolError, match="once"):
            request.respond(OK)
        around.turn()
        assert [head.status for head in asked.heads] == [103, 200]

    def test_a_tunnel(self, around: Surroundings, phone: Phone) -> None:
        taker = Taker()
        asked = phone.begin()
        asked.send_head(CONNECT)
        around.turn()
        request = around.requests[0]
        request.body.deliver(taker)
        writer = request.respond(OK)
        for number in range(3):
            asked.send_content(b"%d" % number)
            writer.write(taker.data)
            around.turn(SILENCE_SECONDS)
        assert (taker.data, asked.content) == (b"012", b"001012")
        asked.send_end()
        writer.end()
        around.turn()
        assert (taker.end, asked.end) == ((), ())


class TestEnds:
    def test_a_device_cancels(self, around: Surroundings, phone: Phone) -> None:
        taker, source = Taker(), Source()
        asked = phone.begin()
        asked.send_head(POST)
        around.turn()
        request = around.requests[0]
        told = count_cancels(request)
        request.body.deliver(taker)
        request.body.pause()
        writer = request.respond(OK)
        writer.registerProducer(source, True)
        asked.cancel()
        assert told == ["cancelled"]
        assert isinstance(taker.end, RequestBroken)
        assert source.calls == ["stop"]
        writer.write(b"too late")
        writer.end()
        writer.abort()
        request.fail()
        request.refuse_busy()
        around.turn()
        assert asked.heads == []
        late = Source()
        writer.registerProducer(late, True)
        assert late.calls == ["stop"]

    @pytest.mark.parametrize("cause", ["offline", "lost", "gone", "stopped"])
    def test_nobody_is_there_any_more(
        self, around: Surroundings, phone: Phone, cause: str
    ) -> None:
        phone.ask()
        told = count_cancels(around.requests[0])
        match cause:
            case "offline":
                around.tell_event(EventName.DEVICE_OFFLINE, phone.device_id)
            case "lost":
                around.client.lose()
            case "gone":
                phone.is_online = False
                around.requests[0].respond(OK)
                around.turn()
            case "stopped":
                around.stop()
        assert told == ["cancelled"]

    @pytest.mark.parametrize("has_begun", [False, True])
    def test_who_takes_a_body_too_late_is_told_that_it_is_not_whole(
        self, around: Surroundings, phone: Phone, has_begun: bool
    ) -> None:
        taker = Taker()
        asked = phone.begin()
        asked.send_whole(POST, b"an order")
        around.turn()
        body = around.requests[0].body
        if has_begun:
            taker.body_received = lambda data: body.pause()  # type: ignore[method-assign]  # a test
            body.deliver(taker)
        asked.cancel()
        if has_begun:
            body.resume()
        else:
            body.deliver(taker)
        assert isinstance(taker.end, RequestBroken)
        assert not taker.data

    def test_a_body_that_was_taken_whole_stays_so(
        self, around: Surroundings, phone: Phone
    ) -> None:
        taker = Taker()
        around.application = lambda request: request.body.deliver(taker)
        asked = phone.ask(POST, b"an order")
        asked.cancel()
        assert (taker.data, taker.end) == (b"an order", ())

    def test_an_application_that_fails(self, around: Surroundings, phone: Phone) -> None:
        def fail(request: Any) -> None:
            raise ValueError("a secret")

        around.application = fail
        assert phone.ask().end == "broken"
        around.application = lambda request: None
        taker = Taker()
        taker.body_ended = fail  # type: ignore[method-assign]  # a test
        asked = phone.ask(POST)
        told = count_cancels(around.requests[1])
        around.requests[1].body.deliver(taker)
        around.turn()
        assert asked.end == "broken"
        assert told == ["cancelled"]

    def test_an_application_breaks_off(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.ask()
        writer = around.requests[0].respond(OK)
        writer.write(b"half")
        around.turn()
        writer.abort()
        around.turn()
        assert (asked.content, asked.end) == (b"half", "broken")

    def test_an_application_is_busy(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.ask()
        around.requests[0].refuse_busy()
        around.requests[0].refuse_busy()
        around.turn()
        assert asked.end == NOT_EXECUTED

    def test_busy_after_a_part_of_an_answer_proves_nothing(
        self, around: Surroundings, phone: Phone
    ) -> None:
        asked = phone.ask()
        around.requests[0].inform(ResponseHead(103))
        around.requests[0].refuse_busy()
        around.turn()
        assert asked.end == "broken"

    @pytest.mark.parametrize(
        "plaintext", [b"\x03", b"\x02\x03GET", b"\x02\x03GET\x05https\x00\x04page\x00\x00"]
    )
    def test_what_is_no_request(
        self, around: Surroundings, phone: Phone, plaintext: bytes
    ) -> None:
        asked = phone.begin()
        asked.send(plaintext, last=True)
        around.turn()
        assert asked.end == "broken"
        assert around.requests == []

    def test_parts_that_don_t_open_end_it(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.begin()
        asked.send_head(POST)
        around.turn()
        told = count_cancels(around.requests[0])
        phone.send_part(asked.request_id, bytes(4) + b"\x01\x00" + bytes(30))
        around.turn()
        assert asked.end == "broken"
        assert told == ["cancelled"]

    def test_a_part_of_nothing_that_is_known(self, around: Surroundings, phone: Phone) -> None:
        told: list[bytes] = []
        around.client.deliver = lambda topic, payload: bool(told.append(payload)) or True
        for part in (Credit(9).encode(), b"\0\0\0\1\0" + bytes(30), b"?", bytes(5) + bytes(99)):
            phone.send_part("12345678", part)
        for part in (Cancel().encode(), Failure("broken").encode()):
            phone.send_part("12345678", part)
        around.turn()
        assert told == [Failure("broken").encode()] * 4

    def test_a_stranger_s_seal(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.begin()
        part = bytearray(asked.exchange.send(b"x", last=True))
        part[-1] ^= 1
        phone.send_part(asked.request_id, bytes(part))
        around.turn()
        assert asked.end == "broken"


class TestOnce:
    """A request is carried out once, whatever the gateway does."""

    def test_copies(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.begin()
        part = asked.send(b"\x02\x03GET\x05https\x00\x02/a\x00\x00\x00", last=True)
        copy = phone.asked["copy0000"] = Asked(phone, asked.exchange, "copy0000")
        phone.send_part("copy0000", part)
        around.turn()
        assert len(around.requests) == 1
        # Judged by the device as the answer to its request: so it is no proof.
        assert copy.end == Refusal(RefusalReason.COUNTER, asked.exchange._head.counter)

    def test_copies_after_a_restart(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.begin()
        part = asked.send(b"\x02\x03GET\x05https\x00\x02/a\x00\x00\x00", last=True)
        around.turn()
        around.kill()
        around.start()
        phone.send_part("copy0000", part)
        around.turn()
        assert len(around.requests) == 1

    @pytest.mark.parametrize("ahead_seconds", [-400, 400])
    def test_copies_of_what_was_refused_because_of_its_time(
        self, around: Surroundings, phone: Phone, ahead_seconds: int
    ) -> None:
        around.turn(1_000)
        phone.clock.offset_ms = 1_000 * ahead_seconds
        asked = phone.begin()
        part = asked.send(b"\x02\x03GET\x05https\x00\x02/a\x00\x00\x00", last=True)
        around.turn()
        assert isinstance(asked.end, Refusal)
        assert asked.end.reason is RefusalReason.TIME
        assert phone.clock.correct(asked.end, int(around.unix_time() * 1_000))
        assert phone.ask().end is None
        assert len(around.requests) == 1
        around.kill()
        around.clock_offset += ahead_seconds
        around.start()
        phone.send_part("copy0000", part)
        around.turn()
        assert len(around.requests) == 1

    def test_what_is_from_before_the_start(self, around: Surroundings, phone: Phone) -> None:
        phone.clock.offset_ms = -5_000
        around.stop()
        around.start()
        asked = phone.ask()
        assert isinstance(asked.end, Refusal)
        assert asked.end.reason is RefusalReason.TIME
        phone.clock.correct(asked.end, int(around.unix_time() * 1_000))
        assert phone.ask().end is None
        around.clock_offset = -200
        phone.clock.offset_ms = 0
        assert phone.ask().end is None, "a clock that was put back is forgiven"

    def test_many_share_a_write(self, around: Surroundings) -> None:
        phones = [around.pair(f"user{number}") for number in range(5)]
        commit = around.instance._serving.commit  # type: ignore[union-attr]  # a test
        around.turn()
        before = commit.writes
        for phone in phones:
            for _ in range(20):
                phone.begin().send_whole(PAGE)
        assert around.requests == [], "nothing is passed on before it was written"
        around.turn()
        assert (len(around.requests), commit.writes) == (100, before + 1)

    def test_a_store_that_can_t_be_written(self, around: Surroundings, phone: Phone) -> None:
        def refuse(changes: Any) -> None:
            raise ConfigurationError("the disk is full")

        around.thread.before = refuse
        assert phone.ask().end == "busy"
        assert phone.ask().end == "busy"
        assert phone.exchange().end == "busy"
        phone.clock.offset_ms = 10_000_000
        assert phone.ask().end == "busy"
        phone.clock.offset_ms = 0
        assert [type(event) for event in around.events].count(StoreFailed) == 1
        assert around.requests == []
        around.thread.before = lambda changes: None
        phone.ask()
        assert len(around.requests) == 1


class TestLimits:
    def test_of_what_waits_for_the_disk(
        self, around: Surroundings, phone: Phone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(group_commit, "MAX_WAITING_CHANGES", 3)
        commit = around.instance._serving.commit  # type: ignore[union-attr]  # a test
        write, late = commit._write, Deferred[None]()

        def write_late(changes: Any) -> Any:
            monkeypatch.setattr(commit, "_write", write)
            return late.addCallback(lambda _: write(changes))

        monkeypatch.setattr(commit, "_write", write_late)
        asked = [phone.ask() for _ in range(6)]
        assert [one.end for one in asked] == [None] * 4 + ["busy"] * 2
        late.callback(None)
        around.turn()
        assert len(around.requests) == 4
        assert phone.ask().end is None

    def test_of_one_device(self, around: Surroundings, phone: Phone) -> None:
        asked = [phone.begin() for _ in range(MAX_RUNNING_OF_DEVICE + 1)]
        for one in asked:
            one.send_whole(PAGE)
        around.turn()
        assert [one.end for one in asked] == [None] * MAX_RUNNING_OF_DEVICE + [NOT_EXECUTED]
        assert around.pair("berta").ask().end is None
        respond(around.requests[0])
        around.turn()
        assert phone.ask().end is None

    def test_of_all(
        self, around: Surroundings, phone: Phone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(entrance, "MAX_RUNNING", 6)
        assert [phone.ask().end for _ in range(7)] == [None] * 6 + [NOT_EXECUTED]
        berta = around.pair("berta")
        assert [berta.ask().end for _ in range(5)] == [None] * 4 + [NOT_EXECUTED]

    def test_of_requests_about_keys(self, around: Surroundings, phone: Phone) -> None:
        asked = [phone.begin(about_keys=True) for _ in range(5)]
        for one in asked:
            one.send(b"?", last=True)
        around.turn()
        assert [one.end for one in asked].count("broken") == 4
        assert [one.end for one in asked].count(NOT_EXECUTED) == 1

    def test_a_request_about_keys_is_one_part(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.begin(about_keys=True)
        asked.send(b"\x01")
        around.turn()
        assert asked.end == "broken"

    def test_a_secret_that_isn_t_confirmed_opens_nothing(
        self, around: Surroundings, phone: Phone
    ) -> None:
        phone.exchange()
        assert phone.confirming is not None
        asked = phone.begin(phone.confirming.pending)
        asked.send_whole(PAGE)
        around.turn()
        assert asked.end == NOT_EXECUTED

    def test_bytes_that_wait_for_applications(
        self, around: Surroundings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        around.stop()
        monkeypatch.setattr(serving, "MAX_RECEIVED_BYTES", 200_000)
        monkeypatch.setattr(byte_budget, "MAX_OF_DEVICE_BYTES", 100_000)
        monkeypatch.setattr(byte_budget, "SURE_OF_DEVICE_BYTES", 40_000)
        around.start()
        phones = [around.pair(user) for user in ("anna", "berta", "carla")]

        def upload(phone: Phone, count: int) -> Asked:
            asked = phone.begin()
            asked.send_head(POST)
            around.turn()
            asked.send_content(bytes(count))
            around.turn()
            return asked

        assert [upload(phones[0], 60_000).end for _ in range(2)] == [None, "busy"], "it has enough"
        assert upload(phones[0], 30_000).end is None, "what the second had is free again"
        assert upload(phones[1], 60_000).end is None
        assert upload(phones[1], 39_000).end is None
        # All is taken but for what each may have.
        assert upload(phones[2], 50_000).end == "busy"
        assert upload(phones[2], 30_000).end is None
        assert upload(phones[2], 20_000).end == "busy"

    def test_an_application_that_writes_without_end(
        self, around: Surroundings, phone: Phone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(response_body, "MAX_WAITING_BYTES", 2_000_000)
        asked = phone.ask()
        asked.consumes = False
        told = count_cancels(around.requests[0])
        writer = around.requests[0].respond(OK)
        for _ in range(40):
            writer.write(bytes(100_000))
            around.turn()
        assert told == ["cancelled"]
        assert asked.end == "broken"


class TestTimes:
    def wait(self, around: Surroundings, seconds: float) -> None:
        around.turn(seconds)
        around.turn(CHECK_SECONDS)

    def test_a_head_that_does_not_come(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.begin()
        asked.send(b"\x02\x03GET")
        around.turn()
        self.wait(around, HEAD_SECONDS)
        assert asked.end == "broken"

    def test_a_body_that_does_not_go_on(self, around: Surroundings, phone: Phone) -> None:
        taker = Taker()
        around.application = lambda request: request.body.deliver(taker)
        asked = phone.begin()
        asked.send_head(POST)
        around.turn()
        around.requests[0].body.pause()
        self.wait(around, SILENCE_SECONDS)
        assert asked.end is None, "the application has paused it"
        around.requests[0].body.resume()
        self.wait(around, SILENCE_SECONDS)
        assert asked.end == "broken"
        assert isinstance(taker.end, RequestBroken)

    def test_a_device_that_takes_nothing(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.ask()
        asked.consumes = False
        told = count_cancels(around.requests[0])
        around.requests[0].respond(OK).write(bytes(2_000_000))
        around.turn()
        self.wait(around, SILENCE_SECONDS)
        assert told == ["cancelled"]

    def test_an_application_may_take_its_time(self, around: Surroundings, phone: Phone) -> None:
        asked = phone.ask()
        self.wait(around, 10 * SILENCE_SECONDS)
        respond(around.requests[0])
        around.turn()
        assert asked.end == ()
