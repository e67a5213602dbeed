"""What the directory keeps, and the verbs that a store must offer to it.

The rows are all that the tunnel server ever writes about a session: numbers, times, limits and
hashes of tokens. No address, no name, nothing that tells who anybody is. SQLite implements the
verbs in :mod:`porttunnel.net.store.sqlite`; they say nothing of SQL.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from porttunnel.keys.credentials import derive_next_token, hash_token, verify_token

__all__ = ["DirectoryStore", "MemberRow", "NoticeRow", "ServerRow", "SessionRow"]


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that has not ended. Times are unix seconds."""

    session_id: bytes
    number: int
    ends_at: float
    join_until: float
    max_clients: int
    next_member: int  # one above the highest member number ever given out
    locked: bool


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member that may resume. Times are unix seconds.

    Exactly one of ``linked_by`` (the server process that holds the link) and ``unlinked_since``
    is set.
    """

    session_id: bytes
    member: int
    token_hash: bytes = field(repr=False)
    previous_token_hash: bytes | None = field(repr=False)
    token_salt: bytes = field(repr=False)  # what makes the current token from the previous one
    joined_at: float
    established: bool
    linked_by: bytes | None
    unlinked_since: float | None

    def may_resume_with(self, token: bytes) -> bool:
        """Whether the token is the current or the previous one; both are always compared."""
        current = verify_token(token, self.token_hash)
        # Without a previous token the current one stands in: the time tells nothing either.
        previous = verify_token(token, self.previous_token_hash or self.token_hash)
        return current or previous

    def renew_token(self, shown: bytes, salt: bytes) -> tuple[MemberRow, bytes]:
        """The row after a RESUME, and the token to answer it with.

        The previous token gets the same answer each time. A RESUME that was given up may arrive
        after the one that took its place, and must not make void what that one was answered.

        :param shown: a token that :meth:`may_resume_with` allows.
        :param salt: 32 fresh random bytes, for the case that the current token was shown.
        """
        if not verify_token(shown, self.token_hash):
            salt = self.token_salt or salt
        token = derive_next_token(shown, salt)
        renewed = replace(
            self,
            token_hash=hash_token(token),
            previous_token_hash=hash_token(shown),
            token_salt=salt,
        )
        return renewed, token


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A server process that holds links. Times are unix seconds."""

    server_id: bytes
    served_since: float  # since when some process, this one or one before it, has been here
    seen_at: float


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """What one server process tells the others. Times are unix seconds.

    ``member`` is 0 if the session as a whole is over; ``reason`` is None if the member lives on,
    linked to another process.
    """

    written_by: bytes
    written_at: float
    session_id: bytes
    member: int
    reason: str | None


class DirectoryStore(Protocol):
    """Rows, found fast. Every verb but :meth:`transaction` is called inside a transaction."""

    def transaction(self) -> AbstractContextManager[None]:
        """All that happens inside happens at once and for ever, or, on an error, not at all.

        Nobody else writes meanwhile. When it ends well its changes survive a power cut.

        :raises ConfigurationError: the store can't be used as it is.
        """

    def issue_number(self, number: int) -> bool:
        """Write down that a number is given out; False: it has been before."""

    def issued_numbers(self, digits: int) -> int:
        """How many numbers of this length have ever been given out. Does not count rows."""

    def add_session(self, session: SessionRow) -> None:
        """A new session, without members."""

    def replace_session(self, session: SessionRow) -> None:
        """Change the session with this ``session_id``."""

    def remove_session(self, session_id: bytes) -> bool:
        """Forget the session and its members, not its number; False: there was none."""

    def session(self, session_id: bytes) -> SessionRow | None:
        """The session with this identity."""

    def session_with_number(self, number: int) -> SessionRow | None:
        """The session that this number stands for."""

    def add_member(self, member: MemberRow) -> None:
        """A new member of a session."""

    def replace_member(self, member: MemberRow) -> None:
        """Change the member with this ``session_id`` and ``member``."""

    def remove_member(self, session_id: bytes, member: int) -> None:
        """Forget the member, if there is one."""

    def member(self, session_id: bytes, member: int) -> MemberRow | None:
        """The member with this number."""

    def members(self, session_id: bytes) -> tuple[int, ...]:
        """The numbers of all members, rising."""

    def client_count(self, session_id: bytes) -> int:
        """How many members are not the master."""

    def sessions_over(self, now: float, limit: int) -> list[bytes]:
        """Sessions with ``ends_at`` at or before ``now``, longest over first."""

    def sessions_without_master(self, since: float, limit: int) -> list[bytes]:
        """Sessions whose master has had no link since ``since`` or longer, longest first."""

    def clients_without_link(self, since: float, limit: int) -> list[tuple[bytes, int]]:
        """Clients that have had no link since ``since`` or longer, longest first."""

    def clients_unfinished(self, joined: float, limit: int) -> list[tuple[bytes, int]]:
        """Clients, not established, that joined at ``joined`` or before, oldest first."""

    def server(self, server_id: bytes) -> ServerRow | None:
        """The server process with this identity."""

    def put_server(self, server: ServerRow) -> None:
        """Add a server process, or change the one with this identity."""

    def remove_server(self, server_id: bytes) -> None:
        """Forget a server process that holds no link any more."""

    def served_since(self, seen: float) -> float | None:
        """The earliest ``served_since`` of processes with ``seen_at`` after ``seen``."""

    def silent_server(self, seen: float) -> bytes | None:
        """A server process with ``seen_at`` at or before ``seen``."""

    def unlink_members(self, server_id: bytes, now: float, limit: int) -> int:
        """Take the links of at most ``limit`` members of this server process, from ``now``.

        :returns: how many; fewer than ``limit``: it holds none any more.
        """

    def add_notice(self, notice: NoticeRow) -> None:
        """A notice behind all others; its place is never given to another one."""

    def last_notice(self) -> int:
        """The place of the notice that was added last, forgotten or not; 0: there was none."""

    def notices(self, after: int, reader: bytes, limit: int) -> list[tuple[int, NoticeRow]]:
        """The first notices behind the place ``after`` that another process than ``reader`` has
        written, each with its place.
        """

    def forget_notices(self, written_at: float, limit: int) -> None:
        """Forget notices written at ``written_at`` or before, at most ``limit``, oldest first."""
