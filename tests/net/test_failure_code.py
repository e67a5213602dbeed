"""porttunnel.net.failure_code"""

from __future__ import annotations

import pytest
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
from porttunnel.net.failure_code import code_of_failure


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TwistedConnectionRefused(), StreamCode.CONNECTION_REFUSED),
        (TwistedTimeout(), StreamCode.TIMED_OUT),
        (TCPTimedOutError(), StreamCode.TIMED_OUT),
        (defer.TimeoutError(), StreamCode.TIMED_OUT),
        (ConnectingCancelledError(None), StreamCode.TIMED_OUT),
        (DNSLookupError(), StreamCode.UNREACHABLE),
        (NoRouteError(), StreamCode.UNREACHABLE),
        (FileNotFoundError(), StreamCode.UNREACHABLE),
        (ZeroDivisionError(), StreamCode.INTERNAL),
    ],
)
def test_how_a_failure_is_told(error: Exception, code: StreamCode) -> None:
    assert code_of_failure(Failure(error)) is code
