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

from porttunnel.errors import AuthenticationFailed, RemoteProtocolError
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
from porttunnel.keys.key_schedule import (
    BoundSecret,
    Established,
    HandshakeSecret,
    derive_commit,
    derive_isk,
    derive_share,
    format_sid,
)
from porttunnel.keys.primitives import constant_time_equal
from porttunnel.keys.secret_holder import SecretHolder

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

RANDOM_BYTES = 32  # scalars, nonces, fallbacks

Buffer = bytes | bytearray | memoryview


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
        self._share = derive_share(mode, prs, number, format_sid(session_id, member), scalar)
        opening = C1(
            mode=mode,
            member=member,
            former=former,
            session_id=session_id,
            share=self._share,
            rsa_public=key.rsa_public,
            mlkem_public=key.mlkem_public,
            commit=b"",
        ).encode()
        self.c1 = opening + derive_commit(nonce, opening)

    def receive_m2(self, body: Buffer) -> ClientConfirming:
        """Take the master's answer and confirm.

        :raises RemoteProtocolError: malformed, or for another member.
        :raises AuthenticationFailed: the master's CPace share is of low order.
        """
        try:
            message = M2.decode(body, self._mode)
            if message.member != self._member:
                raise RemoteProtocolError("the handshake's answer is for another member")
            isk = derive_isk(
                self._mode,
                self._scalar,
                message.share,
                sid=format_sid(self._session_id, self._member),
                ya=self._share,
                yb=message.share,
            )
            shared = self._key.decapsulate(
                message.rsa_ciphertext, message.mlkem_ciphertext, self._fallback
            )
            secrets = HandshakeSecret(
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

    def __init__(self, bound: BoundSecret, nonce: bytes) -> None:
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
        sid = format_sid(session_id, member)
        share = derive_share(mode, prs, number, sid, scalar)
        isk = derive_isk(mode, scalar, message.share, sid=sid, ya=message.share, yb=share)
        self.m2 = M2(
            member=member,
            nonce=nonce,
            share=share,
            rsa_ciphertext=encapsulation.rsa_ciphertext,
            mlkem_ciphertext=encapsulation.mlkem_ciphertext,
        ).encode()
        self._opening = body[:-COMMIT_BYTES]
        self._commit = message.commit
        self._secrets = HandshakeSecret(
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
            commit = derive_commit(message.nonce, self._opening)
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
