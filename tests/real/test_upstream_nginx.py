"""porttunnel.net.instance.upstream in front of a real nginx."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet import reactor as real_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from porttunnel.gateway.http_head import RequestHead
from porttunnel.net.instance.upstream import Upstream
from porttunnel.net.instance.upstream_setting import UpstreamSettings
from tests.net.instance.upstream_line import AskedInTest, WriterInTest
from tests.real.needed import needed_program
from tests.real.program import Program, clean_environment
from tests.real.server_port import port_to_come_back_to

pytestmark = pytest.mark.real
reactor: Any = real_reactor

MEBIBYTE = 1 << 20
CONFIGURATION = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 3;
    gzip on;
    gzip_types text/plain;
    gzip_min_length 10;
    client_max_body_size 64m;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        root {folder}/site;
        location = /who {{
            return 200 "$http_x_remote_user $http_host $http_x_forwarded_for $http_cookie";
        }}
        location = /login {{ add_header Set-Cookie "session=1; Path=/"; return 204; }}
        location = /old {{ return 301 /new; }}
        location = /closed {{ keepalive_timeout 0; return 200 "last"; }}
        location = /lost {{ return 444; }}
        location /small {{ client_max_body_size 1k; return 200 "never"; }}
        location /upload {{ dav_methods PUT DELETE; create_full_put_path on; }}
    }}
}}
"""


class Writer(WriterInTest):
    """Tells when it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self.length = 0
        self.ended: defer.Deferred[None] = defer.Deferred()

    def write(self, data: bytes) -> None:
        self.hash.update(data)
        self.length += len(data)
        self.data = (self.data + data)[:1_024]

    def end(self, trailers: Any = ()) -> None:
        super().end(trailers)
        self.ended.callback(None)

    def abort(self) -> None:
        super().abort()
        self.ended.callback(None)


class NginxTests(TestCase):
    timeout = 60.0  # a deadline, not a measure

    async def setUp(self) -> None:
        nginx = needed_program("nginx", "nginx-light")
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        site = self.folder / "site"
        (site / "upload").mkdir(parents=True)
        (site / "text.txt").write_text("word " * 10_000)
        self.port = port_to_come_back_to()
        # Started by root its workers would be somebody else, who may not write here.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(user=user, folder=self.folder, port=self.port)
        )
        self.command = (nginx, "-c", str(configuration))
        self.start()
        await self.is_there()
        self.upstream = Upstream(
            reactor, UpstreamSettings(origin=f"http://127.0.0.1:{self.port}", host="wiki.example")
        )
        self.addCleanup(lambda: deferLater(reactor, 0))  # what was aborted is closed
        self.addCleanup(self.upstream.stop)

    def start(self) -> None:
        self.nginx = Program(self.command, clean_environment(self.folder), self.folder)
        self.addCleanup(self.nginx.stop)

    async def is_there(self) -> None:
        while True:
            try:
                probe: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", self.port).connect(
                    Factory.forProtocol(Protocol)
                )
            except ConnectError:
                await deferLater(reactor, 0.02)
            else:
                probe.transport.abortConnection()
                return

    def ask(
        self, path: bytes, method: bytes = b"GET", *fields: tuple[bytes, bytes]
    ) -> AskedInTest:
        asked = AskedInTest(RequestHead(method, b"http", b"127.0.0.1:1", path, fields))
        asked.writer = Writer()
        self.upstream.open(asked)
        return asked

    async def fetch(
        self, path: bytes, method: bytes = b"GET", *fields: tuple[bytes, bytes]
    ) -> AskedInTest:
        asked = self.ask(path, method, *fields)
        asked.body.end()
        writer: Any = asked.writer
        await writer.ended
        return asked

    async def test_who_asks_and_where(self) -> None:
        asked = await self.fetch(
            b"/who", b"GET", (b"x_remote_user", b"root"), (b"x-forwarded-for", b"1.2.3.4")
        )
        self.assertEqual(asked.writer.data, b"anna wiki.example  ")
        self.assertEqual((await self.fetch(b"/login")).status, 204)
        self.assertEqual((await self.fetch(b"/who")).writer.data, b"anna wiki.example  session=1")

    async def test_redirects_stay_inside(self) -> None:
        asked = await self.fetch(b"/old")
        self.assertEqual(asked.status, 301)
        # nginx puts the name that it was told before the port at which it listens.
        self.assertEqual(asked.fields[b"location"], b"/new")

    async def test_more_requests_than_a_connection_may_carry(self) -> None:
        for _ in range(10):
            asked = await self.fetch(b"/who")
            self.assertEqual((asked.status, asked.writer.end_state), (200, ()))
        self.assertEqual((await self.fetch(b"/closed")).writer.data, b"last")

    async def test_what_is_compressed_comes_in_chunks(self) -> None:
        asked = await self.fetch(b"/text.txt", b"GET", (b"accept-encoding", b"gzip"))
        self.assertEqual(asked.fields[b"content-encoding"], b"gzip")
        self.assertNotIn(b"content-length", asked.fields)
        self.assertEqual(asked.writer.end_state, ())
        head = await self.fetch(b"/text.txt", b"HEAD")
        self.assertEqual((head.fields[b"content-length"], head.writer.data), (b"50000", b""))
        part = await self.fetch(b"/text.txt", b"GET", (b"range", b"bytes=0-3"))
        self.assertEqual((part.status, part.writer.data), (206, b"word"))

    async def test_a_large_file_there_and_back(self) -> None:
        for name, fields in (
            (b"/upload/a", ((b"content-length", b"%d" % (32 * MEBIBYTE)),)),
            (b"/upload/b", ()),
        ):
            asked = self.ask(name, b"PUT", *fields)
            sent = hashlib.sha256()
            for number in range(32):
                piece = number.to_bytes() * MEBIBYTE
                sent.update(piece)
                asked.body.send(piece)
            asked.body.end()
            writer: Any = asked.writer
            await writer.ended
            self.assertEqual(asked.status, 201)
            back: Any = (await self.fetch(name)).writer
            self.assertEqual((back.length, back.end_state), (32 * MEBIBYTE, ()))
            self.assertEqual(back.hash.digest(), sent.digest())

    async def test_a_body_that_is_too_long_is_answered_before_it_is_whole(self) -> None:
        asked = self.ask(b"/small", b"POST", (b"content-length", b"%d" % (32 * MEBIBYTE)))
        asked.body.send(bytes(MEBIBYTE))
        writer: Any = asked.writer
        await writer.ended
        await deferLater(reactor, 0)
        self.assertEqual(asked.status, 413)
        self.assertTrue(asked.body.cancelled)

    async def test_a_connection_that_ends_without_a_word(self) -> None:
        self.assertEqual((await self.fetch(b"/lost", b"POST")).status, 502)

    async def test_nginx_stops_and_comes_back(self) -> None:
        self.assertEqual((await self.fetch(b"/who")).status, 200)
        self.nginx.stop()
        # The idle connection is closed by now, which we may not have heard yet.
        self.assertEqual((await self.fetch(b"/who")).status, 502)
        self.start()
        await self.is_there()
        for method in (b"GET", b"HEAD"):
            self.assertEqual((await self.fetch(b"/who", method)).status, 200)
