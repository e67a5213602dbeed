"""The device's side of a pairing or a rotation.

Source: docs/gateway-protocol, section 2. Each phase is a type of its own::

    DeviceExchanging --receive_answer--> DeviceConfirming --receive_confirmed--> DeviceSecret

What a phase holds is written down before its message is sent, and only a :class:`DeviceSecret` may
take the place of the old secret: a device that stops anywhere goes on, or pairs again.
"""

from __future__ import annotations

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_message import (
    CONFIRMED,
    NONCE_BYTES,
    Confirm,
    ExchangeAnswer,
    ExchangeRequest,
)
from porttunnel.gateway.pairing_schedule import (
    DeviceSecret,
    derive_device_secret,
    derive_digits,
    derive_transcript,
)
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.keys.primitives import Buffer
from porttunnel.keys.secret_holder import SecretHolder

__all__ = ["DeviceConfirming", "DeviceExchanging"]


class DeviceExchanging(SecretHolder):
    """The device has asked for a new secret.

    :param current: what the exchange is sealed under.
    :param key: fresh for this exchange.
    :param nonce: 32 fresh random bytes.
    :param fallback: 32 fresh random bytes, see ``HybridPrivateKey.decapsulate``.
    :ivar request: plaintext, to be sealed under ``current`` with the pairing's label. Sent again
        it is the same, under a new head.
    """

    __slots__ = ("_current", "_ends", "_fallback", "_key", "_nonce", "request")
    OPEN_SLOTS = frozenset({"_ends", "request"})

    def __init__(
        self,
        ends: Ends,
        current: DeviceSecret,
        *,
        key: HybridPrivateKey,
        nonce: bytes,
        fallback: bytes,
    ) -> None:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
        self._ends = ends
        self._current = current
        self._key = key
        self._nonce = nonce
        self._fallback = fallback
        self.request = ExchangeRequest.make(current.generation + 1, key, nonce).encode()

    def receive_answer(self, plaintext: Buffer) -> DeviceConfirming:
        """Take the instance's answer, which opened under the current secret.

        :raises RemoteProtocolError: malformed, or about another generation.
        """
        message = ExchangeAnswer.decode(plaintext)
        generation = self._current.generation + 1
        if message.generation != generation:
            raise RemoteProtocolError("the answer to an exchange of keys is about another")
        shared = self._key.decapsulate(
            message.rsa_ciphertext, message.mlkem_ciphertext, self._fallback
        )
        transcript = derive_transcript(self._ends, self.request, bytes(plaintext))
        secret = derive_device_secret(transcript, self._current.secret, shared)
        confirming = DeviceConfirming(
            DeviceSecret(generation, secret), derive_digits(transcript, self._nonce), self._nonce
        )
        self.erase()
        return confirming


class DeviceConfirming(SecretHolder):
    """The device has a new secret and does not know whether the instance has it too.

    Till then the old one is kept: if nothing opens under the new one the device goes back to it.

    :param pending: the new secret.
    :param digits: to be shown.
    :param nonce: 32 bytes, the one of the exchange.
    :ivar confirm: plaintext, to be sealed under ``pending`` with the pairing's label; again and
        again, under new heads, while the instance says that it waits.
    """

    __slots__ = ("confirm", "digits", "nonce", "pending")

    def __init__(self, pending: DeviceSecret, digits: str, nonce: bytes) -> None:
        self.pending = pending
        self.digits = digits
        self.nonce = nonce
        self.confirm = Confirm(nonce).encode()

    def receive_confirmed(self, plaintext: Buffer) -> DeviceSecret:
        """Take the answer to the confirmation, which opened under the new secret.

        :returns: what takes the old one's place.
        :raises RemoteProtocolError: it is something else.
        """
        if bytes(plaintext) != CONFIRMED:
            raise RemoteProtocolError("the answer to a confirmation is something else")
        return self.pending
