"""What a device asks its instance about keys: small questions, small answers, each repeatable.

Source: docs/gateway-protocol, section 2.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from porttunnel.errors import RequestFailureCode
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.refusal import Refusal
from porttunnel.net.device.attempt import Attempt
from porttunnel.net.device.exchange_maker import ExchangeMaker
from porttunnel.net.device.failure_text import uncertain
from porttunnel.net.device.link import DeviceLink

__all__ = ["ask_about_keys"]

ANSWER_SECONDS = 30.0  # a busy agent has to draw and to write something down
MAX_ANSWER_BYTES = 8_192  # the longest has 1,385
MAX_CORRECTIONS = (
    3  # of counter and clock: one of each, and one more for another program's counter
)


async def ask_about_keys(
    reactor: Any, link: DeviceLink, maker: ExchangeMaker, secret: DeviceSecret, plaintext: bytes
) -> bytes | Refusal:
    """One question, and what the instance answers, sealed; counter and clock are corrected.

    :param secret: what is sealed under.
    :raises RequestFailed: nobody can tell whether it was answered; it may be asked again.
    :raises DeviceRevoked: there is no connection and will be none.
    """
    for _ in range(MAX_CORRECTIONS):
        await link.wait_connected()
        question = _Question(reactor, link, maker, secret, plaintext)
        answer = await question.answered
        if not (isinstance(answer, Refusal) and maker.clock.correct(answer, maker.clock_ms)):
            return answer
    return answer


class _Question:
    """One try.

    :ivar answered: fires with the answer.
    """

    def __init__(
        self,
        reactor: Any,
        link: DeviceLink,
        maker: ExchangeMaker,
        secret: DeviceSecret,
        plaintext: bytes,
    ) -> None:
        self.answered: Deferred[bytes | Refusal] = Deferred(lambda _: self._attempt.cancel())
        self._answer = bytearray()
        exchange = maker.make(secret, about_keys=True)
        self._attempt = Attempt(link, exchange, secret.generation, self, reactor.seconds)
        self.answered.addTimeout(ANSWER_SECONDS, reactor, _name_timeout)
        self._attempt.send(plaintext, last=True)

    def plaintext_received(self, data: memoryview, last: bool) -> None:
        """See :class:`~porttunnel.net.device.attempt.AttemptOwner`."""
        self._answer += data
        if last:
            self.answered.callback(bytes(self._answer))
        elif len(self._answer) > MAX_ANSWER_BYTES:
            self._attempt.cancel()
            self.attempt_failed(RequestFailureCode.BROKEN)
        else:
            self._attempt.consume()

    def room_made(self) -> None:
        """All was sent at once."""

    def attempt_refused(self, refusal: Refusal, generation: int) -> None:
        """See :class:`~porttunnel.net.device.attempt.AttemptOwner`."""
        self.answered.callback(refusal)

    def attempt_failed(self, code: RequestFailureCode) -> None:
        """See :class:`~porttunnel.net.device.attempt.AttemptOwner`."""
        self.answered.errback(uncertain(code, is_safe=True))


def _name_timeout(_result: object, _seconds: float) -> Any:
    raise uncertain(RequestFailureCode.TIMED_OUT, is_safe=True)
