"""Time that only goes forward, for all that waits in a program."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["keep_time_steady", "steady_clock"]


def keep_time_steady(reactor: Any) -> None:
    """Let a reactor's time be that of a clock that nobody sets.

    Twisted's own is the wall clock: if that is put back by an hour, as where a machine begins with
    the wrong time zone, nothing that waits happens for an hour, from keep-alives to new tries.

    :param reactor: does not run yet, and nothing waits; otherwise nothing is changed, since what
        waits does so by its old time.
    """
    if not reactor.running and not reactor.getDelayedCalls():
        reactor.seconds = steady_clock()


def steady_clock() -> Callable[[], float]:
    """Seconds since something, that also pass while a laptop sleeps, where the system can say so.

    Otherwise who wakes up would take its links, which are long gone, for alive for as long as if
    nothing had been.
    """
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boot_time is None else partial(time.clock_gettime, boot_time)
