"""What the master invites with, and how many wrong tries it takes.

Source: docs/session-protocol, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from porttunnel.keys.handshake import HandshakeMode
from porttunnel.session.code import SessionCode, draw_link_secret, draw_pin

__all__ = ["Invitation", "Invitations"]

MAX_WRONG_TRIES = 3  # of one invitation: with six digits, three chances in a million
MAX_WRONG_TRIES_IN_ALL = 10  # then its user must know that somebody guesses


@dataclass(slots=True)
class Invitation:
    """One client's way in: PIN and link secret burn together.

    :param pin_code: with the PIN, or in SAS mode with the number alone.
    :param link_code: with the link secret; None in SAS mode.
    """

    pin_code: SessionCode
    link_code: SessionCode | None
    wrong_tries: int = 0

    def password(self, mode: HandshakeMode) -> bytes | None:
        """The password string for this mode; None if it was not invited."""
        if mode is HandshakeMode.LINK and self.link_code is not None:
            return self.link_code.password
        invited = HandshakeMode.SAS if self.link_code is None else HandshakeMode.PIN
        return self.pin_code.password if mode is invited else None


class Invitations:
    """The current invitation and the count of wrong tries.

    :param number: session number.
    :param sas: invite with the number alone; digits are read out in both directions.
    :param randbelow: as ``secrets.randbelow``.
    :param token_bytes: as ``secrets.token_bytes``.
    """

    def __init__(
        self,
        number: int,
        sas: bool,
        randbelow: Callable[[int], int],
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self._number = number
        self._sas = sas
        self._randbelow = randbelow
        self._token_bytes = token_bytes
        self.wrong_tries = 0
        self.current = self._draw()

    @property
    def paused(self) -> bool:
        """Whether too many tries were wrong; :meth:`resume` goes on."""
        return self.wrong_tries >= MAX_WRONG_TRIES_IN_ALL

    def renew(self) -> Invitation:
        """Burn the current invitation, make the next."""
        self.current = self._draw()
        return self.current

    def count_wrong_try(self) -> bool:
        """Somebody did not know the code; True if that burnt the invitation."""
        self.wrong_tries += 1
        self.current.wrong_tries += 1
        return self.current.wrong_tries >= MAX_WRONG_TRIES

    def resume(self) -> Invitation:
        """The user has decided to let people try again."""
        self.wrong_tries = 0
        return self.renew()

    def _draw(self) -> Invitation:
        if self._sas:
            return Invitation(SessionCode(self._number), None)
        return Invitation(
            SessionCode(self._number, pin=draw_pin(self._randbelow)),
            SessionCode(self._number, link_secret=draw_link_secret(self._token_bytes)),
        )
