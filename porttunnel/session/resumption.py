"""How a member comes back after its link was lost: token, patience, and whether it is away.

Source: docs/session-protocol, sections 3 and 7.
"""

from __future__ import annotations

from porttunnel.errors import CutOff
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.session import request

__all__ = ["Resumption"]


class Resumption(SecretHolder):
    """See the module.

    :param give_up_seconds: how long to try.
    :ivar under_way: whether the link was lost and the server has not taken a new one yet.
    :ivar deadline: when to give up (seconds, absolute), or None.
    """

    __slots__ = ("_give_up_seconds", "_session_id", "_token", "deadline", "under_way")
    OPEN_SLOTS = frozenset({"_give_up_seconds", "_session_id", "deadline", "under_way"})

    def __init__(self, give_up_seconds: float) -> None:
        self._give_up_seconds = give_up_seconds
        self._session_id = b""
        self._token = b""
        self.under_way = False
        self.deadline: float | None = None

    @property
    def possible(self) -> bool:
        """Whether the server has given us a token."""
        return bool(self._token)

    def allow(self, session_id: bytes, token: bytes) -> None:
        """CREATED or JOINED has come."""
        self._session_id = session_id
        self._token = token

    def begin(self, now: float) -> None:
        """The link was lost, perhaps again before the last resumption succeeded."""
        self.under_way = True
        if self.deadline is None:
            self.deadline = now + self._give_up_seconds

    def ask(self, member: int) -> request.Resume:
        """What to ask first on a new link."""
        return request.Resume(session_id=self._session_id, member=member, token=self._token)

    def succeed(self, token: bytes) -> None:
        """RESUMED has come, with the token for the next time."""
        self._token = token
        self.under_way = False
        self.deadline = None

    def handle_timeout(self, now: float) -> None:
        """Time has passed; :raises CutOff: too much of it."""
        if self.deadline is not None and now >= self.deadline:
            raise CutOff("The tunnel server could not be reached again in time. Start again.")
