"""The key exchange of docs/session-protocol, section 5, both sides."""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, padding, rsa

from tests.independent import cpace
from tests.independent.packet import Generation, expand, extract, sha256

__all__ = [
    "MODES",
    "Client",
    "Encapsulation",
    "HandshakeFailed",
    "Identity",
    "Keys",
    "Master",
    "PublicKeys",
    "Secrets",
    "group_key",
    "sas_digits",
]

MODES = {"pin": 1, "sas": 2, "link": 3}
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class HandshakeFailed(Exception):
    """The run is over."""


class Identity(NamedTuple):
    """What both sides know before they begin."""

    mode: str
    number: int
    session_id: bytes
    member: int
    prs: bytes = b""

    @property
    def sid(self) -> bytes:
        """CPace's session id."""
        return self.session_id + struct.pack(">H", self.member)

    @property
    def ci(self) -> bytes:
        """CPace's channel identifier."""
        return b"ptun1 tunnel|client|master|" + str(self.number).encode()


class Secrets(NamedTuple):
    """All that a client draws for a run."""

    rsa: rsa.RSAPrivateKey
    mlkem: mlkem.MLKEM768PrivateKey
    scalar: bytes
    nonce: bytes

    @classmethod
    def draw(cls) -> Secrets:
        """Fresh ones."""
        return cls(
            rsa.generate_private_key(65537, 2048),
            mlkem.MLKEM768PrivateKey.generate(),
            secrets.token_bytes(32),
            secrets.token_bytes(32),
        )


class Encapsulation(NamedTuple):
    """What a master draws for a run once it has a C1."""

    rsa_secret: bytes
    rsa_ct: bytes
    mlkem_secret: bytes
    mlkem_ct: bytes
    scalar: bytes
    nonce: bytes


class PublicKeys(NamedTuple):
    """What a C1 carries for the master to encapsulate to."""

    rsa: rsa.RSAPublicKey
    mlkem: mlkem.MLKEM768PublicKey

    @classmethod
    def load(cls, rsa_public: bytes, mlkem_public: bytes) -> PublicKeys:
        """From their bytes, if suite 1 has such keys."""
        try:
            key = serialization.load_der_public_key(rsa_public)
            kem = mlkem.MLKEM768PublicKey.from_public_bytes(mlkem_public)
        except ValueError:
            raise HandshakeFailed("a public key") from None
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size != 2048:
            raise HandshakeFailed("no RSA key of 2048 bits")
        if key.public_numbers().e != 65537:
            raise HandshakeFailed("another exponent")
        return cls(key, kem)

    def encapsulate(self) -> Encapsulation:
        """Fresh secrets."""
        rsa_secret = secrets.token_bytes(32)
        mlkem_secret, mlkem_ct = self.mlkem.encapsulate()
        return Encapsulation(
            rsa_secret,
            self.rsa.encrypt(rsa_secret, OAEP),
            mlkem_secret,
            mlkem_ct,
            secrets.token_bytes(32),
            secrets.token_bytes(32),
        )


class Keys(NamedTuple):
    """What a run yields."""

    client_to_master: Generation
    master_to_client: Generation
    sas: tuple[str, str]


def vec(data: bytes) -> bytes:
    """A u16 length and the bytes."""
    return struct.pack(">H", len(data)) + data


def sas_digits(t3: bytes) -> tuple[str, str]:
    """A and B."""
    first, second = struct.unpack(">QQ", expand(extract(b"ptun1 sas", t3), b"", 16))
    return f"{first % 10**6:06}", f"{second % 10**6:06}"


def group_key(session_id: bytes, epoch: int, key: bytes) -> tuple[bytes, bytes]:
    """Key and iv of a group epoch."""
    prk = extract(session_id + struct.pack(">I", epoch), key)
    material = expand(prk, b"ptun1 grp", 44)
    return material[:32], material[32:]


@dataclass
class Schedule:
    """The values that both sides derive; kept, so that vectors can carry them."""

    identity: Identity
    c1: bytes
    m2: bytes
    isk: bytes
    ss: bytes
    nonce_c: bytes = b""
    t2: bytes = field(init=False)
    hs: bytes = field(init=False)

    def __post_init__(self) -> None:
        number = str(self.identity.number).encode()
        lengths = struct.pack(">Q", len(self.c1)), struct.pack(">Q", len(self.m2))
        parts = (b"ptun1 t2", vec(number), lengths[0], self.c1, lengths[1], self.m2)
        self.t2 = sha256(b"".join(parts))
        self.hs = extract(self.t2, vec(self.isk) + self.ss)

    @property
    def t3(self) -> bytes:
        """The transcript with the opened commitment."""
        return sha256(b"ptun1 t3" + self.t2 + self.nonce_c)

    @property
    def ms(self) -> bytes:
        """The secret that everything later comes from."""
        return extract(self.t3, self.hs)

    @property
    def mac_c(self) -> bytes:
        """The client's confirmation."""
        return hmac.digest(expand(self.hs, b"ptun1 confirm c", 32), self.t3, "sha256")

    @property
    def mac_m(self) -> bytes:
        """The master's confirmation."""
        key = expand(self.hs, b"ptun1 confirm m", 32)
        return hmac.digest(key, self.t3 + self.mac_c, "sha256")

    @property
    def keys(self) -> Keys:
        """The pair's first secrets."""
        return Keys(
            Generation(expand(self.ms, b"ptun1 c>m", 32)),
            Generation(expand(self.ms, b"ptun1 m>c", 32)),
            sas_digits(self.t3),
        )


class Fields:
    """Reads a body; whatever does not fit fails the run."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        taken = self.data[self.offset : self.offset + count]
        if len(taken) != count:
            raise HandshakeFailed("too short")
        self.offset += count
        return taken

    def vec(self, length: int) -> bytes:
        """A vec of exactly this length."""
        self.expect(struct.pack(">H", length))
        return self.take(length)

    def expect(self, *parts: bytes) -> None:
        """These bytes and no others."""
        for part in parts:
            if self.take(len(part)) != part:
                raise HandshakeFailed("an unexpected field")

    def finish(self) -> None:
        """Nothing follows."""
        if self.offset != len(self.data):
            raise HandshakeFailed("too long")


def _element_bytes(mode: str) -> int:
    return 0 if mode == "sas" else 32


def _isk(identity: Identity, scalar: bytes, theirs: bytes, Ya: bytes, Yb: bytes) -> bytes:
    if identity.mode == "sas":
        return b""
    try:
        K = cpace.multiply(scalar, theirs)
    except cpace.CPaceAborted:
        raise HandshakeFailed("K is 0") from None
    return cpace.session_key(identity.sid, K, (Ya, b"C"), (Yb, b"M"))


def _element(identity: Identity, scalar: bytes) -> bytes:
    if identity.mode == "sas":
        return b""
    point = cpace.generator(identity.prs, identity.ci, identity.sid)
    return cpace.multiply(scalar, point)


class Client:
    """The client's side: ``c1``, then :meth:`answer`, then :meth:`finish`."""

    def __init__(self, identity: Identity, drawn: Secrets) -> None:
        self.identity = identity
        self.drawn = drawn
        self.Ya = _element(identity, drawn.scalar)
        public = drawn.rsa.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        mode = MODES[identity.mode]
        body = struct.pack(">BHBHH", 1, 1, mode, identity.member, 0) + identity.session_id
        body += vec(self.Ya) + vec(public) + vec(drawn.mlkem.public_key().public_bytes_raw())
        self.c1 = body + sha256(b"ptun1 commit" + drawn.nonce + body)
        self.schedule: Schedule | None = None

    def answer(self, m2: bytes) -> bytes:
        """C3 for an M2."""
        fields = Fields(m2)
        fields.expect(struct.pack(">BHH", 1, 1, self.identity.member))
        fields.take(32)
        Yb = fields.vec(_element_bytes(self.identity.mode))
        rsa_ct, mlkem_ct = fields.vec(256), fields.vec(1088)
        fields.finish()
        try:
            rsa_secret = self.drawn.rsa.decrypt(rsa_ct, OAEP)
        except ValueError:
            rsa_secret = b""
        if len(rsa_secret) != 32:
            rsa_secret = secrets.token_bytes(32)
        ss = vec(rsa_secret) + vec(self.drawn.mlkem.decapsulate(mlkem_ct))
        isk = _isk(self.identity, self.drawn.scalar, Yb, self.Ya, Yb)
        self.schedule = Schedule(self.identity, self.c1, m2, isk, ss, self.drawn.nonce)
        return self.drawn.nonce + self.schedule.mac_c

    def finish(self, m4: bytes) -> Keys:
        """The keys, if M4 is right."""
        assert self.schedule is not None
        if not hmac.compare_digest(m4, self.schedule.mac_m):
            raise HandshakeFailed("mac_m")
        return self.schedule.keys


class Master:
    """The master's side: :meth:`answer` a C1, then :meth:`finish` with C3."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.commit = b""
        self.schedule: Schedule | None = None

    def read(self, c1: bytes) -> tuple[bytes, PublicKeys]:
        """Ya and the public keys of a C1."""
        identity = self.identity
        fields = Fields(c1)
        fields.expect(struct.pack(">BHB", 1, 1, MODES[identity.mode]))
        fields.expect(struct.pack(">HH", identity.member, 0), identity.session_id)
        Ya = fields.vec(_element_bytes(identity.mode))
        public = PublicKeys.load(fields.vec(294), fields.vec(1184))
        self.commit = fields.take(32)
        fields.finish()
        return Ya, public

    def answer(self, c1: bytes, drawn: Encapsulation) -> bytes:
        """M2 for a C1."""
        identity = self.identity
        Ya = self.read(c1)[0]
        Yb = _element(identity, drawn.scalar)
        m2 = struct.pack(">BHH", 1, 1, identity.member) + drawn.nonce
        m2 += vec(Yb) + vec(drawn.rsa_ct) + vec(drawn.mlkem_ct)
        isk = _isk(identity, drawn.scalar, Ya, Ya, Yb)
        ss = vec(drawn.rsa_secret) + vec(drawn.mlkem_secret)
        self.schedule = Schedule(identity, c1, m2, isk, ss)
        return m2

    def finish(self, c3: bytes) -> tuple[bytes, Keys]:
        """M4 and the keys, if C3 is right."""
        schedule = self.schedule
        assert schedule is not None
        if len(c3) != 64:
            raise HandshakeFailed("C3's length")
        schedule.nonce_c, mac_c = c3[:32], c3[32:]
        opened = sha256(b"ptun1 commit" + schedule.nonce_c + schedule.c1[:-32])
        if not hmac.compare_digest(opened, self.commit):
            raise HandshakeFailed("the commitment")
        if not hmac.compare_digest(mac_c, schedule.mac_c):
            raise HandshakeFailed("mac_c")
        return schedule.mac_m, schedule.keys
