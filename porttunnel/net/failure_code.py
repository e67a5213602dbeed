"""How a failed connection is told to the other side of a stream."""

from __future__ import annotations

from twisted.internet import defer
from twisted.internet.error import (
    ConnectingCancelledError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
)
from twisted.internet.error import ConnectionRefusedError as TwistedConnectionRefused
from twisted.internet.error import TimeoutError as TwistedTimeout
from twisted.python.failure import Failure

from porttunnel.errors import StreamCode

__all__ = ["code_of_failure"]


def code_of_failure(reason: Failure) -> StreamCode:
    """How a failed connection is told to the other side."""
    if reason.check(TwistedConnectionRefused):
        return StreamCode.CONNECTION_REFUSED
    # The last is how an endpoint reports that it was given up, by addTimeout.
    if reason.check(
        TwistedTimeout, TCPTimedOutError, defer.TimeoutError, ConnectingCancelledError
    ):
        return StreamCode.TIMED_OUT
    if reason.check(DNSLookupError, NoRouteError):
        return StreamCode.UNREACHABLE
    return StreamCode.UNREACHABLE if reason.check(OSError) else StreamCode.INTERNAL
