"""The states of a connection after its handshake, and the way between them.

Source: RFC 6455, section 7.1.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["TRANSITIONS", "ConnectionState", "ConnectionStep"]


class ConnectionState(Enum):
    """Where a connection stands after its handshake."""

    OPEN = "both sides may send"
    PARTING = "what the peer sends matters no more; what we have to say goes before our Close"
    CLOSING = "we have sent Close, the peer has not yet"
    CLOSED = "it is over; what waits may still go out"


class ConnectionStep(Enum):
    """What can happen to its state."""

    CLOSED_LOCALLY = "Close sent"
    CLOSED_REMOTELY = "Close received"
    BROKEN_REMOTELY = "the peer broke the protocol or a limit"
    CUT_OFF = "the peer is gone or silent"


_S, _E = ConnectionState, ConnectionStep
TRANSITIONS: dict[tuple[ConnectionState, ConnectionStep], ConnectionState] = {
    (_S.OPEN, _E.CLOSED_LOCALLY): _S.CLOSING,
    (_S.OPEN, _E.CLOSED_REMOTELY): _S.PARTING,
    (_S.OPEN, _E.BROKEN_REMOTELY): _S.PARTING,
    (_S.OPEN, _E.CUT_OFF): _S.CLOSED,
    (_S.PARTING, _E.CLOSED_LOCALLY): _S.CLOSED,
    (_S.PARTING, _E.CUT_OFF): _S.CLOSED,
    (_S.CLOSING, _E.CLOSED_REMOTELY): _S.CLOSED,
    (_S.CLOSING, _E.BROKEN_REMOTELY): _S.CLOSED,
    (_S.CLOSING, _E.CUT_OFF): _S.CLOSED,
}
