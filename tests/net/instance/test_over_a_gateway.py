"""An instance with a real gateway and real devices, in one process, on loopback."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from porttunnel.errors import RequestFailed
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead
from porttunnel.net.instance.application import ServedRequest
from porttunnel.net.instance.event import GatewayConnected, GatewayLost
from tests.net.instance.on_loopback import GatewayOnLoopback

OK = ResponseHead(200)
PIECE = bytes(range(256)) * 256
PIECES = 256  # 16 MiB


class Digest:
    """Takes a body."""

    def __init__(self) -> None:
        self.whole: Deferred[str] = Deferred()
        self._hash = sha256()

    def body_received(self, data: bytes) -> None:
        self._hash.update(data)

    def body_ended(self, trailers: Fields) -> None:
        self.whole.callback(self._hash.hexdigest())

    def body_broken(self, error: Exception) -> None:
        self.whole.errback(error)


class Pieces:
    """Writes a large body as fast as it may."""

    def __init__(self, writer: Any, count: int = PIECES) -> None:
        self._writer = writer
        self._left = count
        self.is_stopped = False
        writer.registerProducer(self, False)

    def resumeProducing(self) -> None:
        if self._left:
            self._left -= 1
            self._writer.write(PIECE)
        else:
            self._writer.unregisterProducer()
            self._writer.end()

    def stopProducing(self) -> None:
        self.is_stopped = True


def serve(request: ServedRequest) -> None:
    """An upload is answered by its digest, ``/large`` by much, all else by its path."""
    if request.head.method == b"POST":
        digest = Digest()
        digest.whole.addCallback(lambda text: respond(request, text.encode()))
        request.body.deliver(digest)
    elif request.head.path == b"/large":
        Pieces(request.respond(OK))
    else:
        respond(request, request.head.path)


def respond(request: ServedRequest, data: bytes) -> None:
    writer = request.respond(OK)
    writer.write(data)
    writer.end()


class OverAGatewayTests(TestCase):
    """See the module."""

    timeout = 60

    async def start(self) -> GatewayOnLoopback:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        around = GatewayOnLoopback(Path(folder.name))
        around.application = serve
        await around.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(around.stop()))
        return around

    async def test_pages_uploads_and_downloads(self) -> None:
        around = await self.start()
        anna, berta = await around.pair("anna"), await around.pair("berta")
        large = Digest()
        request = await anna.request(RequestHead(b"GET", b"https", b"", b"/large"))
        request.writer.end()
        (await request.response()).body.deliver(large)
        pages = await gatherResults(
            [Deferred.fromCoroutine(berta.fetch("GET", f"/{number}")) for number in range(20)]
        )
        self.assertFalse(large.whole.called, "a click passes a download")
        self.assertEqual([page.data for page in pages], [b"/%d" % each for each in range(20)])
        expected = sha256(PIECE * PIECES).hexdigest()
        self.assertEqual(await large.whole, expected)
        upload = await berta.request(RequestHead(b"POST", b"https", b"", b"/upload"))
        Pieces(upload.writer)
        answer = Digest()
        (await upload.response()).body.deliver(answer)
        self.assertEqual(await answer.whole, sha256(expected.encode()).hexdigest())

    async def test_pushes_rotation_and_revocation(self) -> None:
        around = await self.start()
        anna = await around.pair("anna")
        self.assertEqual((await anna.fetch("GET", "/connected")).data, b"/connected")
        report = await around.instance.push("news", b"hello")
        self.assertEqual(report.sent, (anna.device_id,))
        await around.instance.mark_restored()
        self.assertEqual((await anna.fetch("GET", "/a")).data, b"/a")
        await anna.rotate()
        self.assertEqual((await anna.fetch("GET", "/b")).data, b"/b")
        await around.instance.revoke(anna.device_id)
        with self.assertRaises(RequestFailed):
            await anna.fetch("POST", "/c")

    async def test_a_gateway_that_goes_and_comes(self) -> None:
        around = await self.start()
        anna = await around.pair("anna")
        held: list[ServedRequest] = []
        opened: Deferred[None] = Deferred()
        cancelled: Deferred[None] = Deferred()

        def hold(request: ServedRequest) -> None:
            held.append(request)
            request.on_cancelled = lambda: cancelled.callback(None)
            opened.callback(None)

        around.application = hold
        asking = Deferred.fromCoroutine(anna.fetch("POST", "/order"))
        await opened
        lost, back = around.wait_for(GatewayLost), around.wait_for(GatewayConnected)
        await around.stop_gateway()
        await lost
        await cancelled
        around.application = serve
        await around.start_gateway()
        await back
        with self.assertRaises(RequestFailed):
            await asking
        self.assertEqual(len(held), 1)
        self.assertEqual((await anna.fetch("GET", "/again")).data, b"/again")

    async def test_a_restarted_instance(self) -> None:
        around = await self.start()
        anna = await around.pair("anna")
        await around.instance.stop()
        await around.start_instance()
        self.assertEqual((await anna.fetch("GET", "/a")).data, b"/a")
