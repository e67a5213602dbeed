"""Who guesses numbers over real connections: limited by where they come from, not by link."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SkipTest

from porttunnel.errors import ErrorCode
from porttunnel.session import request
from porttunnel.session.packet import (
    HEADER_BYTES,
    NO_MEMBER,
    SERVER,
    PacketSplitter,
    PacketType,
    encode_packet,
)
from tests.net.on_loopback import LoopbackTestCase

reactor: Any = real_reactor
HOME, NEIGHBOUR = "127.0.0.1", "127.0.0.2"


class Asking(Protocol):
    """One question on one connection."""

    def __init__(self, message: Any) -> None:
        self.answer: Deferred[Any] = Deferred()
        self._message = message
        self._splitter = PacketSplitter()

    def connectionMade(self) -> None:
        assert self.transport is not None
        body = request.encode(self._message)
        self.transport.write(encode_packet(PacketType.REQUEST, NO_MEMBER, SERVER, body, number=1))

    def dataReceived(self, data: bytes) -> None:
        for head, packet in self._splitter.split(memoryview(data)):
            body = bytes(packet[HEADER_BYTES:])
            if head.kind is PacketType.REPLY:
                self.answer.callback(request.decode_reply(body))
            elif head.kind is PacketType.ERROR:
                self.answer.callback(request.decode_error(body).code)


class JoinLimitTests(LoopbackTestCase):
    async def ask(self, message: Any, address: str = HOME) -> Any:
        endpoint = TCP4ClientEndpoint(reactor, HOME, self.tunnel.port, bindAddress=(address, 0))
        asking = await endpoint.connect(Factory.forProtocol(lambda: Asking(message)))
        assert isinstance(asking, Asking)
        # The connection stays open until the server drains: to hang up would be another story.
        return await asking.answer

    async def test_of_one_address_and_of_another(self) -> None:
        try:
            with socket.create_server((NEIGHBOUR, 0)):
                pass
        except OSError as error:
            raise SkipTest(f"this system has no {NEIGHBOUR}") from error
        created = await self.ask(
            request.Create(lifetime_s=600, max_clients=9, join_window_s=600), NEIGHBOUR
        )
        right = request.Join(number=created.number)
        self.assertIsInstance(await self.ask(right), request.Joined)
        wrong = request.Join(number=99_999 if created.number != 99_999 else 99_998)
        for _ in range(5):
            self.assertIs(await self.ask(wrong), ErrorCode.NO_SUCH_NUMBER)
        self.assertIs(await self.ask(right), ErrorCode.NO_SUCH_NUMBER)
        self.assertIsInstance(await self.ask(right, NEIGHBOUR), request.Joined)
