"""The key schedule of the handshake: from two messages and two secrets to all keys of a pair.

docs/session-protocol, section 5. Everything that was said enters every key: C1 and M2 through
the hash T2, the client's nonce through T3. Whoever changes a bit on the way gets other keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.keys import cpace
from porttunnel.keys.handshake_message import HandshakeMode
from porttunnel.keys.primitives import KEY_BYTES, expand, extract, hmac_sha256, sha256
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.wire import encode_u16, encode_u64, encode_vec

__all__ = [
    "BoundSecret",
    "Established",
    "HandshakeSecret",
    "derive_commit",
    "derive_isk",
    "derive_share",
    "format_sid",
]

LABEL_COMMIT = b"ptun1 commit"
LABEL_CHANNEL = b"ptun1 tunnel|client|master|"
LABEL_CLIENT = b"C"  # CPace's associated data of the initiator
LABEL_MASTER = b"M"  # and of the responder
LABEL_T2 = b"ptun1 t2"
LABEL_T3 = b"ptun1 t3"
LABEL_CONFIRM_CLIENT = b"ptun1 confirm c"
LABEL_CONFIRM_MASTER = b"ptun1 confirm m"
LABEL_SAS = b"ptun1 sas"
LABEL_CLIENT_TO_MASTER = b"ptun1 c>m"
LABEL_MASTER_TO_CLIENT = b"ptun1 m>c"
LABEL_DIRECT_CLIENT = b"ptun1 direct c"
LABEL_DIRECT_MASTER = b"ptun1 direct m"
LABEL_REJOIN = b"ptun1 rejoin"

SAS_DIGITS = 6


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Established(SecretHolder):
    """What a finished run leaves behind; the same on both sides.

    :ivar client_to_master: secret of generation 0 of this direction, 32 bytes (``Sealer``).
    :ivar master_to_client: the same for the other direction.
    :ivar direct_client: key of the client's proofs on a direct path, 32 bytes.
    :ivar direct_master: key of the master's proof there.
    :ivar rejoin: 32 bytes, the secret of a later run in mode REJOIN.
    :ivar sas_client_shows: in SAS six digits that the client's user reads out and the master's
        user types; else empty.
    :ivar sas_master_shows: the same the other way round.
    """

    client_to_master: bytes
    master_to_client: bytes
    direct_client: bytes
    direct_master: bytes
    rejoin: bytes
    sas_client_shows: str
    sas_master_shows: str


def derive_commit(nonce: bytes, opening: bytes) -> bytes:
    """What binds the client to its nonce before it sees the master's, 32 bytes.

    :param nonce: the client's, 32 bytes.
    :param opening: its C1 without the last 32 bytes, where the result goes.
    """
    return sha256(LABEL_COMMIT, nonce, opening)


def derive_share(mode: HandshakeMode, prs: bytes, number: int, sid: bytes, scalar: bytes) -> bytes:
    """This side's CPace share (32 bytes); empty in SAS, where there is no password.

    :param sid: from :func:`format_sid`.
    """
    if mode is HandshakeMode.SAS:
        return b""
    channel = LABEL_CHANNEL + _format_number(number)
    return cpace.public_share(scalar, cpace.generator(prs, channel, sid))


def derive_isk(
    mode: HandshakeMode,
    scalar: bytes,
    peer_share: bytes,
    *,
    sid: bytes,
    ya: bytes,
    yb: bytes,
) -> bytes:
    """CPace's session key (64 bytes); empty in SAS.

    :param ya: the client's share.
    :param yb: the master's share.
    :raises AuthenticationFailed: ``peer_share`` is a point of low order.
    """
    if mode is HandshakeMode.SAS:
        return b""
    return cpace.derive_isk(
        scalar, peer_share, sid, ya=ya, ada=LABEL_CLIENT, yb=yb, adb=LABEL_MASTER
    )


def format_sid(session_id: bytes, member: int) -> bytes:
    """CPace's sid: the member number is never used twice in a session, so no sid is either."""
    return session_id + encode_u16(member)


class HandshakeSecret(SecretHolder):
    """What both sides know after M2: the transcript T2 and the secret HS."""

    __slots__ = ("_hs", "_mode", "_t2")

    def __init__(
        self,
        mode: HandshakeMode,
        number: int,
        *,
        c1: bytes,
        m2: bytes,
        isk: bytes,
        shared: bytes,
    ) -> None:
        self._mode = mode
        self._t2 = sha256(
            LABEL_T2,
            encode_vec(_format_number(number)),
            encode_u64(len(c1)),
            c1,
            encode_u64(len(m2)),
            m2,
        )
        self._hs = extract(self._t2, encode_vec(isk) + shared)

    def bind(self, nonce_client: bytes) -> BoundSecret:
        """Take the opened commitment into the transcript."""
        return BoundSecret(self._mode, self._hs, sha256(LABEL_T3, self._t2, nonce_client))


class BoundSecret(SecretHolder):
    """What both sides know after C3: the transcript T3 and the secret HS."""

    __slots__ = ("_hs", "_mode", "_t3")

    def __init__(self, mode: HandshakeMode, hs: bytes, t3: bytes) -> None:
        self._mode = mode
        self._hs = hs
        self._t3 = t3

    def confirm_client(self) -> bytes:
        """mac_c, 32 bytes."""
        return hmac_sha256(expand(self._hs, LABEL_CONFIRM_CLIENT, KEY_BYTES), self._t3)

    def confirm_master(self, mac_client: bytes) -> bytes:
        """mac_m, 32 bytes; it covers the client's as well."""
        key = expand(self._hs, LABEL_CONFIRM_MASTER, KEY_BYTES)
        return hmac_sha256(key, self._t3, mac_client)

    def establish(self) -> Established:
        """The keys. Called when the peer's confirmation was right, never before."""
        master_secret = extract(self._t3, self._hs)
        client_shows, master_shows = "", ""
        if self._mode is HandshakeMode.SAS:
            client_shows, master_shows = _derive_sas(self._t3)
        return Established(
            client_to_master=expand(master_secret, LABEL_CLIENT_TO_MASTER, KEY_BYTES),
            master_to_client=expand(master_secret, LABEL_MASTER_TO_CLIENT, KEY_BYTES),
            direct_client=expand(master_secret, LABEL_DIRECT_CLIENT, KEY_BYTES),
            direct_master=expand(master_secret, LABEL_DIRECT_MASTER, KEY_BYTES),
            rejoin=expand(master_secret, LABEL_REJOIN, KEY_BYTES),
            sas_client_shows=client_shows,
            sas_master_shows=master_shows,
        )


def _derive_sas(t3: bytes) -> tuple[str, str]:
    """The spoken digits: a short hash of all that was said.

    The commitment fixed the client's part before either side could choose to please the hash, so
    whoever sits between has one chance in 10^6.
    """
    digest = expand(extract(LABEL_SAS, t3), b"", 16)
    first, second = (int.from_bytes(half) % 10**SAS_DIGITS for half in (digest[:8], digest[8:]))
    return f"{first:0{SAS_DIGITS}}", f"{second:0{SAS_DIGITS}}"


def _format_number(number: int) -> bytes:
    return str(number).encode("ascii")
