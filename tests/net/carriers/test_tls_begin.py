"""porttunnel.net.carriers.tls, from the take-over on: with clients that no library makes."""

from __future__ import annotations

import gc
import socket
import weakref
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as real_reactor
from twisted.internet.endpoints import (
    SSL4ClientEndpoint,
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, deferLater

from porttunnel.errors import NotReachable
from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.carriers.stock import StockCarrier
from porttunnel.net.carriers.tls import MAX_UNSENT_PIECES, RECORD_BYTES, TLSCarrier
from porttunnel.net.counters import ServerCounters
from porttunnel.net.port_sharing import Branch, SharedPortFactory
from porttunnel.net.tls import pinned_context, server_context
from porttunnel.session.limit import ConnectionLimiter
from tests.net.carriers.test_tcp import Receiver
from tests.net.carriers.tls_by_hand import (
    ALERT,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    UPDATE_OF_KEYS,
    ClientByHand,
)
from tests.net.carriers.tls_test_case import TLSTestCase

reactor: Any = real_reactor

FIRST = b"PT\x01"
MORE_THAN_FITS_BYTES = 32 << 20
SMALL_BUFFER_BYTES = 4_096
UPDATES = 100
RECORDS = 48  # 768 KiB


class TakeOverTests(TLSTestCase):
    def build(self, receiver: Any, on: Any = reactor) -> Any:
        factory: Any = Factory()
        factory.noisy = False
        factory.protocol = lambda: CarrierProtocol(on, receiver)
        return factory

    async def connect(self, subject: Any) -> tuple[ClientByHand, bytes]:
        """A client, and what it has yet to send of the handshake."""
        self.limiter = ConnectionLimiter()
        shared = SharedPortFactory(
            reactor,
            {Branch.PACKETS: self.build(subject)},
            tls=server_context(self.identity),
            limiter=self.limiter,
            counters=ServerCounters(),
        )
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(shared)
        self.addCleanup(port.stopListening)
        client = ClientByHand(port.getHost().port)
        self.addCleanup(client.socket.close)
        return client, await client.shake_hands()

    async def test_an_answer_to_new_keys_goes_before_what_is_sent_with_them(self) -> None:
        server = Receiver()
        client, rest = await self.connect(server)
        server.on_received = lambda: reactor.callLater(
            0, lambda: server.carrier.send([memoryview(b"answer")])
        )
        client.socket.send(
            rest
            + client.seal(DATA, FIRST)
            # Twice: OpenSSL answers the first one when it goes on.
            + client.seal(HANDSHAKE, UPDATE_OF_KEYS)
            + client.seal(HANDSHAKE, UPDATE_OF_KEYS)
        )
        await server.until_called("received")
        while client.data != b"answer":
            client.read()
            await deferLater(reactor, 0)
        # What came behind the first bytes is a reading of its own.
        self.assertEqual(server.calls[:4], ["made", "received", "done", "done"])
        client.socket.send(client.seal(DATA, b"more"))
        await server.until(lambda: server.data == FIRST + b"more")
        server.carrier.close()
        await server.until_called("lost")

    async def test_all_in_one_read(self) -> None:
        server = Receiver()
        client, rest = await self.connect(server)
        client.socket.send(
            rest
            + client.seal(DATA, FIRST)
            + client.seal(DATA, b"more")
            + client.seal(ALERT, CLOSE_NOTIFY)
        )
        await server.until_called("ended")
        self.assertEqual(server.data, FIRST + b"more")
        self.assertEqual(server.carrier.send([memoryview(b"answer")]), 6)
        server.carrier.close()
        await server.until_called("lost")
        with self.assertRaises(SSL.ZeroReturnError):
            client.read()
        self.assertEqual(client.data, b"answer")

    async def test_who_breaks_down_over_what_came_with_the_handshake_is_told_of_the_end(
        self,
    ) -> None:
        server = Receiver()

        def break_down() -> None:
            if len(server.data) > len(FIRST):
                raise RuntimeError("a mistake of the receiver")

        server.on_received = break_down
        client, rest = await self.connect(server)
        client.socket.send(rest + client.seal(DATA, FIRST) + client.seal(DATA, b"more"))
        await server.until_called("lost")
        self.assertEqual(server.data, FIRST + b"more")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_who_aborts_at_the_first_bytes_gets_no_more(self) -> None:
        server = Receiver()

        def abort() -> None:
            server.carrier.abort()

        server.on_received = abort
        client, rest = await self.connect(server)
        client.socket.send(rest + client.seal(DATA, FIRST) + client.seal(DATA, b"more"))
        await server.until_called("lost")
        self.assertEqual(server.data, FIRST)

    async def test_who_aborts_amid_what_one_read_brought_gets_no_more(self) -> None:
        much = RECORDS * RECORD_BYTES  # more than is given out at once
        for enough in (1, much):
            server = Receiver()
            client, rest = await self.connect(server)
            client.socket.send(rest + client.seal(DATA, FIRST))
            await server.until_called("received")
            await deferLater(reactor, 0)
            server.data.clear()

            def abort(server: Receiver = server, enough: int = enough) -> None:
                if len(server.data) >= enough:
                    server.carrier.abort()

            server.on_received = abort
            records = [client.seal(DATA, bytes(RECORD_BYTES)) for _ in range(RECORDS)]
            records.append(client.seal(ALERT, CLOSE_NOTIFY))
            server.carrier.carrier_received(memoryview(b"".join(records)))
            await server.until_called("lost")
            self.assertEqual(len(server.data) == much, enough == much)
            self.assertNotIn("ended", server.calls)

    async def test_what_can_not_be_sealed_breaks_the_link(self) -> None:
        server = Receiver()
        client, rest = await self.connect(server)
        client.socket.send(rest + client.seal(DATA, FIRST))
        await server.until_called("received")
        server.carrier._connection.shutdown()  # as after an error of its own
        self.assertEqual(server.carrier.send([memoryview(b"answer")]), 0)
        await server.until_called("lost")
        assert server.reason is not None
        self.assertIs(server.reason.type, SSL.Error)

    async def test_the_reactors_own_call_of_twisteds_transport_leaves_us_our_writer(self) -> None:
        server = Receiver()

        def answer() -> None:
            server.carrier.send([memoryview(bytes(MORE_THAN_FITS_BYTES))])
            # Of one event both were told: that there is something to read, and room to write.
            server.carrier._transport.transport.doWrite()

        server.on_received = answer
        client, rest = await self.connect(server)
        client.socket.send(rest + client.seal(DATA, FIRST))
        while "writable" not in server.calls:
            client.read()
            await deferLater(reactor, 0)
        self.assertGreater(len(client.data), 0)
        server.carrier.abort()
        await server.until_called("lost")

    async def test_who_asks_for_new_keys_and_reads_nothing_fills_no_memory(self) -> None:
        server = Receiver()
        client, rest = await self.connect(server)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        client.socket.send(rest + client.seal(DATA, FIRST))
        await server.until_called("received")
        connection = server.carrier._socket._socket
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
        most = 0
        while "lost" not in server.calls:
            updates = b"".join(client.seal(HANDSHAKE, UPDATE_OF_KEYS) for _ in range(UPDATES))
            try:
                client.socket.sendall(updates)
            except ConnectionError:
                break
            await deferLater(reactor, 0)
            most = max(most, len(server.carrier._unsent))
        await server.until_called("lost")
        self.assertLessEqual(most, MAX_UNSENT_PIECES + 1)
        self.assertGreater(most, 1)
        self.assertEqual(server.carrier._unsent, [])

    async def test_who_asks_for_new_keys_after_our_end_is_heard_on(self) -> None:
        server = Receiver()
        client, rest = await self.connect(server)
        client.socket.send(rest + client.seal(DATA, FIRST))
        await server.until_called("received")
        server.carrier.end()
        for count in (1, 2):
            client.socket.send(client.seal(HANDSHAKE, UPDATE_OF_KEYS) + client.seal(DATA, b"more"))
            await server.until(lambda count=count: server.data == FIRST + count * b"more")
        client.socket.send(client.seal(ALERT, CLOSE_NOTIFY))
        await server.until_called("ended")
        self.assertNotIn("lost", server.calls)
        server.carrier.close()
        await server.until_called("lost")

    async def test_what_openssl_has_goes_with_the_connection(self) -> None:
        server = Receiver()
        client, rest = await self.connect(server)
        client.socket.send(rest + client.seal(DATA, FIRST))
        await server.until_called("received")
        kept = weakref.ref(server.carrier._connection)
        gc.disable()
        self.addCleanup(gc.enable)
        server.carrier.abort()
        await server.until_called("lost")
        await deferLater(reactor, 0)
        self.assertIsNone(kept())
        # Whoever comes late does no harm.
        for late in (TLSCarrier.end, TLSCarrier.close, TLSCarrier.abort):
            late(server.carrier)
        self.assertEqual(server.carrier.send([memoryview(b"late")]), 0)

    async def test_a_close_stays_one(self) -> None:
        server = Receiver()
        client, rest = await self.connect(server)
        client.socket.send(rest + client.seal(DATA, FIRST))
        await server.until_called("received")
        taken = server.carrier.send([memoryview(bytes(MORE_THAN_FITS_BYTES))])
        server.carrier.close()
        server.carrier.end()
        with self.assertRaises(SSL.ZeroReturnError):
            while True:
                client.read()
                await deferLater(reactor, 0)
        await server.until_called("lost")
        self.assertEqual(len(client.data), taken)

    async def test_works_at_endpoints_that_wrap_what_is_inside_tls(self) -> None:
        client, server = Receiver(), Receiver()
        port = await SSL4ServerEndpoint(
            reactor, 0, server_context(self.identity), interface="127.0.0.1"
        ).listen(self.build(server))
        self.addCleanup(port.stopListening)
        context = pinned_context(self.identity.pin)
        await SSL4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port, context).connect(
            self.build(client)
        )
        self.assertIsInstance(client.carrier, TLSCarrier)
        client.carrier.limit_unsent(SMALL_BUFFER_BYTES)
        self.assertEqual(client.carrier.send([memoryview(b"too early")]), 0)
        await client.until_called("writable")
        client.carrier.send([memoryview(b"question")])
        await server.until_called("received")
        self.assertEqual(server.data, b"question")
        low_water = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if low_water is not None:
            beneath = client.carrier._socket._socket
            self.assertEqual(beneath.getsockopt(socket.IPPROTO_TCP, low_water), SMALL_BUFFER_BYTES)
        client.carrier.close()
        await server.until_called("ended")
        server.carrier.close()
        await server.until_called("lost")
        await client.until_called("lost")

    async def test_who_is_not_the_one_that_was_meant_gets_nothing(self) -> None:
        client, server = Receiver(), Receiver()
        port = await SSL4ServerEndpoint(
            reactor, 0, server_context(self.identity), interface="127.0.0.1"
        ).listen(self.build(server))
        self.addCleanup(port.stopListening)
        context = pinned_context("sha256-" + "A" * 43)
        await SSL4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port, context).connect(
            self.build(client)
        )
        self.assertEqual(client.carrier.send([memoryview(b"question")]), 0)
        await client.until_called("lost")
        await server.until_called("lost")
        assert client.reason is not None
        self.assertIs(client.reason.type, NotReachable)
        self.assertEqual((client.calls, server.calls), (["made", "lost"], ["made", "lost"]))

    async def test_endpoints_that_wrap_it_pass_on_a_half_close_without_tls(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        receiver = Receiver()
        endpoint = TCP4ClientEndpoint(reactor, *listening.getsockname())
        await endpoint.connect(self.build(receiver, Clock()))
        self.assertIsInstance(receiver.carrier, StockCarrier)
        peer = listening.accept()[0]
        self.addCleanup(peer.close)
        peer.shutdown(socket.SHUT_WR)
        await receiver.until(lambda: bool({"ended", "lost"} & set(receiver.calls)))
        self.assertNotIn("lost", receiver.calls)
        receiver.carrier.close()
        await receiver.until_called("lost")
