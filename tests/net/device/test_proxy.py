"""porttunnel.net.device.proxy: on real sockets, with clients that are not ours."""

from __future__ import annotations

import hashlib
import http.client
import secrets
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.task import Cooperator, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from porttunnel.gateway.http_head import Fields, RequestHead
from porttunnel.net.device import proxy as proxy_module
from porttunnel.net.device.interface import DeviceRequest
from porttunnel.net.device.proxy import ANY_PORT, LOOPBACK, LoopbackProxy, usual_ports
from tests.net.device.fake_device import FakeDevice, FakeRequest, FakeWriter

PIECE = 65_536
MIB = 1 << 20


class SlowWriter(FakeWriter):
    """Takes a piece at a time, counts how much waits, and forgets the rest."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        super().__init__()
        self.digest = hashlib.sha256()
        self.count = 0
        self.most = 0
        self._waiting = 0
        self._on_end = on_end

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.count += len(data)
        self._waiting += len(data)
        self.most = max(self.most, self._waiting)
        if self.producer is not None:
            self.producer.pauseProducing()
            any_reactor: Any = reactor
            any_reactor.callLater(0, self._drain)

    def _drain(self) -> None:
        self._waiting = 0
        if self.producer is not None:
            self.producer.resumeProducing()

    def end(self, trailers: Fields = ()) -> None:
        super().end(trailers)
        self._on_end()


class CountingDevice(FakeDevice):
    """Answers an upload with its digest, and everything else with ``size`` random bytes."""

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self.size = size
        self.digest = hashlib.sha256()

    async def request(self, head: RequestHead) -> DeviceRequest:
        request = FakeRequest(head)
        request.writer = SlowWriter(lambda: self._soon(request))
        self.asked.append(request)
        return request

    def _soon(self, request: FakeRequest) -> None:
        any_reactor: Any = reactor
        any_reactor.callLater(0, self._answer, request)

    def _answer(self, request: FakeRequest) -> None:
        writer: Any = request.writer
        if request.head.method != b"GET":
            digest = writer.digest.hexdigest().encode()
            body = request.respond(200, (b"content-length", b"64"))
            body.give(digest)
            body.end()
            return
        body = request.respond(200)
        self._task = Cooperator().cooperate(self._pieces(body))
        pause, resume = self._task.pause, self._task.resume
        body.pause, body.resume = pause, resume  # type: ignore[method-assign]  # a task's own

    def _pieces(self, body: Any) -> Any:
        for _ in range(self.size // PIECE):
            piece = secrets.token_bytes(PIECE)
            self.digest.update(piece)
            body.give(piece)
            yield
        body.end()


class ProxyTests(TestCase):
    timeout = 60.0  # a deadline, not a measure

    async def serve(self, device: FakeDevice, port: int | None = ANY_PORT) -> int:
        proxy = LoopbackProxy(reactor, device)
        self.addCleanup(lambda: Deferred.fromCoroutine(proxy.stop()))
        return await proxy.start(port)

    async def test_a_large_upload_is_never_held(self) -> None:
        device = CountingDevice()
        port = await self.serve(device)
        size = 64 * MIB
        content = secrets.token_bytes(MIB) * (size // MIB)

        def upload(**options: Any) -> bytes:
            client = http.client.HTTPConnection(LOOPBACK, port)
            body = (content[at : at + PIECE] for at in range(0, size, PIECE))
            client.request("POST", "/upload", body, **options)
            first = client.getresponse().read()
            client.request("PUT", "/again", content[:PIECE])  # on the same connection
            client.getresponse().read()
            client.close()
            return first

        expected = hashlib.sha256(content).hexdigest().encode()
        length = {"Content-Length": str(size)}
        self.assertEqual(await deferToThread(upload, headers=length), expected)
        self.assertEqual(await deferToThread(upload, encode_chunked=True), expected)
        uploads: list[Any] = [each.writer for each in device.asked[::2]]
        self.assertEqual([each.count for each in uploads], [size, size])
        # What one reading of the socket gives, and no more.
        self.assertLessEqual(max(each.most for each in uploads), 4 * PIECE)

    async def test_a_large_download_waits_for_its_reader(self) -> None:
        device = CountingDevice(size=64 * MIB)
        port = await self.serve(device)

        def download() -> str:
            client = http.client.HTTPConnection(LOOPBACK, port)
            client.request("GET", "/large")
            response = client.getresponse()
            digest = hashlib.sha256()
            while data := response.read(MIB):
                digest.update(data)
            client.close()
            return digest.hexdigest()

        digest = await deferToThread(download)
        self.assertEqual(digest, device.digest.hexdigest())

    async def test_stopping_breaks_off_what_is_under_way(self) -> None:
        device = FakeDevice()
        proxy = LoopbackProxy(reactor, device)
        port = await proxy.start(ANY_PORT)
        client = socket.create_connection((LOOPBACK, port))
        self.addCleanup(client.close)
        client.sendall(f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        while not device.asked:
            await deferLater(reactor, 0)
        await proxy.stop()
        self.assertTrue(device.asked[0].cancelled)
        with self.assertRaises(OSError):
            socket.create_connection((LOOPBACK, port))

    async def test_has_the_same_port_each_time_unless_it_is_taken(self) -> None:
        device = FakeDevice()
        taken = await TCP4ServerEndpoint(reactor, 0, interface=LOOPBACK).listen(Factory())
        self.addCleanup(taken.stopListening)
        number = taken.getHost().port
        self.patch(proxy_module, "usual_ports", lambda device_id: [number])
        self.assertNotEqual(await self.serve(device, None), number)
        with self.assertRaises(CannotListenError):
            await self.serve(device, number)

    async def test_has_other_ports_of_its_own_if_the_first_is_taken(self) -> None:
        device = FakeDevice(secrets.token_hex(16))
        first, second, *_ = usual_ports(device.device_id)
        self.assertEqual([await self.serve(device, None) for _ in range(2)], [first, second])
        self.assertEqual(
            usual_ports("00000000" + "ffffffff" + "00002710" + "00000001"),
            [20_000, 27_295, 20_000, 20_001],
        )

    async def test_so_many_connections_and_no_more(self) -> None:
        self.patch(proxy_module, "MAX_CONNECTIONS", 2)
        port = await self.serve(FakeDevice())
        clients = [socket.create_connection((LOOPBACK, port)) for _ in range(3)]
        for client in clients:
            self.addCleanup(client.close)
        closed = await deferToThread(clients[2].recv, 1)
        self.assertEqual(closed, b"")
