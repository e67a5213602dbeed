"""Who may send next: devices in turn, and each device's requests in turn.

A turn is one part, so a click waits for one part of each other device and not for a download. What
is small and said at once (credit, failures, answers about keys, pushes) goes before the parts of
its device, never before those of others.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from porttunnel.errors import BrokerRefused, MessagingError, QueueFull
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.instance.backlog import Backlog

__all__ = ["MAX_SAID_OVERALL_BYTES", "MESSAGE_BYTES", "PartSource", "Turns"]

# Of one device. An honest one has a reply or two for each of its requests; more is a device that
# asks without listening, and loses what it doesn't hear.
MAX_SAID_BYTES = 1 << 20
# Of all together: a gateway that takes nothing may still bring requests of devices that are none.
MAX_SAID_OVERALL_BYTES = 32 << 20

MESSAGE_BYTES = 640  # what a message costs beside its payload, so that empty ones count too


class PartSource(Protocol):
    """A response that is sent in parts."""

    @property
    def device_id(self) -> str:
        """To which device."""

    @property
    def topic(self) -> str:
        """Where."""

    @property
    def has_part(self) -> bool:
        """Whether there is something to send that may be sent."""

    def take_part(self) -> bytes | bytearray:
        """The next part."""

    def lose_device(self) -> None:
        """A part reached nobody."""


class _Queue:
    """What waits for one device."""

    __slots__ = ("said", "said_bytes", "sources")

    def __init__(self) -> None:
        self.said: deque[tuple[str, bytes | bytearray, Deferred[bool]]] = deque()
        self.said_bytes = 0
        # A dict for its order: the first one is next.
        self.sources: dict[PartSource, None] = {}

    @property
    def is_empty(self) -> bool:
        return not self.said and not self.sources


class Turns:
    """See the module.

    :param reactor: time.
    :param publish: sends a message with QoS 1.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        publish: Callable[[str, bytes | bytearray], Deferred[Any]],
    ) -> None:
        self._reactor = reactor
        self._publish = publish
        self._queues: OrderedDict[str, _Queue] = OrderedDict()  # in the order of turns
        self._backlog = Backlog()
        self._said_bytes = 0
        self._under_way: set[Deferred[bool]] = set()  # of what was said
        self._is_scheduled = False

    @property
    def waiting_bytes(self) -> int:
        """How much is on its way to the gateway."""
        return self._backlog.waiting_bytes

    def say(self, device_id: str, topic: str, payload: bytes | bytearray) -> Deferred[bool]:
        """Send something small.

        :returns: whether somebody is there who gets it. Fails with a ``MessagingError`` if it
            can't be sent, because too much waits for this device for one.
        """
        queue = self._queues.get(device_id) or _Queue()
        count = len(payload) + MESSAGE_BYTES
        if (
            queue.said_bytes + count > MAX_SAID_BYTES
            or self._said_bytes + count > MAX_SAID_OVERALL_BYTES
        ):
            return fail(QueueFull("Too much waits to be sent. Try again in a while."))
        self._queues[device_id] = queue
        sent: Deferred[bool] = Deferred(lambda _: None)
        queue.said.append((topic, payload, sent))
        queue.said_bytes += count
        self._said_bytes += count
        self._go_on_soon()
        return sent

    def add(self, source: PartSource) -> None:
        """It has a part to send, or still has one."""
        queue = self._queues.setdefault(source.device_id, _Queue())
        queue.sources[source] = None
        self._go_on_soon()

    def remove(self, source: PartSource) -> None:
        """It has nothing to send any more."""
        queue = self._queues.get(source.device_id)
        if queue is not None:
            queue.sources.pop(source, None)

    def clear(self, error: MessagingError) -> None:
        """The connection is gone: what waits, or was on its way, may have reached nobody."""
        queues, self._queues = self._queues, OrderedDict()
        self._said_bytes = 0
        unsent = [sent for queue in queues.values() for _, _, sent in queue.said]
        for sent in (*self._under_way, *unsent):
            if not sent.called:
                sent.errback(error)

    def _go_on_soon(self) -> None:
        if not self._is_scheduled and self._backlog.has_room:
            self._is_scheduled = True
            self._reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._is_scheduled = False
        while self._queues and self._backlog.has_room:
            device_id = next(iter(self._queues))
            queue = self._queues[device_id]
            self._queues.move_to_end(device_id)
            self._take_turn(queue)
            if queue.is_empty and self._queues.get(device_id) is queue:
                del self._queues[device_id]

    def _take_turn(self, queue: _Queue) -> None:
        if queue.said:
            topic, payload, sent = queue.said.popleft()
            queue.said_bytes -= len(payload) + MESSAGE_BYTES
            self._said_bytes -= len(payload) + MESSAGE_BYTES
            self._under_way.add(sent)
            self._send(topic, payload).addBoth(self._tell, sent)
            return
        while queue.sources:
            source = next(iter(queue.sources))
            del queue.sources[source]
            if not source.has_part:
                continue
            part = source.take_part()
            if source.has_part:
                queue.sources[source] = None
            self._send(source.topic, part).addCallbacks(
                _note_reached, _note_unsent, callbackArgs=(source,)
            )
            return

    def _tell(self, result: Any, sent: Deferred[bool]) -> None:
        self._under_way.discard(sent)
        if not sent.called:
            sent.callback(result)

    def _send(self, topic: str, payload: bytes | bytearray) -> Deferred[bool]:
        count, now = len(payload) + MESSAGE_BYTES, self._reactor.seconds()
        self._backlog.send(count)
        return self._publish(topic, payload).addBoth(self._finish, count, now)

    def _finish(self, result: Any, count: int, sent_at: float) -> Any:
        self._backlog.finish(count, sent_at, self._reactor.seconds())
        if self._queues:
            self._go_on_soon()
        if isinstance(result, Failure):
            # To the gateway it is no device of ours any more.
            return False if result.check(BrokerRefused) else result
        return result.reason != ReasonCode.NO_MATCHING_SUBSCRIBERS


def _note_reached(reached: bool, source: PartSource) -> None:
    if not reached:
        source.lose_device()


def _note_unsent(failure: Failure) -> None:
    # Whoever stops or loses the connection ends the requests as well.
    failure.trap(MessagingError)
