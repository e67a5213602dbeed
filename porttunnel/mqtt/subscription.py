"""The tree of all subscriptions: who wants the messages of a topic.

One node for each level of a filter, so that a message costs as many steps as its topic has levels
and not one for each subscription. Bounded in bytes. Source: MQTT 5.0, sections 4.7 and 4.8.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import msgspec

from porttunnel.errors import MqttError
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["Interest", "SharedGroup", "SubscriptionTree"]

# What the parts take in memory, about, as measured with CPython 3.11.
NODE_BYTES = 400
INTEREST_BYTES = 250

S = TypeVar("S", bound=Hashable)


class Interest(msgspec.Struct, Generic[S], frozen=True, eq=False):
    """One subscription as the tree keeps it.

    :ivar subscriber: whose it is.
    :ivar qos: the highest that was granted.
    :ivar no_local: not the subscriber's own messages.
    :ivar retain_as_published: the retain flag is passed on as the publisher set it.
    :ivar identifier: what the subscriber calls it, or None.
    """

    subscriber: S
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    identifier: int | None = None

    @property
    def is_simple(self) -> bool:
        """Whether nothing but the QoS was asked for."""
        return not (self.no_local or self.retain_as_published) and self.identifier is None


class SharedGroup(Generic[S]):
    """The members of one shared subscription; each message is for one of them.

    Those that are known to be away stand behind the others, so that however many they are, a
    message does not cost a look at each.
    """

    __slots__ = ("_arrivals", "_places", "_ring", "_there", "_turn")

    def __init__(self) -> None:
        self._ring: list[Interest[S]] = []
        self._places: dict[S, int] = {}  # where in it whose is
        self._there = 0  # so many stand before those that are away
        self._arrivals = 0
        self._turn = 0

    def __len__(self) -> int:
        return len(self._ring)

    def take_turn(self, arrivals: int) -> Interest[S] | None:
        """Whose turn it is of those that are not known to be away, or None.

        :param arrivals: how often anybody has come; once it has changed, nobody is known to be.
        """
        if arrivals != self._arrivals:
            self._arrivals = arrivals
            self._there = len(self._ring)
        there = self._there
        if not there:
            return None
        self._turn = turn = (self._turn + 1) % there
        return self._ring[turn]

    def take_any_turn(self) -> Interest[S]:
        """Whose turn it is of all; there is one at least."""
        self._turn = turn = (self._turn + 1) % len(self._ring)
        return self._ring[turn]

    def put_aside(self, subscriber: S) -> None:
        """It is away: it has no turn until somebody has come."""
        self._there -= 1
        self._swap(self._places[subscriber], self._there)
        self._turn -= 1  # it was another's

    def has(self, subscriber: S) -> bool:
        """Whether it is a member."""
        return subscriber in self._places

    def add(self, interest: Interest[S]) -> bool:
        """Take in a member, or change its options; whether it was one already."""
        place = self._places.get(interest.subscriber)
        if place is not None:
            self._ring[place] = interest
            return True
        self._places[interest.subscriber] = last = len(self._ring)
        self._ring.append(interest)
        self._swap(last, self._there)
        self._there += 1
        return False

    def remove(self, subscriber: S) -> bool:
        """Whether it was a member; it is none now."""
        place = self._places.get(subscriber)
        if place is None:
            return False
        if place < self._there:
            self._there -= 1
            self._swap(place, self._there)
            place = self._there
        self._swap(place, len(self._ring) - 1)
        self._ring.pop()
        del self._places[subscriber]
        return True

    def _swap(self, one: int, other: int) -> None:
        ring = self._ring
        ring[one], ring[other] = ring[other], ring[one]
        self._places[ring[one].subscriber] = one
        self._places[ring[other].subscriber] = other


class _Node(Generic[S]):
    """A level. Its parts are made when they are needed: most nodes have only one of them.

    :ivar only_level: of the child, as long as there is but one; a dictionary would take more
        memory than all the rest.
    :ivar only_child: itself.
    :ivar children: by their levels, if there are more.
    :ivar only: the interest, as long as there is but one: for most filters there ever is.
    :ivar interests: by their subscribers, if there are more.
    """

    __slots__ = ("children", "groups", "interests", "only", "only_child", "only_level")

    def __init__(self) -> None:
        self.only_level: str | None = None
        self.only_child: _Node[S] | None = None
        self.children: dict[str, _Node[S]] | None = None
        self.only: Interest[S] | None = None
        self.interests: dict[S, Interest[S]] | None = None
        self.groups: dict[str, SharedGroup[S]] | None = None

    @property
    def is_empty(self) -> bool:
        return (
            self.only is None
            and self.only_child is None
            and not (self.children or self.interests or self.groups)
        )

    def child(self, level: str) -> _Node[S] | None:
        if self.children is None:
            return self.only_child if self.only_level == level else None
        return self.children.get(level)

    def grow(self, level: str) -> _Node[S]:
        """The child for a level, made if it is not there."""
        child = self.child(level)
        if child is not None:
            return child
        child = _Node()
        if self.children is None:
            if self.only_child is None or self.only_level is None:
                self.only_level, self.only_child = level, child
                return child
            self.children = {self.only_level: self.only_child}
            self.only_level = self.only_child = None
        self.children[level] = child
        return child

    def prune(self, level: str) -> None:
        """Forget the child for a level, which is there."""
        if self.children is None:
            self.only_level = self.only_child = None
        else:
            del self.children[level]

    def add(self, group: str | None, interest: Interest[S]) -> bool:
        """Whether there was one to replace."""
        if group is None:
            return self._add(interest)
        if self.groups is None:
            self.groups = {}
        shared = self.groups.get(group)
        if shared is None:
            shared = self.groups[group] = SharedGroup()
        return shared.add(interest)

    def has(self, group: str | None, subscriber: S) -> bool:
        if group is None:
            if self.interests is None:
                return self.only is not None and self.only.subscriber == subscriber
            return subscriber in self.interests
        shared = None if self.groups is None else self.groups.get(group)
        return shared is not None and shared.has(subscriber)

    def remove(self, group: str | None, subscriber: S) -> bool:
        """Whether there was one to forget."""
        if group is None:
            if self.interests is not None:
                return self.interests.pop(subscriber, None) is not None
            known = self.has(None, subscriber)
            if known:
                self.only = None
            return known
        groups = self.groups or {}
        shared = groups.get(group)
        known = shared is not None and shared.remove(subscriber)
        if shared is not None and not shared:
            del groups[group]
        return known

    def _add(self, interest: Interest[S]) -> bool:
        only = self.only
        if self.interests is None:
            if only is None or only.subscriber == interest.subscriber:
                self.only = interest
                return only is not None
            self.interests = {only.subscriber: only}
            self.only = None
        known = interest.subscriber in self.interests
        self.interests[interest.subscriber] = interest
        return known


class SubscriptionTree(Generic[S]):
    """All subscriptions of a broker.

    :param max_bytes: how much memory they may take, about.
    :ivar generation: another number after each change, so that who keeps a match knows.
    :ivar arrivals: how often a subscriber that was away has come back; whoever knows counts.
    :ivar held_bytes: what they take now.
    """

    __slots__ = ("_max_bytes", "_root", "arrivals", "count", "generation", "held_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._root: _Node[S] = _Node()
        self.generation = 0
        self.arrivals = 0
        self.held_bytes = 0
        self.count = 0

    def add(self, group: str | None, pattern: str, interest: Interest[S]) -> bool:
        """Take in a subscription, in place of one of the same subscriber to the same.

        :param group: of a shared subscription, or None.
        :param pattern: a valid filter, without ``$share`` and group.
        :returns: whether there was one to replace.
        :raises MqttError: there is no room for more.
        """
        levels = pattern.split("/")
        cost = _cost(group, levels)
        if self.held_bytes + cost > self._max_bytes and not self._has(group, levels, interest):
            raise MqttError("there is no room for more subscriptions", ReasonCode.QUOTA_EXCEEDED)
        node = self._root
        for level in levels:
            node = node.grow(level)
        known = node.add(group, interest)
        self.generation += 1
        if not known:
            self.held_bytes += cost
            self.count += 1
        return known

    def remove(self, group: str | None, pattern: str, subscriber: S) -> bool:
        """Forget a subscription; whether there was one."""
        levels = pattern.split("/")
        path = self._path(levels)
        if path is None or not path[-1].remove(group, subscriber):
            return False
        self.generation += 1
        self.held_bytes -= _cost(group, levels)
        self.count -= 1
        for index in range(len(levels) - 1, -1, -1):
            if not path[index + 1].is_empty:
                break
            path[index].prune(levels[index])
        return True

    def match(self, name: str) -> tuple[list[Interest[S]], list[SharedGroup[S]]]:
        """Who wants the messages of a topic: every subscription, and every group.

        A subscriber stands there once for each of its subscriptions that match.
        """
        interests: list[Interest[S]] = []
        groups: list[SharedGroup[S]] = []
        nodes = [self._root]
        # Topics of the server's own are not found by a wildcard in the first place.
        wild = name[0] != "$"
        for level in name.split("/"):
            following: list[_Node[S]] = []
            for node in nodes:
                children = node.children
                if children is None:
                    only = node.only_child
                    if only is None:
                        continue
                    if node.only_level == level or (wild and node.only_level == "+"):
                        following.append(only)
                    elif wild and node.only_level == "#":
                        _take(only, interests, groups)
                    continue
                if (child := children.get(level)) is not None:
                    following.append(child)
                if wild:
                    if (child := children.get("+")) is not None:
                        following.append(child)
                    if (child := children.get("#")) is not None:
                        _take(child, interests, groups)
            if not following:
                return interests, groups
            nodes = following
            wild = True
        for node in nodes:
            _take(node, interests, groups)
            if (child := node.child("#")) is not None:
                _take(child, interests, groups)
        return interests, groups

    def _path(self, levels: list[str]) -> list[_Node[S]] | None:
        path = [self._root]
        for level in levels:
            child = path[-1].child(level)
            if child is None:
                return None
            path.append(child)
        return path

    def _has(self, group: str | None, levels: list[str], interest: Interest[S]) -> bool:
        path = self._path(levels)
        return path is not None and path[-1].has(group, interest.subscriber)


def _take(node: _Node[S], interests: list[Interest[S]], groups: list[SharedGroup[S]]) -> None:
    if node.only is not None:
        interests.append(node.only)
    elif node.interests is not None:
        interests.extend(node.interests.values())
    if node.groups is not None:
        groups.extend(node.groups.values())


def _cost(group: str | None, levels: list[str]) -> int:
    # As if no other subscription shared its nodes: it is charged the same when it goes.
    size = sum(map(len, levels)) * 4 + (len(group) * 4 if group else 0)
    return INTEREST_BYTES + len(levels) * NODE_BYTES + size
