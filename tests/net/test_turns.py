"""Sockets that want a link at once share it, and none of them holds up the others."""

from __future__ import annotations

from twisted.internet.protocol import Factory, Protocol

from porttunnel.net.client import JoinedSession
from porttunnel.session.credit import MIN_WINDOW_BYTES
from tests.conformance import End, factory_of
from tests.net.on_loopback import LoopbackTestCase

PIECE_BYTES = 1 << 16
ENOUGH_BYTES = 8 << 20  # for each of many: several turns


class Exact(Protocol):
    """Sends exactly what a stream may send at first, and then waits."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(bytes(MIN_WINDOW_BYTES))


class Endless(Protocol):
    """Sends as much as goes."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        assert self.transport is not None
        self.transport.write(bytes(PIECE_BYTES))

    def stopProducing(self) -> None:
        """The connection is over."""


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


def quiet(protocol: type[Protocol]) -> Factory:
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    return factory


class TurnTests(LoopbackTestCase):
    async def open(self, joined: JoinedSession, service: str) -> End:
        end: End = await joined.endpoint(service).connect(factory_of(End()))
        end.transport.write(b"go")
        return end

    async def test_who_has_sent_all_that_it_may_and_falls_silent_holds_nobody_up(self) -> None:
        exact = await self.tunnel.listen(quiet(Exact))
        echo = await self.tunnel.listen(quiet(Echo))
        shared = await self.tunnel.share(
            f"exact=tcp:127.0.0.1:{exact}", f"echo=tcp:127.0.0.1:{echo}"
        )
        first, second = await self.tunnel.join(shared), await self.tunnel.join(shared)
        silent = await self.open(first, "exact")
        await silent.until(lambda: len(silent.data) == MIN_WINDOW_BYTES)
        other = await self.open(second, "echo")
        await other.until(lambda: other.data == b"go")
        self.assertEqual(len(silent.data), MIN_WINDOW_BYTES)

    async def test_all_get_their_share_however_many_a_member_has(self) -> None:
        target = await self.tunnel.listen(quiet(Endless))
        shared = await self.tunnel.share(f"web=tcp:127.0.0.1:{target}")
        members = [await self.tunnel.join(shared) for _ in range(2)]
        ends = [await self.open(members[index], "web") for index in (0, 0, 0, 1)]
        for end in ends:
            await end.until_received(ENOUGH_BYTES)
        self.assertGreaterEqual(min(len(end.data) for end in ends), ENOUGH_BYTES)
        for end in ends:
            end.transport.abortConnection()
