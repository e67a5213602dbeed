"""The states of a connection after its handshake, and the way between them.

Source: RFC 6455, section 7.1.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["TRANSITIONS", "ConnectionState", "ConnectionStep"]


class ConnectionState(Enum):
    """Where a connection stands after its handshake."""

    OPEN = "both sides may send"
    ANSWERING = "the peer has sent Close, and what we have to say goes before our own"
    CLOSING = "we have sent Close, the peer has not yet"
    CLOSED = "nothing that comes matters any more; what waits may still go out"


class ConnectionStep(Enum):
    """What can happen to its state."""

    CLOSED_LOCALLY = "Close sent"
    CLOSED_REMOTELY = "Close received"
    FAILED = "the peer broke the protocol, was silent, or is gone"


_S, _E = ConnectionState, ConnectionStep
TRANSITIONS: dict[tuple[ConnectionState, ConnectionStep], ConnectionState] = {
    (_S.OPEN, _E.CLOSED_LOCALLY): _S.CLOSING,
    (_S.OPEN, _E.CLOSED_REMOTELY): _S.ANSWERING,
    (_S.OPEN, _E.FAILED): _S.CLOSED,
    (_S.ANSWERING, _E.CLOSED_LOCALLY): _S.CLOSED,
    (_S.ANSWERING, _E.FAILED): _S.CLOSED,
    (_S.CLOSING, _E.CLOSED_REMOTELY): _S.CLOSED,
    (_S.CLOSING, _E.FAILED): _S.CLOSED,
}
