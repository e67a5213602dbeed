"""The last message of each topic that its publisher wanted to be kept. Bounded in bytes.

Source: MQTT 5.0, section 3.3.1.3; MQTT 3.1.1, section 3.3.1.3.
"""

from __future__ import annotations

from porttunnel.errors import MqttError
from porttunnel.mqtt.message import Message
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["RetainedStore"]

NODE_BYTES = 400  # a level of a topic in memory, about, as measured with CPython 3.11


class _Node:
    __slots__ = ("children", "message", "number")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.message: Message | None = None
        self.number = 0


class RetainedStore:
    """The retained messages of a broker.

    :param max_bytes: how much memory they may take, about.
    :ivar held_bytes: what they take now.
    :ivar count: how many there are.
    :ivar number: of the message that was kept last; each has a higher one than those before.
    """

    __slots__ = ("_max_bytes", "_root", "count", "held_bytes", "number")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._root = _Node()
        self.held_bytes = 0
        self.count = 0
        self.number = 0

    def keep(self, message: Message) -> None:
        """Keep a message in place of the one before; one without a payload only removes that.

        :raises MqttError: there is no room; the one before stays.
        """
        levels = message.topic.split("/")
        before = self._find(levels)
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
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        node.message = message
        self.number += 1
        node.number = self.number
        self.held_bytes += cost - freed
        self.count += before is None

    def match(self, pattern: str, number: int, now: float) -> list[Message]:
        """The messages for a subscription; what has expired by now is forgotten.

        :param pattern: a valid filter, without ``$share`` and group.
        :param number: as of when the subscription was made: later ones have come to it otherwise.
        """
        levels = pattern.split("/")
        nodes = [self._root]
        for index, level in enumerate(levels):
            if level == "#":
                nodes = _with_all_below(nodes, at_root=not index)
                break
            nodes = [
                child for node in nodes for child in _children(node, level, at_root=not index)
            ]
        found: list[Message] = []
        for node in nodes:
            message = node.message
            if message is None or node.number > number:
                continue
            if message.has_expired(now):
                self._remove(message.topic.split("/"), message)
            else:
                found.append(message)
        return found

    def _find(self, levels: list[str]) -> Message | None:
        node = self._root
        for level in levels:
            child = node.children.get(level)
            if child is None:
                return None
            node = child
        return node.message

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
            del path[index].children[levels[index]]


def _children(node: _Node, level: str, *, at_root: bool) -> list[_Node]:
    if level != "+":
        child = node.children.get(level)
        return [] if child is None else [child]
    # A wildcard in the first level does not mean the server's own topics.
    return [
        child for name, child in node.children.items() if not (at_root and name.startswith("$"))
    ]


def _with_all_below(nodes: list[_Node], *, at_root: bool) -> list[_Node]:
    found: list[_Node] = []
    while nodes:
        found.extend(nodes)
        nodes = [child for node in nodes for child in _children(node, "+", at_root=at_root)]
        at_root = False
    return found


def _cost(message: Message, levels: list[str]) -> int:
    # As if no other topic shared its nodes: it is charged the same when it goes.
    return message.cost + len(levels) * NODE_BYTES
