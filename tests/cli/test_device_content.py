"""porttunnel.cli.device_content: what is sent of a text, a file, standard input."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.cli.device_content import READ_BYTES, FileContent, TextContent, open_content
from porttunnel.errors import ConfigurationError
from porttunnel.gateway.http_head import RequestHead
from porttunnel.net.device.request_writer import RequestWriter
from tests.net.device.fake_device import FakeWriter

HEAD = RequestHead(b"POST", b"https", b"", b"/")


class GivenInput:
    """Standard streams whose input is given away."""

    reserved = False
    consumer: Any = None

    def reserve_input(self) -> None:
        self.reserved = True

    def send_input_to(self, consumer: Any) -> None:
        self.consumer = consumer


class ContentTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "file"
        self.streams: Any = GivenInput()

    def test_a_text(self) -> None:
        for data, expected in (("é", "é".encode()), ("\udcff", b"\xff"), ("", b""), (None, b"")):
            writer = FakeWriter()
            content = open_content(data, self.streams)
            self.assertIsInstance(content, TextContent)
            content.send(writer)
            content.close()
            self.assertEqual((writer.data, writer.trailers), (expected, ()))
            self.assertEqual(content.length, len(expected))

    def test_a_file_is_read_as_it_is_taken(self) -> None:
        data = bytes(range(256)) * (10 * READ_BYTES // 256)
        self.path.write_bytes(data)
        content = open_content(f"@{self.path}", self.streams)
        assert isinstance(content, FileContent)
        self.assertEqual(content.length, len(data))
        clock = Clock()
        writer = RequestWriter(clock, HEAD, lambda: None, lambda: None)
        content.send(writer)
        clock.pump([0.0] * 20)
        self.assertLess(writer.waiting_bytes, 4 * READ_BYTES)
        taken, last = b"", False
        while not last:
            piece, last = writer.take(50_000)
            taken += piece
            clock.advance(0)
        self.assertGreaterEqual(len(taken), len(data))
        self.assertIn(data[-60_000:], taken)
        content.close()

    def test_a_request_that_is_over_stops_the_file(self) -> None:
        self.path.write_bytes(bytes(10 * READ_BYTES))
        content = open_content(f"@{self.path}", self.streams)
        writer = RequestWriter(Clock(), HEAD, lambda: None, lambda: None)
        content.send(writer)
        writer.close()
        self.assertEqual(writer.take(1), (b"", False))
        content.close()

    def test_an_empty_file(self) -> None:
        self.path.touch()
        content = open_content(f"@{self.path}", self.streams)
        writer = RequestWriter(Clock(), HEAD, lambda: None, lambda: None)
        content.send(writer)
        self.assertEqual((content.length, writer.take(1_000)[1]), (0, True))
        content.close()

    def test_a_file_that_is_not_there(self) -> None:
        with self.assertRaises(ConfigurationError) as raised:
            open_content(f"@{self.path}", self.streams)
        self.assertIn("No such file", str(raised.exception))

    def test_what_is_no_file(self) -> None:
        os.mkfifo(self.path)
        with self.assertRaises(ConfigurationError) as raised:
            open_content(f"@{self.path}", self.streams)
        self.assertIn("it is no file; for what a program writes use @-", str(raised.exception))

    def test_standard_input_of_any_length(self) -> None:
        content = open_content("@-", self.streams)
        self.assertIsNone(content.length)
        self.assertTrue(self.streams.reserved)
        writer = FakeWriter()
        content.send(writer)
        consumer = self.streams.consumer
        consumer.registerProducer(self, True)
        self.assertIs(writer.producer, self)
        consumer.write(b"abc")
        consumer.unregisterProducer()
        consumer.loseConnection()
        content.close()
        self.assertEqual((writer.data, writer.trailers), (b"abc", ()))
