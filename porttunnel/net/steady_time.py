"""Time that only goes forward, for all that waits in a program."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["keep_time_steady"]


def keep_time_steady(reactor: Any) -> None:
    """Let a reactor's time be that of the monotonic clock.

    Twisted's own is the wall clock: if that is put back by an hour, as where a machine begins with
    the wrong time zone, nothing that waits happens for an hour, from keep-alives to new tries.

    :param reactor: does not run yet, and nothing waits; otherwise nothing is changed, since what
        waits does so by its old time.
    """
    if not reactor.running and not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic
