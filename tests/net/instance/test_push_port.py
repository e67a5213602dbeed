"""Where pushes are asked for, on real sockets."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.trial.unittest import TestCase

from porttunnel.errors import ConfigurationError
from porttunnel.net.instance.push_port import PushPort, load_or_create_token
from tests.net.http_question import Question
from tests.net.instance.fake_instance import FakeInstance

BODY = json.dumps({"name": "news", "all": True, "text": "hello"}).encode()


class PushPortTests(TestCase):
    timeout = 20

    async def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.instance = FakeInstance()
        self.port = PushPort(reactor, self.instance)
        self.addCleanup(self.close)

    async def close(self) -> None:
        await self.port.close()

    async def ask(self, endpoint: Any, *fields: str) -> int:
        head = [
            "POST /push HTTP/1.1",
            "Content-Type: application/json",
            f"Content-Length: {len(BODY)}",
            "Connection: close",
            *fields,
            "",
            "",
        ]
        question = await connectProtocol(endpoint, Question("\r\n".join(head).encode() + BODY))
        return int((await question.ended).split()[1])

    async def test_a_socket_in_the_file_system(self) -> None:
        path = self.folder / "push.sock"
        self.assertEqual(await self.port.open_socket(path, 0o660), f"listening unix:{path}")
        self.assertEqual(path.lstat().st_mode & 0o777, 0o660)
        endpoint = UNIXClientEndpoint(reactor, str(path))
        self.assertEqual(await self.ask(endpoint, "Host: localhost"), 200)
        self.assertEqual(self.instance.asked, [("push", "news", b"hello", None, None)])
        await self.port.close()
        self.assertEqual(os.listdir(self.folder), [])

    async def test_a_port_with_a_token(self) -> None:
        token_path = self.folder / "push.token"
        line = await self.port.open_port(0, token_path)
        self.assertRegex(line, r"^listening tcp:\d+:interface=127\.0\.0\.1$")
        number = int(line.split(":")[1])
        token = token_path.read_text().strip()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", number)
        for host in (f"127.0.0.1:{number}", f"localhost:{number}"):
            fields = (f"Host: {host}", f"Authorization: Bearer {token}")
            self.assertEqual(await self.ask(endpoint, *fields), 200)
            self.assertEqual(await self.ask(endpoint, fields[0]), 401)
        self.assertEqual(await self.ask(endpoint, "Host: evil.example", fields[1]), 421)
        self.assertEqual(len(self.instance.asked), 2)

    async def test_a_port_that_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = taken.getsockname()[1]
            with self.assertRaisesRegex(ConfigurationError, f"can't listen on port {number}"):
                await self.port.open_port(number, self.folder / "push.token")

    async def test_no_socket_below_a_long_path(self) -> None:
        with self.assertRaisesRegex(ConfigurationError, "there can be no socket"):
            await self.port.open_socket(Path("/" + "x" * 108), 0o600)

    def test_a_token_is_made_once_and_for_one_user(self) -> None:
        path = self.folder / "push.token"
        token = load_or_create_token(path)
        self.assertEqual(len(token), 64)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(load_or_create_token(path), token)
        path.chmod(0o644)
        with self.assertRaisesRegex(ConfigurationError, "chmod 600"):
            load_or_create_token(path)

    def test_a_token_that_could_be_guessed(self) -> None:
        path = self.folder / "push.token"
        for content in (b"", b"short", b"x" * 32 + b" " + b"x" * 32, b"\xff" * 64):
            path.write_bytes(content)
            path.chmod(0o600)
            with self.assertRaisesRegex(ConfigurationError, "holds no token of 32"):
                load_or_create_token(path)

    def test_a_token_that_can_not_be_written(self) -> None:
        with self.assertRaisesRegex(ConfigurationError, "can't be used"):
            load_or_create_token(self.folder / "none" / "push.token")
