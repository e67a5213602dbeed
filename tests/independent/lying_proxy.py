"""A tunnel server that lies: a real one, and this in the way, changing one packet of a run."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Self

from tests.independent.link import LinkEnded, Packet, read_packet

__all__ = ["FAULTS", "TO_MEMBER", "TO_SERVER", "Fault", "LyingProxy"]

TO_SERVER, TO_MEMBER = "to the server", "to the member"


class Fault(NamedTuple):
    """What becomes of one packet.

    :param kind: type of the packet that is meant.
    :param place: how many of this type and direction go before it.
    :param name: one of :data:`FAULTS`.
    :param at: which byte, for those that change one; counted from the end if negative.
    """

    direction: str
    kind: str
    place: int
    name: str
    at: int = 0


class Outcome(NamedTuple):
    """What is passed on in place of a packet.

    :param onward: packets that go on.
    :param back: packets that go back to where it came from.
    :param later: packets that go on after the next one of this type.
    """

    onward: tuple[bytes, ...] = ()
    back: tuple[bytes, ...] = ()
    later: tuple[bytes, ...] = ()


def _flip(packet: bytes, at: int) -> Outcome:
    changed = bytearray(packet)
    changed[at % len(packet)] ^= 1
    return Outcome((bytes(changed),))


def _shorten(packet: bytes, _: int) -> Outcome:
    length = struct.unpack(">I", packet[32:36])[0]
    return Outcome((packet[:32] + struct.pack(">I", length - 1) + packet[36:-1],))


def _reflect(packet: bytes, _: int) -> Outcome:
    turned = packet[:12] + packet[14:16] + packet[12:14] + packet[16:]
    return Outcome((packet,), (turned,))


def _renumber(packet: bytes, _: int) -> Outcome:
    number = struct.unpack(">Q", packet[16:24])[0]
    return Outcome((packet, packet[:16] + struct.pack(">Q", number + 1) + packet[24:]))


FAULTS: dict[str, Callable[[bytes, int], Outcome]] = {
    "flip": _flip,
    "shorten": _shorten,
    "replay": lambda packet, _: Outcome((packet, packet)),
    "replay later": lambda packet, _: Outcome((packet,), later=(packet,)),
    "drop": lambda _packet, _at: Outcome(),
    "reorder": lambda packet, _: Outcome(later=(packet,)),
    "reflect": _reflect,
    "again with the next number": _renumber,
}


class LyingProxy:
    """Passes packets on between members and a real tunnel server, with one fault.

    :param server: the real one's port on this machine.

    :ivar happened: whether the fault has come about.
    """

    def __init__(self, server: int, fault: Fault) -> None:
        self.fault = fault
        self.happened = threading.Event()
        self._server = server
        self._count: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)

    @property
    def address(self) -> str:
        """What to give as ``--server``."""
        return f"ptun://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._sockets:
            _shut(connection)
        for thread in self._threads:
            thread.join()
        for connection in self._sockets:
            connection.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                member, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            self._sockets += [member, server]
            self._start(self._pass_on, TO_SERVER, member, server)
            self._start(self._pass_on, TO_MEMBER, server, member)

    def _pass_on(self, direction: str, source: socket.socket, target: socket.socket) -> None:
        later: tuple[bytes, ...] = ()
        try:
            while True:
                packet = read_packet(source)
                outcome = self._outcome(direction, packet)
                for onward in outcome.onward:
                    target.sendall(onward)
                for back in outcome.back:
                    source.sendall(back)
                if packet.header.type == self.fault.kind:
                    for late in later:
                        target.sendall(late)
                    later = outcome.later
        except (LinkEnded, OSError):
            _shut(target)

    def _outcome(self, direction: str, packet: Packet) -> Outcome:
        fault = self.fault
        if (direction, packet.header.type) == (fault.direction, fault.kind):
            place = self._count[direction]
            self._count[direction] += 1
            if place == fault.place:
                self.happened.set()
                return FAULTS[fault.name](packet.whole, fault.at)
        return Outcome((packet.whole,))


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended already
