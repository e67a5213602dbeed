"""A client as the master sees it, from JOINING to the end of its membership."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from porttunnel.keys.handshake import Established, HandshakeMode, MasterHandshake
from porttunnel.session.invitation import Invitation
from porttunnel.session.peer import Peer

__all__ = ["Joiner", "JoinerState"]

HANDSHAKE_SECONDS = 10.0  # from C1 to C3: then the next who waits gets the invitation
DIGITS_SECONDS = 120.0  # SAS: to read out and type
INTRODUCTION_SECONDS = 130.0  # JOIN_AS: in SAS the client's user types digits before it
CONSENT_SECONDS = 600.0  # as long as the client waits
MAX_WRONG_DIGITS = 3  # SAS: what a person may mistype


class JoinerState(Enum):
    """Where admission stands."""

    QUEUED = "C1 is here, another handshake is going on"
    CONFIRMING = "M2 was sent"
    COMPARING = "SAS: our user types the client's digits"
    INTRODUCING = "the code was right; JOIN_AS is to come"
    DECIDING = "our user is asked"
    MEMBER = "admitted"


PATIENCE_SECONDS = {
    JoinerState.CONFIRMING: HANDSHAKE_SECONDS,
    JoinerState.COMPARING: DIGITS_SECONDS,
    JoinerState.INTRODUCING: INTRODUCTION_SECONDS,
    JoinerState.DECIDING: CONSENT_SECONDS,
}


@dataclass(slots=True, eq=False)
class Joiner:
    """The master's book about one member number.

    :ivar deadline: seconds, absolute; QUEUED and MEMBER have none of their own.
    """

    member: int
    c1: bytes
    mode: HandshakeMode
    state: JoinerState = JoinerState.QUEUED
    deadline: float | None = None
    invitation: Invitation | None = None
    handshake: MasterHandshake | None = None
    established: Established | None = None
    digits_tries_left: int = MAX_WRONG_DIGITS
    peer: Peer | None = None
    name: str = ""

    def __repr__(self) -> str:
        return f"<Joiner {self.member} {self.state.name}>"

    def enter(self, state: JoinerState, now: float) -> None:
        """Go on to ``state``, with its patience from now."""
        self.state = state
        patience = PATIENCE_SECONDS.get(state)
        self.deadline = None if patience is None else now + patience
