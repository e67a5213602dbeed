"""What the tunnel server counts. Plain numbers: they are changed on the way of each packet, and
read when somebody asks for them.
"""

from __future__ import annotations

from collections import Counter

__all__ = ["ServerCounters"]


class ServerCounters:
    """Counts since the process began.

    :ivar relayed_bytes: headers and bodies that went from member to member.
    :ivar requests: by (what was asked, what it was answered).
    :ivar failed_links: links that broke a rule, by the code they were told.
    :ivar refused_connections: those above a limit.
    """

    def __init__(self) -> None:
        self.relayed_bytes = 0
        self.requests: Counter[tuple[str, str]] = Counter()
        self.failed_links: Counter[str] = Counter()
        self.refused_connections = 0
