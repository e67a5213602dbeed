"""A client and a master that block: docs/session-protocol, sections 3, 5 and 6."""

from __future__ import annotations

import secrets
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.independent import handshake
from tests.independent.handshake import HandshakeFailed, Identity, Secrets
from tests.independent.link import Link, Packet, PeerError
from tests.independent.pair import Pair

__all__ = ["MASTER", "ClientPeer", "MasterPeer", "Refused"]

MASTER = 1
NAME = "independent"


class Refused(Exception):
    """The master's user said no."""


class ClientPeer(Link):
    """A client from connecting to WELCOME."""

    session_id = b""
    number = 0

    def join(self, number: int) -> Self:
        """Become a member.

        :raises PeerError: no such number.
        """
        reply = self.request("join", number=number)
        assert set(reply) == {"type", "session_id", "member", "token"}
        assert reply["type"] == "joined"
        self.session_id, self.member, self.number = reply["session_id"], reply["member"], number
        return self

    def run(self, mode: str, prs: str = "") -> Pair:
        """One handshake.

        :raises HandshakeFailed: the master is not who it should be.
        :raises PeerError: the master said that we are not.
        """
        identity = Identity(mode, self.number, self.session_id, self.member, prs.encode())
        client = handshake.Client(identity, Secrets.draw())
        self.send("C1", MASTER, client.c1)
        self.send("C3", MASTER, client.answer(self._receive_body("M2")), 1)
        keys = client.finish(self._receive_body("M4"))
        return Pair(self, MASTER, keys, is_client=True)

    def _receive_body(self, kind: str) -> bytes:
        packet = self.receive()
        if (packet.header.type, packet.header.sender) != (kind, MASTER):
            raise HandshakeFailed(f"{packet.header.type} in place of {kind}")
        return packet.body

    def enter(self, pair: Pair, name: str = NAME) -> dict[str, Any]:
        """HELLO, JOIN_AS, WELCOME; returns WELCOME.

        :raises Refused: the master's user said no.
        """
        pair.take_control("hello")
        pair.send_control("join-as", name=name, capabilities=[])
        while not pair.control:
            pair.receive_packet()
        if pair.control[0]["type"] == "refused":
            raise Refused(pair.take_control("refused")["reason"])
        return pair.take_control("welcome")


class MasterPeer(Link):
    """A master that has one client at a time."""

    session_id = b""
    number = 0

    def create(self, lifetime_s: int = 600) -> Self:
        """Open a session."""
        fields = {"lifetime_s": lifetime_s, "max_clients": 50, "join_window_s": lifetime_s}
        reply = self.request("create", **fields)
        assert reply["type"] == "created"
        assert set(reply) == {"type", "session_id", "number", "token", "limits"}
        self.session_id, self.number = reply["session_id"], reply["number"]
        self.member = MASTER
        return self

    def admit(self, mode: str, prs: str = "") -> Pair:
        """Wait for one client's C1 and run its handshake.

        :raises HandshakeFailed: it was not right; the client was told.
        """
        c1 = self._receive_c1()
        client = c1.header.sender
        try:
            return self._run(mode, prs, c1)
        except HandshakeFailed:
            self.send_error(client, "handshake-failed")
            raise

    def _receive_c1(self) -> Packet:
        while True:
            try:
                return self._receive("C1")
            except PeerError:
                continue  # of a client whose run is over

    def _run(self, mode: str, prs: str, c1: Packet) -> Pair:
        client = c1.header.sender
        identity = Identity(mode, self.number, self.session_id, client, prs.encode())
        run = handshake.Master(identity)
        drawn = run.read(c1.body)[1].encapsulate()
        self.send("M2", client, run.answer(c1.body, drawn))
        c3 = self._receive("C3")
        if c3.header.sender != client:
            raise HandshakeFailed("C3 of somebody else")
        m4, keys = run.finish(c3.body)
        self.send("M4", client, m4, 1)
        return Pair(self, client, keys, is_client=False)

    def _receive(self, kind: str) -> Packet:
        while (packet := self.receive()).header.type != kind:
            if packet.header.type not in ("C1", "C3", "DATA", "ACK"):
                raise HandshakeFailed(packet.header.type)
        return packet

    def greet(self, pair: Pair, name: str = NAME) -> None:
        """HELLO; in SAS mode without a name."""
        pair.send_control("hello", name=name, capabilities=[])

    def welcome(self, pair: Pair, services: dict[str, str], name: str = NAME) -> str:
        """Wait for JOIN_AS and say WELCOME; the client's name.

        :param services: names and kinds.
        """
        joined = pair.take_control("join-as")
        assert set(joined) == {"type", "name", "capabilities"}
        pair.send_control(
            "welcome",
            name=name,
            members=[{"type": "member", "member": pair.remote, "name": joined["name"]}],
            services=[
                {"type": "service", "name": service, "kind": kind}
                for service, kind in services.items()
            ],
            epoch=1,
            group_key=secrets.token_bytes(32),
            signing_key=Ed25519PrivateKey.generate().public_key().public_bytes_raw(),
        )
        found: str = joined["name"]
        return found
