"""Watches the sockets of one server for its reactor, and says when a turn of them is over.

A reactor calls each descriptor through its log's context, which costs as much as a small packet
does, and says nothing at the end. Here all the sockets are one descriptor of the reactor's: those
that are ready are called directly, and then what all of them brought can be sent on together.
"""

from __future__ import annotations

import select
from typing import Any, Protocol

from twisted.internet import main
from twisted.internet.interfaces import (
    IReactorFDSet,
    IReadDescriptor,
    IReadWriteDescriptor,
    IWriteDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["SocketWatch", "Turn", "watch_for"]

# In one turn; the others come in the next. As many as are worth a turn of their own.
MAX_EVENTS = 256

_IN = getattr(select, "EPOLLIN", 1)
_OUT = getattr(select, "EPOLLOUT", 4)
_GONE = getattr(select, "EPOLLERR", 8) | getattr(select, "EPOLLHUP", 16)


class Turn(Protocol):
    """Who is told when a turn begins and ends."""

    def begin_turn(self) -> None:
        """Several sockets may bring something now."""

    def end_turn(self) -> None:
        """All have."""


def watch_for(reactor: Any, turn: Turn) -> Any:
    """What watches sockets, in the reactor's place: it has its verbs for descriptors and time.

    :returns: a :class:`SocketWatch`; or the reactor itself where there is no ``epoll``, or the
        reactor watches no descriptors. Then nobody is told of turns.
    """
    if hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor):
        return SocketWatch(reactor, turn)
    return reactor


@implementer(IReactorFDSet, IReadDescriptor)
class SocketWatch:
    """See :func:`watch_for`. While it watches something the reactor watches it.

    :param reactor: an ``IReactorFDSet`` with time.
    :param turn: told of each turn.

    :ivar callLater: the reactor's.
    :ivar seconds: the reactor's.
    """

    _log = Logger()

    def __init__(self, reactor: Any, turn: Turn) -> None:
        self._reactor = reactor
        self._turn = turn
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        self._epoll = select.epoll()
        # By file descriptor: what it is, and what it is watched for.
        self._watched: dict[int, tuple[Any, int]] = {}

    # For those who are watched

    def addReader(self, reader: IReadDescriptor) -> None:
        self._watch(reader, _IN)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        self._watch(writer, _OUT)

    def removeReader(self, reader: IReadDescriptor) -> None:
        self._leave(reader, _IN)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        self._leave(writer, _OUT)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        descriptors = [descriptor for descriptor, _ in self._watched.values()]
        for descriptor in descriptors:
            self._leave(descriptor, _IN | _OUT)
        return descriptors

    def getReaders(self) -> list[IReadDescriptor]:
        return [descriptor for descriptor, events in self._watched.values() if events & _IN]

    def getWriters(self) -> list[IWriteDescriptor]:
        return [descriptor for descriptor, events in self._watched.values() if events & _OUT]

    # For the reactor

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "porttunnel"

    def doRead(self) -> None:
        """Some of the sockets are ready."""
        self._turn.begin_turn()
        watched = self._watched
        serve = self._serve
        for number, events in self._epoll.poll(0, MAX_EVENTS):
            found = watched.get(number)
            if found is not None:  # another one may have ended it
                serve(found, events)
        self._turn.end_turn()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, and with it all its connections."""
        for descriptor in self.removeAll():
            descriptor.connectionLost(reason)

    def _serve(self, found: tuple[Any, int], events: int) -> None:
        descriptor, wanted = found
        why: Exception | None = None
        try:
            if events & _IN:
                why = descriptor.doRead()
            elif events & _GONE:
                why = main.CONNECTION_DONE if wanted & _IN else main.CONNECTION_LOST
            if events & _OUT and why is None and descriptor.fileno() != -1:
                why = descriptor.doWrite()
        except Exception as error:
            # It is this one's mistake, and the others go on; as with a reactor.
            self._log.failure("a connection failed")
            why = error
        if why is not None:
            self._leave(descriptor, _IN | _OUT)
            descriptor.connectionLost(Failure(why))

    def _watch(self, descriptor: IReadWriteDescriptor | Any, events: int) -> None:
        number = descriptor.fileno()
        found = self._watched.get(number)
        if found is None:
            self._epoll.register(number, events)
            if not self._watched:
                self._reactor.addReader(self)
        else:
            events |= found[1]
            if events != found[1]:
                self._epoll.modify(number, events)
        self._watched[number] = descriptor, events

    def _leave(self, descriptor: IReadWriteDescriptor | Any, events: int) -> None:
        number = descriptor.fileno()
        found = self._watched.get(number)
        if found is None:
            return
        left = found[1] & ~events
        if left == found[1]:
            return
        if left:
            self._epoll.modify(number, left)
            self._watched[number] = descriptor, left
            return
        self._epoll.unregister(number)
        del self._watched[number]
        if not self._watched:
            self._reactor.removeReader(self)
