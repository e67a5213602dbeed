"""A carrier inside TLS that takes over the socket beneath.

Twisted's own TLS hands over what it read in pieces of 16 KiB and at most 64 KiB a turn, and writes
each record for itself; with that a link costs four to five times what it costs without TLS.
Here the socket is read and written as :class:`~porttunnel.net.carriers.tcp.TCPCarrier` does, and
OpenSSL's memory buffers are filled and emptied in pieces that fit a cache.

Twisted begins the connection, so that certificates are checked where they are checked for all
other connections; once the handshake is done this carrier goes on with the same OpenSSL
connection. From then on Twisted's transport opens, seals and writes nothing, and is told only of
the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from OpenSSL import SSL
from twisted.internet import main
from twisted.internet.interfaces import IAddress
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from porttunnel.net.carriers.interface import Carrier, Receiver
from porttunnel.net.carriers.tcp import TCPCarrier, can_take_over

__all__ = ["TLSCarrier", "can_take_over_tls"]

RECORD_BYTES = 16_384  # of plaintext: the most that TLS has (RFC 8446, section 5.1)
# Into OpenSSL and out of it at a time: its buffers grow to what they are given and never shrink,
# on each connection, and fresh memory from 128 KiB on costs page faults.
PIECE_BYTES = 4 * RECORD_BYTES
SEALED_PIECE_BYTES = PIECE_BYTES + 1_024  # with what four records have around them
# Sealed before the kernel is asked. On a slow link less: a keystroke would stand behind it.
MAX_AT_ONCE_BYTES = 4 * PIECE_BYTES
# Sealed and not taken by the kernel. More than :meth:`TLSCarrier.send` ever leaves is answers to a
# peer that asks for new keys again and again, and reads nothing.
MAX_UNSENT_PIECES = 16
# One of each for the process: they are done with before the next call that uses them.
_opened = memoryview(bytearray(8 * PIECE_BYTES))
_staging = memoryview(bytearray(MAX_AT_ONCE_BYTES))


def can_take_over_tls(transport: Any, reactor: Any) -> bool:
    """Whether ``transport`` is Twisted's TLS over a plain stream socket, and whoever it tells of
    the handshake passes it on.
    """
    return (
        isinstance(transport, TLSMemoryBIOProtocol)
        and isinstance(transport.getHandle(), SSL.Connection)
        and hasattr(transport.wrappedProtocol, "handshakeCompleted")
        and can_take_over(transport.transport, reactor)
    )


class TLSCarrier:
    """See :class:`porttunnel.net.carriers.interface.Carrier`; of its socket it is the receiver.

    :param reactor: watches descriptors and time.
    :param transport: Twisted's TLS transport, to which nothing was written.
    :param receiver: gets the plaintext.
    """

    def __init__(self, reactor: Any, transport: Any, receiver: Receiver) -> None:
        self._reactor = reactor
        self._transport = transport
        self._receiver = receiver
        self._connection: SSL.Connection = transport.getHandle()
        self._socket: TCPCarrier | None = None  # once the handshake is done
        self._paused = False
        self._at_once_bytes = MAX_AT_ONCE_BYTES
        self._kernel_bytes: int | None = None  # that it may queue
        self._unsent: list[memoryview] = []  # sealed; the kernel did not take it
        self._refused_some = False
        self._read_ended = False
        self._is_shut = False  # the peer was told that nothing more comes from us
        self._part: Callable[[TCPCarrier], None] | None = None  # what follows our last byte
        self._gone = False  # at once, or lost
        if self._connection.get_peer_finished() is not None:
            self.begin()

    @property
    def peer(self) -> IAddress:
        """The other end's address."""
        peer: IAddress = self._transport.getPeer()
        return peer

    def begin(self) -> None:
        """The handshake is done: take the socket over.

        To be called in the step that has ended the handshake: what this has left for the peer is
        sent from here, before all else.
        """
        below = self._transport.transport
        # What Twisted's transport has yet to send comes first. It is a few hundred bytes for a
        # socket of which everything before was answered, so the kernel takes them.
        lost = below.doWrite()
        if lost is not None or below.dataBuffer:
            self.abort()
            return
        # Twisted is still in its step, and would open what else came in this read. What OpenSSL
        # has to say to that would be written a turn later, among our own bytes.
        self._transport._lostTLSConnection = True
        self._socket = TCPCarrier(self._reactor, below, self)
        if self._kernel_bytes is not None:
            self._socket.limit_unsent(self._kernel_bytes)
        if self._paused:
            self._socket.pause_receiving()
        self._drain()
        self._send_sealed()
        # What Twisted has opened comes first, perhaps the bytes that have led here.
        self._reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """Open what came with the handshake's end, and send what was not taken yet: of the event
        that led here the reactor may have told Twisted's transport too that there is room, which
        has nothing to write and with that unregisters us.
        """
        if self._gone:
            return
        with ExitStack() as mistakes:
            mistakes.callback(self.abort)  # as the reactor does when a read fails
            self.carrier_received(memoryview(b""))
            self.reading_done()
            mistakes.pop_all()

    # Sending

    def send(self, views: Sequence[memoryview]) -> int:
        """Seal and send; what the kernel does not take of it waits here, and then nothing more
        is taken.
        """
        taken = 0
        if self._socket is not None and not (self._gone or self._part or self._unsent):
            for staged in _stage(views, self._at_once_bytes):
                sealed = self._seal(staged)
                taken += sealed
                self._send_sealed()
                if self._unsent or sealed < len(staged):
                    break
        if taken < sum(map(len, views)):
            self._refused_some = True
        return taken

    def _seal(self, data: memoryview) -> int:
        count = 0
        try:
            while count < len(data):
                stop = min(count + PIECE_BYTES, len(data))
                while count < stop:
                    count += self._connection.send(data[count : min(count + RECORD_BYTES, stop)])
                self._drain()
        except SSL.WantReadError:
            self._drain()  # TLS 1.2 agrees on new keys just now: on with the peer's answer
        except SSL.Error as error:
            self._break_off(error)
        return count

    def _drain(self) -> None:
        """Take what OpenSSL has for the peer."""
        try:
            while True:
                sealed = self._connection.bio_read(SEALED_PIECE_BYTES)
                self._unsent.append(memoryview(sealed))
                if len(sealed) < SEALED_PIECE_BYTES:
                    return
        except SSL.WantReadError:
            return  # nothing more

    def _send_sealed(self) -> None:
        unsent = self._unsent
        if not unsent or self._socket is None:
            return
        taken = self._socket.send(unsent)
        sent = 0
        while sent < len(unsent) and taken >= len(unsent[sent]):
            taken -= len(unsent[sent])
            sent += 1
        del unsent[:sent]
        if taken:
            unsent[0] = unsent[0][taken:]

    def limit_unsent(self, count: int) -> None:
        """Bound what the kernel queues, and what is sealed before it is asked."""
        self._at_once_bytes = max(RECORD_BYTES, min(count, MAX_AT_ONCE_BYTES))
        self._kernel_bytes = count
        if self._socket is not None:
            self._socket.limit_unsent(count)

    def carrier_writable(self) -> None:
        """The kernel takes bytes again."""
        self._send_sealed()
        if self._unsent:
            return
        if self._part is None:
            self._tell_writable()
        else:
            self._shut()

    def _tell_writable(self) -> None:
        if self._refused_some:
            self._refused_some = False
            self._receiver.carrier_writable()

    # Receiving

    def carrier_made(self, carrier: Carrier) -> None:
        """Nothing: it makes its socket's carrier itself."""

    def carrier_received(self, data: memoryview) -> None:
        """Ciphertext came: give out what is in it, in large pieces."""
        filled = 0
        broken: SSL.Error | None = None
        for start in range(0, len(data) or 1, PIECE_BYTES):
            if self._read_ended:
                return  # behind TLS's own end anything may stand
            if data:
                self._connection.bio_write(data[start : start + PIECE_BYTES])
            try:
                while True:
                    if filled > len(_opened) - RECORD_BYTES:
                        self._receiver.carrier_received(_opened[:filled])
                        filled = 0
                        if self._gone:
                            return
                    room = _opened[filled : filled + RECORD_BYTES]
                    filled += self._connection.recv_into(room)
            except SSL.WantReadError:
                continue
            except SSL.ZeroReturnError:
                self._read_ended = True
            except SSL.Error as error:
                self._read_ended = True
                broken = error
            break
        if filled:
            self._receiver.carrier_received(_opened[:filled])
        if self._gone:
            return
        # OpenSSL may have an answer: new keys, or an alert. Nothing follows our own end.
        kept = len(self._unsent)
        self._drain()
        if self._is_shut:
            del self._unsent[kept:]
        self._send_sealed()
        if broken is not None:
            # What was opened before is right; whoever owns the link makes a new one.
            self._break_off(broken)
        elif len(self._unsent) > MAX_UNSENT_PIECES:
            self.abort()
        elif self._read_ended:
            self._receiver.reading_done()
            self._receiver.carrier_ended()
        elif not self._unsent:
            self._tell_writable()

    def reading_done(self) -> None:
        """No more bytes in this turn."""
        self._receiver.reading_done()

    def carrier_ended(self) -> None:
        """The peer's half of the socket is closed. Anybody in between can do that: without TLS's
        own end before, what came must not be taken for all there was.
        """
        if not self._read_ended:
            self._read_ended = True
            self._break_off(main.CONNECTION_LOST)

    def carrier_lost(self, reason: Failure) -> None:
        """The transport was lost, as :class:`~porttunnel.net.carriers.protocol.CarrierProtocol`
        knows, which tells the receiver.
        """
        self._gone = True
        self._unsent.clear()
        if self._socket is not None:
            self._socket.forget()
        # We and our socket's carrier know each other: what OpenSSL has shall not wait for the
        # collector, which does not see how much that is.
        del self._connection

    def pause_receiving(self) -> None:
        """Stop reading; before the handshake is done, from then on."""
        self._paused = True
        if self._socket is not None:
            self._socket.pause_receiving()

    def resume_receiving(self) -> None:
        """Read again."""
        self._paused = False
        if self._socket is not None:
            self._socket.resume_receiving()

    # The end

    def end(self) -> None:
        """Half-close: TLS's own end, and then the socket's."""
        self._finish(TCPCarrier.end)

    def close(self) -> None:
        """Close once what was taken has gone out."""
        self._finish(TCPCarrier.close)

    def abort(self) -> None:
        """Close at once."""
        if self._gone:
            return
        self._gone = True
        if self._socket is None:
            self._transport.abortConnection()
        else:
            self._socket.abort()

    def _break_off(self, reason: Exception) -> None:
        if self._socket is not None and not self._gone:
            self._gone = True
            self._socket.break_off(reason)

    def _finish(self, part: Callable[[TCPCarrier], None]) -> None:
        if self._gone:
            return
        if self._part is not TCPCarrier.close:
            self._part = part
        if self._socket is None:
            self._transport.loseConnection()
        elif not self._unsent:
            self._shut()

    def _shut(self) -> None:
        if not self._is_shut:
            self._is_shut = True
            with suppress(SSL.Error):  # then there is nobody left to tell
                self._connection.shutdown()
            self._drain()
            self._send_sealed()
        if not self._unsent and self._socket is not None and self._part is not None:
            self._part(self._socket)


def _stage(views: Sequence[memoryview], size: int) -> Iterator[memoryview]:
    """The views' bytes in pieces of ``size``, so that records are full whatever their borders."""
    filled = 0
    for view in views:
        start = 0
        while start < len(view):
            count = min(size - filled, len(view) - start)
            _staging[filled : filled + count] = view[start : start + count]
            start += count
            filled += count
            if filled == size:
                yield _staging[:filled]
                filled = 0
    if filled:
        yield _staging[:filled]
