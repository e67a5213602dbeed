"""The clients of a broker that is measured, all in one process that costs little itself.

A role connects, begins at once, and prints what passed, with the broker's CPU meanwhile. So much
is under way at a time that a broker has always something to do, and never so much that it had to
drop something. ``idle`` opens as many connections as each line of its standard input says, and
says ``open`` when they are there; at ``call`` each of them is sent a message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from tests.benchmarks.mqtt_clients import Clients, Finder, measured
from tests.benchmarks.mqtt_wire import (
    PUBACK,
    MQTTSocket,
    encode_publish,
    encode_subscribe,
    suback,
    subscribe_all,
)

__all__ = ["FanIn", "Requests"]

PUBLISHERS = 50
BURST = 10
UNDER_WAY_BYTES = 160_000  # of all together: below what any broker keeps for who reads
REQUEST_BYTES = 100

# Payloads begin with one of these and the sender's number. They stand nowhere else.
_MARK, _LAST = b"\xf0", b"\xf1"
_LAST_VALUE = _LAST[0]
_NUMBER_BYTES = 2
_ACK_BYTES = 4
_PACKET_IDS = 1 << 16


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES, "big")


class FanIn:
    """Many publish to one; each sends its next burst when all of its last one has arrived, and
    with QoS 1 has been acknowledged.

    :param qos: 0 or 1, of publishers and subscriber.
    :param size: of each payload.
    :ivar received: messages so far.
    """

    def __init__(self, clients: Clients, qos: int, size: int) -> None:
        self.received = 0
        topic = b"bench/all"
        self._burst = min(BURST, max(1, UNDER_WAY_BYTES // PUBLISHERS // size))
        count = min(PUBLISHERS, UNDER_WAY_BYTES // (self._burst * size))
        (self._subscriber,) = clients.connect(["subscriber"])
        self._subscriber.send(encode_subscribe("bench/#", qos))
        self._subscriber.expect(suback(qos))
        clients.read(self._subscriber, self._take_messages)
        # With QoS 1 a packet identifier stands between topic and payload.
        id_bytes = 2 * qos
        self._finder = Finder(
            topic + b"(.{%d}[%s%s]..)" % (id_bytes, _MARK, _LAST),
            len(topic) + id_bytes + len(_MARK) + _NUMBER_BYTES,
        )
        # By the identifier, a PUBACK in a frame of its own.
        self._acks = {
            _number(packet_id): clients.frame(PUBACK + _number(packet_id))
            for packet_id in range(1, _PACKET_IDS if qos else 1)
        }
        # Of each publisher: its connection, its burst, and how many things it waits for.
        self._publishers: list[tuple[MQTTSocket, bytes]] = []
        self._waits_for = 1 + qos
        self._missing = [self._waits_for] * count
        self._acknowledged = [0] * count  # bytes of PUBACKs
        names = [f"publisher-{number}" for number in range(count)]
        for number, publisher in enumerate(clients.connect(names)):
            if qos:
                clients.read(publisher, partial(self._take_acknowledgements, number))
            packets = (
                encode_publish(topic, self._payload(number, index, size), index * qos)
                for index in range(1, self._burst + 1)
            )
            self._publishers.append((publisher, b"".join(map(clients.frame, packets))))

    def _payload(self, number: int, index: int, size: int) -> bytes:
        mark = _LAST if index == self._burst else _MARK
        return (mark + _number(number)).ljust(size, b"\0")

    def begin(self) -> None:
        for publisher, burst in self._publishers:
            publisher.socket.sendall(burst)

    def count(self) -> int:
        return self.received

    def _take_messages(self, data: bytes) -> None:
        found = self._finder.find(data)
        self.received += len(found)
        if self._acks:
            acks = self._acks
            self._subscriber.socket.sendall(b"".join([acks[each[:2]] for each in found]))
        for each in found:
            if each[-3] == _LAST_VALUE:
                self._came(each[-2] << 8 | each[-1])

    def _take_acknowledgements(self, number: int, data: bytes) -> None:
        self._acknowledged[number] += len(data)
        if self._acknowledged[number] == self._burst * _ACK_BYTES:
            self._acknowledged[number] = 0
            self._came(number)

    def _came(self, number: int) -> None:
        self._missing[number] -= 1
        if not self._missing[number]:
            self._missing[number] = self._waits_for
            publisher, burst = self._publishers[number]
            publisher.socket.sendall(burst)


class Requests:
    """Many ask one who answers; each asks again when it has its answer.

    :param count: of those who ask.
    :ivar answered: requests so far.
    """

    def __init__(self, clients: Clients, count: int) -> None:
        self.answered = 0
        topic = b"bench/ask"
        (self._responder,) = clients.connect(["responder"])
        subscribe_all([self._responder], [topic.decode()])
        clients.read(self._responder, self._answer)
        self._questions = Finder(topic + _LAST + b"(..)", len(topic) + 1 + _NUMBER_BYTES)
        self._answers: dict[bytes, bytes] = {}
        self._requesters: list[tuple[MQTTSocket, bytes]] = []
        requesters = clients.connect([f"requester-{number}" for number in range(count)])
        answer_topics = [f"bench/answer/{number}" for number in range(count)]
        subscribe_all(requesters, answer_topics)
        for number, (requester, answer_topic) in enumerate(
            zip(requesters, answer_topics, strict=True)
        ):
            own = _LAST + _number(number)
            question = clients.frame(encode_publish(topic, own.ljust(REQUEST_BYTES, b"\0")))
            # Its end is its last byte, the only one of its kind.
            answer = bytes(REQUEST_BYTES - len(_LAST)) + _LAST
            self._answers[_number(number)] = clients.frame(
                encode_publish(answer_topic.encode(), answer)
            )
            clients.read(requester, self._asking_again(requester, question))
            self._requesters.append((requester, question))

    def _asking_again(self, requester: MQTTSocket, question: bytes) -> Callable[[bytes], None]:
        send = requester.socket.sendall

        def take_answer(data: bytes) -> None:
            if data.endswith(_LAST):
                self.answered += 1
                send(question)

        return take_answer

    def begin(self) -> None:
        for requester, question in self._requesters:
            requester.socket.sendall(question)

    def count(self) -> int:
        return self.answered

    def _answer(self, data: bytes) -> None:
        questions = self._questions.find(data)
        answers = b"".join(map(self._answers.__getitem__, questions))
        self._responder.socket.sendall(answers)


class _Idle:
    """Clients that wait, each subscribed to a topic of its own."""

    def __init__(self, clients: Clients, transport: str) -> None:
        self._clients = clients
        self._name = f"idle-{transport}"
        self._topics: list[str] = []
        self._connections: list[MQTTSocket] = []

    def open(self, count: int) -> None:
        numbers = range(len(self._connections), len(self._connections) + count)
        topics = [f"bench/{self._name}/{number}" for number in numbers]
        new = self._clients.connect([f"{self._name}-{number}" for number in numbers])
        subscribe_all(new, topics)
        self._connections += new
        self._topics += topics

    def call(self) -> int:
        """Somebody publishes to each of them; each has to hear it, and nothing else.

        :returns: how many have.
        """
        (publisher,) = self._clients.connect(["caller"])
        packets = [encode_publish(topic.encode(), b"are you there?") for topic in self._topics]
        for connection, packet in zip(self._connections, packets, strict=True):
            publisher.send(packet)
            connection.expect(packet)
        return len(packets)


def _hold(clients: Clients, transport: str) -> None:
    idle = _Idle(clients, transport)
    for line in sys.stdin:
        if line == "call\n":
            print(f"called {idle.call()}", flush=True)
        else:
            idle.open(int(line))
            print("open", flush=True)


def main() -> None:
    """``fan-in PORT TRANSPORT PID SECONDS QOS SIZE``, ``requests PORT TRANSPORT PID SECONDS
    COUNT`` or ``idle PORT TRANSPORT``.
    """
    role, port, transport, *others = sys.argv[1:]
    clients = Clients(int(port), transport)
    if role == "idle":
        _hold(clients, transport)
        return
    pid, seconds, *counts = others
    kind: Callable[..., FanIn | Requests] = {"fan-in": FanIn, "requests": Requests}[role]
    traffic = kind(clients, *map(int, counts))
    traffic.begin()
    for _ in measured(int(pid), float(seconds), traffic.count):
        clients.turn()


if __name__ == "__main__":
    main()
