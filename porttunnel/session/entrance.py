"""The client's way to keys: the four messages of one run, each sent again if it may be lost.

Source: docs/session-protocol, section 5. The master's side is
:mod:`porttunnel.session.admission`.
"""

from __future__ import annotations

from collections.abc import Callable

from porttunnel.errors import RemoteProtocolError
from porttunnel.keys.handshake import (
    ClientConfirming,
    ClientHandshake,
    Established,
    HandshakeMode,
)
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.session.admission import Sender
from porttunnel.session.code import CodeKind, SessionCode
from porttunnel.session.packet import MASTER, Header, PacketType, check_handshake_header
from porttunnel.session.rejoin import RejoinTicket

__all__ = ["Entrance"]

_MODES = {
    CodeKind.PIN: HandshakeMode.PIN,
    CodeKind.LINK: HandshakeMode.LINK,
    CodeKind.SAS: HandshakeMode.SAS,
}


class Entrance:
    """See the module.

    :param code: what the user typed.
    :param ticket: of a former membership, which takes the code's place; or None.
    :param token_bytes: as ``secrets.token_bytes``.
    :param send: queues a packet in the clear.
    """

    def __init__(
        self,
        code: SessionCode,
        ticket: RejoinTicket | None,
        *,
        token_bytes: Callable[[int], bytes],
        send: Sender,
    ) -> None:
        self._code = code
        self._ticket = ticket
        self._token_bytes = token_bytes
        self._send = send
        self._handshake: ClientHandshake | ClientConfirming | None = None
        self._m2 = b""

    def begin(self, session_id: bytes, member: int, key: HybridPrivateKey) -> None:
        """Send C1."""
        ticket = self._ticket
        self._handshake = ClientHandshake(
            self._code.number,
            session_id,
            member,
            _MODES[self._code.kind] if ticket is None else HandshakeMode.REJOIN,
            self._code.password if ticket is None else ticket.password,
            key=key,
            scalar=self._token_bytes(32),
            nonce=self._token_bytes(32),
            fallback=self._token_bytes(32),
            former=0 if ticket is None else ticket.member,
        )
        self.repeat()

    def repeat(self) -> None:
        """Send the last message again, bit-identical: the answer will be too."""
        if isinstance(self._handshake, ClientHandshake):
            self._send(PacketType.C1, MASTER, self._handshake.c1)
        elif isinstance(self._handshake, ClientConfirming):
            self._send(PacketType.C3, MASTER, self._handshake.c3, 1)

    def receive(self, header: Header, body: bytes) -> bool | Established:
        """M2 or M4; the keys, or whether C3 was sent in answer.

        :raises RemoteProtocolError: malformed, or out of order.
        :raises AuthenticationFailed: this master does not know the code.
        """
        check_handshake_header(header)
        if header.kind is PacketType.M2 and body == self._m2:
            return False  # our C1 came twice, around a lost link
        handshake, self._handshake = self._handshake, None
        if header.kind is PacketType.M2 and isinstance(handshake, ClientHandshake):
            self._handshake = handshake.receive_m2(body)
            self._m2 = body
            self.repeat()
            return True
        if header.kind is PacketType.M4 and isinstance(handshake, ClientConfirming):
            return handshake.receive_m4(body)
        raise RemoteProtocolError("a handshake message out of order")

    def close(self) -> None:
        """The run is over; its secrets go."""
        if self._handshake is not None:
            self._handshake.erase()
            self._handshake = None
