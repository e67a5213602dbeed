"""porttunnel.net.device.device: requests over a real broker, both ways, and what goes wrong."""

from __future__ import annotations

import contextlib
import hashlib
import time
from itertools import count
from threading import Event
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList, gatherResults
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from porttunnel.errors import (
    DeviceRevoked,
    GatewayUnreachable,
    LocalProtocolError,
    PorttunnelError,
    RemoteProtocolError,
    RequestFailureCode,
    RequestNotExecuted,
    RequestUncertain,
)
from porttunnel.gateway.event import ALL_REQUESTS
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead
from porttunnel.gateway.pairing_device import DeviceConfirming
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.part import Cancel, Credit, Failure, FailureCode
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.gateway.topic import format_response_topic
from porttunnel.net.device import device as device_module
from porttunnel.net.device import key_question, secret_keeper
from porttunnel.net.device import link as link_module
from porttunnel.net.device import request as request_module
from porttunnel.net.device.device import Device
from porttunnel.net.device.event import (
    DeviceConnected,
    DeviceDisconnected,
    DeviceEnded,
    RotationFailed,
    SecretRotated,
)
from porttunnel.net.device.patience import Patience
from porttunnel.net.device.request import Request
from porttunnel.net.device.store import DeviceStore
from tests.net.device.instance_double import Served
from tests.net.device.pairing_case import Crash, DeviceTestCase, Stopped, greet

GET = RequestHead(b"GET", b"https", b"", b"/start")
POST = RequestHead(b"POST", b"https", b"", b"/save")
MIB = 1 << 20
CONTENT = bytes(range(256)) * 32_768  # 8 MiB
SOON = Patience(retries=(0.0, 0.01, 0.02, 0.04, 0.1, 0.2, 0.4))


class Taker:
    """Takes a body."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.over: Deferred[Fields] = Deferred()

    def body_received(self, data: bytes) -> None:
        self.data += data

    def body_ended(self, trailers: Fields) -> None:
        self.over.callback(trailers)

    def body_broken(self, error: PorttunnelError) -> None:
        self.over.errback(error)


@implementer(IPushProducer)
class Source:
    """Writes pieces while it may.

    :ivar pauses: how often it had to stop.
    """

    def __init__(self, writer: Any, pieces: list[bytes]) -> None:
        self._writer = writer
        self._pieces = pieces
        self._going = False
        self.pauses = 0
        self.stopped = False

    def start(self) -> None:
        self._writer.registerProducer(self, True)
        self._going = True
        reactor.callLater(0, self._write)

    def _write(self) -> None:
        if not self._going:
            return
        if self._pieces:
            self._writer.write(self._pieces.pop(0))
            reactor.callLater(0, self._write)
        else:
            self._going = False
            self._writer.unregisterProducer()
            self._writer.end(((b"x-sum", b"all"),))

    def pauseProducing(self) -> None:
        self.pauses += 1
        self._going = False

    def resumeProducing(self) -> None:
        self._going = True
        reactor.callLater(0, self._write)

    def stopProducing(self) -> None:
        self._going = False
        self.stopped = True


class AskingTests(DeviceTestCase):
    async def ask(self, device: Device, head: RequestHead, data: bytes = b"") -> Request:
        request = await device.request(head)
        if data:
            request.writer.write(data)
        request.writer.end()
        return request


class FetchTests(AskingTests):
    async def test_a_page(self) -> None:
        device = await self.pair()
        page = await device.fetch("GET", "/start")
        self.assertEqual(page.head, ResponseHead(200, ((b"x-kind", b"greeting"),)))
        self.assertEqual((page.data, page.trailers), (b"hello ", ()))
        self.assertEqual(self.instance.executed, [GET])
        self.assertEqual(len(self.instance.served), 1)
        (served,) = self.instance.served.values()
        self.assertEqual(served.parts, 1, "head and end share a part")

    async def test_a_form(self) -> None:
        device = await self.pair()
        page = await device.fetch("POST", "/save", ((b"content-type", b"text/plain"),), b"text")
        self.assertEqual(page.data, b"hello text")

    async def test_many_at_a_time(self) -> None:
        device = await self.pair()
        texts = [str(number).encode() for number in range(100)]
        pages = await gatherResults(
            [self.soon(device.fetch("PUT", "/", (), text)) for text in texts]
        )
        self.assertEqual([page.data for page in pages], [b"hello " + text for text in texts])

    async def test_too_many_at_a_time(self) -> None:
        self.patch(link_module, "MAX_RUNNING", 1)
        self.application = lambda served: None
        device = await self.pair()
        first = await self.ask(device, GET)
        with self.assertRaises(RequestNotExecuted) as caught:
            await device.request(GET)
        self.assertIs(caught.exception.code, RequestFailureCode.BUSY)
        first.cancel()
        (await self.ask(device, GET)).cancel()

    async def test_too_long_for_memory(self) -> None:
        device = await self.pair()
        with self.assertRaises(RequestUncertain) as caught:
            await device.fetch("GET", "/", max_bytes=3)
        self.assertIs(caught.exception.code, RequestFailureCode.TOO_LONG)

    async def test_a_call_that_is_cancelled_cancels_its_request(self) -> None:
        self.application = lambda served: None
        device = await self.pair()
        fetching = self.soon(device.fetch("GET", "/"))
        await self.until(lambda: self.instance.served)
        (served,) = self.instance.served.values()
        fetching.cancel()
        with self.assertRaises(CancelledError):
            await fetching
        await self.until(lambda: served.is_cancelled)

    async def test_no_request_can_have_such_a_head(self) -> None:
        device = await self.pair()
        with self.assertRaises(LocalProtocolError):
            await device.request(RequestHead(b"GET", b"https", b"", b"start"))


class FlowTests(AskingTests):
    async def test_heads_before_the_final_one_and_trailers(self) -> None:
        def answer(served: Served) -> None:
            if served.is_whole:
                served.respond(103, fields=((b"link", b"</style>"),))
                served.respond(200, b"page", end=False)
                served.write(end=True, trailers=((b"x-sum", b"1"),))

        self.application = answer
        device = await self.pair()
        response = await (await self.ask(device, GET)).response()
        self.assertEqual(response.informational, (ResponseHead(103, ((b"link", b"</style>"),)),))
        taker = Taker()
        response.body.deliver(taker)
        self.assertEqual((await taker.over, taker.data), (((b"x-sum", b"1"),), b"page"))
        with self.assertRaises(LocalProtocolError):
            response.body.deliver(taker)

    async def test_what_is_there_goes_at_once_both_ways(self) -> None:
        """A conversation: each side speaks only when it has heard the other."""

        def answer(served: Served) -> None:
            if served.head is not None and not served.unsent_bytes:
                if not self.answered:
                    served.respond(200, b"0", end=False)
                    self.answered = True
                served.write(served.data[-1:], end=served.is_whole)

        self.answered = False
        self.application = answer
        device = await self.pair()
        request = await device.request(
            RequestHead(b"CONNECT", b"https", b"", b"/", ((b":protocol", b"websocket"),))
        )
        response = await request.response()
        taker = Taker()
        response.body.deliver(taker)
        for number in range(1, 6):
            request.writer.write(str(number).encode())
            await self.until(lambda n=number: taker.data.endswith(str(n).encode()))
        request.writer.end()
        await taker.over

    async def test_a_long_upload_waits_for_credit(self) -> None:
        def hold(served: Served) -> None:
            served.takes = False

        self.application = hold
        device = await self.pair()
        request = await device.request(POST)
        pieces = [CONTENT[at : at + 50_000] for at in range(0, len(CONTENT), 50_000)]
        source = Source(request.writer, pieces)
        source.start()
        await self.until(lambda: source.pauses)
        await self.until(lambda: next(iter(self.instance.served.values())).parts == 16)
        (served,) = self.instance.served.values()
        self.assertLess(len(served.data), 2 * MIB)
        self.assertTrue(pieces)
        self.application = greet
        served.go_on()
        response = await request.response()
        self.assertEqual(served.trailers, ((b"x-sum", b"all"),))
        self.assertEqual(hashlib.sha256(served.data).digest(), hashlib.sha256(CONTENT).digest())
        response.body.cancel()

    async def test_a_paused_body_pauses_credit_and_nobody_else(self) -> None:
        def answer(served: Served) -> None:
            if served.is_whole and not served.is_cancelled and served.head is not None:
                long = served.head.path == b"/long"
                served.respond(200, CONTENT if long else b"short")

        self.application = answer
        device = await self.pair()
        long = await (
            await self.ask(device, RequestHead(b"GET", b"https", b"", b"/long"))
        ).response()
        taker = Taker()
        long.body.deliver(taker)
        long.body.pause()
        (served,) = self.instance.served.values()
        for _ in range(20):
            self.assertEqual((await device.fetch("GET", "/short")).data, b"short")
        waiting = served.unsent_bytes
        self.assertGreater(waiting, 5 * MIB)
        self.assertLess(len(taker.data), 2 * MIB)
        self.assertEqual((await device.fetch("GET", "/short")).data, b"short")
        self.assertEqual(served.unsent_bytes, waiting)
        long.body.resume()
        await taker.over
        self.assertEqual(taker.data, CONTENT)

    async def test_a_cancelled_response_is_cancelled_there(self) -> None:
        self.application = lambda served: (
            served.respond(200, CONTENT) if served.is_whole and not served.is_cancelled else None
        )
        device = await self.pair()
        request = await self.ask(device, GET)
        response = await request.response()
        taker = Taker()
        response.body.deliver(taker)
        response.body.cancel()
        (served,) = self.instance.served.values()
        await self.until(lambda: served.is_cancelled)
        self.assertNoResult(taker.over)
        request.cancel()

    async def test_an_aborted_upload_is_cancelled_and_never_whole(self) -> None:
        self.application = lambda served: None
        device = await self.pair()
        request = await device.request(POST)
        source = Source(request.writer, [b"x"] * 1_000)
        source.start()
        await self.until(lambda: self.instance.served)
        failing = request.response()
        request.writer.abort()
        request.writer.abort()
        with self.assertRaises(RequestUncertain) as caught:
            await failing
        self.assertIs(caught.exception.code, RequestFailureCode.CANCELLED)
        self.assertTrue(source.stopped)
        (served,) = self.instance.served.values()
        await self.until(lambda: served.is_cancelled)
        self.assertFalse(served.is_whole)
        request.writer.write(b"too late")

    async def test_a_response_before_the_request_is_whole_ends_it(self) -> None:
        self.application = lambda served: (
            served.respond(413) if served.head is not None and not served.is_whole else None
        )
        device = await self.pair()
        request = await device.request(POST)
        source = Source(request.writer, [b"x" * 1_000] * 10_000)
        source.start()
        self.assertEqual((await request.response()).head.status, 413)
        self.assertEqual((await request.response()).head.status, 413)
        await self.until(lambda: source.stopped)

    async def test_waiting_for_a_response_can_be_given_up_alone(self) -> None:
        device = await self.pair()
        request = await device.request(GET)
        first, second = request.response(), request.response()
        first.cancel()
        with self.assertRaises(CancelledError):
            await first
        request.writer.end()
        self.assertEqual((await second).head.status, 200)


class FailureTests(AskingTests):
    """Typed errors or another try: never twice, never a hang."""

    async def expect(self, running: Any, kind: type[Exception], code: RequestFailureCode) -> None:
        with self.assertRaises(kind) as caught:
            await running
        self.assertIs(caught.exception.code, code)  # type: ignore[attr-defined]  # RequestFailed

    async def test_nobody_is_there(self) -> None:
        device = await self.pair()
        await self.instance.stop()
        await self.expect(
            device.fetch("GET", "/"), RequestUncertain, RequestFailureCode.INSTANCE_OFFLINE
        )
        await self.expect(
            device.fetch("POST", "/"), RequestUncertain, RequestFailureCode.INSTANCE_OFFLINE
        )

    async def lose(self, method: str, lose: Any) -> Any:
        """A request whose instance, or whose way to it, is lost while it runs."""
        device = self.start((await self.pair()).device_id, patience=SOON)
        self.application = lambda served: None
        fetching = self.soon(device.fetch(method, "/"))
        await self.until(lambda: self.instance.executed)
        self.application = greet
        await lose(device)
        return fetching

    async def lose_instance(self, device: Device) -> None:
        await self.instance.stop()
        await self.instance.start()

    async def lose_connection(self, device: Device) -> None:
        self.gateway.cut(device.device_id)

    async def lose_gateway(self, device: Device) -> None:
        self.instance.served.clear()
        await self.gateway.restart()

    async def lose_memory(self, device: Device) -> None:
        served = self.instance.served.pop(list(self.instance.served)[-1])
        served.fail(FailureCode.BUSY)

    async def test_a_question_without_effects_is_asked_again(self) -> None:
        for lose in (
            self.lose_instance,
            self.lose_connection,
            self.lose_gateway,
            self.lose_memory,
        ):
            self.instance.executed.clear()
            fetching = await self.lose("GET", lose)
            self.assertEqual((await fetching).data, b"hello ")
            self.assertEqual(len(self.instance.executed), 2)

    async def test_what_may_have_effects_is_not(self) -> None:
        for lose, code in (
            (self.lose_instance, RequestFailureCode.INSTANCE_LOST),
            (self.lose_connection, RequestFailureCode.CONNECTION_LOST),
            (self.lose_gateway, RequestFailureCode.CONNECTION_LOST),
            (self.lose_memory, RequestFailureCode.BUSY),
        ):
            self.instance.executed.clear()
            fetching = await self.lose("POST", lose)
            with self.assertRaisesRegex(RequestUncertain, "may have been carried out") as caught:
                await fetching
            self.assertIs(caught.exception.code, code)
            self.assertEqual(len(self.instance.executed), 1)

    async def test_a_body_that_breaks_off_is_not_whole(self) -> None:
        self.application = lambda served: (
            served.respond(200, b"half", end=False) if served.is_whole else None
        )
        device = await self.pair()
        response = await (await self.ask(device, GET)).response()
        taker = Taker()
        response.body.deliver(taker)
        await self.until(lambda: taker.data == b"half")
        (served,) = self.instance.served.values()
        served.fail(FailureCode.BROKEN)
        await self.expect(taker.over, RequestUncertain, RequestFailureCode.BROKEN)
        self.assertEqual(len(self.instance.executed), 1, "never again after the head")

    async def test_what_is_sealed_but_no_http(self) -> None:
        self.application = lambda served: (
            served.send_raw(b"\x07nonsense")
            if served.is_whole and not served.is_cancelled
            else None
        )
        device = await self.pair()
        await self.expect(device.fetch("GET", "/"), RequestUncertain, RequestFailureCode.BROKEN)
        self.assertEqual(len(self.instance.executed), 1)

    async def test_a_part_that_the_instance_did_not_send(self) -> None:
        self.application = lambda served: None
        device = self.start((await self.pair()).device_id, patience=SOON)
        for method in ("POST", "GET"):
            self.instance.served.clear()
            self.application = lambda served: None
            fetching = self.soon(device.fetch(method, "/"))
            await self.until(lambda: self.instance.served)
            ((_, request_id),) = self.instance.served
            (served,) = self.instance.served.values()
            self.application = greet
            topic = format_response_topic(device.device_id, request_id)
            self.gateway.factory.publish(topic, bytes(100), qos=1)
            if method == "POST":
                await self.expect(fetching, RequestUncertain, RequestFailureCode.BROKEN)
            else:
                self.assertEqual((await fetching).data, b"hello ")
            await self.until(lambda one=served: one.is_cancelled)

    async def test_what_the_gateway_says_of_all_requests(self) -> None:
        device = await self.pair()
        topic = format_response_topic(device.device_id, ALL_REQUESTS)
        for code, expected in (
            ("busy", RequestFailureCode.BUSY),
            ("revoked", RequestFailureCode.REVOKED),
            ("news", RequestFailureCode.BROKEN),
            ("instance-offline", RequestFailureCode.INSTANCE_LOST),
        ):
            self.application = lambda served: None
            self.instance.executed.clear()
            fetching = self.soon(device.fetch("POST", "/"))
            await self.until(lambda: self.instance.executed)
            self.gateway.factory.publish(topic, b"nonsense", qos=1)
            self.gateway.factory.publish(topic, Cancel().encode(), qos=1)
            self.gateway.factory.publish(topic, Failure(code, True).encode(), qos=1)
            await self.expect(fetching, RequestUncertain, expected)

    async def test_a_mistake_of_ours_leaves_nobody_waiting(self) -> None:
        device = await self.pair()

        def break_down(*arguments: object, **named: object) -> None:
            raise ValueError

        self.instance.refusals = [Refusal(RefusalReason.NOT_EXECUTED)]
        request = await device.request(POST)
        self.patch(device, "note", break_down)
        request.writer.end()
        await self.expect(request.response(), RequestUncertain, RequestFailureCode.BROKEN)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_a_sealed_refusal_lets_it_be_asked_again(self) -> None:
        device = self.start((await self.pair()).device_id, patience=SOON)
        self.instance.refusals = [Refusal(RefusalReason.NOT_EXECUTED)] * 3
        self.assertEqual((await device.fetch("POST", "/", (), b"text")).data, b"hello text")
        self.assertEqual(len(self.instance.executed), 1)

    async def test_patience_has_an_end(self) -> None:
        device = self.start((await self.pair()).device_id, patience=Patience(retries=(0.0,)))
        self.instance.refusals = [Refusal(RefusalReason.NOT_EXECUTED)] * 2
        await self.expect(
            device.fetch("POST", "/"), RequestNotExecuted, RequestFailureCode.REFUSED
        )
        self.assertEqual(self.instance.executed, [])

    async def test_a_long_upload_is_not_kept_to_be_sent_again(self) -> None:
        device = await self.pair()
        self.instance.refusals = [Refusal(RefusalReason.NOT_EXECUTED)]
        await self.expect(
            device.fetch("POST", "/", (), CONTENT), RequestNotExecuted, RequestFailureCode.REFUSED
        )

    async def test_a_counter_that_was_seen(self) -> None:
        device = await self.pair()
        highest = 1 << 60
        self.instance.refusals = [Refusal(RefusalReason.COUNTER, highest)]
        self.assertEqual((await device.fetch("GET", "/")).data, b"hello ")
        self.instance.refusals = [Refusal(RefusalReason.COUNTER, highest + 10)]
        with self.assertRaisesRegex(RequestUncertain, "seen this request before"):
            await device.fetch("POST", "/")
        (await device.fetch("POST", "/"))
        last = max(served.exchange.head.counter for served in self.instance.served.values())
        self.assertEqual(last, highest + 11)

    async def test_a_wrong_clock_is_corrected(self) -> None:
        device = await self.pair()
        self.instance.clock_ms = 3_600_000
        self.assertEqual((await device.fetch("POST", "/")).data, b"hello ")
        await device.stop()
        again = self.start(device.device_id)
        self.instance.refusals.clear()
        await again.fetch("POST", "/")
        self.assertGreater(self.store.read_device(device.device_id).offset_ms, 3_500_000)

    async def test_a_clock_is_corrected_by_the_time_of_the_answer(self) -> None:
        """And not by when it is asked again."""
        first = await self.pair()
        await first.stop()
        ahead = [-3_600.0]

        async def wait_long(*arguments: Any) -> None:
            ahead[0] += 400.0
            self.instance.clock_ms += 400_000

        self.patch(request_module, "deferLater", wait_long)
        device = self.start(
            first.device_id,
            patience=Patience(retries=(0.1,)),
            unix_seconds=lambda: time.time() + ahead[0],
        )
        self.assertEqual((await device.fetch("POST", "/")).data, b"hello ")

    async def test_digits_are_missing(self) -> None:
        device = await self.pair()
        self.instance.refusals = [Refusal(RefusalReason.WAITING)]
        await self.expect(device.fetch("GET", "/"), RequestNotExecuted, RequestFailureCode.WAITING)

    async def test_no_gateway(self) -> None:
        device = await self.pair()
        await device.stop()
        await self.gateway.stop()
        offline = self.start(device.device_id, patience=Patience(connect=0.05))
        await self.expect(
            offline.fetch("GET", "/"), RequestNotExecuted, RequestFailureCode.NOT_CONNECTED
        )
        await self.until(lambda: any(isinstance(one, DeviceDisconnected) for one in self.events))
        await offline.stop()
        await self.expect(
            offline.fetch("GET", "/"), RequestNotExecuted, RequestFailureCode.NOT_CONNECTED
        )
        with self.assertRaises(GatewayUnreachable):
            await offline.revoke()
        self.assertEqual(len(self.store.list_devices()), 1)
        await self.gateway.start(self.gateway.port)

    async def test_silence_has_an_end(self) -> None:
        self.application = lambda served: None
        patience = Patience(answer=0.1, probe=0.02)
        device = self.start((await self.pair()).device_id, patience=patience)
        await self.expect(device.fetch("GET", "/"), RequestUncertain, RequestFailureCode.TIMED_OUT)
        (served,) = self.instance.served.values()
        await self.until(lambda: served.is_cancelled)

    async def test_hints_are_no_sign_of_life(self) -> None:
        device = self.start((await self.pair()).device_id, patience=Patience(0.1, 0.2, 0.2, 9.0))
        self.application = lambda served: None
        limits = count(17)

        def give_credit() -> None:
            for request_id in device._link._listeners:
                topic = format_response_topic(device.device_id, request_id)
                self.gateway.factory.publish(topic, Credit(next(limits)).encode(), qos=1)

        giving = LoopingCall(give_credit)
        giving.start(0.02)
        try:
            await self.expect(
                device.fetch("POST", "/"), RequestUncertain, RequestFailureCode.TIMED_OUT
            )
        finally:
            giving.stop()

    async def test_silence_within_a_body_has_an_end(self) -> None:
        self.application = lambda served: (
            served.respond(200, b"half", end=False)
            if served.head is not None and not served.is_cancelled and not served.untaken
            else None
        )
        patience = Patience(silence=0.1, probe=0.02)
        device = self.start((await self.pair()).device_id, patience=patience)
        await self.expect(device.fetch("GET", "/"), RequestUncertain, RequestFailureCode.TIMED_OUT)

    async def test_who_takes_nothing_and_a_tunnel_wait_for_ever(self) -> None:
        def answer(served: Served) -> None:
            if served.head is not None and not served.is_cancelled:
                served.respond(200, b"half", end=False)

        self.application = answer
        patience = Patience(silence=0.02, probe=0.01)
        device = self.start((await self.pair()).device_id, patience=patience)
        held = await (await self.ask(device, GET)).response()
        tunnel = await device.request(
            RequestHead(b"CONNECT", b"https", b"", b"/", ((b":protocol", b"websocket"),))
        )
        taker = Taker()
        (await tunnel.response()).body.deliver(taker)
        probes = self.instance.probes
        # By then the silence is longer than others would be given.
        await self.until(lambda: self.instance.probes >= probes + 10)
        self.assertNoResult(taker.over)
        late = Taker()
        held.body.deliver(late)
        await self.expect(late.over, RequestUncertain, RequestFailureCode.TIMED_OUT)
        self.assertEqual(late.data, b"half")

    async def test_a_lost_hint_is_found_by_asking(self) -> None:
        self.application = lambda served: None
        patience = Patience(probe=0.02, retries=(0.0, 0.01))
        device = self.start((await self.pair()).device_id, patience=patience)
        fetching = self.soon(device.fetch("GET", "/"))
        await self.until(lambda: self.instance.executed)
        self.instance.served.clear()
        self.application = greet
        self.assertEqual((await fetching).data, b"hello ")

    async def test_stopped_while_a_request_begins(self) -> None:
        device = await self.pair()
        await device.fetch("GET", "/")
        begin, held = device.begin_attempt, Deferred[None]()
        begun: list[Any] = []

        async def begin_late(owner: Any, *, careful: bool) -> Any:
            begun.append(await begin(owner, careful=careful))
            await held
            return begun[0]

        self.patch(device, "begin_attempt", begin_late)
        asking = self.soon(device.request(GET))
        await self.until(lambda: begun)
        stopping = self.soon(device.stop())
        held.callback(None)
        with self.assertRaisesRegex(RequestUncertain, "cancelled"):
            await asking
        await stopping

    async def test_stopped(self) -> None:
        self.application = lambda served: None
        device = await self.pair()
        fetching = self.soon(device.fetch("GET", "/"))
        await self.until(lambda: self.instance.executed)
        await device.stop()
        await self.expect(fetching, RequestUncertain, RequestFailureCode.CANCELLED)


class LifeTests(AskingTests):
    async def test_events(self) -> None:
        device = await self.pair()
        await device.fetch("GET", "/")
        self.assertTrue(device.is_connected)
        self.gateway.cut(device.device_id)
        await self.until(lambda: self.events.count(DeviceConnected()) == 2)
        self.assertIn(DeviceDisconnected(), self.events)

    async def test_revoked_by_the_instance(self) -> None:
        self.application = lambda served: None
        device = await self.pair()
        fetching = self.soon(device.fetch("POST", "/"))
        await self.until(lambda: self.instance.executed)
        self.gateway.revoke(device.device_id)
        with self.assertRaises(RequestUncertain):
            await fetching
        await self.until(lambda: any(isinstance(one, DeviceEnded) for one in self.events))
        with self.assertRaises(DeviceRevoked):
            await device.fetch("GET", "/")
        self.assertEqual(len(self.store.list_devices()), 1, "nothing is erased because of a hint")

    async def test_a_device_revokes_itself(self) -> None:
        device = await self.pair()
        await device.revoke()
        self.assertEqual(self.gateway.removed, [device.device_id])
        self.assertEqual(self.store.list_devices(), [])

    async def test_one_that_was_never_started_can_be_revoked_and_stopped(self) -> None:
        started = await self.pair()
        await started.stop()
        idle = Device(reactor, self.store, self.store.read_device(started.device_id))
        await idle.revoke()
        await idle.stop()
        self.assertEqual(self.store.list_devices(), [])

    async def test_what_the_gateway_has_forgotten_is_removed_too(self) -> None:
        device = await self.pair()
        self.gateway.revoke(device.device_id)
        await device.revoke()
        self.assertEqual(self.store.list_devices(), [])

    async def test_pushes_come_once(self) -> None:
        device = await self.pair()
        await device.fetch("GET", "/")
        payload = self.instance.push(device.device_id, "news", b"one", counter=10)
        self.instance.send_push(device.device_id, "news", payload)
        self.instance.push(device.device_id, "news", b"too low", counter=9)
        self.instance.push(device.device_id, "news", b"too old", counter=11, age_ms=301_000)
        self.instance.send_push(device.device_id, "other", payload)
        self.instance.send_push(device.device_id, "news", b"nonsense")
        self.instance.push(device.device_id, "news", b"two", counter=12)
        await self.until(lambda: len(self.pushes) == 2)
        self.assertEqual(self.pushes, [("news", b"one"), ("news", b"two")])
        await device.stop()
        again = self.start(device.device_id)
        await again.fetch("GET", "/")
        self.instance.send_push(device.device_id, "news", payload)
        self.instance.push(device.device_id, "news", b"three", counter=13)
        await self.until(lambda: len(self.pushes) == 3)

    async def test_two_programs_share_a_device(self) -> None:
        first = await self.pair()
        second = self.start(first.device_id)
        pages = await gatherResults(
            [self.soon(one.fetch("GET", "/")) for one in (first, second) * 10]
        )
        self.assertEqual({page.data for page in pages}, {b"hello "})
        self.instance.push(first.device_id, "news", b"one", counter=10)
        self.instance.push(first.device_id, "news", b"two", counter=11)
        await self.until(lambda: len(self.pushes) >= 2)
        await first.stop()
        await second.stop()
        self.assertEqual(self.pushes, [("news", b"one"), ("news", b"two")])


class RotationTests(AskingTests):
    def generation(self, device: Device) -> int:
        return self.store.read_device(device.device_id).secret.generation

    async def test_on_demand(self) -> None:
        device = await self.pair()
        self.assertEqual(self.generation(device), 1)
        await device.rotate()
        self.assertEqual(self.generation(device), 2)
        self.assertIn(SecretRotated(2), self.events)
        self.assertEqual((await device.fetch("POST", "/")).data, b"hello ")

    async def test_when_the_instance_wants_it(self) -> None:
        device = await self.pair()
        self.instance.refusals = [Refusal(RefusalReason.ROTATE)]
        self.assertEqual((await device.fetch("POST", "/", (), b"text")).data, b"hello text")
        self.assertEqual(self.generation(device), 2)
        self.assertEqual(len(self.instance.executed), 1)

    async def test_when_it_is_time(self) -> None:
        device = await self.pair()
        await device.stop()
        again = self.start(device.device_id, unix_seconds=lambda: time.time() + 8 * 86_400)
        self.instance.clock_ms = 8 * 86_400_000
        await self.until(lambda: self.generation(device) == 2)
        await self.until(lambda: SecretRotated(2) in self.events)
        self.assertEqual((await again.fetch("GET", "/")).data, b"hello ")

    async def test_when_the_last_time_was_in_the_future(self) -> None:
        device = await self.pair()
        await device.stop()
        self.instance.clock_ms = -86_400_000
        self.start(device.device_id, unix_seconds=lambda: time.time() - 86_400)
        await self.until(lambda: self.generation(device) == 2)

    async def test_answers_that_are_lost(self) -> None:
        for lost in range(1, 4):
            device = await self.pair()
            self.instance.lost = lost
            while self.generation(device) == 1:
                with contextlib.suppress(PorttunnelError):
                    await device.rotate()
                self.assertEqual((await device.fetch("POST", "/")).data, b"hello ")
            self.assertEqual(self.instance.lost, 0)

    async def test_a_stop_at_any_point(self) -> None:
        for name in ("keep_pending", "take_pending"):
            for before in (True, False):
                device = await self.pair()
                crash = Crash(self.store, name, before=before)
                with self.assertRaises(Stopped):
                    await device.rotate()
                await device.stop()
                crash.undo()
                again = self.start(device.device_id)
                self.assertEqual((await again.fetch("POST", "/")).data, b"hello ")
                await again.rotate()
                self.assertEqual((await again.fetch("POST", "/")).data, b"hello ")

    async def test_another_program_has_rotated(self) -> None:
        first = await self.pair()
        second = self.start(first.device_id)
        await second.fetch("GET", "/")
        await first.rotate()
        self.assertEqual((await second.fetch("GET", "/")).data, b"hello ")
        self.assertEqual((await second.fetch("POST", "/")).data, b"hello ")
        await second.rotate()
        self.assertEqual(self.generation(first), 3)
        self.assertEqual((await first.fetch("GET", "/")).data, b"hello ")

    async def test_two_programs_rotate_and_the_slower_one_writes_late(self) -> None:
        """What it got is void by then: it must not take the place of what was confirmed."""
        first = await self.pair()
        store = DeviceStore(self.folder)
        self.addCleanup(store.close)
        second = Device(reactor, store, store.read_device(first.device_id))
        second.start()
        self.addCleanup(self.wrap(second.stop))
        answered, may_write, written = Event(), Event(), Event()
        keep, take = self.store.keep_pending, store.take_pending

        def keep_late(*arguments: Any) -> bool:
            answered.set()
            may_write.wait(self.timeout)
            kept = keep(*arguments)
            written.set()
            return kept

        def take_later(*arguments: Any) -> bool:
            may_write.set()
            written.wait(self.timeout)
            return take(*arguments)

        self.patch(self.store, "keep_pending", keep_late)
        self.patch(store, "take_pending", take_later)
        slow = self.soon(first.rotate())
        await self.until(answered.is_set)
        await second.rotate()
        await slow
        self.assertEqual(self.generation(first), 2)
        for device in (first, second):
            self.assertEqual((await device.fetch("POST", "/")).data, b"hello ")

    async def test_an_exchange_that_is_lost_on_the_way_to_a_request(self) -> None:
        for lost in range(1, 4):
            device = self.start((await self.pair()).device_id, patience=SOON)
            self.instance.executed.clear()
            self.instance.refusals = [Refusal(RefusalReason.ROTATE)]
            self.instance.lost = lost
            self.assertEqual((await device.fetch("POST", "/")).data, b"hello ")
            self.assertEqual(len(self.instance.executed), 1)
            self.assertEqual(self.generation(device), 2)

    async def test_many_are_refused_and_one_exchange_is_enough(self) -> None:
        device = await self.pair()
        self.instance.refusals = [Refusal(RefusalReason.ROTATE)] * 10
        await gatherResults([self.soon(device.fetch("POST", "/")) for _ in range(10)])
        self.assertEqual(self.generation(device), 2)
        self.assertEqual(len(self.instance.executed), 10)

    async def test_a_push_under_a_secret_that_another_program_made(self) -> None:
        first = await self.pair()
        second = self.start(first.device_id)
        await second.fetch("GET", "/")
        await first.rotate()
        await first.stop()
        self.instance.push(first.device_id, "news", b"one")
        await self.until(lambda: self.pushes == [("news", b"one")])

    async def test_a_refusal_changes_nothing(self) -> None:
        device = await self.pair()
        self.instance.key_refusals = [Refusal(RefusalReason.NOT_EXECUTED)]
        with self.assertRaises(RequestNotExecuted):
            await device.rotate()
        self.assertEqual(self.generation(device), 1)

    async def test_another_program_has_rotated_and_a_post_follows(self) -> None:
        self.patch(secret_keeper, "FRESH_SECONDS", -1.0)
        first = await self.pair()
        second = self.start(first.device_id)
        await second.fetch("POST", "/")
        await first.rotate()
        self.assertEqual((await second.fetch("POST", "/")).data, b"hello ")

    async def test_answers_that_are_none(self) -> None:
        device = await self.pair()
        for replies in ([b"x"], [b"x" * 5_000] * 3):
            self.instance.key_replies = list(replies)
            with self.assertRaises((RemoteProtocolError, RequestUncertain)):
                await device.rotate()
            self.assertEqual(self.generation(device), 1)
            self.assertEqual((await device.fetch("POST", "/")).data, b"hello ")

    async def test_a_pending_secret_that_the_instance_never_had(self) -> None:
        """The instance was restored, say: the old one goes on, and leads to another."""
        device = await self.pair()
        await device.stop()
        made_up = DeviceConfirming(DeviceSecret(2, bytes(32)), "", bytes(32))
        self.store.keep_pending(device.device_id, made_up, None)
        again = self.start(device.device_id)
        self.assertEqual((await again.fetch("POST", "/")).data, b"hello ")
        asked = self.instance.key_messages
        self.patch(secret_keeper, "FRESH_SECONDS", -1.0)
        self.assertEqual((await again.fetch("POST", "/")).data, b"hello ")
        self.assertEqual(self.instance.key_messages, asked, "not before each request")
        self.assertIsNotNone(self.store.read_device(device.device_id).pending)
        await again.rotate()
        self.assertEqual(self.generation(device), 2)
        self.assertEqual((await again.fetch("POST", "/")).data, b"hello ")

    async def test_many_wait_for_one_answer_that_does_not_come(self) -> None:
        """And not each for one of its own, one after the other."""
        device = await self.pair()
        await device.stop()
        made_up = DeviceConfirming(DeviceSecret(2, bytes(32)), "", bytes(32))
        self.store.keep_pending(device.device_id, made_up, None)
        self.patch(key_question, "ANSWER_SECONDS", 0.2)
        again = self.start(device.device_id, patience=Patience(9.0, 0.2, 0.2, 0.1))
        self.instance.silent = True
        asked: list[bytes] = []
        ask = again._keeper._ask

        async def count_and_ask(secret: Any, plaintext: bytes) -> Any:
            asked.append(plaintext)
            return await ask(secret, plaintext)

        self.patch(again._keeper, "_ask", count_and_ask)
        results = await DeferredList(
            [self.soon(again.fetch("POST", "/")) for _ in range(5)], consumeErrors=True
        )
        self.instance.silent = False
        self.assertEqual([succeeded for succeeded, _ in results], [False] * 5)
        self.assertEqual(len(asked), 1)

    async def test_a_confirmation_that_is_refused(self) -> None:
        device = await self.pair()
        self.instance.lost = 0

        def refuse_from_now_on(*arguments: Any) -> bool:
            self.instance.key_refusals = [Refusal(RefusalReason.NOT_EXECUTED)] * 2
            return keep(*arguments)

        keep = self.store.keep_pending
        self.patch(self.store, "keep_pending", refuse_from_now_on)
        with self.assertRaises(RemoteProtocolError):
            await device.rotate()
        self.assertEqual((await device.fetch("POST", "/")).data, b"hello ")
        self.assertEqual(self.generation(device), 1)

    async def test_a_stop_does_not_wait_for_ever(self) -> None:
        device = await self.pair()
        await device.stop()
        self.patch(device_module, "STOP_SECONDS", 0.02)
        self.instance.clock_ms = 8 * 86_400_000
        self.instance.silent = True
        again = self.start(device.device_id, unix_seconds=lambda: time.time() + 8 * 86_400)
        await self.until(lambda: again.is_connected)
        await again.stop()
        self.instance.silent = False
        self.assertEqual(self.generation(device), 1)
        self.assertFalse(any(isinstance(one, RotationFailed) for one in self.events))

    async def test_one_that_fails_by_itself_is_told_and_tried_again(self) -> None:
        device = await self.pair()
        await device.stop()
        self.patch(device_module, "ROTATION_CHECK_SECONDS", 0.05)
        self.instance.key_refusals = [Refusal(RefusalReason.NOT_EXECUTED)]
        self.instance.clock_ms = 8 * 86_400_000
        self.start(device.device_id, unix_seconds=lambda: time.time() + 8 * 86_400)
        await self.until(lambda: self.generation(device) == 2)
        self.assertTrue(any(isinstance(one, RotationFailed) for one in self.events))
