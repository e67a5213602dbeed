"""What a gateway that lies says: each part that was sent goes by here."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

__all__ = ["LIAR", "WHAT_LIES", "Liar", "Sent", "honestly"]

LIAR, WHAT_LIES = "liar", "lies"
WAIT_SECONDS = 30.0
SEGMENT_FLAGS = (0, 1)  # LAST or not; the others are hints


class Sent(NamedTuple):
    """A part and where it goes.

    :ivar topic: ``instance/I/request/D/RID`` or ``device/D/response/RID``, or a push's.
    """

    topic: str
    part: bytes

    @property
    def is_request(self) -> bool:
        """Whether it goes to an instance."""
        return self.topic.startswith("instance/")

    @property
    def device(self) -> str:
        return self.topic.split("/")[3 if self.is_request else 1]

    @property
    def rid(self) -> str:
        return self.topic.split("/")[-1]

    @property
    def number(self) -> int:
        return int(struct.unpack_from(">I", self.part)[0])

    @property
    def is_segment(self) -> bool:
        """Of a request or response; and no hint."""
        return self.part[4] in SEGMENT_FLAGS

    def to(self, *, device: str | None = None, rid: str | None = None) -> Sent:
        """The same part, to somebody else or under another request id."""
        levels = self.topic.split("/")
        if device is not None:
            levels[3 if self.is_request else 1] = device
        if rid is not None:
            levels[-1] = rid
        return self._replace(topic="/".join(levels))


Rule = Callable[[Sent], Iterable[Sent]]


def honestly(sent: Sent) -> Iterable[Sent]:
    """It goes on as it came."""
    return (sent,)


class Liar:
    """The client of the name; while none is there nothing goes through.

    :param port: of the gateway, which takes MQTT over TCP too.
    :ivar rule: what becomes of each part.
    :ivar seen: every part that came by.
    """

    def __init__(self, port: int) -> None:
        self.rule: Rule = honestly
        self.seen: list[Sent] = []
        self._changed = threading.Condition()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(LIAR, LIAR)
        self._client.on_message = self._received
        self._client.max_inflight_messages_set(10_000)
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_connect = lambda *_: self._client.subscribe(f"{WHAT_LIES}/#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert ready.wait(WAIT_SECONDS)

    def say(self, sent: Sent) -> None:
        """Whatever it likes, whenever it likes."""
        self._client.publish(sent.topic, sent.part, qos=1)

    def wait_for(self, condition: Callable[[Sent], bool], since: int = 0) -> None:
        """Until a part of this kind has come by.

        :param since: how many of those that were seen don't count.
        """
        with self._changed:
            assert self._changed.wait_for(
                lambda: any(map(condition, self.seen[since:])), WAIT_SECONDS
            )

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _received(self, client: Client, _: Any, message: MQTTMessage) -> None:
        sent = Sent(message.topic.removeprefix(f"{WHAT_LIES}/"), bytes(message.payload))
        with self._changed:
            self.seen.append(sent)
            self._changed.notify_all()
        for each in self.rule(sent):
            self.say(each)
