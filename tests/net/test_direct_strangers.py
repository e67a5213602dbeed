"""porttunnel.net.direct: who is at the other end without being master or client gets nothing."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory, Protocol

from porttunnel.net import direct, driver, reconnect
from porttunnel.net.client import JoinedSession
from porttunnel.net.direct import MAX_UNPROVEN, DirectDialler
from porttunnel.net.master import SharedSession
from porttunnel.session import direct as direct_path
from porttunnel.session import event
from porttunnel.session.direct_proof import D1_BYTES, D2_BYTES, D3_BYTES
from porttunnel.session.event import PathKind
from porttunnel.session.record import DirectAddress
from tests.conformance import End, HalfClosingEnd, factory_of
from tests.net.on_one_network import DirectTestCase, until

reactor: Any = real_reactor


class Stranger(Protocol):
    """Who listens where the master is said to be."""

    def __init__(self, found: list[Stranger], greeting: bytes, *, echoes: bool) -> None:
        self.found = found
        self.greeting = greeting
        self.echoes = echoes
        self.received = b""
        self.lost = False

    def connectionMade(self) -> None:
        self.found.append(self)
        if self.greeting:
            self.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.echoes:
            self.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class WrongHostTests(DirectTestCase):
    """Another machine has the address, in another network."""

    async def setUp(self) -> None:
        await super().setUp()
        self.patch(direct_path, "PROOF_SECONDS", 0.2)
        self.found: list[Stranger] = []

    async def meet_stranger(self, greeting: bytes = b"", *, echoes: bool = False) -> Stranger:
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: Stranger(  # type: ignore[method-assign]  # with these
            self.found, greeting, echoes=echoes
        )
        self.offered_port = await self.tunnel.listen(factory)
        shared, joined = await self.meet()
        await until(lambda: bool(self.found) and self.found[0].lost)
        await until(lambda: not joined._directs)
        await self.assert_works(shared, joined)
        self.assertEqual(self.paths(1) + self.paths(2), [])
        (stranger,) = self.found
        return stranger

    async def test_says_nothing(self) -> None:
        stranger = await self.meet_stranger()
        self.assertEqual((len(stranger.received), stranger.received[:4]), (D1_BYTES, b"PTD1"))

    async def test_says_nonsense(self) -> None:
        for greeting in (
            os.urandom(D2_BYTES),
            os.urandom(100_000),
            b"HTTP/1.1 400 Bad\r\n\r\n" * 9,
        ):
            stranger = await self.meet_stranger(greeting)
            self.assertIn(len(stranger.received), (0, D1_BYTES))
            self.found.clear()

    async def test_says_what_it_heard(self) -> None:
        stranger = await self.meet_stranger(echoes=True)
        self.assertEqual(len(stranger.received), D1_BYTES)

    async def test_is_not_there(self) -> None:
        port = await closed_port()
        self.offered_port = port
        shared, joined = await self.meet()
        await until(lambda: event.DirectOffered in map(type, self.told[2]))
        await until(lambda: not joined._directs)
        await self.assert_works(shared, joined)
        self.assertEqual(self.paths(2), [])
        # In another network the same address may be right.
        self.offered_port = 0
        listening = reactor.listenTCP(
            port, Factory.forProtocol(lambda: Stranger(self.found, b"", echoes=False))
        )
        self.addCleanup(listening.stopListening)
        joined.carrier.abort()  # type: ignore[union-attr]  # there is one
        await until(lambda: bool(self.found) and self.found[0].lost)
        await until(lambda: not joined._directs)
        await self.assert_works_again(shared, joined)

    async def assert_works_again(self, shared: SharedSession, joined: JoinedSession) -> None:
        end = End()
        await joined.listen("back").listen(factory_of(end))
        await shared.endpoint(2, "back").connect(factory_of(End()))
        self.assertEqual(end.calls, ["made"])

    async def test_is_not_tried_any_more_once_the_session_is_over(self) -> None:
        # Given up while it connects: what the endpoint makes of that is no failed try.
        connecting: list[Deferred[Any]] = []

        class Silent:
            def __init__(self, *arguments: Any, **options: Any) -> None:
                pass

            def connect(self, factory: Any) -> Deferred[Any]:
                connecting.append(
                    Deferred(lambda late: late.errback(ConnectingCancelledError(None)))
                )
                return connecting[-1]

        shared, joined = await self.meet()
        await self.until_path(PathKind.DIRECT)
        self.patch(direct, "HostnameEndpoint", Silent)
        for carrier in self.carriers(joined):
            carrier.abort()
        await until(lambda: len(connecting) == 1)
        delays: list[int] = []
        self.patch(
            reconnect, "draw_delay", lambda failures, random: delays.append(failures) or 9.0
        )
        dialler: Any = joined._dialler
        dialler.stop()
        self.assertTrue(connecting[0].called)
        self.assertEqual(delays, [])
        await self.assert_works(shared, joined)

    async def test_comes_first_and_then_the_master(self) -> None:
        self.hosts = ["127.0.0.2", "127.0.0.1"]
        shared, joined = await self.meet()
        await self.until_path(PathKind.DIRECT)
        await self.assert_works(shared, joined)


async def closed_port() -> int:
    """A port where nobody listens."""
    listening = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
    port = int(listening.getHost().port)
    await listening.stopListening()
    return port


class StrangersTests(DirectTestCase):
    """Who dials the master without being its client."""

    async def listen(self) -> tuple[SharedSession, JoinedSession, int]:
        shared, joined = await self.meet(client=False)
        return shared, joined, self.ports[-1]

    async def test_gets_nothing(self) -> None:
        shared, joined, port = await self.listen()
        for greeting in (
            os.urandom(D1_BYTES),
            b"GET / HTTP/1.1\r\n\r\n" * 9,
            b"PTD1" + bytes(999),
        ):
            end = await self.dial(port)
            end.transport.write(greeting)
            await end.until_lost()
            self.assertEqual(end.data, b"")
        await until(lambda: not shared._directs)
        await self.assert_works(shared, joined)

    async def test_is_not_waited_for(self) -> None:
        self.patch(direct_path, "PROOF_SECONDS", 0.2)
        shared, _joined, port = await self.listen()
        for greeting in (b"", b"PTD1"):
            end = await self.dial(port)
            end.transport.write(greeting)
            await end.until_lost()
            self.assertEqual(end.data, b"")
        await until(lambda: not shared._directs)

    async def test_has_no_connection_left_by_not_closing_its_end(self) -> None:
        # Else it would have any number of them for as long as a goodbye is waited for.
        self.patch(driver, "GOODBYE_SECONDS", 1_000.0)
        shared, _joined, port = await self.listen()
        for _ in range(3):
            end = HalfClosingEnd()
            await self.dial(port, end)
            end.transport.write(os.urandom(D1_BYTES))
            await end.until_lost()
        await until(lambda: not shared._directs)

    async def test_says_what_a_client_said(self) -> None:
        shared, joined = await self.pair()
        said: list[bytes] = []
        real = direct_path.AcceptedPath._receive_d1

        def listen_in(path: Any, proof: bytes) -> None:
            said.append(proof)
            real(path, proof)

        self.patch(direct_path.AcceptedPath, "_receive_d1", listen_in)
        (carrier,) = self.carriers(joined)
        carrier.abort()
        await until(lambda: len(self.paths(1)) == 3)
        end = await self.dial(self.ports[-1])
        end.transport.write(said[0])
        await end.until_received(D2_BYTES)
        end.transport.write(os.urandom(D3_BYTES))
        await end.until_lost()
        self.assertEqual(len(end.data), D2_BYTES)
        # The client's own path has not suffered.
        await until(lambda: len(self.carriers(shared)) == 1)
        await self.assert_works(shared, joined)
        self.assertEqual(len(self.paths(1)), 3)

    async def test_only_so_many_at_a_time(self) -> None:
        self.patch(direct_path, "PROOF_SECONDS", 100.0)
        shared, _joined, port = await self.listen()
        ends = [await self.dial(port) for _ in range(MAX_UNPROVEN)]
        await until(lambda: len(self.carriers(shared)) == MAX_UNPROVEN)
        for _ in range(3):
            one_more = await self.dial(port)
            await one_more.until_lost()
        self.assertEqual([end.lost for end in ends], [False] * MAX_UNPROVEN)
        self.assertEqual(len(self.carriers(shared)), MAX_UNPROVEN)
        ends[0].transport.abortConnection()
        await until(lambda: len(self.carriers(shared)) < MAX_UNPROVEN)
        await self.dial(port)
        await until(lambda: len(self.carriers(shared)) == MAX_UNPROVEN)
        self.assertFalse(any(end.lost for end in ends[1:]))

    async def test_keeps_no_client_out_that_is_proven(self) -> None:
        self.patch(direct_path, "PROOF_SECONDS", 100.0)
        shared, joined = await self.pair()
        for _ in range(MAX_UNPROVEN):
            await self.dial(self.ports[-1])
        await self.assert_works(shared, joined)
        self.assertEqual(self.paths(1), [PathKind.DIRECT])

    async def test_even_a_client_has_no_older_connection_left(self) -> None:
        self.patch(driver, "GOODBYE_SECONDS", 1_000.0)
        shared, joined = await self.meet(client=False)
        # It closes none of its ends.
        self.patch(joined, "_close_direct", lambda *_: None)
        self.patch(driver.MachineDriver, "carrier_ended", lambda _driver: None)
        address = DirectAddress(host="127.0.0.1", port=self.ports[-1])
        for _ in range(3):
            dialler = DirectDialler(joined, joined._dial)
            self.addCleanup(dialler.stop)
            dialler.offer([address])
            await dialler._trying
        await until(lambda: len(shared._directs) == 1)
        await self.assert_works(shared, joined)

    async def test_ends_with_the_session(self) -> None:
        shared, _joined, port = await self.listen()
        end = await self.dial(port)
        await shared.close()
        await end.until_lost()
        await until(lambda: not shared._directs)
        self.assertEqual(end.data, b"")
