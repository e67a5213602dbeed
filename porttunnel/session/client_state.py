"""How far a client's run has come, and how long each step may take.

Source: docs/session-protocol, section 5.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["PATIENCE_SECONDS", "UNVERIFIED", "VERIFIED", "ClientState"]

KEY_SECONDS = 60.0  # RSA-2048 takes 33 ms on average; a loaded machine has its time too
EXCHANGE_SECONDS = 100.0  # the master takes joiners one by one, 10 s each, 8 may wait
CONFIRM_SECONDS = 15.0  # M4 is computed at once
DIGITS_SECONDS = 120.0  # to read out and type
CONSENT_SECONDS = 600.0  # a person must come to the other screen


class ClientState(Enum):
    """How far a run has come."""

    JOINING = "JOIN was sent"
    PREPARING = "a member; the key is being made"
    EXCHANGING = "C1 was sent"
    CONFIRMING = "C3 was sent: the code is used up"
    COMPARING = "SAS: the digits are being typed"
    INTRODUCING = "waiting for HELLO"
    ASKING = "JOIN_AS was sent: the other user decides"
    MEMBER = "admitted"


PATIENCE_SECONDS = {
    ClientState.PREPARING: KEY_SECONDS,
    ClientState.EXCHANGING: EXCHANGE_SECONDS,
    ClientState.CONFIRMING: CONFIRM_SECONDS,
    ClientState.COMPARING: DIGITS_SECONDS,
    ClientState.INTRODUCING: CONFIRM_SECONDS,
    ClientState.ASKING: CONSENT_SECONDS,
}
UNVERIFIED = (ClientState.EXCHANGING, ClientState.CONFIRMING)
VERIFIED = (ClientState.INTRODUCING, ClientState.ASKING, ClientState.MEMBER)
