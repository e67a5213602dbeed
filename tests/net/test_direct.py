"""porttunnel.net.direct: streams find the straight way, lose it, and find it again."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.net import direct, reconnect
from porttunnel.net.direct import DirectListener
from porttunnel.session import event
from porttunnel.session.event import PathKind
from porttunnel.session.record import DirectAddress
from tests.conformance import digest, pattern, turn
from tests.net import test_conformance
from tests.net.on_one_network import DirectTestCase, OnOneNetwork, until

reactor: Any = real_reactor
MOVES = 200
CHUNK_BYTES = 65_536


class PathTests(DirectTestCase):
    async def test_streams_go_straight(self) -> None:
        shared, joined = await self.pair()
        relayed = self.tunnel.counters.relayed_bytes
        await self.assert_works(shared, joined)
        # Not even an acknowledgement is left for the server.
        self.assertEqual(self.tunnel.counters.relayed_bytes, relayed)
        for member in (1, 2):
            (changed,) = [each for each in self.told[member] if type(each) is event.PathChanged]
            self.assertEqual(changed.member, 3 - member)
            self.assertIn("both are on one network (127.0.0.1)", changed.reason)

    async def test_there_and_back_again_and_again(self) -> None:
        self.patch(reconnect, "MAX_DELAY_SECONDS", 0.02)  # is waited for at each move
        shared, joined = await self.pair()
        server, client = await self.open(shared, joined)
        for number in range(MOVES):
            for end in (server, client):
                end.transport.write(pattern(CHUNK_BYTES))
            if number % 4 < 2:
                await turn()
            session = (joined, shared)[number % 2]
            for carrier in self.carriers(session):
                carrier.abort()
            await until(
                lambda count=number + 1: all(  # type: ignore[misc]  # the loop's
                    self.paths(member).count(PathKind.RELAY) >= count for member in (1, 2)
                )
            )
            await self.until_path(PathKind.DIRECT)
        for end in (server, client):
            await end.until_received(MOVES * CHUNK_BYTES)
            self.assertEqual(digest(end.data), digest(pattern(CHUNK_BYTES) * MOVES))
        for member in (1, 2):
            alternating = [PathKind.DIRECT, PathKind.RELAY] * MOVES
            self.assertEqual(self.paths(member), [*alternating, PathKind.DIRECT])
        # What was closed is forgotten.
        await until(lambda: len(shared._directs) == len(joined._directs) == 1)

    async def test_goes_on_without_any_server(self) -> None:
        shared, joined = await self.pair()
        port = await self.tunnel.kill_server()
        await self.assert_works(shared, joined)
        # Without any they would try to say goodbye for seconds.
        await self.tunnel.start_server(port)
        await until(lambda: shared.carrier is not None and joined.carrier is not None)

    async def test_both_ways_lost_at_once(self) -> None:
        shared, joined = await self.pair()
        server, client = await self.open(shared, joined)
        for _ in range(10):
            for end in (server, client):
                end.transport.write(pattern(CHUNK_BYTES))
            for session in (shared, joined):
                for carrier in (*self.carriers(session), session.carrier):
                    if carrier is not None:
                        carrier.abort()
            await turn()
            await until(lambda: shared.carrier is not None and joined.carrier is not None)
        for end in (server, client):
            await end.until_received(10 * CHUNK_BYTES)
            self.assertEqual(digest(end.data), digest(pattern(CHUNK_BYTES) * 10))
        await self.until_path(PathKind.DIRECT)

    async def test_what_has_worked_is_tried_until_it_works_again(self) -> None:
        # The server is often back before the network that both are on.
        shared, joined = await self.pair()
        port = self.ports[-1]
        listener: Any = shared._listener
        for listening in listener._ports:
            await maybeDeferred(listening.stopListening)
        for carrier in self.carriers(joined):
            carrier.abort()
        await self.until_path(PathKind.RELAY)
        assert joined.carrier is not None
        joined.carrier.abort()
        await until(lambda: event.LinkRestored in map(type, self.told[2]))
        tries = len(self.tried)
        await until(lambda: len(self.tried) > tries + 2)
        again = reactor.listenTCP(port, listener._factory)
        self.addCleanup(again.stopListening)
        await self.until_path(PathKind.DIRECT)
        await self.assert_works(shared, joined)

    async def test_lost_as_soon_as_it_is_there(self) -> None:
        _shared, joined = await self.meet()
        dialler: Any = joined._dialler
        await until(lambda: dialler._worked is not None)
        for carrier in self.carriers(joined):
            carrier.abort()
        self.assertEqual(self.paths(2), [])
        await until(lambda: len(self.tried) > 1)
        await self.until_path(PathKind.DIRECT)

    async def test_ends_with_the_session(self) -> None:
        shared, joined = await self.pair()
        port = self.ports[-1]
        await shared.close()
        await joined.when_done()
        await until(lambda: not shared._directs and not joined._directs)
        with self.assertRaises(ConnectionRefusedError):
            await self.dial(port)

    async def test_a_client_that_leaves_takes_its_path_along(self) -> None:
        shared, joined = await self.pair()
        await joined.close()
        await until(lambda: not shared._directs and not joined._directs)
        self.assertTrue(shared.carrier is not None)

    async def test_each_client_has_a_path_of_its_own(self) -> None:
        shared, joined = await self.pair()
        second = await self.tunnel.join(shared, direct=True)
        await until(lambda: len(self.paths(1)) == 2)
        self.assertEqual(
            [each.member for each in self.told[1] if isinstance(each, event.PathChanged)], [2, 3]
        )
        shared.kick(second.local_member)
        await until(lambda: len(shared._directs) == 1)
        await self.assert_works(shared, joined)

    async def test_the_usual_port_is_taken(self) -> None:
        taken = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="::")
        self.addCleanup(taken.stopListening)
        self.patch(direct, "DIRECT_PORT", taken.getHost().port)
        await self.pair()
        self.assertNotEqual(self.ports[-1], taken.getHost().port)


class UnwantedTests(DirectTestCase):
    async def test_by_the_master(self) -> None:
        shared, joined = await self.meet(master=False)
        await self.assert_works(shared, joined)
        self.assertEqual(self.ports, [])
        self.assertNotIn(event.DirectOffered, map(type, self.told[2]))

    async def test_by_the_client(self) -> None:
        shared, joined = await self.meet(client=False)
        await until(lambda: event.DirectOffered in map(type, self.told[2]))
        await self.assert_works(shared, joined)
        self.assertEqual((shared._directs, joined._directs), ({}, {}))

    async def test_by_a_machine_without_an_address(self) -> None:
        self.hosts = []
        shared, joined = await self.meet()
        await self.assert_works(shared, joined)
        # It asked what could be offered, and then opened no port.
        self.assertEqual(set(self.ports), {direct.DIRECT_PORT})
        self.assertNotIn(event.DirectOffered, map(type, self.told[2]))


def machine_without_ipv6(*taken: int) -> Any:
    """A reactor that can't listen at "::", nor at the ports that are taken."""
    machine: Any = MemoryReactorClock()
    listen = machine.listenTCP

    def try_to_listen(port: int, factory: Any, *, interface: str) -> Any:
        if interface == "::" or port in taken:
            raise CannotListenError(interface, port, OSError("not here"))
        return listen(port, factory, interface=interface)

    machine.listenTCP = try_to_listen
    return machine


class ListenerTests(SynchronousTestCase):
    def listen(self, reactor: Any) -> DirectListener:
        self.reactor = reactor

        def find(port: int) -> list[DirectAddress]:
            return [DirectAddress(host="192.168.7.2", port=port)]

        session: Any = self
        listener = DirectListener(session, self.fail, find)
        listener.begin()
        return listener

    def test_on_a_machine_without_ipv6(self) -> None:
        reactor = machine_without_ipv6()
        listener = self.listen(reactor)
        ((port, _factory, _backlog, interface),) = reactor.tcpServers
        self.assertEqual((port, interface), (direct.DIRECT_PORT, ""))
        self.assertEqual(len(listener.addresses), 1)
        listener.stop()
        self.assertEqual(listener.addresses, [])

    def test_on_a_machine_with_both(self) -> None:
        reactor = MemoryReactorClock()
        listener = self.listen(reactor)
        self.assertEqual([server[3] for server in reactor.tcpServers], ["::", ""])
        self.assertEqual(len(listener.addresses), 1)

    def test_at_another_port_if_the_usual_one_is_taken(self) -> None:
        reactor = machine_without_ipv6(direct.DIRECT_PORT)
        self.listen(reactor)
        self.assertEqual([server[0] for server in reactor.tcpServers], [0])

    def test_nowhere_if_nothing_is_free(self) -> None:
        reactor = machine_without_ipv6(direct.DIRECT_PORT, 0)
        listener = self.listen(reactor)
        self.assertEqual((listener.addresses, reactor.tcpServers), ([], []))
        listener.stop()


class DirectStreamTests(OnOneNetwork, test_conformance.ClientsStreamTests):
    """Everything that a stream must do, on a direct path."""

    async def tearDown(self) -> None:
        self.assertEqual((self.paths(1), self.paths(2)), ([PathKind.DIRECT], [PathKind.DIRECT]))
        await super().tearDown()


class DirectMastersStreamTests(OnOneNetwork, test_conformance.MastersStreamTests):
    """Likewise, opened by the master."""
