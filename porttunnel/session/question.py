"""Questions under way to the other side: what do you have, on this path?

Source: docs/session-protocol, section 7 (RESYNC). The question or its answer may be lost together
with a link at the far side of the tunnel server, so it is asked again.
"""

from __future__ import annotations

from porttunnel.session.path import Path

__all__ = ["Questions"]

RESYNC_SECONDS = 1.0  # longer than a round trip; the server tells when somebody is back
MAX_RESYNC_SECONDS = 30.0  # between questions to somebody who stays away


class Questions:
    """See the module.

    :ivar deadline: when to ask again (seconds, absolute), or None.
    """

    __slots__ = ("_asked", "_seconds", "deadline")

    def __init__(self) -> None:
        self._asked: dict[Path, int] = {}
        self._seconds = RESYNC_SECONDS
        self.deadline: float | None = None

    def __contains__(self, path: Path) -> bool:
        return path in self._asked

    def note(self, path: Path, sealed: int, now: float) -> None:
        """Asked on this path; so many packets had been sealed then."""
        self._asked[path] = sealed
        if self.deadline is None:
            self.deadline = now + self._seconds

    def sealed_at(self, path: Path) -> int | None:
        """How many packets had been sealed at the question, or None if there is none."""
        return self._asked.get(path)

    def forget(self, path: Path) -> None:
        """No answer is waited for on this path."""
        self._asked.pop(path, None)
        if not self._asked:
            self.deadline = None

    def clear(self) -> None:
        """No answer is waited for anywhere."""
        self._asked.clear()
        self.deadline = None

    def succeed(self, path: Path) -> None:
        """The other side is there: its word has come on this path, and the next question has the
        first one's patience.
        """
        self.forget(path)
        self._seconds = RESYNC_SECONDS

    def repeat(self, now: float) -> list[Path]:
        """Where to ask again now, each time with more patience."""
        if self.deadline is None or now < self.deadline:
            return []
        self._seconds = min(2 * self._seconds, MAX_RESYNC_SECONDS)
        self.deadline = now + self._seconds
        return list(self._asked)
