"""Coming back to a session after the client's process ended, without a new code.

Source: docs/session-protocol, section 8. Both sides of a pair know a secret that was never sent.
A client that kept it shakes hands with it, if the master still allows that.
"""

from __future__ import annotations

from porttunnel.keys.secret_holder import SecretHolder

__all__ = ["RejoinBook", "RejoinTicket"]

MAX_FORMER_MEMBERS = 1_024  # that the master remembers; the oldest is forgotten first
MAX_WRONG_TRIES = 3  # with one secret of 256 bits: nobody guesses it, somebody is confused


class RejoinTicket(SecretHolder):
    """What a client keeps to come back.

    :param number: session number.
    :param session_id: 16 bytes: a number is never given out twice, yet the id says it for sure.
    :param member: the member number of the membership that it comes from.
    :param secret: 32 bytes, ``Established.rejoin``.
    """

    __slots__ = ("member", "number", "secret", "session_id")
    OPEN_SLOTS = frozenset({"member", "number", "session_id"})

    def __init__(self, number: int, session_id: bytes, member: int, secret: bytes) -> None:
        self.number = number
        self.session_id = session_id
        self.member = member
        self.secret = secret

    @property
    def password(self) -> bytes:
        """What enters CPace: 64 hex characters."""
        return self.secret.hex().encode()


class _Former:
    """A membership that may be taken up again."""

    __slots__ = ("name", "secret", "wrong_tries")

    def __init__(self, name: str, secret: bytes) -> None:
        self.name = name
        self.secret = secret
        self.wrong_tries = 0


class RejoinBook:
    """The master's: who may come back."""

    def __init__(self) -> None:
        self._former: dict[int, _Former] = {}  # by member number, the oldest first

    def __repr__(self) -> str:
        return f"<RejoinBook of {len(self._former)}>"

    def remember(self, member: int, name: str, secret: bytes) -> None:
        """A client was admitted and may come back.

        :param secret: 32 bytes, ``Established.rejoin``.
        """
        if len(self._former) >= MAX_FORMER_MEMBERS:
            self.forget(next(iter(self._former)))
        self._former[member] = _Former(name, secret)

    def close(self) -> None:
        """The session is over: nobody comes back."""
        self._former.clear()

    def password(self, member: int) -> bytes | None:
        """What enters CPace for this former member, or None: it may not come back."""
        former = self._former.get(member)
        return None if former is None else former.secret.hex().encode()

    def name(self, member: int) -> str:
        """How a former member called itself."""
        return self._former[member].name

    def count_wrong_try(self, member: int) -> None:
        """Somebody did not know the secret; after three it is void."""
        former = self._former.get(member)
        if former is None:
            return  # forgotten while the handshake went on
        former.wrong_tries += 1
        if former.wrong_tries >= MAX_WRONG_TRIES:
            self.forget(member)

    def forget(self, member: int) -> None:
        """This member may not come back: it was put out, or has come back."""
        self._former.pop(member, None)
