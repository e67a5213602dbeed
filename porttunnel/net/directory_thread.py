"""The one thread in which the directory works: its store waits for the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

__all__ = ["DirectoryThread"]

_T = TypeVar("_T")


class DirectoryThread:
    """Runs calls one after the other, in the order given, and answers in that order.

    Not the reactor's thread pool: there name look-ups of others would stand in line with us.

    :param reactor: gets the answers (``IReactorFromThreads``).
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=1, maxthreads=1, name="directory")
        self._started = False

    def start(self) -> None:
        """Take calls from now on in the thread."""
        self._started = True
        self._pool.start()

    def run(self, function: Callable[..., _T], *arguments: Any) -> Deferred[_T]:
        """Call ``function(*arguments)`` in the thread; the Deferred has what it returns.

        Before the thread was started it is called at once: what must succeed before a program
        goes on needs no reactor that runs.
        """
        if not self._started:
            return maybeDeferred(function, *arguments)
        deferred: Deferred[_T] = deferToThreadPool(self._reactor, self._pool, function, *arguments)
        return deferred

    def stop(self) -> None:
        """Finish what was given, then end; to be called when nothing waits for an answer."""
        self._pool.stop()
