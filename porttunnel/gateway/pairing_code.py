"""What the QR of a pairing says: where the gateway is, and what only its reader may know.

Source: docs/gateway-protocol, section 2. Everything but the address stands in the fragment, which
a browser never sends: also somebody who opens the link by mistake tells the gateway nothing.
"""

from __future__ import annotations

import base64
import re

from porttunnel.errors import ConfigurationError, PairingError
from porttunnel.keys.primitives import KEY_BYTES
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.wire import Reader, encode_u32

__all__ = [
    "SETUP_KEY_BYTES",
    "SPKI_PIN_BYTES",
    "WEB_PKI",
    "PairingCode",
    "is_gateway_address",
]

SETUP_KEY_BYTES = 16  # 128 random bits: what the gateway knows, as a hash
SPKI_PIN_BYTES = 16  # of a hash; a second key with the same takes 2^128 tries
WEB_PKI = bytes(SPKI_PIN_BYTES)  # no pin: the certificate is one that browsers believe

_VERSION = 1
_CODE_CHARACTERS = 92  # 69 bytes in base64url
_ADDRESS = (
    r"(https://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*"
    r"|http://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?)"
)
_ADDRESS_FORM = re.compile(_ADDRESS)
_TEXT_FORM = re.compile(rf"{_ADDRESS}/pair#([A-Za-z0-9_-]{{{_CODE_CHARACTERS}}})")
_UNREADABLE = (
    "This is no pairing code. Scan it again or copy the whole text, to its last character; if "
    "that does not help ask for a new code."
)


def is_gateway_address(text: str) -> bool:
    """Whether a code can say that the gateway is there."""
    return _ADDRESS_FORM.fullmatch(text) is not None


class PairingCode(SecretHolder):
    """A pairing that an instance offers.

    :param gateway: its address, without a slash at the end: ``https://gateway.example``; plain
        ``http`` on this machine only.
    :param setup_key: 16 random bytes, from the gateway.
    :param setup_secret: 32 random bytes, which the gateway must not know.
    :param spki_pin: the first 16 bytes of the SHA-256 of its SubjectPublicKeyInfo (DER), or
        :data:`WEB_PKI`.
    :param expires: seconds since 1970.
    :raises ConfigurationError: the address is none of a gateway.
    """

    __slots__ = ("expires", "gateway", "setup_key", "setup_secret", "spki_pin")
    OPEN_SLOTS = frozenset({"expires", "gateway", "spki_pin"})

    def __init__(
        self, gateway: str, setup_key: bytes, setup_secret: bytes, spki_pin: bytes, expires: int
    ) -> None:
        lengths = (len(setup_key), len(setup_secret), len(spki_pin))
        if lengths != (SETUP_KEY_BYTES, KEY_BYTES, SPKI_PIN_BYTES):
            raise ValueError("a setup key has 16 bytes, a setup secret 32, a pin 16")
        if not is_gateway_address(gateway):
            raise ConfigurationError(
                f"{gateway} is no address of a gateway. Write https://, its name in lower case, "
                "and no slash at the end; http:// is for this machine only."
            )
        self.gateway = gateway
        self.setup_key = setup_key
        self.setup_secret = setup_secret
        self.spki_pin = spki_pin
        self.expires = expires

    def format(self) -> str:
        """The text in the QR."""
        data = (
            bytes([_VERSION])
            + self.setup_key
            + self.setup_secret
            + self.spki_pin
            + encode_u32(self.expires)
        )
        return f"{self.gateway}/pair#{base64.urlsafe_b64encode(data).decode()}"

    @classmethod
    def parse(cls, text: str) -> PairingCode:
        """Read the text of a QR; blanks around it don't matter.

        :raises PairingError: it is none, or one of a later version.
        """
        match = _TEXT_FORM.fullmatch(text.strip())
        if match is None:
            raise PairingError(_UNREADABLE)
        reader = Reader(base64.urlsafe_b64decode(match[2]))
        if reader.u8() != _VERSION:
            raise PairingError("This pairing code is of a later version. Update this program.")
        setup_key, setup_secret = reader.take(SETUP_KEY_BYTES), reader.take(KEY_BYTES)
        return cls(
            match[1], setup_key, setup_secret, reader.take(SPKI_PIN_BYTES), expires=reader.u32()
        )

    def check_fresh(self, unix_seconds: float) -> None:
        """Before anything is sent.

        :raises PairingError: it has expired.
        """
        if unix_seconds >= self.expires:
            raise PairingError(
                "This pairing code has expired, by this machine's clock. Ask for a new one; if "
                "that has expired too, set the clock."
            )
