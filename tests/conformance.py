"""What every stream endpoint must do, whatever carries its bytes: one set of tests for all.

A subject mixes :class:`StreamConformance` into a trial test case, says how a stream is opened, and
in :class:`Traits` what Twisted leaves open and kinds of streams really do differently.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["End", "HalfClosingEnd", "StreamConformance", "Traits", "factory_of"]

MEBIBYTE = 1 << 20
CHUNK_BYTES = 65_536
# More than the kernel's buffers and all windows of a way through two sockets and a session hold.
MORE_THAN_FITS_BYTES = 48 * MEBIBYTE
STILL_TURNS = 300  # of the reactor without a byte: what is under way on loopback has arrived

_pattern = random.Random(4663).randbytes(MEBIBYTE)


@dataclass(frozen=True)
class Traits:
    """Where kinds of streams may differ.

    :ivar aborted: what an end is told when the other one aborted. TCP can't say more than that
        the connection was lost; a session stream names it.
    :ivar lost_when_both_ended: whether a half-closeable protocol's connection is over once both
        halves have ended. TCP waits for its ``loseConnection``; a session stream keeps nothing
        that nobody can use any more.
    :ivar one_connection: whether the ends' addresses are each other's. With a forwarder in
        between each end has a connection of its own.
    :ivar answers_early: whether the client's end exists before the server's: a forwarder takes
        the local connection, then asks.
    """

    aborted: type[Exception] = ConnectionLost
    lost_when_both_ended: bool = False
    one_connection: bool = True
    answers_early: bool = False


class End(Protocol):
    """One end of a stream: remembers what happened, and lets a test wait for it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.calls: list[str] = []
        self.reason: Failure | None = None
        self.on_made: Callable[[End], None] = lambda end: None
        self.on_data: Callable[[End], None] = lambda end: None
        self._waiting: list[tuple[Callable[[], bool], defer.Deferred[None]]] = []

    def connectionMade(self) -> None:
        self._note("made")
        self.on_made(self)

    def dataReceived(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert data
        self.data += data
        self._note("data")
        self.on_data(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self._note("lost")

    @property
    def lost(self) -> bool:
        return self.reason is not None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until something that happens at this end makes the condition true."""
        if not condition():
            waiting: defer.Deferred[None] = defer.Deferred()
            self._waiting.append((condition, waiting))
            await waiting

    async def until_received(self, count: int) -> None:
        await self.until(lambda: len(self.data) >= count)

    async def until_lost(self) -> type[BaseException]:
        """The type of the reason."""
        await self.until(lambda: self.lost)
        assert self.reason is not None
        assert self.calls.count("lost") == 1
        return self.reason.type

    def _note(self, call: str) -> None:
        if self.calls[-1:] != ["data"] or call != "data":
            self.calls.append(call)
        ready = [entry for entry in self._waiting if entry[0]()]
        for entry in ready:
            self._waiting.remove(entry)
            entry[1].callback(None)


@implementer(IHalfCloseableProtocol)
class HalfClosingEnd(End):
    """An end that is told of half-closes."""

    def readConnectionLost(self) -> None:
        self._note("read ended")

    def writeConnectionLost(self) -> None:
        self._note("write ended")

    async def until_read_ended(self) -> None:
        await self.until(lambda: "read ended" in self.calls)


def factory_of(end: End) -> Factory:
    """For one connection."""
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda addr: end  # type: ignore[method-assign]  # one end, made before
    return factory


def pattern(count: int) -> bytes:
    """Bytes that differ at each place."""
    return (_pattern * (count // MEBIBYTE + 1))[:count]


def digest(data: bytes | bytearray) -> str:
    """So that a failure doesn't print a mebibyte."""
    return f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"


@implementer(IPushProducer)
class PushProducer:
    """Writes until it is paused, a chunk a turn; then unregisters itself and closes."""

    def __init__(self, consumer: Any, total: int) -> None:
        self.consumer = consumer
        self.left = total
        self.written = 0
        self.pauses = 0
        self.paused = False
        self.stopped = False
        self.call: Any = None

    def start(self) -> None:
        self.consumer.registerProducer(self, True)
        self._write_soon()

    def pauseProducing(self) -> None:
        assert not self.paused, "paused twice"
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        assert self.paused, "resumed without a pause"
        self.paused = False
        self._write_soon()

    def stopProducing(self) -> None:
        self.stopped = True
        if self.call is not None:
            self.call.cancel()
            self.call = None

    def _write_soon(self) -> None:
        if self.call is None and not self.stopped:
            self.call = reactor.callLater(0, self._write)  # type: ignore[attr-defined]  # a module

    def _write(self) -> None:
        self.call = None
        if self.paused:
            return
        count = min(CHUNK_BYTES, self.left)
        offset = self.written % MEBIBYTE
        self.written += count
        self.left -= count
        self.consumer.write(_pattern[offset : offset + count])
        if self.left:
            self._write_soon()
        else:
            self.consumer.unregisterProducer()
            self.consumer.loseConnection()


@implementer(IPullProducer)
class PullProducer:
    """Writes one chunk each time it is asked."""

    def __init__(self, consumer: Any, total: int, *, closes: bool = True) -> None:
        self.consumer = consumer
        self.left = total
        self.closes = closes
        self.written = 0
        self.stopped = False

    def resumeProducing(self) -> None:
        count = min(CHUNK_BYTES, self.left)
        offset = self.written % MEBIBYTE
        self.written += count
        self.left -= count
        self.consumer.write(_pattern[offset : offset + count])
        if not self.left:
            self.consumer.unregisterProducer()
            if self.closes:
                self.consumer.loseConnection()

    def stopProducing(self) -> None:
        self.stopped = True


async def turn() -> None:
    """Let the reactor go round once."""
    await deferLater(reactor, 0)  # type: ignore[arg-type]  # the module is the reactor


class StreamConformance:
    """The tests. A subject overrides :attr:`traits` and :meth:`connect`."""

    traits = Traits()

    async def connect(self, server: Factory, client: Factory) -> None:
        """Open a stream: ``server`` is at the listening end."""
        raise NotImplementedError

    async def open(self, server: End | None = None, client: End | None = None) -> tuple[End, End]:
        """A stream with both ends there."""
        server, client = server or End(), client or End()
        await self.connect(factory_of(server), factory_of(client))
        for end in (client, server):
            await end.until(lambda end=end: "made" in end.calls)  # type: ignore[misc]  # the loop's
        return server, client

    async def open_half_closing(self) -> tuple[HalfClosingEnd, HalfClosingEnd]:
        server, client = HalfClosingEnd(), HalfClosingEnd()
        await self.open(server, client)
        return server, client

    async def close(self, *ends: End) -> None:
        for end in ends:
            end.transport.loseConnection()
        for end in ends:
            await end.until_lost()

    async def still(self, *progress: Callable[[], int]) -> None:
        """Until nothing has moved for many turns of the reactor."""
        seen: list[int] = []
        turns = 0
        while turns < STILL_TURNS:
            now = [look() for look in progress]
            turns = turns + 1 if now == seen else 0
            seen = now
            await turn()

    # Bytes

    async def test_single_bytes_keep_their_order(self) -> None:
        server, client = await self.open()
        expected = pattern(600)
        for place in range(0, 300):
            client.transport.write(expected[place : place + 1])
        for place in range(300, 600):
            client.transport.write(expected[place : place + 1])
            await turn()
        client.transport.write(b"")
        await server.until_received(600)
        self.assertEqual(bytes(server.data), expected)
        await self.close(server, client)

    async def test_a_mebibyte_in_one_write_each_way_at_once(self) -> None:
        server, client = await self.open()
        there, back = pattern(MEBIBYTE + 1), pattern(MEBIBYTE + 2)[1:]
        client.transport.write(there)
        server.transport.write(back)
        await server.until_received(len(there))
        await client.until_received(len(back))
        self.assertEqual(digest(server.data), digest(there))
        self.assertEqual(digest(client.data), digest(back))
        await self.close(server, client)

    async def test_a_sequence_is_its_pieces(self) -> None:
        server, client = await self.open()
        server.transport.writeSequence([b"one", b"", b"two"])
        server.transport.writeSequence([])
        await client.until_received(6)
        self.assertEqual(bytes(client.data), b"onetwo")
        await self.close(server, client)

    async def test_addresses(self) -> None:
        server, client = await self.open()
        for end in (server, client):
            for address in (end.transport.getPeer(), end.transport.getHost()):
                self.assertTrue(IAddress.providedBy(address), address)
        if self.traits.one_connection:
            self.assertEqual(client.transport.getPeer(), server.transport.getHost())
            self.assertEqual(client.transport.getHost(), server.transport.getPeer())
            self.assertNotEqual(client.transport.getPeer(), client.transport.getHost())
        await self.close(server, client)

    # Closing

    async def test_a_close_follows_what_was_written(self) -> None:
        server, client = await self.open()
        server.transport.write(pattern(MEBIBYTE))
        server.transport.loseConnection()
        self.assertIs(await client.until_lost(), ConnectionDone)
        self.assertIs(await server.until_lost(), ConnectionDone)
        self.assertEqual(digest(client.data), digest(pattern(MEBIBYTE)))

    async def test_both_close_at_once(self) -> None:
        for count in (0, 1, CHUNK_BYTES):
            server, client = await self.open()
            server.transport.write(pattern(count))
            await client.until_received(count)
            client.transport.write(pattern(count))
            await server.until_received(count)
            client.transport.loseConnection()
            server.transport.loseConnection()
            self.assertIs(await client.until_lost(), ConnectionDone)
            self.assertIs(await server.until_lost(), ConnectionDone)

    async def test_nobody_is_told_of_a_loss_before_the_call_returns(self) -> None:
        for call in ("loseConnection", "abortConnection"):
            server, client = await self.open()
            getattr(client.transport, call)()
            self.assertFalse(client.lost)
            await client.until_lost()
            await server.until_lost()

    async def test_nothing_is_received_after_a_close(self) -> None:
        server, client = await self.open()
        client.on_data = lambda end: end.transport.loseConnection()
        client.transport.write(pattern(4 * MEBIBYTE))
        server.transport.write(pattern(MEBIBYTE))
        await client.until_lost()
        await server.until_lost()
        self.assertEqual(client.calls, ["made", "data", "lost"])
        self.assertLess(len(client.data), MEBIBYTE)

    async def test_losing_again_changes_nothing(self) -> None:
        server, client = await self.open()
        for _ in range(2):
            client.transport.loseConnection()
        await client.until_lost()
        await server.until_lost()
        for end in (server, client):
            end.transport.loseConnection()
            end.transport.abortConnection()
            end.transport.write(b"to nobody")
            end.transport.writeSequence([b"to nobody"])
            await turn()
            self.assertEqual(end.calls, ["made", "lost"])

    async def test_an_abort_while_writing(self) -> None:
        server, client = await self.open()
        client.transport.write(pattern(8 * MEBIBYTE))
        await server.until_received(1)
        client.transport.abortConnection()
        self.assertIs(await client.until_lost(), ConnectionAborted)
        self.assertTrue(issubclass(await server.until_lost(), self.traits.aborted))
        self.assertEqual(digest(server.data), digest(pattern(len(server.data))))

    async def test_an_abort_by_who_is_written_to(self) -> None:
        server, client = await self.open()
        producer = PushProducer(client.transport, MORE_THAN_FITS_BYTES)
        producer.start()
        await server.until_received(MEBIBYTE)
        server.transport.abortConnection()
        self.assertIs(await server.until_lost(), ConnectionAborted)
        reason = await client.until_lost()
        self.assertTrue(issubclass(reason, self.traits.aborted), (reason, producer.left))
        self.assertTrue(producer.stopped)

    async def test_a_close_with_data_unread(self) -> None:
        server, client = await self.open()
        client.transport.pauseProducing()
        producer = PushProducer(server.transport, MORE_THAN_FITS_BYTES)
        producer.start()
        await self.still(lambda: producer.written)
        client.transport.loseConnection()
        self.assertIs(await client.until_lost(), ConnectionDone)
        # TCP sends an end and a reset; which of both is seen first is chance.
        self.assertIn(await server.until_lost(), (ConnectionDone, ConnectionLost))
        self.assertEqual(client.data, b"")

    async def test_losing_the_connection_as_soon_as_it_is_there(self) -> None:
        for server_call, client_call in (
            ("loseConnection", ""),
            ("", "loseConnection"),
            ("loseConnection", "loseConnection"),
            ("abortConnection", ""),
            ("", "abortConnection"),
        ):
            server, client = End(), End()
            for end, call in ((server, server_call), (client, client_call)):
                if call:
                    end.on_made = lambda end, call=call: getattr(  # type: ignore[misc]  # the loop's
                        end.transport, call
                    )()
            await self.connect(factory_of(server), factory_of(client))
            await client.until_lost()
            if not (client_call and self.traits.answers_early):
                await server.until_lost()

    async def test_a_greeting_and_a_close_as_soon_as_it_is_there(self) -> None:
        def greet(end: End) -> None:
            end.transport.write(b"busy, come back")
            end.transport.loseConnection()

        server, client = End(), End()
        server.on_made = greet
        await self.connect(factory_of(server), factory_of(client))
        self.assertIs(await client.until_lost(), ConnectionDone)
        self.assertEqual(bytes(client.data), b"busy, come back")
        await server.until_lost()

    async def test_who_fails_loses_its_own_connection_only(self) -> None:
        def fail(end: End) -> None:
            raise ZeroDivisionError("the protocol's own fault")

        other_server, other_client = await self.open()
        server, client = await self.open()
        server.on_data = fail
        client.transport.write(b"?")
        self.assertIs(await server.until_lost(), ZeroDivisionError)
        await client.until_lost()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        other_client.transport.write(b"still here")
        await other_server.until_received(10)
        await self.close(other_server, other_client)

    # Half-closing

    async def test_half_a_close_by_the_client(self) -> None:
        server, client = await self.open_half_closing()
        await self.half_close(client, server)

    async def test_half_a_close_by_the_server(self) -> None:
        server, client = await self.open_half_closing()
        await self.half_close(server, client)

    async def half_close(self, first: HalfClosingEnd, second: HalfClosingEnd) -> None:
        first.transport.write(pattern(MEBIBYTE))
        first.transport.loseWriteConnection()
        await second.until_read_ended()
        self.assertEqual(digest(second.data), digest(pattern(MEBIBYTE)))
        await first.until(lambda: "write ended" in first.calls)
        first.transport.write(b"too late")
        # The other half lives on, for as long as it is wanted.
        for length in (1, MEBIBYTE):
            first.data.clear()
            second.transport.write(pattern(length))
            await first.until_received(length)
            self.assertEqual(digest(first.data), digest(pattern(length)))
        self.assertFalse(first.lost or second.lost)
        second.transport.loseWriteConnection()
        await first.until_read_ended()
        if not self.traits.lost_when_both_ended:
            await second.until(lambda: "write ended" in second.calls)
            self.assertFalse(first.lost or second.lost)
            for end in (first, second):
                end.transport.loseConnection()
        self.assertIs(await first.until_lost(), ConnectionDone)
        self.assertIs(await second.until_lost(), ConnectionDone)
        self.assertEqual(len(second.data), MEBIBYTE)
        for end in (first, second):
            self.assertEqual((end.calls[0], end.calls[-1]), ("made", "lost"))
            self.assertEqual(
                (end.calls.count("read ended"), end.calls.count("write ended")), (1, 1)
            )

    async def test_half_a_close_ends_a_protocol_that_knows_none(self) -> None:
        server, client = End(), HalfClosingEnd()
        await self.open(server, client)
        client.transport.write(b"last words")
        client.transport.loseWriteConnection()
        self.assertIs(await server.until_lost(), ConnectionDone)
        self.assertEqual(bytes(server.data), b"last words")
        await client.until_read_ended()
        client.transport.loseConnection()
        self.assertIs(await client.until_lost(), ConnectionDone)

    async def test_the_end_waits_while_reading_is_paused(self) -> None:
        server, client = await self.open_half_closing()
        server.transport.pauseProducing()
        client.transport.write(pattern(1_000))
        client.transport.loseWriteConnection()
        await self.still(lambda: len(server.calls))
        self.assertEqual(server.calls, ["made"])
        server.transport.resumeProducing()
        await server.until_read_ended()
        self.assertEqual(server.calls, ["made", "data", "read ended"])
        await self.close(server, client)

    # Back-pressure

    async def test_a_paused_reader_stops_the_writer_and_nothing_is_lost(self) -> None:
        server, client = await self.open()
        client.transport.pauseProducing()
        producer = PushProducer(server.transport, MORE_THAN_FITS_BYTES)
        producer.start()
        await self.still(lambda: producer.written)
        self.assertEqual(client.data, b"")
        self.assertTrue(producer.paused)
        self.assertGreater(producer.left, 0)
        client.transport.resumeProducing()
        self.assertIs(await client.until_lost(), ConnectionDone)
        self.assertIs(await server.until_lost(), ConnectionDone)
        self.assertEqual(digest(client.data), digest(pattern(MORE_THAN_FITS_BYTES)))
        self.assertFalse(producer.stopped)

    async def test_a_paused_client_stops_only_what_it_reads(self) -> None:
        server, client = await self.open()
        client.transport.pauseProducing()
        server.transport.write(pattern(8 * MEBIBYTE))
        client.transport.write(pattern(8 * MEBIBYTE))
        await server.until_received(8 * MEBIBYTE)
        self.assertEqual(digest(server.data), digest(pattern(8 * MEBIBYTE)))
        client.transport.resumeProducing()
        await client.until_received(8 * MEBIBYTE)
        await self.close(server, client)

    async def test_a_reader_that_pauses_after_each_piece(self) -> None:
        def pause(end: End) -> None:
            assert not paused
            paused.append(True)
            end.transport.pauseProducing()
            reactor.callLater(0, resume)  # type: ignore[attr-defined]  # the module is the reactor

        def resume() -> None:
            paused.clear()
            if not client.lost:
                client.transport.resumeProducing()

        paused: list[bool] = []
        server, client = await self.open()
        client.on_data = pause
        server.transport.write(pattern(4 * MEBIBYTE))
        await client.until_received(4 * MEBIBYTE)
        self.assertEqual(digest(client.data), digest(pattern(4 * MEBIBYTE)))
        await turn()
        await self.close(server, client)

    async def test_a_pull_producer_is_asked_until_it_is_done(self) -> None:
        server, client = await self.open()
        producer = PullProducer(server.transport, 4 * MEBIBYTE + 1)
        server.transport.registerProducer(producer, False)
        self.assertIs(await client.until_lost(), ConnectionDone)
        self.assertEqual(digest(client.data), digest(pattern(4 * MEBIBYTE + 1)))
        await server.until_lost()

    async def test_a_pull_producer_is_not_asked_while_nobody_reads(self) -> None:
        server, client = await self.open()
        client.transport.pauseProducing()
        producer = PullProducer(server.transport, MORE_THAN_FITS_BYTES)
        server.transport.registerProducer(producer, False)
        await self.still(lambda: producer.written)
        self.assertGreater(producer.left, 0)
        client.transport.resumeProducing()
        self.assertIs(await client.until_lost(), ConnectionDone)
        self.assertEqual(digest(client.data), digest(pattern(MORE_THAN_FITS_BYTES)))
        await server.until_lost()

    async def test_a_close_waits_for_the_producer(self) -> None:
        server, client = await self.open()
        producer = PullProducer(server.transport, 4 * MEBIBYTE)
        server.transport.registerProducer(producer, False)
        server.transport.loseConnection()
        self.assertGreater(producer.left, 0)
        self.assertIs(await client.until_lost(), ConnectionDone)
        self.assertIs(await server.until_lost(), ConnectionDone)
        self.assertEqual(digest(client.data), digest(pattern(4 * MEBIBYTE)))
        self.assertFalse(producer.stopped)

    async def test_half_a_close_waits_for_the_producer(self) -> None:
        server, client = await self.open_half_closing()
        producer = PullProducer(server.transport, 4 * MEBIBYTE, closes=False)
        server.transport.registerProducer(producer, False)
        server.transport.loseWriteConnection()
        self.assertGreater(producer.left, 0)
        await client.until_read_ended()
        self.assertEqual(digest(client.data), digest(pattern(4 * MEBIBYTE)))
        client.transport.write(b"thanks")
        await server.until_received(6)
        await self.close(server, client)

    async def test_one_producer_at_a_time(self) -> None:
        server, client = await self.open()
        first, second = PullProducer(None, 0), PushProducer(None, 0)
        server.transport.registerProducer(second, True)
        with self.assertRaises(RuntimeError):
            server.transport.registerProducer(first, True)
        server.transport.unregisterProducer()
        await self.close(server, client)
        server.transport.registerProducer(second, True)
        self.assertTrue(second.stopped)
