"""Targets: the first bytes of a connection to the shared port."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from porttunnel.net.counters import ServerCounters
from porttunnel.net.port_sharing import Branch, SharedPortFactory
from porttunnel.session.limit import ConnectionLimiter
from tests.fuzz.consume import FuzzedDataProvider, cut

__all__ = ["first_bytes"]

BEGINNINGS = [b"", b"P", b"PT", b"PT\x01", b"PT\x02", b"PTD", b"GET /", b"\x16\x03\x01", b"\x10"]


class Taker(Protocol):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data


def first_bytes(data: bytes) -> None:
    """However a connection's bytes are cut, one branch at most gets all of them in order, and the
    same one; whoever begins with nothing that is spoken here is cut off.
    """
    source = FuzzedDataProvider(data)
    beginning = source.PickValueInList(BEGINNINGS)
    pieces = list(cut(source, beginning + source.ConsumeBytes(40)))
    everything = b"".join(pieces)
    found = receive(pieces)
    assert receive([everything] if everything else []) == found
    assert receive([bytes([byte]) for byte in everything]) == found
    branch, received, aborted = found
    assert branch is None or (received == everything and not aborted)
    if everything.startswith(b"PT\x01"):
        assert branch is Branch.PACKETS


def receive(pieces: list[bytes]) -> tuple[Branch | None, bytes, bool]:
    """Who got what, and whether the connection was cut off."""
    takers: list[tuple[Branch, Taker]] = []

    def factory_for(branch: Branch) -> Any:
        def build(_address: Any) -> Taker:
            takers.append((branch, Taker()))
            return takers[-1][1]

        factory = Factory()
        factory.buildProtocol = build  # type: ignore[method-assign]  # shorter than a class
        return factory

    clock = Clock()
    shared = SharedPortFactory(
        clock,
        {branch: factory_for(branch) for branch in Branch},
        tls=None,
        limiter=ConnectionLimiter(per_prefix=1, overall=1),
        counters=ServerCounters(),
    )
    address = IPv4Address("TCP", "192.0.2.1", 1_024)
    protocol: Any = shared.buildProtocol(address)
    transport = StringTransport(peerAddress=address)
    protocol.makeConnection(transport)
    for piece in pieces:
        if not transport.disconnected and not transport.disconnecting:
            protocol.dataReceived(piece)
    assert len(takers) <= 1
    aborted = transport.disconnected or transport.disconnecting
    assert not (takers and aborted)
    if takers:
        assert clock.getDelayedCalls() == []
        return takers[0][0], takers[0][1].data, aborted
    clock.advance(60.0)
    return None, b"", aborted
