"""A client as the master sees it, from the shared keys to the end of its membership."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from porttunnel.keys.handshake import Established
from porttunnel.session.peer import Peer

__all__ = ["Joiner", "JoinerState"]

DIGITS_SECONDS = 120.0  # SAS: to read out and type
INTRODUCTION_SECONDS = 130.0  # JOIN_AS: in SAS the client's user types digits before it
CONSENT_SECONDS = 600.0  # as long as the client waits
MAX_WRONG_DIGITS = 3  # SAS: what a person may mistype


class JoinerState(Enum):
    """Where admission stands."""

    COMPARING = "SAS: our user types the client's digits"
    INTRODUCING = "the code was right; JOIN_AS is to come"
    DECIDING = "our user is asked"
    MEMBER = "admitted"


PATIENCE_SECONDS = {
    JoinerState.COMPARING: DIGITS_SECONDS,
    JoinerState.INTRODUCING: INTRODUCTION_SECONDS,
    JoinerState.DECIDING: CONSENT_SECONDS,
}


@dataclass(slots=True, eq=False)
class Joiner:
    """The master's book about one client that it shares keys with.

    :ivar sas: whether digits are read out in both directions.
    :ivar former: the number that it had before its program was started anew, or 0.
    :ivar established: what the digits come from, while COMPARING; else None.
    :ivar deadline: seconds, absolute; a MEMBER has none.
    """

    peer: Peer
    sas: bool = False
    former: int = 0
    established: Established | None = None
    state: JoinerState = JoinerState.COMPARING
    deadline: float | None = None
    digits_tries_left: int = MAX_WRONG_DIGITS
    name: str = ""

    def __repr__(self) -> str:
        return f"<Joiner {self.member} {self.state.name}>"

    @property
    def member(self) -> int:
        """Its member number."""
        return self.peer.member

    @property
    def may_compare(self) -> bool:
        """Whether the client may still be typing digits: its JOIN_AS tells that it is done."""
        return self.sas and self.state in (JoinerState.COMPARING, JoinerState.INTRODUCING)

    def enter(self, state: JoinerState, now: float) -> None:
        """Go on to ``state``, with its patience from now."""
        self.state = state
        patience = PATIENCE_SECONDS.get(state)
        self.deadline = None if patience is None else now + patience
