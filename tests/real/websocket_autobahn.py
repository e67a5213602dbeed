"""``python -m tests.real.websocket_autobahn URL KIND``: autobahn's client at an echo server.

:KIND: ``text`` or ``binary``: what it sends, in messages of many sizes, with one in fragments and
    pings between. A server of a stream may send the bytes back in other frames.

It prints ``echoed`` and how many bytes came back right, ``pong`` for each answer to a ping, and
``closed`` with the code; or ``failed`` and why.
"""

from __future__ import annotations

import sys
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.task import react

SIZES = (0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 300_000)


def body(size: int) -> bytes:
    return (b"BAsd7&jh23" * (size // 10 + 1))[:size]


class Client(WebSocketClientProtocol):
    factory: Any

    def onOpen(self) -> None:
        self.expected = b"".join(map(body, SIZES)) + b"in three fragments"
        self.received = b""
        for size in SIZES:
            self.sendMessage(body(size), isBinary=self.factory.binary)
            self.sendPing(b"%d" % size)
        self.beginMessage(isBinary=self.factory.binary)
        for part in (b"in three", b" ", b"fragments"):
            self.sendMessageFrame(part)
            self.sendPing(part)
        self.endMessage()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        assert isBinary == self.factory.binary
        self.received += payload
        if len(self.received) == len(self.expected):
            assert self.received == self.expected
            print("echoed", len(self.received))
            self.sendClose(1000, "done")

    def onPong(self, payload: bytes) -> None:
        print("pong", payload.decode())

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        print("closed" if wasClean else "failed", code, reason)
        self.factory.done.callback(None)


async def main(reactor: Any, url: str, kind: str) -> None:
    factory: Any = WebSocketClientFactory(url, protocols=["other", "echo"])
    factory.protocol = Client
    factory.noisy = False
    factory.binary = kind == "binary"
    factory.done = Deferred()
    endpoint = clientFromString(reactor, f"tcp:{factory.host}:{factory.port}")
    await endpoint.connect(factory)
    await factory.done


react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
