"""The last message of each topic that its publisher wanted to be kept. Bounded in bytes.

Source: MQTT 5.0, section 3.3.1.3; MQTT 3.1.1, section 3.3.1.3.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter

from porttunnel.errors import MqttError
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["RetainedStore"]

NODE_BYTES = 450  # a level of a topic in memory, about, as measured with CPython 3.11
# Dates of expiry beyond twice as many as there are messages are of messages that are gone: they
# are thrown out together, but not for a few.
SPARE_DATES = 64


class _Node:
    """A level of a topic.

    :ivar ordered: the children, oldest first, so that who looks at them one by one can stop for a
        while. Some may be gone; those have neither message nor children.
    :ivar place: the order among its siblings.
    :ivar gone: how many in ``ordered`` are.
    :ivar cleanings: how often those were thrown out.
    """

    __slots__ = (
        "children",
        "cleanings",
        "gone",
        "message",
        "name",
        "number",
        "ordered",
        "place",
    )

    def __init__(self, name: str, place: int) -> None:
        self.name = name
        self.place = place
        self.children: dict[str, _Node] = {}
        self.ordered: list[_Node] = []
        self.gone = 0
        self.cleanings = 0
        self.message: Message | None = None
        self.number = 0

    def current(self, number: int, now: float) -> Message | None:
        """The message here if it may be passed on; see :meth:`RetainedStore.look_for`."""
        message = self.message
        if message is None or self.number > number or message.has_expired(now):
            return None
        return message

    def add(self, name: str) -> _Node:
        """A new child."""
        place = self.ordered[-1].place + 1 if self.ordered else 0
        child = self.children[name] = _Node(name, place)
        self.ordered.append(child)
        return child

    def remove(self, name: str) -> None:
        """Remove a child that has neither message nor children."""
        child = self.children.pop(name)
        # Whoever looks for messages just there may hold it for long: nothing but itself.
        child.children, child.ordered = {}, []
        child.cleanings += 1
        self.gone += 1
        if self.gone * 2 > len(self.ordered):
            self.ordered = list(self.children.values())
            self.gone = 0
            self.cleanings += 1


_place = attrgetter("place")


class _Cursor:
    """Goes through the children of a node that fit a level, whatever happens to them meanwhile.

    :ivar depth: which level of the filter.
    """

    __slots__ = ("_at", "_cleanings", "_place", "depth", "node")

    def __init__(self, node: _Node, depth: int) -> None:
        self.node = node
        self.depth = depth
        self._at = 0
        self._place = -1
        self._cleanings = node.cleanings

    def step(self, level: str) -> _Node | None:
        """The next child, or None."""
        node = self.node
        if level not in ("+", "#"):
            self._at += 1
            return node.children.get(level) if self._at == 1 else None
        ordered = node.ordered
        if self._cleanings != node.cleanings:
            self._cleanings = node.cleanings
            self._at = bisect_right(ordered, self._place, key=_place)
        if self._at == len(ordered):
            return None
        child = ordered[self._at]
        self._at += 1
        self._place = child.place
        return child


class RetainedStore:
    """The retained messages of a broker.

    :param max_bytes: how much memory they may take, about.
    :ivar held_bytes: what they take now.
    :ivar count: how many there are.
    :ivar number: of the message that was kept last; each has a higher one than those before.
    """

    __slots__ = ("_dates", "_max_bytes", "_root", "count", "held_bytes", "number")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._root = _Node("", 0)
        # (when it expires, its number, topic); it may be gone by then, or another.
        self._dates: list[tuple[float, int, str]] = []
        self.held_bytes = 0
        self.count = 0
        self.number = 0

    def keep(self, message: Message, now: float) -> None:
        """Keep a message in place of the one before; one without a payload only removes that.

        What has expired by now is forgotten.

        :raises MqttError: there is no room; the one before stays.
        """
        self._forget_expired(now)
        levels = message.topic.split("/")
        found = self._find(levels)
        before = None if found is None else found.message
        if not message.payload:
            if before is not None:
                self._remove(levels, before)
            return
        freed = 0 if before is None else _cost(before, levels)
        cost = _cost(message, levels)
        if self.held_bytes - freed + cost > self._max_bytes:
            raise MqttError(
                "there is no room for more retained messages", ReasonCode.QUOTA_EXCEEDED
            )
        node = self._root
        for level in levels:
            node = node.children.get(level) or node.add(level)
        node.message = message.without_packets()
        self.number += 1
        node.number = self.number
        self.held_bytes += cost - freed
        self.count += before is None
        if message.expires_at is not None:
            self._note_date(message.expires_at, message.topic)

    def look_for(self, pattern: str, number: int, now: float) -> Iterator[Message | None]:
        """The messages for a subscription, looked for one by one as they are asked for.

        Between two of them may lie any time, and any change: what is kept or removed meanwhile is
        not found. Meanwhile no message is held.

        :param pattern: a valid filter, without ``$share`` and group.
        :param number: as of when the subscription was made: later ones have come to it otherwise.
        :param now: what has expired by then is passed over.
        :returns: None for each step that found nothing, so that who asks may make a pause.
        """
        levels = pattern.split("/")
        cursors = [_Cursor(self._root, 0)]
        while cursors:
            cursor = cursors[-1]
            level = levels[cursor.depth]
            child = cursor.step(level)
            if child is None:
                cursors.pop()
                continue
            if cursor.node is self._root and child.name.startswith("$") and level in ("+", "#"):
                # A wildcard in the first level does not mean the server's own topics.
                yield None
                continue
            depth = cursor.depth if level == "#" else cursor.depth + 1
            below = levels[depth] if depth < len(levels) else None
            if below is not None and child.children:
                cursors.append(_Cursor(child, depth))
            if below is None or below == "#":
                yield child.current(number, now)
            else:
                yield None

    def _find(self, levels: list[str]) -> _Node | None:
        node = self._root
        for level in levels:
            child = node.children.get(level)
            if child is None:
                return None
            node = child
        return node

    def _remove(self, levels: list[str], message: Message) -> None:
        path = [self._root]
        for level in levels:
            path.append(path[-1].children[level])
        path[-1].message = None
        self.held_bytes -= _cost(message, levels)
        self.count -= 1
        for index in range(len(levels) - 1, -1, -1):
            node = path[index + 1]
            if node.children or node.message is not None:
                break
            path[index].remove(levels[index])

    def _note_date(self, expires_at: float, topic: str) -> None:
        dates = self._dates
        heapq.heappush(dates, (expires_at, self.number, topic))
        if len(dates) > 2 * self.count + SPARE_DATES:
            self._dates = [date for date in dates if self._dated(date) is not None]
            heapq.heapify(self._dates)

    def _dated(self, date: tuple[float, int, str]) -> Message | None:
        """The message that a date is of, if it is still there."""
        node = self._find(date[2].split("/"))
        return node.message if node is not None and node.number == date[1] else None

    def _forget_expired(self, now: float) -> None:
        dates = self._dates
        while dates and dates[0][0] <= now:
            date = heapq.heappop(dates)
            message = self._dated(date)
            if message is not None:
                self._remove(message.topic.split("/"), message)


def _cost(message: Message, levels: list[str]) -> int:
    # As if no other topic shared its nodes: it is charged the same when it goes.
    return message.bare_cost + len(levels) * NODE_BYTES
