"""porttunnel.net.direct: when a client tries what it is offered, and whom a master lets in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import FakeTransport, IOPump
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.net import direct
from porttunnel.net.client import JoinedSession
from porttunnel.net.direct import (
    MAX_UNPROVEN,
    OFFER_SECONDS,
    DirectDialler,
    DirectListener,
)
from porttunnel.net.master import SharedSession
from porttunnel.session import direct_address, event, request
from porttunnel.session.event import PathKind
from porttunnel.session.receipt import ACK_AFTER_SECONDS
from porttunnel.session.record import DirectAddress
from tests.net.in_memory import InMemoryTestCase
from tests.net.on_one_network import DirectTestCase, until

FOREIGN = ("8.8.8.8", "127.0.0.1", "::1", "2001:db8::1", "::ffff:8.8.8.8", "fe80::1%eth0", "")
NEAR = ("10.1.2.3", "::ffff:192.168.7.9", "fd00::1", "169.254.3.4")
may_connect = direct_address.may_connect


def offer_of(*hosts: str) -> list[DirectAddress]:
    return [DirectAddress(host=host, port=4663) for host in hosts]


class OfferTests(SynchronousTestCase):
    """A dialler alone, with addresses where nobody answers."""

    def setUp(self) -> None:
        self.reactor = Clock()
        self.connecting: list[tuple[str, Deferred[Any]]] = []

        def endpoint(_reactor: Any, host: str, _port: int, **_options: Any) -> Any:
            def connect(_factory: Any) -> Deferred[Any]:
                self.connecting.append((host, Deferred()))
                return self.connecting[-1][1]

            return SimpleNamespace(connect=connect)

        self.patch(direct, "HostnameEndpoint", endpoint)
        session: Any = self
        self.dialler = DirectDialler(session, self.dial)
        self.addCleanup(self.assert_quiet)

    def run_direct(self, path: Any) -> None:
        """The session's; no connection is ever made."""

    def dial(self, reason: str) -> Any:
        return SimpleNamespace(
            on_closed=lambda: None, on_proven=lambda: None, close=lambda: None, peer=None
        )

    def tried(self) -> list[str]:
        """The hosts that were tried since the last call; all of them were given up or failed."""
        tried = [host for host, _ in self.connecting]
        self.connecting.clear()
        return tried

    def assert_quiet(self) -> None:
        self.dialler.offer(())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.advance(10 * OFFER_SECONDS)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_the_first_is_tried_at_once(self) -> None:
        self.dialler.offer(offer_of("10.0.0.1"))
        self.assertEqual(self.tried(), ["10.0.0.1"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_of_many_soon_after_it_the_last_is_tried_once(self) -> None:
        self.dialler.offer(offer_of("10.0.0.1"))
        ((_, first),) = self.connecting
        self.tried()
        for number in range(2, 9):
            self.reactor.advance(0.25)
            self.dialler.offer(offer_of(f"10.0.0.{number}"))
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        # What is offered no more is not tried any more.
        self.assertTrue(first.called)
        self.assertEqual(self.tried(), [])
        self.reactor.advance(OFFER_SECONDS - 7 * 0.25)
        self.assertEqual(self.tried(), ["10.0.0.8"])
        self.reactor.advance(10 * OFFER_SECONDS)
        self.assertEqual(self.tried(), [])

    def test_one_that_comes_late_is_tried_at_once(self) -> None:
        for number in range(3):
            self.dialler.offer(offer_of(f"10.0.0.{number}"))
            self.assertEqual(self.tried(), [f"10.0.0.{number}"])
            self.reactor.advance(OFFER_SECONDS)

    def test_the_one_that_waited_counts_as_well(self) -> None:
        for number in range(2):
            self.dialler.offer(offer_of(f"10.0.0.{number}"))
        self.reactor.advance(OFFER_SECONDS)
        self.assertEqual(self.tried(), ["10.0.0.0", "10.0.0.1"])
        self.dialler.offer(offer_of("10.0.0.2"))
        self.assertEqual(self.tried(), [])
        self.reactor.advance(OFFER_SECONDS)
        self.assertEqual(self.tried(), ["10.0.0.2"])

    def test_none_needs_no_waiting(self) -> None:
        self.dialler.offer(offer_of("10.0.0.1"))
        self.dialler.offer(offer_of("10.0.0.2"))
        self.dialler.offer(())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.advance(OFFER_SECONDS)
        self.assertEqual(self.tried(), ["10.0.0.1"])

    def test_stopped_while_it_waits(self) -> None:
        self.dialler.offer(offer_of("10.0.0.1"))
        self.dialler.offer(offer_of("10.0.0.2"))
        self.dialler.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.dialler.stop()
        self.reactor.advance(OFFER_SECONDS)
        self.assertEqual(self.tried(), ["10.0.0.1"])

    def test_another_network_is_tried_at_once(self) -> None:
        self.dialler.offer(offer_of("10.0.0.1"))
        self.dialler.offer(offer_of("10.0.0.2"))
        self.dialler.begin()
        self.assertEqual(self.tried(), ["10.0.0.1", "10.0.0.2"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class _Path:
    """Of a connection that has proven nothing yet."""

    closed = False
    peer = None


class ListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.hosts = ["192.168.7.2"]
        self.accepted: list[str] = []
        session: Any = self
        self.listener = DirectListener(
            session, self.accept, lambda port: offer_of(*self.hosts) if port else []
        )

    def accept(self, reason: str) -> Any:
        self.accepted.append(reason)
        return _Path()

    def run_direct(self, path: Any) -> Any:
        """The session's: the protocol of a connection."""
        return path

    def connect_from(self, host: str) -> Any:
        factory = self.reactor.tcpServers[0][1]
        return factory.buildProtocol(IPv4Address("TCP", host, 50_000))

    def test_listens_once(self) -> None:
        for _ in range(3):
            self.listener.begin()
            self.assertEqual([server[3] for server in self.reactor.tcpServers], ["::", ""])

    def test_listens_once_there_is_an_address(self) -> None:
        hosts, self.hosts = self.hosts, []
        self.listener.begin()
        self.assertEqual((self.listener.addresses, self.reactor.tcpServers), ([], []))
        self.hosts = hosts
        self.listener.begin()
        self.assertEqual(self.listener.addresses, offer_of("192.168.7.2"))

    def test_who_is_not_near_gets_no_connection(self) -> None:
        self.listener.begin()
        for host in FOREIGN * MAX_UNPROVEN:
            self.assertIsNone(self.connect_from(host))
        self.assertEqual(self.accepted, [])
        # Nor do the refused take anybody's place.
        for host in NEAR:
            self.assertIsNotNone(self.connect_from(host))
        self.assertIn("both are on one network (192.168.7.9)", self.accepted)
        self.assertEqual(len(self.accepted), len(NEAR))


class FoundLaterTests(DirectTestCase):
    async def test_a_master_that_gets_an_address_listens_once_its_link_is_back(self) -> None:
        hosts, self.hosts = self.hosts, []
        shared, joined = await self.meet()
        await self.assert_works(shared, joined)
        self.assertNotIn(event.DirectOffered, map(type, self.told[2]))
        self.hosts = hosts
        assert shared.carrier is not None
        shared.carrier.abort()
        await self.until_path(PathKind.DIRECT)
        listener: Any = shared._listener
        listening = list(listener._ports)
        assert shared.carrier is not None
        shared.carrier.abort()
        restored = self.told[1].count(event.LinkRestored())
        await until(lambda: self.told[1].count(event.LinkRestored()) > restored)
        self.assertEqual(listener._ports, listening)

    async def test_who_dials_from_elsewhere_is_refused_at_once(self) -> None:
        shared, joined = await self.meet(client=False)
        # The loopback is no private network any more.
        self.patch(direct_address, "may_connect", may_connect)
        self.patch(direct, "DIRECT_PORT", 4663)
        for _ in range(2):
            end = await self.dial(self.ports[-1])
            await end.until_lost()
            self.assertEqual(end.data, b"")
        self.assertEqual(shared._directs, {})
        await self.assert_works(shared, joined)


class _Transport(FakeTransport):
    def loseWriteConnection(self) -> None:
        self.loseConnection()


class DeadlineTests(InMemoryTestCase):
    """What comes on a direct path has its deadline, however idle the link is."""

    def pair_up(self) -> tuple[SharedSession, JoinedSession]:
        shared, joined = self.pair()
        here: Any = joined.run_direct(joined._dial("near"))
        there: Any = shared.run_direct(shared._accept_direct("near"))
        ends = _Transport(here, isServer=False), _Transport(there, isServer=True)
        here.makeConnection(ends[0])
        there.makeConnection(ends[1])
        self.endpoint.pumps.append(IOPump(here, there, *ends, False, clock=self.clock))
        self.run_lines()
        self.assertEqual(
            [each.path for each in self.happened(event.PathChanged)], [PathKind.DIRECT] * 2
        )
        return shared, joined

    def test_a_record_is_acknowledged_in_time(self) -> None:
        shared, _joined = self.pair_up()
        # Long enough that all is acknowledged, and no deadline of before is left.
        self.pass_time(1.0)
        (client,) = shared._machine.peers
        self.assertEqual(client.pair.unacked_bytes, 0)
        # No stream's data: those who read it flush the link by the way.
        shared._master.offer_direct(offer_of("192.168.7.2"))
        shared.flush()
        self.run_lines()
        (offered,) = self.happened(event.DirectOffered)
        self.assertEqual(list(offered.addresses), offer_of("192.168.7.2"))
        self.assertGreater(client.pair.unacked_bytes, 0)
        self.pass_time(ACK_AFTER_SECONDS)
        self.assertEqual(client.pair.unacked_bytes, 0)

    def test_what_comes_on_the_path_may_lead_to_a_packet_on_the_link(self) -> None:
        shared, joined = self.pair_up()
        link = joined._machine.link
        told: list[Any] = []

        def answer(happened: Any) -> None:
            # A word to the tunnel server, in a call that only the direct path has made.
            told.append(happened)
            link.tell(request.Status())

        self.patch(joined, "_on_event", answer)
        self.pass_time(1.0)
        shared._master.offer_direct(offer_of("192.168.7.2"))
        shared.flush()
        self.run_lines()
        self.assertEqual([type(each) for each in told], [event.DirectOffered])
        # It went out, and was answered.
        self.assertEqual(
            (link.outbox.waiting_bytes, bool(link.turns), link.untold), (0, False, [])
        )
