"""How client and master come to share keys that nobody else knows.

docs/session-protocol, section 5. Each phase is a type of its own, and what can send data, the
:class:`Established`, does not exist before both confirmations were right::

    ClientHandshake --receive_m2--> ClientConfirming --receive_m4--> Established
    MasterHandshake --receive_c3--> MasterFinished (m4, established)

A phase takes one message. Right or wrong, it forgets its secrets with it: a second C3 would be
a second guess at the PIN in one run. The client confirms first, so a run that breaks off tells
a guesser nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.errors import AuthenticationFailed, RemoteProtocolError
from porttunnel.keys import cpace
from porttunnel.keys.handshake_message import (
    C1,
    C3,
    COMMIT_BYTES,
    M2,
    M4,
    SESSION_ID_BYTES,
    HandshakeMode,
    is_client,
    may_name_former,
    share_bytes,
)
from porttunnel.keys.hybrid import Encapsulation, HybridPrivateKey
from porttunnel.keys.primitives import (
    KEY_BYTES,
    constant_time_equal,
    expand,
    extract,
    hmac_sha256,
    sha256,
)
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.wire import encode_u16, encode_u64, encode_vec

__all__ = [
    "C1",
    "ClientConfirming",
    "ClientHandshake",
    "Established",
    "HandshakeMode",
    "MasterFinished",
    "MasterHandshake",
    "decode_c1",
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
RANDOM_BYTES = 32  # scalars, nonces, fallbacks

Buffer = bytes | bytearray | memoryview


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


class ClientHandshake(SecretHolder):
    """The client's side before the master has answered.

    :param number: session number.
    :param session_id: 16 bytes, from the server's JOINED.
    :param member: this client's member number.
    :param prs: PIN: six ASCII digits; LINK: the 26 characters; REJOIN: 64 hex characters of the
        former run's ``rejoin``; SAS: empty.
    :param key: fresh for this join.
    :param scalar: 32 fresh random bytes.
    :param nonce: 32 fresh random bytes.
    :param fallback: 32 fresh random bytes, see ``HybridPrivateKey.decapsulate``.
    :param former: in REJOIN the member number of the former run, else 0.
    :ivar c1: the message to send, and to send again bit-identical after RESUME.
    """

    __slots__ = (
        "_fallback",
        "_key",
        "_member",
        "_mode",
        "_nonce",
        "_number",
        "_scalar",
        "_session_id",
        "_share",
        "c1",
    )
    OPEN_SLOTS = frozenset({"c1"})

    def __init__(
        self,
        number: int,
        session_id: bytes,
        member: int,
        mode: HandshakeMode,
        prs: bytes,
        *,
        key: HybridPrivateKey,
        scalar: bytes,
        nonce: bytes,
        fallback: bytes,
        former: int = 0,
    ) -> None:
        _demand_own_values(session_id, member, mode, prs, scalar, nonce, fallback)
        if not may_name_former(mode, former):
            raise ValueError("a former member number goes with REJOIN and only with it")
        self._number = number
        self._session_id = session_id
        self._member = member
        self._mode = mode
        self._key = key
        self._scalar = scalar
        self._nonce = nonce
        self._fallback = fallback
        self._share = _derive_share(mode, prs, number, _sid(session_id, member), scalar)
        open_part = C1(
            mode=mode,
            member=member,
            former=former,
            session_id=session_id,
            share=self._share,
            rsa_public=key.rsa_public,
            mlkem_public=key.mlkem_public,
            commit=b"",
        ).encode()
        self.c1 = open_part + sha256(LABEL_COMMIT, nonce, open_part)

    def receive_m2(self, body: Buffer) -> ClientConfirming:
        """Take the master's answer and confirm.

        :raises RemoteProtocolError: malformed, or for another member.
        :raises AuthenticationFailed: the master's CPace share is of low order.
        """
        try:
            message = M2.decode(body, self._mode)
            if message.member != self._member:
                raise RemoteProtocolError("the handshake's answer is for another member")
            isk = _derive_isk(
                self._mode,
                self._scalar,
                message.share,
                sid=_sid(self._session_id, self._member),
                ya=self._share,
                yb=message.share,
            )
            shared = self._key.decapsulate(
                message.rsa_ciphertext, message.mlkem_ciphertext, self._fallback
            )
            secrets = _Secrets(
                self._mode, self._number, c1=self.c1, m2=bytes(body), isk=isk, shared=shared
            )
            return ClientConfirming(secrets.bind(self._nonce), self._nonce)
        finally:
            self.erase()


class ClientConfirming(SecretHolder):
    """The client has confirmed; whether the master can too is open.

    From here on a run that ends without a valid M4 uses up the code.

    :ivar c3: the message to send, and to send again bit-identical after RESUME.
    """

    __slots__ = ("_bound", "_mac_client", "c3")
    OPEN_SLOTS = frozenset({"c3"})

    def __init__(self, bound: _BoundSecrets, nonce: bytes) -> None:
        self._bound = bound
        self._mac_client = bound.confirm_client()
        self.c3 = C3(nonce, self._mac_client).encode()

    def receive_m4(self, body: Buffer) -> Established:
        """Take the master's confirmation.

        :raises RemoteProtocolError: malformed.
        :raises AuthenticationFailed: this master does not know the code.
        """
        try:
            message = M4.decode(body)
            if not constant_time_equal(message.mac, self._bound.confirm_master(self._mac_client)):
                raise AuthenticationFailed
            return self._bound.establish()
        finally:
            self.erase()


def decode_c1(body: Buffer) -> C1:
    """Read a client's opening, so that the master can encapsulate to the keys in it.

    :raises RemoteProtocolError: malformed.
    """
    return C1.decode(body)


class MasterHandshake(SecretHolder):
    """The master's side, made when a C1 has come.

    :param number: session number.
    :param session_id: 16 bytes, this session's.
    :param member: the member that the server says the C1 is from.
    :param mode: the mode that this master invited with.
    :param prs: as in :class:`ClientHandshake`.
    :param c1: the C1's body as it came.
    :param encapsulation: ``encapsulate`` for the keys in the C1.
    :param scalar: 32 fresh random bytes.
    :param nonce: 32 fresh random bytes.
    :ivar m2: the message to send, and to send again bit-identical after RESUME.
    :raises RemoteProtocolError: the C1 is malformed, for another session or member, or of a
        mode that was not invited.
    :raises AuthenticationFailed: the client's CPace share is of low order.
    """

    __slots__ = ("_commit", "_opening", "_secrets", "m2")
    OPEN_SLOTS = frozenset({"m2"})

    def __init__(
        self,
        number: int,
        session_id: bytes,
        member: int,
        mode: HandshakeMode,
        prs: bytes,
        *,
        c1: Buffer,
        encapsulation: Encapsulation,
        scalar: bytes,
        nonce: bytes,
    ) -> None:
        _demand_own_values(session_id, member, mode, prs, scalar, nonce)
        body = bytes(c1)
        message = C1.decode(body)
        if message.mode is not mode:
            raise RemoteProtocolError("the client joins in a mode that it was not invited with")
        if message.member != member or message.session_id != session_id:
            raise RemoteProtocolError("the handshake's opening is for another session or member")
        sid = _sid(session_id, member)
        share = _derive_share(mode, prs, number, sid, scalar)
        isk = _derive_isk(mode, scalar, message.share, sid=sid, ya=message.share, yb=share)
        self.m2 = M2(
            member=member,
            nonce=nonce,
            share=share,
            rsa_ciphertext=encapsulation.rsa_ciphertext,
            mlkem_ciphertext=encapsulation.mlkem_ciphertext,
        ).encode()
        self._opening = body[:-COMMIT_BYTES]
        self._commit = message.commit
        self._secrets = _Secrets(
            mode, number, c1=body, m2=self.m2, isk=isk, shared=encapsulation.shared
        )

    def receive_c3(self, body: Buffer) -> MasterFinished:
        """Take the client's confirmation.

        :raises RemoteProtocolError: malformed.
        :raises AuthenticationFailed: this client does not know the code, or changed its nonce
            after it had seen the master's.
        """
        try:
            message = C3.decode(body)
            commit = sha256(LABEL_COMMIT, message.nonce, self._opening)
            if not constant_time_equal(commit, self._commit):
                raise AuthenticationFailed
            bound = self._secrets.bind(message.nonce)
            if not constant_time_equal(message.mac, bound.confirm_client()):
                raise AuthenticationFailed
            return MasterFinished(
                M4(bound.confirm_master(message.mac)).encode(), bound.establish()
            )
        finally:
            self.erase()


class MasterFinished(SecretHolder):
    """The master is sure of the client.

    :ivar m4: the message to send, and to send again bit-identical after RESUME.
    :ivar established: the keys.
    """

    __slots__ = ("established", "m4")
    OPEN_SLOTS = frozenset({"m4"})

    def __init__(self, m4: bytes, established: Established) -> None:
        self.m4 = m4
        self.established = established


class _Secrets(SecretHolder):
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

    def bind(self, nonce_client: bytes) -> _BoundSecrets:
        """Take the opened commitment into the transcript."""
        return _BoundSecrets(self._mode, self._hs, sha256(LABEL_T3, self._t2, nonce_client))


class _BoundSecrets(SecretHolder):
    """What both sides know after C3: the transcript T3 and the secret HS."""

    __slots__ = ("_hs", "_mode", "_t3")

    def __init__(self, mode: HandshakeMode, hs: bytes, t3: bytes) -> None:
        self._mode = mode
        self._hs = hs
        self._t3 = t3

    def confirm_client(self) -> bytes:
        return hmac_sha256(expand(self._hs, LABEL_CONFIRM_CLIENT, KEY_BYTES), self._t3)

    def confirm_master(self, mac_client: bytes) -> bytes:
        key = expand(self._hs, LABEL_CONFIRM_MASTER, KEY_BYTES)
        return hmac_sha256(key, self._t3, mac_client)

    def establish(self) -> Established:
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


def _derive_share(
    mode: HandshakeMode, prs: bytes, number: int, sid: bytes, scalar: bytes
) -> bytes:
    if mode is HandshakeMode.SAS:
        return b""
    channel = LABEL_CHANNEL + _format_number(number)
    return cpace.public_share(scalar, cpace.generator(prs, channel, sid))


def _derive_isk(
    mode: HandshakeMode,
    scalar: bytes,
    peer_share: bytes,
    *,
    sid: bytes,
    ya: bytes,
    yb: bytes,
) -> bytes:
    if mode is HandshakeMode.SAS:
        return b""
    return cpace.derive_isk(
        scalar, peer_share, sid, ya=ya, ada=LABEL_CLIENT, yb=yb, adb=LABEL_MASTER
    )


def _sid(session_id: bytes, member: int) -> bytes:
    return session_id + encode_u16(member)


def _format_number(number: int) -> bytes:
    return str(number).encode("ascii")


def _demand_own_values(
    session_id: bytes, member: int, mode: HandshakeMode, prs: bytes, *random_values: bytes
) -> None:
    """Refuse what only a mistake in our own program can bring here."""
    if len(session_id) != SESSION_ID_BYTES or not is_client(member):
        raise ValueError(f"a session id has {SESSION_ID_BYTES} bytes, a client a number from 2 on")
    if bool(prs) != bool(share_bytes(mode)):
        raise ValueError("each mode but SAS needs a password, and SAS has none")
    if any(len(value) != RANDOM_BYTES for value in random_values):
        raise ValueError(f"scalars, nonces and fallbacks have {RANDOM_BYTES} bytes")
