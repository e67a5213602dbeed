"""A tunnel server that plays the master itself and guesses at the PIN."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self

from tests.independent import handshake, msgpack
from tests.independent.handshake import HandshakeFailed, Identity
from tests.independent.link import LinkEnded, Packet, PeerError
from tests.independent.packet import Header, encode_packet
from tests.independent.pair import Pair
from tests.independent.peer import MASTER, MasterPeer

__all__ = ["FakeMaster", "Run"]

CLIENT = 2
SERVER = 0


class Run(MasterPeer):
    """One client's connection: the server's end of it, with a master's voice.

    :param guess: the PIN that this run is tried with.

    :ivar c3: what the client confirmed with, once it has.
    """

    def __init__(self, connection: socket.socket, number: int, guess: str) -> None:
        super().__init__(connection)
        self.member = MASTER
        self.session_id = secrets.token_bytes(16)
        self.number = number
        identity = Identity("pin", number, self.session_id, CLIENT, guess.encode())
        self.master = handshake.Master(identity)
        self.c3: bytes | None = None

    def admit_member(self) -> None:
        """Answer JOIN."""
        packet = self.receive()
        assert packet.header.type == "REQUEST"
        asked = msgpack.decode(packet.body)
        if asked["type"] == "resume":
            # Whatever it gave to this client is good for one guess; it can only end the run.
            error = {"type": "error", "code": "session-ended", "text": "ended"}
            number = packet.header.number
            body = msgpack.encode(error)
            self.send_bytes(encode_packet(Header("ERROR", SERVER, CLIENT, number), body))
            raise LinkEnded
        assert asked == {"type": "join", "number": self.number}
        joined = {"type": "joined", "session_id": self.session_id, "member": CLIENT}
        body = msgpack.encode(joined | {"token": secrets.token_bytes(32)})
        self.send_bytes(encode_packet(Header("REPLY", SERVER, CLIENT, packet.header.number), body))

    def guess(self) -> None:
        """C1, M2, C3."""
        self.send("M2", CLIENT, self.first_m2())
        self.c3 = self._expect("C3").body

    def another_m2(self, guess: str) -> bytes:
        """An M2 for the same C1, with another guess."""
        assert self.master.schedule is not None
        other = handshake.Master(self.master.identity._replace(prs=guess.encode()))
        c1 = self.master.schedule.c1
        return other.answer(c1, other.read(c1)[1].encapsulate())

    def first_m2(self) -> bytes:
        """The answer to C1."""
        c1 = self._expect("C1").body
        return self.master.answer(c1, self.master.read(c1)[1].encapsulate())

    def send_m2_without_a_share(self) -> None:
        """An M2 whose Yb is 0: K would be 0, whatever the PIN."""
        m2 = self.first_m2()
        self.send("M2", CLIENT, m2[:39] + bytes(32) + m2[71:])

    def next_confirmation(self) -> bytes | None:
        """C3, or None if the client has broken off."""
        try:
            packet = self.receive()
        except (PeerError, LinkEnded):
            return None
        return packet.body if packet.header.type == "C3" else None

    def _expect(self, kind: str) -> Packet:
        packet = self.receive()
        assert packet.header.type == kind, packet.header
        return packet

    def was_right(self) -> bool:
        """Whether the guess was; the one thing that a run tells."""
        assert self.c3 is not None
        try:
            self.master.finish(self.c3)
        except HandshakeFailed:
            return False
        return True

    def send_event(self, kind: str, **fields: object) -> None:
        """An EVENT of the server's."""
        body = msgpack.encode({"type": kind, **fields})
        self.send_bytes(encode_packet(Header("EVENT", SERVER, CLIENT), body))

    def pair(self) -> Pair:
        """Say M4 and speak on, as after a right guess."""
        assert self.c3 is not None
        m4, keys = self.master.finish(self.c3)
        self.send("M4", CLIENT, m4, 1)
        return Pair(self, CLIENT, keys, is_client=False)

    def answer_requests(self) -> None:
        """Say ``done`` to all requests until the client goes."""
        try:
            while True:
                packet = self.receive()
                header = Header("REPLY", SERVER, CLIENT, packet.header.number)
                if packet.header.type == "REQUEST":
                    self.send_bytes(encode_packet(header, msgpack.encode({"type": "done"})))
        except (LinkEnded, PeerError, OSError):
            return


class FakeMaster:
    """Listens; each connection is one :class:`Run` with the next guess.

    :param number: of the session that it pretends to have.
    :param guesses: PINs.
    :param finish: what it does in a run; it has answered JOIN.

    :ivar runs: all connections.
    """

    def __init__(self, number: int, guesses: Iterator[str], finish: Callable[[Run], None]) -> None:
        self.number = number
        self.runs: list[Run] = []
        self._guesses = guesses
        self._finish = finish
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        """What to give as ``--server``."""
        return f"ptun://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def confirmed(self) -> list[Run]:
        """The runs in which the client said C3: each was one guess."""
        return [run for run in self.runs if run.c3 is not None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for run in self.runs:
            run.close()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            run = Run(connection, self.number, next(self._guesses))
            self.runs.append(run)
            thread = threading.Thread(target=self._run, args=(run,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, run: Run) -> None:
        try:
            run.admit_member()
            self._finish(run)
        except (LinkEnded, PeerError, OSError):
            return  # the client has gone
        except BaseException as error:
            self.failures.append(error)
        finally:
            run.close()
