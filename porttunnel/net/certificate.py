"""The tunnel server's own certificate: made at the first start, known to clients by its pin.

A pin says more than a certificate authority could: it stands in the very address that a user
was given, so that nobody else's signature can put another server in its place.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from porttunnel.errors import ConfigurationError

__all__ = ["Certificate", "Identity", "load_or_create_identity", "spki_digest", "spki_pin"]

FILE_NAME = "server-identity.pem"
FILE_MODE = 0o600
FOLDER_MODE = 0o700
VALID_DAYS = 36_500  # pinned, so an end would only break addresses that people have written down
CLOCK_SLACK_DAYS = 1  # clients with a wrong clock
COMMON_NAME = "porttunnel server"
PIN_PREFIX = "sha256-"

Certificate = x509.Certificate
"""For the types of others, who import nothing of `cryptography` themselves."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A server's private key and its self-made certificate."""

    private_key: EllipticCurvePrivateKey = field(repr=False)
    certificate: Certificate

    @property
    def pin(self) -> str:
        """What an address carries after its ``#``."""
        return spki_pin(self.certificate)


def spki_pin(certificate: Certificate) -> str:
    """``sha256-`` and the base64url (no padding) of SHA-256 over the DER public key.

    Of the key, not of the certificate: a renewed certificate keeps its pin.
    """
    digest = base64.urlsafe_b64encode(spki_digest(certificate))
    return PIN_PREFIX + digest.rstrip(b"=").decode("ascii")


def spki_digest(certificate: Certificate) -> bytes:
    """SHA-256 over the DER public key, 32 bytes."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def load_or_create_identity(data_dir: str | os.PathLike[str]) -> Identity:
    """The identity that is kept in the folder; made, with the folder, if it is not there.

    :raises ConfigurationError: the file can't be read or written, is damaged, or may be read by
        others.
    """
    path = Path(data_dir) / FILE_NAME
    try:
        if not path.exists():
            _write(path, _create())
        return _load(path)
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be used ({error.strerror}); give this user the right to read and "
            "write there, and room, or name another data folder"
        ) from error


def _create() -> Identity:
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, COMMON_NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=CLOCK_SLACK_DAYS))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    return Identity(key, certificate)


def _write(path: Path, identity: Identity) -> None:
    """Whole or not at all: half a file would be taken for a damaged identity for ever."""
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        file.write(identity.certificate.public_bytes(Encoding.PEM))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _load(path: Path) -> Identity:
    with path.open("rb") as file:
        # Windows has no such bits; there the user's folder protects the file.
        if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
            raise ConfigurationError(
                f"{path} holds a private key and others may read it; run: chmod 600 {path}"
            )
        pem = file.read()
    try:
        key = load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise _damaged(path) from error
    if (
        not isinstance(key, EllipticCurvePrivateKey)
        or certificate.public_key() != key.public_key()
    ):
        raise _damaged(path)
    return Identity(key, certificate)


def _damaged(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is damaged; restore it from a backup, or delete it: a new one is made, and "
        "addresses with the old pin stop working"
    )
