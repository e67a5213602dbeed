"""A master and a client with nothing in their packets, as processes with plain sockets.

The tunnel server opens no body, so it can't tell them from real ones: they join, keep a
window and acknowledge at a pair's pace. Who measures talks to the client as to
:mod:`tests.benchmarks.traffic`; one payload byte is one byte of a packet's 64 KiB of plaintext.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable

from porttunnel.session import request
from porttunnel.session.packet import (
    HEADER_BYTES,
    MASTER,
    MAX_PACKET_BYTES,
    MAX_PLAINTEXT_BYTES,
    NO_MEMBER,
    SERVER,
    TAG_BYTES,
    PacketSplitter,
    PacketType,
    encode_packet,
)
from tests.benchmarks.program import HOST
from tests.benchmarks.traffic import (
    COUNT,
    RECEIVE_BYTES,
    SOCKET_SECONDS,
    announce_transfer,
    receive_exactly,
)

CLIENT = 2  # the first one in a session
LIFETIME_SECONDS = 3_600
CREATE_SECONDS = 0.025  # the server opens 50 sessions a second in all, whatever is set
PACKETS_A_SEND = 4
REPORT_BYTES = 256 * 1024  # below every window that is measured
WARM_UP_BYTES = 16 << 20

Packet = tuple[PacketType, bytes]


class Link:
    """A connection to the tunnel server.

    :param port: the server's.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=SOCKET_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._splitter = PacketSplitter()

    def _ask(self, asked: request.Request) -> request.Reply:
        body = request.encode(asked)
        self.socket.sendall(encode_packet(PacketType.REQUEST, NO_MEMBER, SERVER, body))
        # Byte for byte, not more: what follows belongs to whoever reads next.
        head = receive_exactly(self.socket, HEADER_BYTES)
        reply = receive_exactly(self.socket, int.from_bytes(head[-4:]))
        return request.decode_reply(reply)

    def create(self) -> int:
        """Become the master of a session; its number."""
        created = self._ask(
            request.Create(
                lifetime_s=LIFETIME_SECONDS, max_clients=1, join_window_s=LIFETIME_SECONDS
            )
        )
        assert isinstance(created, request.Created), created
        return created.number

    def join(self, number: int) -> None:
        """Become its client."""
        joined = self._ask(request.Join(number=number))
        assert isinstance(joined, request.Joined), joined

    def receive(self) -> list[Packet]:
        data = memoryview(self.socket.recv(RECEIVE_BYTES))
        if not data:
            raise ConnectionError("the server closed the link")
        split = self._splitter.split(data)
        return [(header.kind, bytes(packet[HEADER_BYTES:])) for header, packet in split]


def _master(port: int, window_bytes: int) -> None:
    link = Link(port)
    print(link.create(), flush=True)
    packets = _full_packets()
    to_send = 0
    unacknowledged = 0
    while True:
        while to_send and unacknowledged + len(packets) <= window_bytes:
            link.socket.sendall(packets)
            to_send -= min(to_send, PACKETS_A_SEND * MAX_PLAINTEXT_BYTES)
            unacknowledged += len(packets)
        for kind, received in link.receive():
            if kind is PacketType.DATA:
                (to_send,) = COUNT.unpack_from(received)
                unacknowledged = 0
            elif kind is PacketType.ACK:
                unacknowledged -= REPORT_BYTES


def _client(port: int, number: int, count: int) -> None:
    link = Link(port)
    link.join(number)
    # Until packets go both ways the server takes us for somebody still at the door.
    _fetch(link, WARM_UP_BYTES)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.perf_counter()
    received = _fetch(link, count)
    announce_transfer(received, time.perf_counter() - begun)


def _fetch(link: Link, count: int) -> int:
    """Ask for so much payload; how much came."""
    wanted = COUNT.pack(count) + bytes(TAG_BYTES)
    link.socket.sendall(encode_packet(PacketType.DATA, CLIENT, MASTER, wanted))
    ack = encode_packet(PacketType.ACK, CLIENT, MASTER, bytes(TAG_BYTES))
    at_once = PACKETS_A_SEND * MAX_PLAINTEXT_BYTES
    packets = -(-count // at_once) * PACKETS_A_SEND
    left = packets * MAX_PACKET_BYTES
    unreported = 0
    buffer = memoryview(bytearray(RECEIVE_BYTES))
    while left:
        size = link.socket.recv_into(buffer)
        if not size:
            raise ConnectionError("the server closed the link")
        left -= size
        unreported += size
        while unreported >= REPORT_BYTES:
            unreported -= REPORT_BYTES
            link.socket.sendall(ack)
    return packets * MAX_PLAINTEXT_BYTES


def _full_packets() -> bytes:
    body = bytes(MAX_PLAINTEXT_BYTES + TAG_BYTES)
    return encode_packet(PacketType.DATA, MASTER, CLIENT, body) * PACKETS_A_SEND


def _pour(port: int, count: int) -> None:
    """A master that keeps no window: sends as much as it can of ``count`` bytes."""
    link = Link(port)
    print(link.create(), flush=True)
    while PacketType.DATA not in (kind for kind, _ in link.receive()):
        pass
    packets = _full_packets()
    sent = 0
    try:
        while sent < count:
            link.socket.sendall(packets)
            sent += len(packets)
    except (ConnectionError, TimeoutError):
        print("refused", flush=True)
    else:
        print("taken", flush=True)


def _stall(port: int, number: int) -> None:
    """A client that asks and then reads nothing."""
    link = Link(port)
    link.join(number)
    link.socket.sendall(encode_packet(PacketType.DATA, CLIENT, MASTER, bytes(TAG_BYTES)))
    print("stalled", flush=True)
    sys.stdin.readline()


def _hold(port: int) -> None:
    """For each line of standard input open as many sessions, each of a master and a client."""
    links = []
    while line := sys.stdin.readline():
        for _ in range(int(line)):
            time.sleep(CREATE_SECONDS)
            master, client = Link(port), Link(port)
            client.join(master.create())
            links += [master, client]
        print("open", flush=True)


def _main(role: str, *arguments: str) -> None:
    roles: dict[str, Callable[..., None]] = {
        "master": _master,
        "client": _client,
        "pour": _pour,
        "stall": _stall,
        "hold": _hold,
    }
    roles[role](*map(int, arguments))


if __name__ == "__main__":
    _main(*sys.argv[1:])
