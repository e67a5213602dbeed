"""The threads that look at passwords: as many as can work at a time and leave the reactor one.

PBKDF2 lets go of the interpreter while it works, so that they really are parallel.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

__all__ = ["HashPool", "count_threads"]

_T = TypeVar("_T")


def count_threads() -> int:
    """One for each core that this process may use, but for the reactor's; one at least."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cores = os.cpu_count() or 1
    return max(1, cores - 1)


class HashPool:
    """Runs calls side by side. How many wait is the caller's business.

    :param reactor: gets the answers (``IReactorFromThreads``).
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=count_threads(), name="passwords")

    def start(self) -> None:
        """Take calls from now on in the threads."""
        self._pool.start()

    def run(self, function: Callable[..., _T], *arguments: Any) -> Deferred[_T]:
        """Call ``function(*arguments)`` in a thread; the Deferred has what it returns.

        Before the start it is called at once.
        """
        if not self._pool.started:
            return maybeDeferred(function, *arguments)
        deferred: Deferred[_T] = deferToThreadPool(self._reactor, self._pool, function, *arguments)
        return deferred

    def stop(self) -> None:
        """Finish what was given, then end."""
        self._pool.stop()
