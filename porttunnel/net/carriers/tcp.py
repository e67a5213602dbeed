"""A carrier that takes over the socket of a plain TCP or UNIX transport.

Why not the stock transport: it makes a fresh ``bytes`` of each read and joins what it writes.
Here a read goes into one process-wide buffer (or straight into a packet's slot), a write is
handed to the kernel as views, and only what the kernel did not take is kept, by the caller.
For a relay that is less than half of the CPU (docs/benchmarks).

The stock transport stays in charge of the socket's life: it is told ``connectionLost`` at the
end. In between it must not be used; a stray ``pauseProducing`` on it would unregister us.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from errno import EAGAIN, ENOBUFS, EWOULDBLOCK
from ipaddress import ip_address
from typing import Any

from twisted.internet import main, tcp
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IAddress,
    IReactorFDSet,
    IReadWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.net.carriers.interface import Lender, Receiver

__all__ = ["TCPCarrier", "can_take_over"]

# One for the process: a read is done with before the next. What is read, opened and passed on at
# once shall fit into a core's second cache, with what it was copied from: a larger one costs more.
RECEIVE_BUFFER_BYTES = 1 << 19
MAX_VIEWS = 64  # a send call; far below the kernel's 1,024, and 64 full packets are 4 MiB
READS_PER_TURN = 4  # then others get theirs: a wake costs as much as the copy of some 100 KiB
MAX_LOANS = 12  # rooms for one read, 768 KiB: what a busy program has written between two wakes
WORTH_ANOTHER_READ_BYTES = 64 * 1024  # of so many more have come by the time they are done with
# Some systems' default (BBR) paces what it sends by timers. Within one machine there is no network
# whose queues that could spare, and it costs a tenth of the CPU.
LOOPBACK_CONGESTION_CONTROL = b"cubic"

_receive_view = memoryview(bytearray(RECEIVE_BUFFER_BYTES))
_WOULD_BLOCK = (EAGAIN, EWOULDBLOCK, ENOBUFS)


def can_take_over(transport: Any, reactor: Any) -> bool:
    """Whether ``transport`` is a plain stream socket on a reactor that watches descriptors."""
    # By its class (UNIX sockets' is derived from it), not by what it provides: a wrapper between
    # us and the socket, as of `haproxy:`, copies the interfaces of what it wraps. It has yet to
    # read its part of the bytes, and the socket is not closed by telling it of the end.
    if not (isinstance(transport, tcp.Connection) and IReactorFDSet.providedBy(reactor)):
        return False
    handle = transport.getHandle()
    return (
        type(handle) is socket.socket
        and hasattr(handle, "sendmsg")  # Windows has none
        and handle.type == socket.SOCK_STREAM
        and not getattr(transport, "TLS", False)
    )


class _SocketLost(Exception):
    """The socket itself says so. An error of whoever gets the bytes, a full disk perhaps, is not
    this one's, and ends the connection as any mistake there does: with a line in the log.
    """


@implementer(IReadWriteDescriptor)
class TCPCarrier:
    """See :class:`porttunnel.net.carriers.interface.Carrier`.

    :param reactor: watches descriptors (``IReactorFDSet``) and time.
    :param transport: the stock transport, connected, with nothing written and not yet paused.
    :param receiver: gets the bytes.
    :param lender: the same receiver, when it lends room for what is read.
    """

    def __init__(
        self, reactor: Any, transport: Any, receiver: Receiver, lender: Lender | None = None
    ) -> None:
        self._reactor = reactor
        self._transport = transport
        self._receiver = receiver
        self._lender = lender
        self._socket: socket.socket = transport.getHandle()
        self._closed = False
        self._paused = False
        self._rooms = 1  # that are asked for at once
        self._read_ended = False
        self._broken = False
        transport.stopReading()
        self._is_tcp = self._socket.family in (socket.AF_INET, socket.AF_INET6)
        if self._is_tcp:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _send_unpaced_on_loopback(self._socket)
        reactor.addReader(self)

    @property
    def peer(self) -> IAddress:
        """The other end's address."""
        peer: IAddress = self._transport.getPeer()
        return peer

    def send(self, views: Sequence[memoryview]) -> int:
        """Hand the views to the kernel; see the interface."""
        if self._closed or self._broken:
            return 0
        taken = 0
        try:
            if len(views) == 1:
                taken = self._socket.send(views[0])
                if taken < len(views[0]):
                    self._reactor.addWriter(self)
                return taken
            for first in range(0, len(views), MAX_VIEWS):
                part = views[first : first + MAX_VIEWS]
                offered = sum(map(len, part))
                count = self._socket.sendmsg(part)
                taken += count
                if count < offered:
                    self._reactor.addWriter(self)
                    break
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                self._reactor.addWriter(self)
            else:
                self.break_off(main.CONNECTION_LOST)
        return taken

    def limit_unsent(self, count: int) -> None:
        """Bound what the kernel queues, where it can be told to (Linux, macOS)."""
        low_water = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if low_water is not None and self._is_tcp and not (self._closed or self._broken):
            self._socket.setsockopt(socket.IPPROTO_TCP, low_water, count)

    def end(self) -> None:
        """Half-close."""
        if not (self._closed or self._broken):
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.break_off(main.CONNECTION_LOST)

    def pause_receiving(self) -> None:
        """Stop watching for bytes."""
        self._paused = True
        self._reactor.removeReader(self)

    def resume_receiving(self) -> None:
        """Watch for bytes again."""
        self._paused = False
        if not (self._closed or self._broken or self._read_ended):
            self._reactor.addReader(self)

    def close(self) -> None:
        """Close; what ``send`` took is in the kernel, which delivers it."""
        if not self._closed:
            self._reactor.callLater(0, self._lose, main.CONNECTION_DONE)

    def abort(self) -> None:
        """Close with a reset."""
        if not self._closed:
            self.break_off(ConnectionAborted())

    def break_off(self, reason: Exception) -> None:
        """Close in the reactor's next turn, never inside a call: callers are in mid-step.

        :param reason: that the transport is told.
        """
        self._broken = True
        self._reactor.callLater(0, self._lose, reason)

    def _lose(self, reason: Exception) -> None:
        self.connectionLost(Failure(reason))

    def fileno(self) -> int:
        """For the reactor."""
        return -1 if self._closed else self._socket.fileno()

    def logPrefix(self) -> str:
        """For the reactor's log."""
        return "porttunnel"

    def doRead(self) -> Any:
        """The reactor says: bytes are there.

        :returns: None, or the exception that ends the connection, as the reactor wants it.
        """
        if self._broken:
            # The kernel tells of a reset once; after that it looks like the peer's orderly end.
            return None
        read = self._read if self._lender is None else self._read_into_loans
        try:
            read()
        except _SocketLost:
            return main.CONNECTION_LOST
        return None

    def _read(self) -> None:
        receiver = self._receiver
        for turn in range(READS_PER_TURN):
            try:
                count = self._socket.recv_into(_receive_view)
            except OSError as error:
                if error.errno not in _WOULD_BLOCK:
                    raise _SocketLost from error
                if turn:
                    break
                return
            if count == 0:
                if turn:
                    receiver.reading_done()
                self._end_of_bytes()
                return
            receiver.carrier_received(_receive_view[:count])
            if count < WORTH_ANOTHER_READ_BYTES or self._paused or self._broken or self._closed:
                break
        receiver.reading_done()

    def _read_into_loans(self) -> None:
        lender: Any = self._lender
        for turn in range(READS_PER_TURN):
            # Others wait for whoever was refused room: nobody may ask for some in vain.
            if turn and not self._has_bytes():
                break
            rooms = lender.lend(self._rooms)
            if not rooms:
                self._rooms = MAX_LOANS  # by its turn much will have come
                break
            count = 0
            try:
                if len(rooms) == 1:
                    count = self._socket.recv_into(rooms[0])
                else:
                    count = self._socket.recvmsg_into(rooms)[0]
            except OSError as error:
                if error.errno in _WOULD_BLOCK:
                    break
                raise _SocketLost from error
            finally:
                lender.filled(count)
            if count == 0:
                lender.reading_done()
                self._end_of_bytes()
                return
            if count < sum(map(len, rooms)):
                self._rooms = 1
                break
            # It is much: from now on for several packets at once.
            self._rooms = MAX_LOANS
        lender.reading_done()

    def _has_bytes(self) -> bool:
        """Whether a read would bring something, be it the end of the bytes."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return False
            raise _SocketLost from error
        return True

    def _end_of_bytes(self) -> None:
        self._read_ended = True
        self._reactor.removeReader(self)
        self._receiver.carrier_ended()

    def doWrite(self) -> None:
        """The reactor says: the kernel takes bytes."""
        self._reactor.removeWriter(self)
        self._receiver.carrier_writable()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor, or we ourselves, end it; the stock transport closes the socket."""
        if not self._closed:
            self.forget()
            self._transport.connectionLost(reason)

    def forget(self) -> None:
        """Touch the socket no more: the stock transport has come to its end by itself."""
        if not self._closed:
            # First, while there is a descriptor: without it the reactor looks through all it has.
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._closed = True


def _send_unpaced_on_loopback(connection: socket.socket) -> None:
    option = getattr(socket, "TCP_CONGESTION", None)
    try:
        if option is not None and ip_address(connection.getpeername()[0]).is_loopback:
            connection.setsockopt(socket.IPPROTO_TCP, option, LOOPBACK_CONGESTION_CONTROL)
    except OSError:
        return  # the peer has gone already, or the system lacks it: its default does too
