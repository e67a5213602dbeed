"""What the server processes that share one book tell each other through it.

Each of them holds links of its own, and only it can close them. So whoever ends a session or a
membership, or takes over a member's link, leaves a notice in the same transaction; the others
read it with their next :meth:`porttunnel.session.directory.Directory.expire`.
"""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.session.directory_store import DirectoryStore, NoticeRow
from porttunnel.session.packet import SERVER

__all__ = ["NOTICE_SECONDS", "Ended", "Lapsed", "Moved", "Notices", "Report"]

NOTICE_SECONDS = 180.0  # a process that was silent for so long has no links any more
FORGET_AT_ONCE = 2  # old ones with each new one: however many come, no more than of so long stay
_WHOLE_SESSION = SERVER  # in place of a member: 0 is nobody else's number


@dataclass(frozen=True, slots=True)
class Ended:
    """A session is over and its number void."""

    session_id: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A client is no member any more."""

    session_id: bytes
    member: int
    reason: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A member has resumed at another process: a link that is left of it here is a dead one."""

    session_id: bytes
    member: int


Report = Ended | Lapsed | Moved


class Notices:
    """One process's way to write notices, and to read those of the others once.

    Used inside the store's transactions only.

    :param store: where they are kept.
    :param server_id: this process's identity.
    """

    def __init__(self, store: DirectoryStore, server_id: bytes) -> None:
        self._store = store
        self._server_id = server_id
        self._read_until = 0
        self._heard_until = 0

    def skip(self) -> None:
        """What has been written until now is no business of this process: it has no links."""
        self._heard_until = self._store.last_notice()

    def write(self, report: Report, now: float) -> None:
        """Tell the other processes."""
        member = _WHOLE_SESSION if isinstance(report, Ended) else report.member
        reason = None if isinstance(report, Moved) else report.reason
        self._store.add_notice(NoticeRow(self._server_id, now, report.session_id, member, reason))
        self.forget(FORGET_AT_ONCE, now)

    def forget(self, limit: int, now: float) -> None:
        """Forget notices that nobody can want any more, at most ``limit``."""
        self._store.forget_notices(now - NOTICE_SECONDS, limit)

    def read(self, limit: int) -> list[Report]:
        """What the other processes have written since what was heard, at most ``limit``.

        A member that has come back to this process meanwhile has not moved away.
        """
        self._read_until = self._heard_until
        reports: list[Report] = []
        for place, notice in self._store.notices(self._heard_until, self._server_id, limit):
            self._read_until = place
            session_id, member, reason = notice.session_id, notice.member, notice.reason
            if reason is None:
                row = self._store.member(session_id, member)
                if row is None or row.linked_by != self._server_id:
                    reports.append(Moved(session_id, member))
            elif member == _WHOLE_SESSION:
                reports.append(Ended(session_id, reason))
            else:
                reports.append(Lapsed(session_id, member, reason))
        return reports

    def hear(self) -> None:
        """What was read last is passed on, as its transaction ended well: it is not read again."""
        self._heard_until = self._read_until
