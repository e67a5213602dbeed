"""From what was said in an exchange of keys to the device's secret and the six digits.

Source: docs/gateway-protocol, section 2.
"""

from __future__ import annotations

from porttunnel.gateway.message_key import Ends
from porttunnel.keys.hybrid import SHARED_BYTES
from porttunnel.keys.primitives import KEY_BYTES, expand, extract, sha256
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.wire import encode_u64

__all__ = [
    "DIGITS",
    "SETUP_GENERATION",
    "DeviceSecret",
    "derive_device_secret",
    "derive_digits",
    "derive_transcript",
]

DIGITS = 6  # one chance in a million for who sits between the two

SETUP_GENERATION = 0  # of the setup secret in the QR

LABEL_TRANSCRIPT = b"ptgw1 t2"
LABEL_DEVICE_SECRET = b"ptgw1 device secret"
LABEL_CONFIRMED_TRANSCRIPT = b"ptgw1 t3"
LABEL_DIGITS = b"ptgw1 sas"

_DIGITS_SOURCE_BYTES = 8  # 64 bits: no digit is likelier than another by more than 2^-44


class DeviceSecret(SecretHolder):
    """What a device and its instance share.

    :ivar generation: 0 is the setup secret of the QR.
    :ivar secret: 32 bytes.
    """

    __slots__ = ("generation", "secret")
    OPEN_SLOTS = frozenset({"generation"})

    def __init__(self, generation: int, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a device's secret has {KEY_BYTES} bytes")
        self.generation = generation
        self.secret = secret

    @classmethod
    def from_setup(cls, setup_secret: bytes) -> DeviceSecret:
        """What a device and its instance share before they have spoken: what is in the QR."""
        return cls(SETUP_GENERATION, setup_secret)


def derive_transcript(ends: Ends, request: bytes, answer: bytes) -> bytes:
    """T2: all that was said, and by whom.

    :param request: plaintext.
    :param answer: plaintext.
    """
    return sha256(
        LABEL_TRANSCRIPT,
        ends.instance_id,
        ends.device_id,
        encode_u64(len(request)),
        request,
        encode_u64(len(answer)),
        answer,
    )


def derive_device_secret(transcript: bytes, current: bytes, shared: bytes) -> bytes:
    """The new secret, 32 bytes: closed to whoever lacks one of the three that it comes from.

    :param transcript: T2.
    :param current: the secret that the exchange was sealed under, 32 bytes.
    :param shared: as :meth:`HybridPrivateKey.decapsulate` gives it.
    """
    half = SHARED_BYTES // 2
    rsa_secret, mlkem_secret = shared[half - KEY_BYTES : half], shared[-KEY_BYTES:]
    prk = extract(transcript, current + rsa_secret + mlkem_secret)
    return expand(prk, LABEL_DEVICE_SECRET, KEY_BYTES)


def derive_digits(transcript: bytes, nonce: bytes) -> str:
    """The six digits that both sides can show.

    :param transcript: T2.
    :param nonce: the device's.
    """
    confirmed = sha256(LABEL_CONFIRMED_TRANSCRIPT, transcript, nonce)
    drawn = expand(extract(LABEL_DIGITS, confirmed), b"", _DIGITS_SOURCE_BYTES)
    return f"{int.from_bytes(drawn) % 10**DIGITS:0{DIGITS}}"
