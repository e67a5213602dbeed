"""porttunnel.net.carriers.tls, on real loopback sockets: with itself and with Twisted's TLS."""

from __future__ import annotations

import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet import defer
from twisted.internet import reactor as real_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.carriers.stock import StockCarrier
from porttunnel.net.carriers.tls import (
    MAX_AT_ONCE_BYTES,
    PIECE_BYTES,
    RECORD_BYTES,
    TLSCarrier,
    can_take_over_tls,
)
from porttunnel.net.counters import ServerCounters
from porttunnel.net.port_sharing import Branch, SharedPortFactory
from porttunnel.net.tls import pinned_context, server_context
from porttunnel.session.limit import ConnectionLimiter
from tests.net.carriers.test_tcp import Receiver
from tests.net.carriers.tls_test_case import TLSTestCase

reactor: Any = real_reactor

FIRST = b"PT\x01"  # what tells the shared port that a link is inside
MUCH_BYTES = 5 << 20
MORE_THAN_FITS_BYTES = 64 << 20
STILL_TURNS = 100  # of the reactor: what was sent on loopback has arrived


def pattern(count: int) -> bytes:
    return (bytes(range(251)) * (count // 251 + 1))[:count]


async def turn() -> None:
    await deferLater(reactor, 0)


async def still() -> None:
    for _ in range(STILL_TURNS):
        await turn()


async def send_all(receiver: Receiver, data: bytes) -> None:
    """As a driver does: the rest once the carrier is writable."""
    rest = memoryview(data)
    while rest:
        before = receiver.calls.count("writable")
        taken = receiver.carrier.send([rest])
        rest = rest[taken:]
        if rest:
            await receiver.until(lambda before=before: receiver.calls.count("writable") > before)


class Stock(Protocol):
    """A program with Twisted's own TLS."""

    transport: Any

    def __init__(self) -> None:
        self.data = bytearray()
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class TLSCarrierTests(TLSTestCase):
    async def listen(self, build: Any, *, shared: bool = True) -> int:
        """A port where what ``build`` makes is inside TLS."""
        factory: Any = Factory()
        factory.noisy = False
        factory.protocol = build
        context = server_context(self.identity)
        if shared:
            factory = SharedPortFactory(
                reactor,
                {Branch.PACKETS: factory},
                tls=context,
                limiter=ConnectionLimiter(),
                counters=ServerCounters(),
            )
        else:
            factory = TLSMemoryBIOFactory(context, False, factory, reactor)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def connect(self, port: int, protocol: Protocol, creator: Any = None) -> Any:
        factory: Any = Factory()
        factory.noisy = False
        factory.protocol = lambda: protocol
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        creator = creator or pinned_context(self.identity.pin)
        return await wrapClientTLS(creator, endpoint, reactor).connect(factory)

    async def both(self, *, shared: bool = True) -> tuple[Receiver, Receiver]:
        """A client's receiver and a server's; the first bytes have been exchanged."""
        client, server = Receiver(), Receiver()
        subject: Any = server
        port = await self.listen(lambda: CarrierProtocol(reactor, subject), shared=shared)
        other: Any = client
        await self.connect(port, CarrierProtocol(reactor, other))
        await client.until_called("made")
        await send_all(client, FIRST)
        await server.until(lambda: bytes(server.data) == FIRST)
        self.assertIsInstance(client.carrier, TLSCarrier)
        self.assertIsInstance(server.carrier, TLSCarrier)
        server.data.clear()
        return client, server

    async def close(self, *receivers: Receiver) -> None:
        for receiver in receivers:
            receiver.carrier.close()
        for receiver in receivers:
            await receiver.until_called("lost")
        await turn()

    # Bytes

    async def test_much_goes_both_ways_at_once(self) -> None:
        client, server = await self.both()
        sent = pattern(MUCH_BYTES)
        sending = [defer.ensureDeferred(send_all(end, sent)) for end in (client, server)]
        await client.until(lambda: len(client.data) >= MUCH_BYTES)
        await server.until(lambda: len(server.data) >= MUCH_BYTES)
        await defer.gatherResults(sending)
        self.assertTrue(client.data == sent == server.data)
        self.assertEqual(client.carrier.peer.host, "127.0.0.1")
        await self.close(client, server)

    async def test_many_views_keep_their_order(self) -> None:
        client, server = await self.both()
        sizes = [1, RECORD_BYTES, 1, PIECE_BYTES + 36, 0, 52, 3, 2 * PIECE_BYTES - 1, 7]
        sent = pattern(sum(sizes))
        views, start = [], 0
        for size in sizes:
            views.append(memoryview(sent)[start : start + size])
            start += size
        self.assertEqual(client.carrier.send(views), len(sent))
        await server.until(lambda: len(server.data) >= len(sent))
        self.assertEqual(bytes(server.data), sent)
        # In few large pieces, not a record at a time.
        self.assertLess(server.calls.count("received"), len(sent) // RECORD_BYTES)
        await self.close(client, server)

    async def test_what_twisted_has_yet_to_send_comes_first(self) -> None:
        class HasWritten(CarrierProtocol):
            """As when the handshake's last bytes wait for the reactor's next turn."""

            def connectionMade(self) -> None:
                transport: Any = self.transport
                connection = transport.getHandle()
                connection.send(b"first ")
                transport.transport.write(connection.bio_read(PIECE_BYTES))
                connection.send(b"second ")
                super().connectionMade()
                self._receiver.carrier.send([memoryview(b"third")])

        server: Any = Receiver()
        port = await self.listen(lambda: HasWritten(reactor, server))
        client: Any = Receiver()
        await self.connect(port, CarrierProtocol(reactor, client))
        await send_all(client, FIRST)
        await client.until(lambda: bytes(client.data) == b"first second third")
        await self.close(client, server)

    async def test_who_sends_before_the_handshake_is_told_when_it_is_done(self) -> None:
        client, server = await self.both(shared=False)
        self.assertEqual(client.calls[:2], ["made", "writable"])
        await self.close(client, server)

    async def test_who_pauses_before_the_handshake_gets_nothing_until_it_goes_on(self) -> None:
        client, server = Receiver(), Receiver()
        subject: Any = server
        port = await self.listen(lambda: CarrierProtocol(reactor, subject), shared=False)
        other: Any = client
        await self.connect(port, CarrierProtocol(reactor, other))
        await client.until_called("made")
        client.carrier.pause_receiving()
        await send_all(client, b"question")
        await server.until_called("received")
        await send_all(server, b"answer")
        await still()
        self.assertEqual(bytes(client.data), b"")
        client.carrier.resume_receiving()
        await client.until(lambda: bytes(client.data) == b"answer")
        await self.close(client, server)

    async def test_works_with_twisteds_own_at_the_other_end(self) -> None:
        sent = FIRST + pattern(MUCH_BYTES)
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            server = Receiver()
            subject: Any = server
            port = await self.listen(lambda subject=subject: CarrierProtocol(reactor, subject))
            client = Stock()
            creator: Any = pinned_context(self.identity.pin)
            creator._context.set_max_proto_version(version)
            await self.connect(port, client, creator)
            client.transport.write(sent)
            await server.until(lambda server=server: len(server.data) >= len(sent))
            self.assertTrue(server.data == sent)
            await send_all(server, sent)
            while len(client.data) < len(sent):
                await turn()
            self.assertTrue(client.data == sent)
            client.transport.loseConnection()
            await server.until_called("ended")
            await self.close(server)
            while client.reason is None:
                await turn()

    # Back-pressure

    async def test_what_is_not_read_is_not_taken(self) -> None:
        client, server = await self.both()
        server.carrier.pause_receiving()
        sent = pattern(MORE_THAN_FITS_BYTES)
        taken = client.carrier.send([memoryview(sent)])
        self.assertLess(taken, len(sent))
        unsent = sum(map(len, client.carrier._unsent))
        self.assertLess(unsent, MAX_AT_ONCE_BYTES + PIECE_BYTES)
        self.assertEqual(client.carrier.send([memoryview(b"more")]), 0)
        await still()
        self.assertNotIn("writable", client.calls[3:])
        server.carrier.resume_receiving()
        await send_all(client, sent[taken:])
        await server.until(lambda: len(server.data) >= len(sent))
        self.assertTrue(server.data == sent)
        await self.close(client, server)

    async def test_on_a_slow_link_little_is_sealed_ahead(self) -> None:
        client, server = await self.both()
        client.carrier.limit_unsent(1)
        server.carrier.pause_receiving()
        client.carrier.send([memoryview(pattern(MORE_THAN_FITS_BYTES))])
        self.assertLess(sum(map(len, client.carrier._unsent)), 2 * RECORD_BYTES)
        client.carrier.abort()
        server.carrier.abort()
        await client.until_called("lost")
        await server.until_called("lost")

    # The end

    async def test_an_end_leaves_the_other_direction_open(self) -> None:
        client, server = await self.both()
        client.carrier.send([memoryview(b"last")])
        client.carrier.end()
        self.assertEqual(client.carrier.send([memoryview(b"too late")]), 0)
        await server.until_called("ended")
        self.assertEqual(bytes(server.data), b"last")
        await send_all(server, b"answer")
        await client.until(lambda: bytes(client.data) == b"answer")
        await self.close(server)
        await client.until_called("ended")
        await self.close(client)
        self.assertEqual(server.calls.count("ended"), 1)

    async def test_what_was_taken_goes_out_before_the_end(self) -> None:
        client, server = await self.both()
        server.carrier.pause_receiving()
        sent = pattern(MORE_THAN_FITS_BYTES)
        taken = client.carrier.send([memoryview(sent)])
        client.carrier.close()
        await still()
        self.assertNotIn("lost", client.calls)
        server.carrier.resume_receiving()
        await server.until_called("ended")
        self.assertTrue(server.data == sent[:taken])
        await client.until_called("lost")
        await self.close(server)

    async def test_a_socket_that_is_cut_is_no_end(self) -> None:
        client, server = await self.both()
        await send_all(client, b"half of")
        client.carrier._socket.end()  # without a word of TLS: anybody in between can do that
        await server.until_called("lost")
        self.assertEqual(bytes(server.data), b"half of")
        self.assertNotIn("ended", server.calls)
        assert server.reason is not None
        self.assertIs(server.reason.type, ConnectionLost)
        await client.until_called("lost")

    async def test_bytes_that_are_no_records_break_the_link(self) -> None:
        client, server = await self.both()
        client.carrier.send([memoryview(b"right")])
        client.carrier._socket.send([memoryview(bytes(100))])
        await server.until_called("lost")
        self.assertEqual(bytes(server.data), b"right")
        await client.until_called("lost")

    async def test_a_flipped_bit_gives_out_nothing(self) -> None:
        client, server = await self.both()
        client.carrier._seal(memoryview(b"changed on the way"))
        (sealed,) = client.carrier._unsent
        changed = bytearray(sealed)
        changed[-1] ^= 1
        client.carrier._socket.send([memoryview(changed)])
        await server.until_called("lost")
        self.assertEqual(bytes(server.data), b"")
        await client.until_called("lost")

    async def test_a_close_before_the_handshake_is_a_loss(self) -> None:
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        for close in (TLSCarrier.close, TLSCarrier.end, TLSCarrier.abort):
            client = Receiver()
            other: Any = client
            await self.connect(silent.getsockname()[1], CarrierProtocol(reactor, other))
            close(client.carrier)
            await client.until_called("lost")
            self.assertNotIn("received", client.calls)

    async def test_who_has_sent_and_gone_in_one_read_is_heard(self) -> None:
        server = Receiver()
        subject: Any = server
        port = await self.listen(lambda: CarrierProtocol(reactor, subject))
        client = Stock()
        await self.connect(port, client)
        client.transport.write(FIRST + b"goodbye")
        client.transport.loseConnection()
        await server.until(lambda: bool({"ended", "lost"} & set(server.calls)))
        self.assertEqual(bytes(server.data), FIRST + b"goodbye")
        server.carrier.close()
        await server.until_called("lost")
        self.assertEqual(server.carrier._socket.fileno(), -1)
        while client.reason is None:
            await turn()

    # What is not taken over

    async def test_other_transports_stay_with_the_stock_carrier(self) -> None:
        server = Receiver()
        subject: Any = server
        clock = Clock()  # a reactor that watches no descriptors
        port = await self.listen(lambda: CarrierProtocol(clock, subject))
        client = Stock()
        await self.connect(port, client)
        client.transport.write(FIRST)
        await server.until_called("received")
        self.assertIsInstance(server.carrier, StockCarrier)
        self.assertFalse(can_take_over_tls(client.transport, clock))
        self.assertFalse(can_take_over_tls(Protocol(), reactor))
        # Nobody would tell it of the handshake's end.
        self.assertFalse(can_take_over_tls(client.transport, reactor))
        client.transport.wrappedProtocol.handshakeCompleted = None
        self.assertTrue(can_take_over_tls(client.transport, reactor))
        client.transport.abortConnection()
        await server.until_called("lost")
        while client.reason is None:
            await turn()
