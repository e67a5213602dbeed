"""Who is in a shared session, as `share` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from porttunnel.session.event import PathKind

__all__ = ["MemberList", "MemberState"]


@dataclass
class MemberState:
    """One client.

    :param member: its number.
    :param name: how it calls itself.
    :param path: which way its packets go.
    :param away: whether its link is lost for now.
    :param sent_bytes: to it, in streams; what is broadcast isn't counted.
    :param received_bytes: from it.
    """

    member: int
    name: str
    path: PathKind = PathKind.RELAY
    away: bool = False
    sent_bytes: int = 0
    received_bytes: int = 0


class MemberList:
    """Kept up to date with events."""

    def __init__(self) -> None:
        self._states: dict[int, MemberState] = {}

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[MemberState]:
        return iter(self._states.values())

    def add(self, member: int, name: str) -> None:
        """A client came in."""
        self._states[member] = MemberState(member, name)

    def find(self, member: int) -> MemberState | None:
        """The client with this number, if it is in."""
        return self._states.get(member)

    def remove(self, member: int) -> str | None:
        """A client is out; its name, if it ever was in."""
        state = self._states.pop(member, None)
        return None if state is None else state.name
