"""Many publish to one that does not read: ``PORT PUBLISHERS SECONDS``.

It says ``connected``, begins at a line of its standard input, and says how many bytes the broker
took. At the next line the subscriber reads again; once a new message has come it says ``alive``.
"""

from __future__ import annotations

import sys
import time

from tests.benchmarks.mqtt_wire import (
    TCP,
    MQTTSocket,
    connect_all,
    encode_publish,
    encode_subscribe,
    suback,
)

__all__ = ["Flood"]

PAYLOAD_BYTES = 10_240
STILL_SECONDS = 1.0
PAUSE_SECONDS = 0.002  # when nobody can send anything

_TOPIC = "bench/flood"
_LAST = b"this comes last"


class Flood:
    """See the module.

    :param port: of the broker.
    :param count: of publishers.
    """

    def __init__(self, port: int, count: int) -> None:
        (self._subscriber, self._other) = connect_all(port, TCP, ["slow", "other"])
        self._subscriber.send(encode_subscribe(_TOPIC, 1))
        self._subscriber.expect(suback(1))
        self._publishers = connect_all(port, TCP, [f"publisher-{n}" for n in range(count)])
        for publisher in self._publishers:
            publisher.socket.setblocking(False)

    def pour(self, seconds: float) -> int:
        """All send as much as the broker takes; how many bytes that was."""
        packets = [
            memoryview(encode_publish(_TOPIC.encode(), bytes(PAYLOAD_BYTES), packet_id))
            for packet_id in (0, 1)
        ]
        total = 0
        # What is left of the packet that each is sending. Half of them use QoS 1.
        left = [packets[number % 2] for number in range(len(self._publishers))]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = total
            for number, publisher in enumerate(self._publishers):
                sent = _send(publisher, left[number])
                total += sent
                left[number] = left[number][sent:] or packets[number % 2]
            if total == before:
                time.sleep(PAUSE_SECONDS)
        return total

    def revive(self) -> None:
        """The subscriber reads what there is, and hears what is new.

        :raises TimeoutError: it does not.
        """
        for publisher in self._publishers:
            publisher.socket.close()
        self._subscriber.socket.settimeout(STILL_SECONDS)
        try:
            while self._subscriber.receive():
                pass
        except TimeoutError:
            self._subscriber.socket.settimeout(None)
        self._other.send(encode_publish(_TOPIC.encode(), _LAST))
        received = b""
        while not received.endswith(_LAST):
            received = received[-len(_LAST) :] + self._subscriber.receive()


def _send(publisher: MQTTSocket, data: memoryview) -> int:
    try:
        return publisher.socket.send(data)
    except BlockingIOError:
        return 0


def main() -> None:
    """See the module."""
    port, count, seconds = sys.argv[1:]
    flood = Flood(int(port), int(count))
    print("connected", flush=True)
    sys.stdin.readline()
    print(f"taken {flood.pour(float(seconds))}", flush=True)
    sys.stdin.readline()
    flood.revive()
    print("alive", flush=True)


if __name__ == "__main__":
    main()
