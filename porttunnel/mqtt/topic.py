"""Topic names and filters: what is a valid one, and which filter matches which name.

No regular expressions and no normalising: levels are compared as they stand. Source: MQTT 5.0,
sections 4.7 and 4.8.2; MQTT 3.1.1, section 4.7.
"""

from __future__ import annotations

from porttunnel.errors import MqttError
from porttunnel.mqtt.reason import ReasonCode

__all__ = [
    "MAX_TOPIC_BYTES",
    "MAX_TOPIC_LEVELS",
    "check_depth",
    "check_filter",
    "check_name",
    "has_wildcard",
    "matches",
    "split_shared",
]

MAX_TOPIC_BYTES = 0xFFFF  # what the length before a string can say
MAX_TOPIC_LEVELS = 128  # each level of a filter is a node in memory; nobody has use for as many

_SHARED = "$share/"


def check_name(name: str) -> None:
    """Whether a message may have this topic.

    :raises MqttError: it is empty, too long or too deep, or has a wildcard or a null character.
    """
    if not name or "\0" in name or "+" in name or "#" in name:
        raise MqttError(
            "a topic name is empty, or has a wildcard or a null character",
            ReasonCode.TOPIC_NAME_INVALID,
        )
    _check_size(name, ReasonCode.TOPIC_NAME_INVALID)
    check_depth(name)


def check_depth(text: str) -> None:
    """Whether a name is not too deep; for one that is valid otherwise.

    :raises MqttError: it has more than :data:`MAX_TOPIC_LEVELS` levels.
    """
    if text.count("/") >= MAX_TOPIC_LEVELS:
        raise MqttError(
            f"a topic has more than {MAX_TOPIC_LEVELS} levels", ReasonCode.TOPIC_NAME_INVALID
        )


def check_filter(text: str) -> None:
    """Whether somebody may subscribe to this; a shared one is checked without its group.

    :raises MqttError: it is empty, too long or too deep, has a null character, or a wildcard in
        a place where none may stand.
    """
    if not text or "\0" in text:
        raise MqttError(
            "a topic filter is empty or has a null character", ReasonCode.TOPIC_FILTER_INVALID
        )
    _check_size(text, ReasonCode.TOPIC_FILTER_INVALID)
    if has_wildcard(text):
        levels = text.split("/")
        last = len(levels) - 1
        for index, level in enumerate(levels):
            if has_wildcard(level) and not (level == "+" or (level == "#" and index == last)):
                raise MqttError(
                    "a wildcard must be a whole level, and # the last one",
                    ReasonCode.TOPIC_FILTER_INVALID,
                )


def split_shared(text: str) -> tuple[str | None, str]:
    """The group of a shared subscription and the filter in it; None and the text for others.

    :raises MqttError: it begins as a shared one and has no valid group or no filter.
    """
    if not text.startswith(_SHARED):
        return None, text
    group, separator, inner = text[len(_SHARED) :].partition("/")
    if not group or not separator or not inner or has_wildcard(group):
        raise MqttError(
            "a shared subscription needs $share/, a group without wildcards, / and a filter",
            ReasonCode.TOPIC_FILTER_INVALID,
        )
    return group, inner


def has_wildcard(text: str) -> bool:
    """Whether a filter is more than a name."""
    return "+" in text or "#" in text


def matches(pattern: str, name: str) -> bool:
    """Whether a message of this topic is for a subscription with this filter.

    :param pattern: a valid filter, without ``$share`` and group.
    :param name: a valid name.
    """
    if name[0] == "$" and pattern[0] in "+#":
        return False
    levels = name.split("/")
    wanted = pattern.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


def _check_size(text: str, reason: ReasonCode) -> None:
    # No character has more than four bytes: most texts need not be encoded to know.
    if len(text) * 4 > MAX_TOPIC_BYTES and len(text.encode()) > MAX_TOPIC_BYTES:
        raise MqttError("a topic has more than 65,535 bytes", reason)
    if text.count("/") >= MAX_TOPIC_LEVELS:
        raise MqttError(f"a topic has more than {MAX_TOPIC_LEVELS} levels", reason)
