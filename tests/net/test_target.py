"""porttunnel.net.target"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from porttunnel.errors import ConfigurationError
from porttunnel.net.offer import Offer
from porttunnel.net.target import accept_offer
from tests.conformance import End, factory_of
from tests.net.in_memory import InMemoryTestCase
from tests.net.on_loopback import LoopbackTestCase


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class ConfigurationTests(InMemoryTestCase):
    def test_a_folder_must_be_there(self) -> None:
        shared = self.share()
        for target in ("/no/such/folder", __file__):
            with self.assertRaisesRegex(ConfigurationError, "name one that is there"):
                accept_offer(shared, Offer("files", "dir", target))

    def test_an_allow_list_must_be_one(self) -> None:
        with self.assertRaises(ConfigurationError):
            accept_offer(self.share(), Offer("socks", "socks", "not/an/address"))

    def test_an_address_must_be_one(self) -> None:
        for kind, target in (("tcp", "[::1]:80"), ("tcp", "h:1:colour=red"), ("unix", "/a:b:c")):
            with self.assertRaisesRegex(ConfigurationError, "no place to lead to"):
                accept_offer(self.share(), Offer("web", kind, target))
        self.assertTrue(callable(accept_offer(self.share(), Offer("web", "tcp", r"\:\:1:80"))))

    def test_a_folder_may_be_the_users_own(self) -> None:
        self.patch(os, "environ", {**os.environ, "HOME": tempfile.gettempdir()})
        self.assertTrue(callable(accept_offer(self.share(), Offer("files", "dir", "~"))))


class TargetTests(LoopbackTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.echo = Factory.forProtocol(Echo)
        self.echo.noisy = False

    async def test_a_folder_is_a_web_site(self) -> None:
        page = os.urandom(300_000)
        (self.folder / "page").write_bytes(page)
        _shared, joined = await self.pair(f"web=dir:{self.folder}")
        client = End()
        await joined.endpoint("web").connect(factory_of(client))
        client.transport.write(b"GET /page HTTP/1.0\r\n\r\n")
        await client.until_lost()
        head, _, body = bytes(client.data).partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.0 200"), head[:80])
        self.assertTrue(body == page)

    async def test_a_folder_keeps_nothing_that_somebody_sends(self) -> None:
        _shared, joined = await self.pair(f"web=dir:{self.folder}")
        client = End()
        await joined.endpoint("web").connect(factory_of(client))
        client.transport.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
        client.transport.write(bytes(200_000))
        await client.until_lost()
        self.assertTrue(client.data.startswith(b"HTTP/1.1 413 "), client.data[:80])

    async def test_a_port_and_a_local_socket(self) -> None:
        port = await self.tunnel.listen(self.echo)
        path = self.folder / "socket"
        listening = reactor.listenUNIX(str(path), self.echo)  # type: ignore[attr-defined]  # a module
        self.addCleanup(listening.stopListening)
        _shared, joined = await self.pair(f"tcp={port}", f"unix=unix:{path}")
        for name in ("tcp", "unix"):
            client = End()
            await joined.endpoint(name).connect(factory_of(client))
            client.transport.write(name.encode())
            await client.until_received(len(name))
            self.assertEqual(client.data, name.encode())
            client.transport.loseConnection()
            await client.until_lost()

    async def test_a_socks_proxy_leads_to_what_is_allowed(self) -> None:
        port = await self.tunnel.listen(self.echo)
        _shared, joined = await self.pair(f"socks:127.0.0.1:{port}")
        local = await self.tunnel.forward(joined, "socks")
        client = End()
        await TCP4ClientEndpoint(reactor, "127.0.0.1", local).connect(factory_of(client))
        client.transport.write(b"\x05\x01\x00")
        await client.until_received(2)
        request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")
        client.transport.write(request)
        await client.until_received(12)
        self.assertEqual(client.data[3], 0)
        client.transport.write(b"through")
        await client.until_received(19)
        self.assertEqual(client.data[12:], b"through")
        client.transport.loseConnection()
        await client.until_lost()
