"""porttunnel.net.gateway_client.rest: each question on a real socket, and bad answers to it."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Awaitable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from porttunnel.errors import GatewayRefused, GatewayUnreachable
from porttunnel.net.gateway_client import rest as rest_module
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.answer import ClaimedDevice, ListedDevice, OfferedDevice
from porttunnel.net.gateway_client.rest import Login, RestClient

ONE, OTHER, KEY = "1a" * 16, "2b" * 16, "3c" * 16
LOGIN = Login(ONE, OTHER)


class _Recorder(Resource):
    """Answers everything in one way, and keeps what was asked."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, str, Any]] = []
        self.status = 200
        self.body: Any = {}
        self.fields: dict[bytes, bytes] = {}
        self.requests: list[Any] = []
        self.silent = False
        self.came: Deferred[None] = Deferred()

    def render(self, request: Any) -> Any:
        content = request.content.read()
        login = request.requestHeaders.getRawHeaders("authorization", [""])[0]
        body = json.loads(content) if content else None
        self.asked.append((request.method.decode(), request.uri.decode(), login, body))
        self.requests.append(request)
        if self.silent:
            self.came.callback(None)
            return NOT_DONE_YET
        request.setResponseCode(self.status)
        for name, value in self.fields.items():
            request.setHeader(name, value)
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class RestTestCase(TestCase):
    timeout = 30.0

    async def listen(self, factory: IProtocolFactory, clock: Any = reactor) -> RestClient:
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        address = GatewayAddress.parse(f"http://127.0.0.1:{port.getHost().port}")
        return RestClient(clock, address)

    async def setUp(self) -> None:
        self.recorder = _Recorder()
        self.rest = await self.listen(Site(self.recorder))


class QuestionTests(RestTestCase):
    async def ask(self, question: Awaitable[Any], answer: Any = None) -> Any:
        self.recorder.body = {} if answer is None else answer
        return await question

    async def test_each(self) -> None:
        rest = self.rest
        registered = {"instance_id": ONE, "instance_password": OTHER}
        self.assertEqual(await self.ask(rest.register_instance(), registered), LOGIN)
        self.assertEqual(await self.ask(rest.register_instance("token"), registered), LOGIN)
        await self.ask(rest.remove_instance(LOGIN))
        await self.ask(rest.change_password(LOGIN, KEY))
        offered = {"device_id": ONE, "device_setup_key": KEY, "expires": 7}
        self.assertEqual(
            await self.ask(rest.offer_device(LOGIN, 60), offered), OfferedDevice(ONE, KEY, 7)
        )
        listed = {"device_id": ONE, "state": "claimed"}
        self.assertEqual(
            await self.ask(rest.list_devices(LOGIN), {"devices": [listed]}),
            (ListedDevice(ONE, "claimed"),),
        )
        self.assertEqual(
            await self.ask(rest.read_device(LOGIN, ONE), listed), ListedDevice(ONE, "claimed")
        )
        await self.ask(rest.confirm_device(LOGIN, ONE))
        await self.ask(rest.remove_device(LOGIN, ONE))
        claimed = {"device_id": ONE, "instance_id": OTHER}
        self.assertEqual(
            await self.ask(rest.claim_device(b"k" * 16, b"n" * 32), claimed),
            ClaimedDevice(ONE, OTHER),
        )
        basic = self.recorder.asked[2][2]
        self.assertEqual(b64decode(basic.removeprefix("Basic ")).decode(), f"{ONE}:{OTHER}")
        self.assertEqual(
            self.recorder.asked,
            [
                ("POST", "/v1/instances", "", {}),
                ("POST", "/v1/instances", "Bearer token", {}),
                ("DELETE", "/v1/instances/self", basic, None),
                ("POST", "/v1/instances/self/password", basic, {"new_password": KEY}),
                ("POST", "/v1/devices", basic, {"expires_in": 60}),
                ("GET", "/v1/devices", basic, None),
                ("GET", f"/v1/devices/{ONE}", basic, None),
                ("POST", f"/v1/devices/{ONE}/confirm", basic, None),
                ("DELETE", f"/v1/devices/{ONE}", basic, None),
                (
                    "POST",
                    "/v1/devices/setup",
                    "",
                    {"device_setup_key": (b"k" * 16).hex(), "client_nonce": (b"n" * 32).hex()},
                ),
            ],
        )

    async def test_leaves_nothing_in_the_log(self) -> None:
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        await self.ask(self.rest.remove_device(LOGIN, ONE))
        self.assertEqual([formatEvent(event) for event in events if "factory" in event], [])

    def test_a_password_is_not_shown(self) -> None:
        self.assertNotIn(OTHER, repr(LOGIN))

    async def test_a_refusal(self) -> None:
        self.recorder.status = 429
        self.recorder.fields = {b"retry-after": b"3"}
        with self.assertRaises(GatewayRefused) as caught:
            await self.ask(self.rest.remove_device(LOGIN, ONE), {"code": "too-many-attempts"})
        error = caught.exception
        self.assertEqual(
            (error.status, error.code, error.retry_after_seconds), (429, "too-many-attempts", 3.0)
        )

    async def test_registering_without_the_token(self) -> None:
        self.recorder.status = 401
        for token in (None, "wrong"):
            with self.assertRaisesRegex(GatewayRefused, "registration_token_file") as caught:
                await self.ask(self.rest.register_instance(token), {"code": "wrong-credentials"})
            error = caught.exception
            self.assertEqual((error.status, error.code), (401, "wrong-credentials"))
        self.recorder.status = 403
        with self.assertRaisesRegex(GatewayRefused, "not allowed"):
            await self.ask(self.rest.register_instance(), {"code": "not-allowed"})

    async def test_it_is_not_sent_elsewhere(self) -> None:
        self.recorder.status = 302
        self.recorder.fields = {b"location": b"http://127.0.0.1:1/"}
        with self.assertRaises(GatewayUnreachable):
            await self.rest.remove_device(LOGIN, ONE)

    async def test_no_gateway(self) -> None:
        with self.assertRaisesRegex(GatewayUnreachable, "does not speak as a gateway"):
            await self.ask(self.rest.list_devices(LOGIN), b"<html>")

    async def test_too_long(self) -> None:
        self.patch(rest_module, "MAX_ANSWER_BYTES", 1_000)
        with self.assertRaisesRegex(GatewayUnreachable, "too long"):
            await self.ask(self.rest.remove_device(LOGIN, ONE), b"x" * 1_001)

    async def test_nobody_listens(self) -> None:
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Factory())
        number = port.getHost().port
        await maybeDeferred(port.stopListening)
        rest = RestClient(reactor, GatewayAddress.parse(f"http://127.0.0.1:{number}"))
        with self.assertRaisesRegex(GatewayUnreachable, "can't be reached"):
            await rest.remove_device(LOGIN, ONE)

    async def test_no_http(self) -> None:
        class _Other(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"\x00nonsense\r\n\r\n")
                self.transport.loseConnection()

        rest = await self.listen(Factory.forProtocol(_Other))
        with self.assertRaises(GatewayUnreachable):
            await rest.remove_device(LOGIN, ONE)

    async def test_cut_off_in_its_body(self) -> None:
        class _Cutting(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                self.transport.loseConnection()

        rest = await self.listen(Factory.forProtocol(_Cutting))
        with self.assertRaises(GatewayUnreachable):
            await rest.remove_device(LOGIN, ONE)

    async def test_a_call_that_is_cancelled(self) -> None:
        """At any time it ends as cancelled, not as if the gateway had failed."""
        self.recorder.silent = True
        for came in (False, True):
            asking = Deferred.fromCoroutine(self.rest.remove_device(LOGIN, ONE))
            if came:
                await self.recorder.came
            asking.cancel()
            with self.assertRaises(CancelledError):
                await asking

    async def test_silence(self) -> None:
        self.patch(rest_module, "ANSWER_SECONDS", 0.05)
        self.recorder.silent = True
        with self.assertRaisesRegex(GatewayUnreachable, "did not answer"):
            await self.rest.remove_device(LOGIN, ONE)

    async def test_silence_in_the_middle_of_a_body_leaves_no_connection(self) -> None:
        self.patch(rest_module, "ANSWER_SECONDS", 0.05)
        lost: Deferred[None] = Deferred()

        class _Stalling(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                lost.callback(None)

        rest = await self.listen(Factory.forProtocol(_Stalling))
        with self.assertRaisesRegex(GatewayUnreachable, "did not answer"):
            await rest.remove_device(LOGIN, ONE)
        await lost

    async def test_an_answer_without_an_end(self) -> None:
        class _Ending(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n{")
                self.transport.loseConnection()

        rest = await self.listen(Factory.forProtocol(_Ending))
        with self.assertRaisesRegex(GatewayUnreachable, "cut off"):
            await rest.remove_device(LOGIN, ONE)
