"""The tunnel server's book: numbers, sessions, members, and when each of them is over.

Every call is one transaction of the store and nothing of it is remembered between two calls, so
several server processes may share one store, and a crash at any moment leaves either all of a
call or none of it. Source: docs/session-protocol, sections 3 and 7.

**Links and crashes.** The book notes which server process holds a member's link. A process is
known by a random identity and says with :meth:`Directory.expire` that it lives. If it has been
silent for :data:`SERVER_SILENT_SECONDS`, another process counts its links as lost from then on;
its members would have missed several PINGs by then and gone elsewhere, so that is right also when
it only slept. Nobody lapses for time in which no process at all was there to resume at: grace
begins, at the earliest, when service began.

**Several processes.** What one of them ends, the others hear of with their next
:meth:`Directory.expire` (:mod:`porttunnel.session.notice`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from porttunnel.errors import (
    ErrorCode,
    NoSuchNumber,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.keys.credentials import hash_token, verify_token
from porttunnel.session.directory_store import (
    DirectoryStore,
    MemberRow,
    ServerRow,
    SessionRow,
)
from porttunnel.session.notice import NOTICE_SECONDS, Ended, Lapsed, Moved, Notices, Report
from porttunnel.session.packet import MASTER, NO_MEMBER
from porttunnel.session.session_number import NUMBER_DIGITS, issue_number

__all__ = [
    "EXPIRY_BATCH",
    "Admission",
    "Directory",
    "DirectoryStore",
    "Ended",
    "Lapsed",
    "Moved",
    "Report",
    "SessionStatus",
]

SESSION_ID_BYTES = 16  # 128 random bits: never drawn twice, never guessed
TOKEN_BYTES = 32
SALT_BYTES = 32
SERVER_ID_BYTES = 16
FIRST_CLIENT = MASTER + 1
LAST_CLIENT = NO_MEMBER - 1

MASTER_GRACE_SECONDS = 86_400.0  # a night without electricity
CLIENT_GRACE_SECONDS = 600.0  # a tunnel, a lift, a new network
HANDSHAKE_GRACE_SECONDS = 60.0  # who joins but never shakes hands keeps nobody's place
SERVER_SEEN_SECONDS = 60.0  # how often a process writes down that it lives
SERVER_SILENT_SECONDS = NOTICE_SECONDS  # three such notes missed
EXPIRY_BATCH = 256  # changes in one call of expire: some milliseconds of writing

_NO_SUCH_NUMBER = (
    "No session can be joined with this number. Compare it with the person who gave it to you, "
    "or ask for a new one."
)
_SESSION_ENDED = (
    "This session is over, or this member is no longer part of it. Ask the person who shared "
    "for a new code."
)
_MASTER_STAYS = "only a client can leave or be put out; close the session instead"

_REASON_LIFETIME = "its time is over"
_REASON_MASTER = "the master did not come back"
_REASON_CLIENT = "it did not come back"
_REASON_HANDSHAKE = "it did not finish its handshake"
_REASON_LEFT = "it left"
_REASON_KICKED = "the master put it out"


@dataclass(frozen=True, slots=True)
class Admission:
    """What CREATED, JOINED and RESUMED tell a member."""

    session_id: bytes
    number: int
    member: int
    token: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """What STATUS tells: who may resume, the lock, the seconds left."""

    members: tuple[int, ...]
    locked: bool
    ends_in_s: int


class Directory:
    """Opens and ends sessions, lets members in and out.

    :param store: where everything is kept.
    :param randbelow: a secure random number from 0 to its argument, exclusive.
    :param token_bytes: so many secure random bytes.
    :param master_grace_seconds: how long a session waits for its master's link.
    :param client_grace_seconds: how long a client's place is kept without a link.
    :param handshake_grace_seconds: how long after JOIN a client may take to be established.
    :param number_digits: the lengths of session numbers, one begins after the other.

    In every method ``now`` is the time in unix seconds.

    :raises ConfigurationError: from every method, when the store can't be used.
    """

    def __init__(
        self,
        store: DirectoryStore,
        *,
        randbelow: Callable[[int], int],
        token_bytes: Callable[[int], bytes],
        master_grace_seconds: float = MASTER_GRACE_SECONDS,
        client_grace_seconds: float = CLIENT_GRACE_SECONDS,
        handshake_grace_seconds: float = HANDSHAKE_GRACE_SECONDS,
        number_digits: Sequence[int] = NUMBER_DIGITS,
    ) -> None:
        self._store = store
        self._randbelow = randbelow
        self._token_bytes = token_bytes
        self._master_grace_seconds = master_grace_seconds
        self._client_grace_seconds = client_grace_seconds
        self._handshake_grace_seconds = handshake_grace_seconds
        self._number_digits = tuple(number_digits)
        self._server_id = token_bytes(SERVER_ID_BYTES)
        self._notices = Notices(store, self._server_id)

    def start(self, now: float) -> None:
        """Say that this server process takes links from now on; the first call of all."""
        with self._store.transaction():
            self._note_alive(now)
            self._notices.skip()

    def create(
        self, lifetime_s: int, max_clients: int, join_window_s: int, now: float
    ) -> Admission:
        """Open a session and let its master in, linked to this process.

        :param lifetime_s: seconds until the session ends by itself.
        :param max_clients: how many clients it may have at a time.
        :param join_window_s: seconds in which clients may join.
        :raises ConfigurationError: all numbers are used up.
        """
        token = self._token_bytes(TOKEN_BYTES)
        with self._store.transaction():
            session = SessionRow(
                session_id=self._token_bytes(SESSION_ID_BYTES),
                number=issue_number(self._store, self._randbelow, self._number_digits),
                ends_at=now + lifetime_s,
                join_until=now + join_window_s,
                max_clients=max_clients,
                next_member=FIRST_CLIENT,
                locked=False,
            )
            self._store.add_session(session)
            self._add_member(session, MASTER, token, now)
        return Admission(session.session_id, session.number, MASTER, token)

    def join(self, number: int, now: float) -> Admission:
        """Let a new client in, linked to this process; it lapses if not soon established.

        :raises NoSuchNumber: unknown, ended, locked, full or too late, with one message for all,
            so that a stranger learns nothing of sessions that are not open to him.
        """
        token = self._token_bytes(TOKEN_BYTES)
        with self._store.transaction():
            session = self._store.session_with_number(number)
            if session is None or not self._admits(session, now):
                raise NoSuchNumber(_NO_SUCH_NUMBER)
            member = session.next_member
            self._store.replace_session(replace(session, next_member=member + 1))
            self._add_member(session, member, token, now)
        return Admission(session.session_id, number, member, token)

    def resume(self, session_id: bytes, member: int, token: bytes, now: float) -> Admission:
        """Give a member a new token; its link is held by this process from now on.

        The token that it showed stays good until :meth:`confirm_token`, since the answer may get
        lost on the way, and not only once; each time it is answered with the same new one.

        :raises SessionEnded: the session is over or unknown, this is no member of it, or the
            token is wrong: one message for all.
        """
        salt = self._token_bytes(SALT_BYTES)
        with self._store.transaction():
            session = self._living_session(session_id, now)
            row = self._store.member(session_id, member)
            if row is None or not row.may_resume_with(token):
                raise SessionEnded(_SESSION_ENDED)
            if row.linked_by not in (None, self._server_id):
                self._notices.write(Moved(session_id, member), now)
            row, new_token = row.renew_token(token, salt)
            self._store.replace_member(
                replace(row, linked_by=self._server_id, unlinked_since=None)
            )
            self._note_alive(now)
        return Admission(session_id, session.number, member, new_token)

    def confirm_token(self, session_id: bytes, member: int, token: bytes) -> None:
        """The first packet came on a resumed link: the member has the token it was given there.

        Nothing happens if another RESUME has given a newer one since: its answer may get lost,
        and then ``token`` is the only one that the member has.
        """
        with self._store.transaction():
            row = self._store.member(session_id, member)
            if row is None or row.previous_token_hash is None:
                return
            if verify_token(token, row.token_hash):
                self._store.replace_member(replace(row, previous_token_hash=None))

    def establish(self, session_id: bytes, member: int) -> None:
        """The member's handshake is done: it keeps its place."""
        with self._store.transaction():
            row = self._store.member(session_id, member)
            if row is not None and not row.established:
                self._store.replace_member(replace(row, established=True))

    def leave(self, session_id: bytes, member: int, now: float) -> Lapsed:
        """A client goes for good: it can't resume. Nothing changes if it is gone already.

        :returns: what to tell those whose links are here.
        :raises RemoteProtocolError: it is the master, whom the session can't be without.
        :raises SessionEnded: there is no such session any more.
        """
        return self._put_out(Lapsed(session_id, member, _REASON_LEFT), now)

    def kick(self, session_id: bytes, member: int, now: float) -> Lapsed:
        """The master puts a client out; for the book it is the same as if it had left."""
        return self._put_out(Lapsed(session_id, member, _REASON_KICKED), now)

    def lock(self, session_id: bytes, locked: bool) -> None:
        """Let nobody new in, or do again.

        :raises SessionEnded: there is no such session any more.
        """
        with self._store.transaction():
            session = self._store.session(session_id)
            if session is None:
                raise SessionEnded(_SESSION_ENDED)
            self._store.replace_session(replace(session, locked=locked))

    def close(self, session_id: bytes, reason: str, now: float) -> Ended | None:
        """End a session; its number is void for ever.

        :param reason: what its members may be told.
        :returns: what to tell those whose links are here, or None if it had ended before.
        """
        ended = Ended(session_id, reason)
        with self._store.transaction():
            if not self._store.remove_session(session_id):
                return None
            self._notices.write(ended, now)
        return ended

    def status(self, session_id: bytes, now: float) -> SessionStatus:
        """What is known of a session.

        :raises SessionEnded: there is no such session any more.
        """
        with self._store.transaction():
            session = self._living_session(session_id, now)
            members = self._store.members(session_id)
        return SessionStatus(members, session.locked, math.ceil(session.ends_at - now))

    def link_changed(self, session_id: bytes, member: int, up: bool, now: float) -> None:
        """A member's link to this process came or went.

        Create, join and resume note the new link themselves. The end of a link that another one
        has replaced must not be reported after the new one's beginning; in another process it
        may: what that one has noted stays.
        """
        with self._store.transaction():
            row = self._store.member(session_id, member)
            if row is None:
                return
            if up and row.linked_by is None:
                changed = replace(row, linked_by=self._server_id, unlinked_since=None)
                self._store.replace_member(changed)
                self._note_alive(now)
            elif not up and row.linked_by == self._server_id:
                self._store.replace_member(replace(row, linked_by=None, unlinked_since=now))

    def expire(self, now: float) -> list[Report]:
        """Say that this process lives, end whatever is over, and hear what others have ended.

        To be called at least every :data:`SERVER_SEEN_SECONDS`; after a pause longer than
        :data:`SERVER_SILENT_SECONDS` grace begins anew. Each report is for those whose links are
        here; it may be about a session that has none.

        :returns: what ended or moved, at most :data:`EXPIRY_BATCH`; as many: call again soon.
        """
        with self._store.transaction():
            served_since = self._note_alive(now)
            self._unlink_silent(now)
            self._notices.forget(EXPIRY_BATCH, now)
            reports = self._notices.read(EXPIRY_BATCH)
            for over in islice(self._over(served_since, now), EXPIRY_BATCH - len(reports)):
                self._notices.write(over, now)
                reports.append(over)
        self._notices.hear()
        return reports

    def _over(self, served_since: float, now: float) -> Iterator[Ended | Lapsed]:
        """Remove what is over from the book, one for each step."""
        store = self._store
        for session_id in store.sessions_over(now, EXPIRY_BATCH):
            store.remove_session(session_id)
            yield Ended(session_id, _REASON_LIFETIME)
        since = now - self._master_grace_seconds
        if served_since <= since:
            for session_id in store.sessions_without_master(since, EXPIRY_BATCH):
                store.remove_session(session_id)
                yield Ended(session_id, _REASON_MASTER)
        since = now - self._handshake_grace_seconds
        if served_since <= since:
            for client in store.clients_unfinished(since, EXPIRY_BATCH):
                store.remove_member(*client)
                yield Lapsed(*client, _REASON_HANDSHAKE)
        since = now - self._client_grace_seconds
        if served_since <= since:
            for client in store.clients_without_link(since, EXPIRY_BATCH):
                store.remove_member(*client)
                yield Lapsed(*client, _REASON_CLIENT)

    def _put_out(self, lapsed: Lapsed, now: float) -> Lapsed:
        if lapsed.member == MASTER:
            raise RemoteProtocolError(_MASTER_STAYS, ErrorCode.NOT_ALLOWED)
        with self._store.transaction():
            self._living_session(lapsed.session_id, now)
            if self._store.member(lapsed.session_id, lapsed.member) is not None:
                self._store.remove_member(lapsed.session_id, lapsed.member)
                self._notices.write(lapsed, now)
        return lapsed

    def _add_member(self, session: SessionRow, member: int, token: bytes, now: float) -> None:
        row = MemberRow(
            session_id=session.session_id,
            member=member,
            token_hash=hash_token(token),
            previous_token_hash=None,
            token_salt=b"",
            joined_at=now,
            established=member == MASTER,
            linked_by=self._server_id,
            unlinked_since=None,
        )
        self._store.add_member(row)
        self._note_alive(now)

    def _admits(self, session: SessionRow, now: float) -> bool:
        return (
            not session.locked
            and now < min(session.ends_at, session.join_until)
            and session.next_member <= LAST_CLIENT
            and self._store.client_count(session.session_id) < session.max_clients
        )

    def _living_session(self, session_id: bytes, now: float) -> SessionRow:
        session = self._store.session(session_id)
        if session is None or session.ends_at <= now:
            raise SessionEnded(_SESSION_ENDED)
        return session

    def _note_alive(self, now: float) -> float:
        """Write down, not too often, that this process lives; since when there is service."""
        silent = now - SERVER_SILENT_SECONDS
        own = self._store.server(self._server_id)
        if own is None or own.seen_at <= silent:
            # New here, or the machine slept: service went on only if another process gave it.
            since = self._store.served_since(silent)
            own = ServerRow(self._server_id, now if since is None else since, now)
            self._store.put_server(own)
        elif now - own.seen_at >= SERVER_SEEN_SECONDS:
            self._store.put_server(replace(own, seen_at=now))
        return own.served_since

    def _unlink_silent(self, now: float) -> None:
        silent = self._store.silent_server(now - SERVER_SILENT_SECONDS)
        if silent is None:
            return
        if self._store.unlink_members(silent, now, EXPIRY_BATCH) < EXPIRY_BATCH:
            self._store.remove_server(silent)
