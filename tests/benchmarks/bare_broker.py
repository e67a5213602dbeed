"""The least that a broker in Python needs for questions and answers: one loop around ``epoll``.

It looks at no more than it must to find out whom a packet is for, checks nothing, keeps nothing,
and waits for nobody: it is good for :class:`tests.benchmarks.mqtt_traffic.Requests` over TCP,
where each read is of whole packets. What a goal asks for below its figure can't be had in Python.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.benchmarks.mqtt_brokers import Broker
from tests.benchmarks.mqtt_wire import AT_A_TIME, TCP, suback
from tests.benchmarks.program import HOST
from tests.benchmarks.traffic_programs import start_member

__all__ = ["BARE", "bare_broker"]

BARE = "bare Python loop"
READ_BYTES = 65_536
CONNECT, PUBLISH, SUBSCRIBE = 0x10, 0x30, 0x82
CONNACK = b"\x20\x02\0\0"
SUBSCRIBED_AT = 4  # the length of the topic filter, behind the packet identifier
MORE = 0x80  # in a length's byte: another one follows


@contextmanager
def bare_broker(folder: Path) -> Iterator[Broker]:
    with start_member("bare_broker", "serve", folder=folder) as program:
        yield Broker(program, {TCP: int(program.read_line())})


def _serve() -> None:
    listening = socket.create_server((HOST, 0), backlog=AT_A_TIME)
    print(listening.getsockname()[1], flush=True)
    poll = select.epoll()
    poll.register(listening.fileno(), select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    subscribers: dict[bytes, socket.socket] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listening.fileno():
                accepted, _ = listening.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[accepted.fileno()] = accepted
                poll.register(accepted.fileno(), select.EPOLLIN)
                continue
            connection = connections[descriptor]
            try:
                data = connection.recv(READ_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                poll.unregister(descriptor)
                del connections[descriptor]
                connection.close()
            elif data[0] == PUBLISH:
                _publish(data, subscribers)
            elif data[0] == SUBSCRIBE:
                subscribers[_string(data, SUBSCRIBED_AT)] = connection
                connection.sendall(suback(data[-1]))
            elif data[0] == CONNECT:
                connection.sendall(CONNACK)


def _publish(data: bytes, subscribers: dict[bytes, socket.socket]) -> None:
    start = 0
    while start < len(data):
        length, topic_at = data[start + 1], start + 2
        if length & MORE:
            length, topic_at = length & ~MORE | data[start + 2] << 7, start + 3
        stop = topic_at + length
        with suppress(OSError):  # who has gone meanwhile gets nothing
            subscribers[_string(data, topic_at)].sendall(data[start:stop])
        start = stop


def _string(data: bytes, at: int) -> bytes:
    start = at + 2
    return data[start : start + (data[at] << 8 | data[at + 1])]


if __name__ == "__main__":
    _serve()
