"""porttunnel.net.device.request_writer: what waits, what pauses, what can be sent again."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.binary_http_reader import ContentReceived, MessageEnded, MessageReader
from porttunnel.gateway.http_head import RequestHead
from porttunnel.net.device.request_writer import HIGH_WATER_BYTES, KEPT_BYTES, RequestWriter

HEAD = RequestHead(b"PUT", b"https", b"", b"/")


class Producer:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.react: Any = lambda: None

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")
        self.react()

    def stopProducing(self) -> None:
        self.told.append("stop")


class Written:
    """A writer, and what it calls."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.written = self.aborted = 0
        self.writer = RequestWriter(self.clock, HEAD, self._write, self._abort)

    def _write(self) -> None:
        self.written += 1

    def _abort(self) -> None:
        self.aborted += 1

    def take_all(self, count: int = 1 << 30) -> tuple[bytes, bool]:
        return self.writer.take(count)


def content_of(message: bytes) -> tuple[bytes, bool]:
    reader = MessageReader(request=True)
    told = [*reader.read(message), *reader.finish()]
    content = b"".join(bytes(one.data) for one in told if isinstance(one, ContentReceived))
    return content, isinstance(told[-1], MessageEnded)


def test_a_message_in_pieces() -> None:
    written = Written()
    written.writer.write(b"one")
    first, last = written.take_all(10)
    assert not last
    written.writer.write(b"two")
    written.writer.end()
    rest, last = written.take_all()
    assert last
    assert content_of(first + rest) == (b"onetwo", True)
    assert written.written == 3


def test_it_can_be_sent_again() -> None:
    written = Written()
    written.writer.write(b"one")
    first, _ = written.take_all(5)
    written.writer.rewind()
    written.writer.end()
    again, last = written.take_all()
    assert last
    assert again.startswith(first)
    assert content_of(again) == (b"one", True)
    written.writer.rewind()
    assert written.take_all() == (again, True)


def test_a_long_one_can_not() -> None:
    written = Written()
    written.writer.write(bytes(KEPT_BYTES))
    written.take_all(KEPT_BYTES)
    assert written.writer.is_repeatable
    written.take_all()
    assert not written.writer.is_repeatable
    with pytest.raises(LocalProtocolError):
        written.writer.rewind()


def test_nor_one_that_was_answered() -> None:
    written = Written()
    written.writer.keep_no_more()
    assert not written.writer.is_repeatable


def test_a_producer_is_paused_while_much_waits() -> None:
    written, producer = Written(), Producer()
    written.writer.registerProducer(producer, True)
    written.writer.write(bytes(HIGH_WATER_BYTES))
    assert producer.told == ["pause"]
    written.take_all(HIGH_WATER_BYTES // 2)
    assert producer.told == ["pause", "resume"]
    written.writer.unregisterProducer()
    written.writer.write(bytes(HIGH_WATER_BYTES))
    assert producer.told == ["pause", "resume"]


def test_a_pull_producer_is_asked_piece_by_piece() -> None:
    written, producer = Written(), Producer()
    pieces = [b"1", b"2", b"3"]

    def write() -> None:
        if pieces:
            written.writer.write(pieces.pop())
        else:
            written.writer.unregisterProducer()
            written.writer.end()

    producer.react = write
    written.writer.registerProducer(producer, False)
    written.clock.pump([0] * 5)
    assert content_of(written.take_all()[0]) == (b"321", True)


def test_closed_it_drops_what_comes() -> None:
    written, producer = Written(), Producer()
    written.writer.registerProducer(producer, True)
    written.writer.close()
    written.writer.close()
    written.writer.write(b"late")
    written.writer.end()
    written.writer.abort()
    assert (producer.told, written.writer.waiting_bytes) == (["stop"], 0)
    assert (written.written, written.aborted) == (0, 0)
    late = Producer()
    written.writer.registerProducer(late, True)
    assert late.told == ["stop"]


def test_aborted() -> None:
    written = Written()
    written.writer.abort()
    assert written.aborted == 1


def test_wrong_use() -> None:
    written = Written()
    with pytest.raises(LocalProtocolError):
        written.writer.end(((b"Upper", b"case"),))
    written.writer.end()
    with pytest.raises(LocalProtocolError):
        written.writer.write(b"x")
    with pytest.raises(LocalProtocolError):
        RequestWriter(Clock(), RequestHead(b"", b"", b"", b""), lambda: None, lambda: None)
