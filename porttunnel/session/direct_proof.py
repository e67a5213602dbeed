"""How client and master prove to each other on a direct path that they are those of the pair.

docs/session-protocol, section 7. Whoever is on the LAN can connect to the master, and can listen
where the master was. Three messages of fixed length, before any packet, show either side that the
other holds the keys of their handshake::

    DirectClient  --d1-->           decode_d1, DirectMaster
    DirectClient  <--d2--           DirectMaster
    DirectClient  --d3-->           DirectMaster

    D1 = "PTD1" | session_id 16 | member u16 | nonce 16 | HMAC16(direct_client, all before)
    D2 = nonce 16 | HMAC16(direct_master, D1 | nonce)
    D3 = HMAC16(direct_client, D1 | D2)

The master sends nothing before D1 has verified: to a scanner its port is mute. A replayed D1 leads
nowhere: D2 holds a fresh nonce, and D3 covers it, so who can't make a D3 for this very D2 has
gained one useless D2. Nor can one message stand for another: the sides have different keys, and
what D1's and D3's HMAC cover differs in length.

A phase takes one message. Right or wrong, it forgets its secrets with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.errors import AuthenticationFailed, RemoteProtocolError
from porttunnel.keys.handshake_message import FIRST_CLIENT, LAST_CLIENT, SESSION_ID_BYTES
from porttunnel.keys.primitives import KEY_BYTES, constant_time_equal, hmac_sha256
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.wire import Reader, encode_u16

__all__ = [
    "D1",
    "D1_BYTES",
    "D2_BYTES",
    "D3_BYTES",
    "DIRECT_NONCE_BYTES",
    "PREFACE",
    "DirectClient",
    "DirectMaster",
    "decode_d1",
]

PREFACE = b"PTD1"  # a packet's third byte is its version, 1: no packet begins so
DIRECT_NONCE_BYTES = 16  # random ones don't meet by chance
# Half of SHA-256. A forger has one guess for each connection, and nothing to try it on at home.
DIRECT_MAC_BYTES = 16
MEMBER_BYTES = 2

D1_BYTES = len(PREFACE) + SESSION_ID_BYTES + MEMBER_BYTES + DIRECT_NONCE_BYTES + DIRECT_MAC_BYTES
D2_BYTES = DIRECT_NONCE_BYTES + DIRECT_MAC_BYTES
D3_BYTES = DIRECT_MAC_BYTES

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class D1:
    """Who says that it connects. Nothing of it counts before its HMAC was right.

    :ivar session_id: 16 bytes.
    :ivar member: the client's member number.
    :ivar nonce: the client's, 16 bytes.
    :ivar mac: 16 bytes.
    """

    session_id: bytes
    member: int
    nonce: bytes
    mac: bytes


def decode_d1(data: Buffer) -> D1:
    """Read a D1, so that the master can find the keys that it is to be verified with.

    :param data: :data:`D1_BYTES` bytes.
    :raises RemoteProtocolError: malformed, or from a member that is no client.
    """
    reader = Reader(data)
    if reader.take(len(PREFACE)) != PREFACE:
        raise RemoteProtocolError("a direct connection begins with something else than a D1")
    message = D1(
        session_id=reader.take(SESSION_ID_BYTES),
        member=reader.u16(),
        nonce=reader.take(DIRECT_NONCE_BYTES),
        mac=reader.take(DIRECT_MAC_BYTES),
    )
    reader.finish()
    if not FIRST_CLIENT <= message.member <= LAST_CLIENT:
        raise RemoteProtocolError("a direct connection comes from a member that is no client")
    return message


class DirectClient(SecretHolder):
    """The client's side of one connection.

    :param session_id: 16 bytes.
    :param member: this client's member number.
    :param direct_client: ``Established.direct_client``, 32 bytes.
    :param direct_master: ``Established.direct_master``, 32 bytes.
    :param nonce: 16 fresh random bytes for each connection.
    :ivar d1: what to send first.
    """

    __slots__ = ("_direct_client", "_direct_master", "d1")
    OPEN_SLOTS = frozenset({"d1"})

    def __init__(
        self,
        session_id: bytes,
        member: int,
        direct_client: bytes,
        direct_master: bytes,
        nonce: bytes,
    ) -> None:
        if len(session_id) != SESSION_ID_BYTES or not FIRST_CLIENT <= member <= LAST_CLIENT:
            raise ValueError("a session id has 16 bytes, a client a number from 2 on")
        _demand_own_values(direct_client, direct_master, nonce)
        opening = PREFACE + session_id + encode_u16(member) + nonce
        self.d1 = opening + _hmac16(direct_client, opening)
        self._direct_client = direct_client
        self._direct_master = direct_master

    def receive_d2(self, data: Buffer) -> bytes:
        """Take the master's proof; returns the D3 to send. Packets may follow it at once.

        :param data: :data:`D2_BYTES` bytes.
        :raises AuthenticationFailed: wrong in any way, its length too: not this client's master.
        """
        try:
            d2 = bytes(data)
            nonce, mac = d2[:DIRECT_NONCE_BYTES], d2[DIRECT_NONCE_BYTES:]
            if not constant_time_equal(mac, _hmac16(self._direct_master, self.d1, nonce)):
                raise AuthenticationFailed
            return _hmac16(self._direct_client, self.d1, d2)
        finally:
            self.erase()


class DirectMaster(SecretHolder):
    """The master's side of one connection, made when a D1 has come.

    :param d1: as it came.
    :param direct_client: ``Established.direct_client`` of the member that D1 names, 32 bytes.
    :param direct_master: its ``Established.direct_master``, 32 bytes.
    :param nonce: 16 fresh random bytes for each connection.
    :ivar d2: what to send.
    :raises RemoteProtocolError: ``d1`` is malformed.
    :raises AuthenticationFailed: ``d1`` is not that member's. Send nothing, close.
    """

    __slots__ = ("_expected_d3", "d2")
    OPEN_SLOTS = frozenset({"d2"})

    def __init__(
        self, d1: Buffer, direct_client: bytes, direct_master: bytes, nonce: bytes
    ) -> None:
        _demand_own_values(direct_client, direct_master, nonce)
        opening = bytes(d1)
        mac = decode_d1(opening).mac
        if not constant_time_equal(mac, _hmac16(direct_client, opening[:-DIRECT_MAC_BYTES])):
            raise AuthenticationFailed
        self.d2 = nonce + _hmac16(direct_master, opening, nonce)
        # The one right answer; a connection that waits for it need not hold the keys as well.
        self._expected_d3 = _hmac16(direct_client, opening, self.d2)

    def receive_d3(self, data: Buffer) -> None:
        """Take the client's proof that it is here now. Packets may follow it at once.

        :param data: :data:`D3_BYTES` bytes.
        :raises AuthenticationFailed: wrong in any way, its length too: a replay, or no client.
        """
        try:
            if not constant_time_equal(bytes(data), self._expected_d3):
                raise AuthenticationFailed
        finally:
            self.erase()


def _hmac16(key: bytes, *parts: bytes) -> bytes:
    return hmac_sha256(key, *parts)[:DIRECT_MAC_BYTES]


def _demand_own_values(direct_client: bytes, direct_master: bytes, nonce: bytes) -> None:
    """Refuse what only a mistake in our own program can bring here."""
    if len(direct_client) != KEY_BYTES or len(direct_master) != KEY_BYTES:
        raise ValueError(f"the keys of a direct path have {KEY_BYTES} bytes")
    if len(nonce) != DIRECT_NONCE_BYTES:
        raise ValueError(f"the nonces of a direct path have {DIRECT_NONCE_BYTES} bytes")
