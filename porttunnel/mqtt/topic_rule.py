"""Rules that say which topics a client may use, with places for who it is.

A rule is a filter. In it ``%u`` stands for the user name and ``%c`` for the client id, and ``%%``
for a percent sign. A name that could reach beyond its place (with ``/``, ``+``, ``#``) fits in no
rule, and one that would make topics of the server's own of it (with ``$`` at the beginning of the
rule) not in that rule. Source: MQTT 5.0, sections 4.7 and 4.8.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from porttunnel.errors import ConfigurationError, MqttError
from porttunnel.mqtt.topic import check_filter, matches, split_shared

__all__ = ["ClientRules", "TopicRules", "covers"]

_PLACE = re.compile("(%[uc%])")
_UNSAFE = re.compile("[/+#\0]")
_SAMPLE = "x"  # for a name, to see whether a rule is a filter


def covers(rule: str, wanted: str) -> bool:
    """Whether everything that a filter matches is also matched by a rule.

    :param rule: a valid filter.
    :param wanted: a valid filter, without ``$share`` and group.
    """
    if wanted[0] == "$" and rule[0] in "+#":
        return False
    # The same, since every topic has a first level; and the only two filters that are the same.
    levels = ("+/#" if wanted == "#" else wanted).split("/")
    allowed = rule.split("/")
    for index, level in enumerate(allowed):
        if level == "#":
            return True
        if index == len(levels) or levels[index] == "#":
            return False
        if level not in ("+", levels[index]):
            return False
    return len(allowed) == len(levels)


class ClientRules:
    """What one client may publish and subscribe to.

    :param publish: filters; a topic has to match one of them.
    :param subscribe: filters; a subscription has to lie within one of them.
    """

    __slots__ = ("_publish", "_subscribe")

    def __init__(self, publish: tuple[str, ...], subscribe: tuple[str, ...]) -> None:
        self._publish = publish
        self._subscribe = subscribe

    def allow_publish(self, topic: str) -> bool:
        """Whether a message may have this topic."""
        return any(matches(rule, topic) for rule in self._publish)

    def allow_subscribe(self, text: str) -> bool:
        """Whether this may be subscribed to, also as a shared one.

        :param text: a filter that was checked.
        """
        wanted = split_shared(text)[1]
        return any(covers(rule, wanted) for rule in self._subscribe)


class TopicRules:
    """Rules with places for names.

    :param publish: for topics of messages.
    :param subscribe: for subscriptions.
    :raises ConfigurationError: one of them is no filter, or has another sign after a percent sign.
    """

    __slots__ = ("_publish", "_subscribe")

    def __init__(self, publish: Iterable[str] = (), subscribe: Iterable[str] = ()) -> None:
        self._publish = tuple(publish)
        self._subscribe = tuple(subscribe)
        for rule in (*self._publish, *self._subscribe):
            _check_rule(rule)

    def of_client(self, user_name: str | None, client_id: str) -> ClientRules:
        """The rules of one client, with its names in their places; those that a name does not fit
        in are left out.
        """
        names = {"%%": "%", "%u": _safe(user_name), "%c": _safe(client_id)}
        return ClientRules(_filled(self._publish, names), _filled(self._subscribe, names))


def _safe(name: str | None) -> str | None:
    return name if name and not _UNSAFE.search(name) else None


def _filled(rules: tuple[str, ...], names: dict[str, str | None]) -> tuple[str, ...]:
    filled = []
    for rule in rules:
        parts = [names.get(part, part) for part in _PLACE.split(rule)]
        known = [part for part in parts if part is not None]
        text = "".join(known)
        is_own = text.startswith("$") and not rule.startswith("$")
        if len(known) == len(parts) and not is_own:
            filled.append(text)
    return tuple(filled)


def _check_rule(rule: str) -> None:
    (sample,) = _filled((rule,), {"%%": "%", "%u": _SAMPLE, "%c": _SAMPLE})
    if "%" in _PLACE.sub("", rule):
        raise ConfigurationError(f"{rule!r} is no rule: after % only u, c or % may stand")
    try:
        check_filter(sample)
    except MqttError as error:
        raise ConfigurationError(f"{rule!r} is no rule: {error}") from error
