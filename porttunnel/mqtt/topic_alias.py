"""Numbers in place of topics: each side's own, for one connection.

Source: MQTT 5.0, section 3.3.2.3.4.
"""

from __future__ import annotations

from porttunnel.errors import MqttError
from porttunnel.mqtt.reason import ReasonCode

__all__ = ["IncomingAliases", "OutgoingAliases"]


class OutgoingAliases:
    """Gives an alias to each of the first topics that are sent, and none to those after them.

    Topics are bytes here, as they stand in the packet.

    :param maximum: how many the other side takes; 0: none.
    """

    __slots__ = ("_aliases", "_maximum")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._aliases: dict[bytes, int] = {}

    def shorten(self, topic: bytes) -> tuple[bytes, int | None]:
        """What to send for a topic: a topic, empty once its alias is known, and an alias.

        Once that has been sent, :meth:`remember` is to be called.
        """
        alias = self._aliases.get(topic)
        if alias is not None:
            return b"", alias
        if len(self._aliases) >= self._maximum:
            return topic, None
        return topic, len(self._aliases) + 1

    def remember(self, topic: bytes, alias: int) -> None:
        """The other side knows the alias from now on."""
        self._aliases[topic] = alias


class IncomingAliases:
    """What the other side's aliases stand for.

    :param maximum: how many we said that we take.
    """

    __slots__ = ("_maximum", "_topics")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._topics: dict[int, str] = {}

    def resolve(self, topic: str, alias: int) -> str:
        """The topic of a message that has an alias.

        :param topic: as received: empty, or what the alias stands for from now on.
        :raises MqttError: an alias above the maximum, or one that stands for nothing yet.
        """
        if not 0 < alias <= self._maximum:
            raise MqttError(
                "a topic alias is not one that we take", ReasonCode.TOPIC_ALIAS_INVALID
            )
        if topic:
            self._topics[alias] = topic
            return topic
        known = self._topics.get(alias)
        if known is None:
            raise MqttError("a topic alias stands for no topic yet", ReasonCode.PROTOCOL_ERROR)
        return known
