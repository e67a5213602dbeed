"""What the phases of the instance's side of a pairing or a rotation have in common.

Source: docs/gateway-protocol, section 2. Whatever comes makes a :class:`Step`. Its phase is
written down, so that a crash can't undo it, before its reply is sent; then an instance that stops
anywhere goes on where the device expects it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_message import (
    COMMIT_BYTES,
    Confirm,
    ExchangeAnswer,
    ExchangeRequest,
    derive_commit,
)
from porttunnel.gateway.pairing_schedule import (
    DeviceSecret,
    derive_device_secret,
    derive_digits,
    derive_transcript,
)
from porttunnel.gateway.refusal import Refusal
from porttunnel.keys.hybrid import Encapsulation
from porttunnel.keys.primitives import constant_time_equal
from porttunnel.keys.secret_holder import SecretHolder

__all__ = [
    "Answering",
    "EndReason",
    "InstancePhase",
    "PairingEnded",
    "Pending",
    "Step",
    "demand_generation",
]


class EndReason(Enum):
    """Why a pairing came to nothing."""

    RACE = "two devices used one code"
    FALSE_CONFIRMATION = "what confirmed was not what had asked"
    WRONG_DIGITS = "the digits were wrong three times"


class Answering(NamedTuple):
    """What the instance draws for each exchange.

    :ivar encapsulation: for the keys of the request.
    :ivar nonce: 32 fresh random bytes.
    """

    encapsulation: Encapsulation
    nonce: bytes


class Pending(SecretHolder):
    """An exchange that was answered and isn't confirmed.

    :param counter: of the request's head.
    :param request: plaintext.
    :param answer: plaintext: the same request gets the same.
    :param secret: what came out.
    """

    __slots__ = ("answer", "counter", "request", "secret")
    OPEN_SLOTS = frozenset({"answer", "counter", "request"})

    def __init__(self, counter: int, request: bytes, answer: bytes, secret: DeviceSecret) -> None:
        self.counter = counter
        self.request = request
        self.answer = answer
        self.secret = secret

    @classmethod
    def make(
        cls,
        ends: Ends,
        current: DeviceSecret,
        counter: int,
        request: ExchangeRequest,
        answering: Answering,
    ) -> Pending:
        """Answer a request.

        :raises RemoteProtocolError: it is not about the generation after the current one.
        """
        generation = current.generation + 1
        if request.generation != generation:
            raise RemoteProtocolError("an exchange of keys is about a generation that isn't next")
        asked = request.encode()
        encapsulation, nonce = answering
        answer = ExchangeAnswer.make(generation, nonce, encapsulation).encode()
        transcript = derive_transcript(ends, asked, answer)
        secret = derive_device_secret(transcript, current.secret, encapsulation.shared)
        return cls(counter, asked, answer, DeviceSecret(generation, secret))

    def is_confirmed_by(self, confirm: Confirm) -> bool:
        """Whether the device had committed itself to this nonce."""
        opening, commit = self.request[:-COMMIT_BYTES], self.request[-COMMIT_BYTES:]
        return constant_time_equal(derive_commit(confirm.nonce, opening), commit)

    def digits(self, ends: Ends, confirm: Confirm) -> str:
        """What the device shows."""
        return derive_digits(derive_transcript(ends, self.request, self.answer), confirm.nonce)


class InstancePhase(Protocol):
    """What each phase of the instance's can do."""

    @property
    def serving_generation(self) -> int | None:
        """Under which generation requests are carried out; None: under none yet."""

    @property
    def secrets(self) -> tuple[DeviceSecret, ...]:
        """What the device may seal its messages about keys with."""

    def receive_exchange(
        self, generation: int, counter: int, request: ExchangeRequest, answering: Answering
    ) -> Step:
        """A device asks for a secret.

        :param generation: of the head under which it opened.
        :param counter: of that head.
        :raises RemoteProtocolError: it can't be asked so.
        """

    def receive_confirm(self, generation: int, confirm: Confirm) -> Step:
        """A device confirms that it has the new secret.

        :param generation: of the head under which it opened.
        :raises RemoteProtocolError: nothing can be confirmed so.
        """


class PairingEnded:
    """It came to nothing; nothing is left of it, and a new code is needed.

    :param reason: what the user is told.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: EndReason) -> None:
        self.reason = reason


class Step(NamedTuple):
    """What comes of a message about keys.

    :ivar phase: to be written down first, if it is another one.
    :ivar reply: then to be answered: a plaintext, or a refusal.
    """

    phase: InstancePhase | PairingEnded
    reply: bytes | Refusal


def demand_generation(generation: int, secret: DeviceSecret) -> None:
    """A message is of the generation of this secret.

    :raises RemoteProtocolError: it is of another.
    """
    if generation != secret.generation:
        raise RemoteProtocolError("a message about keys came under a generation that it can't")
