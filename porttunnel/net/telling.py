"""Tells of an event; what the told one does wrong then stays its own fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

__all__ = ["tell"]

_log = Logger()


def tell(receive: Callable[[Any], None], happened: Any) -> None:
    """Call with an event. What the call raises is logged: it is no reason to lose the events
    behind this one, or an end.

    :param receive: a program's function, or what leads to one.
    :param happened: the event.
    """
    try:
        receive(happened)
    except Exception:
        # The event's name only: it may hold digits to read out, or what somebody sent.
        _log.failure("{kind} could not be told", kind=type(happened).__name__)
