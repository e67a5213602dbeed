"""Streams whose content is known at every byte, both ways."""

from __future__ import annotations

import random
from collections.abc import Callable
from struct import Struct
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["Flow", "FlowEnd"]

PERIOD_BYTES = 262_147  # a prime: no size of a piece or a packet divides it
MAX_PIECE_BYTES = 8_192
_PERIOD = random.Random(0).randbytes(PERIOD_BYTES)
_CONTENT = _PERIOD + _PERIOD[:65_536]
_NUMBER = Struct(">Q")


class Way:
    """One direction.

    :param seed: where in the content it begins.
    """

    def __init__(self, seed: int) -> None:
        self.sent = 0
        self.received = 0
        self.is_wrong = False
        self.has_ended = False
        self._start = seed

    @property
    def is_intact(self) -> bool:
        """Whether exactly what was sent has come, and its end."""
        return self.has_ended and not self.is_wrong and self.received == self.sent

    def take(self, count: int) -> bytes:
        """What is sent next."""
        piece = self._content(self.sent, count)
        self.sent += count
        return piece

    def receive(self, data: bytes) -> None:
        """Compare with what was sent."""
        for start in range(0, len(data), MAX_PIECE_BYTES):
            piece = data[start : start + MAX_PIECE_BYTES]
            self.is_wrong |= piece != self._content(self.received, len(piece))
            self.received += len(piece)
        self.is_wrong |= self.received > self.sent

    def _content(self, position: int, count: int) -> bytes:
        start = (self._start + position) % PERIOD_BYTES
        return _CONTENT[start : start + count]


class Flow:
    """A stream from a client to its master.

    :ivar may_break: its client was put out, or has left.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.to_master = Way(number * 7_919)
        self.to_client = Way(number * 104_729)
        self.may_break = False
        self.has_broken = False

    @property
    def ways(self) -> tuple[Way, Way]:
        return self.to_master, self.to_client

    @property
    def is_intact(self) -> bool:
        return self.to_master.is_intact and self.to_client.is_intact

    @property
    def is_wrong(self) -> bool:
        """Whether something came that was not sent, or sent in another order."""
        return self.to_master.is_wrong or self.to_client.is_wrong


@implementer(IHalfCloseableProtocol, IPushProducer)
class FlowEnd(Protocol):
    """One end of a flow.

    :param ends: of the program; those that are open.
    :param flow: at the client; the master's end learns it from the first bytes.
    :param find: a flow by its number.
    """

    transport: Any

    def __init__(self, ends: set[FlowEnd], flow: Flow | None, find: Callable[[int], Flow]) -> None:
        self.flow = flow
        self._ends = ends
        self._find = find
        self._is_client = flow is not None
        self._number = b""
        self._paused = False
        self._finishing = False

    def connectionMade(self) -> None:
        self._ends.add(self)
        self.transport.registerProducer(self, True)
        if self.flow is not None:
            self.transport.write(_NUMBER.pack(self.flow.number))

    def send(self, count: int) -> None:
        """Send so many bytes, unless what was sent before waits."""
        if self.flow is not None and not self._paused and not self._finishing:
            out = self.flow.to_master if self._is_client else self.flow.to_client
            self.transport.write(out.take(count))

    def finish(self) -> None:
        """Send the end."""
        if not self._finishing:
            self._finishing = True
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.flow is None:
            missing = _NUMBER.size - len(self._number)
            self._number += data[:missing]
            data = data[missing:]
            if len(self._number) < _NUMBER.size:
                return
            self.flow = self._find(_NUMBER.unpack(self._number)[0])
        self._incoming(self.flow).receive(data)

    def readConnectionLost(self) -> None:
        if self.flow is not None:
            self._incoming(self.flow).has_ended = True
        self.finish()

    def writeConnectionLost(self) -> None:
        """Our own end."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ends.discard(self)
        self._paused = True
        # What went out may still be on its way: the other end will know.
        if self.flow is not None and not self._incoming(self.flow).has_ended:
            self.flow.has_broken = True

    def _incoming(self, flow: Flow) -> Way:
        return flow.to_client if self._is_client else flow.to_master

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False

    def stopProducing(self) -> None:
        self._paused = True
