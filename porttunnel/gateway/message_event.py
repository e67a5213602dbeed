"""What happens to a request on either side, and where it stands.

Source: docs/gateway-protocol, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.part import Failure
from porttunnel.gateway.refusal import Refusal

__all__ = [
    "LIVE_STATES",
    "CreditReceived",
    "DeviceEvent",
    "ExchangeFailed",
    "ExchangeState",
    "FailureReceived",
    "InstanceEvent",
    "RefusalReceived",
    "RequestCancelled",
    "RequestReceived",
    "ResponseReceived",
    "demand_state",
]


class ExchangeState(Enum):
    """Where a request stands, on either side."""

    OPENED = "the instance has the beginning and has not decided"
    OPEN = "it goes on"
    DONE = "the response is whole"
    ENDED = "it was broken off"


LIVE_STATES = (ExchangeState.OPENED, ExchangeState.OPEN)


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A piece of the request.

    :ivar data: plaintext; empty only if it is the last.
    :ivar last: whether the request is whole with it.
    """

    data: memoryview
    last: bool


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """A piece of the response, to be consumed.

    :ivar data: plaintext; empty only if it is the last.
    :ivar last: whether the response is whole with it.
    """

    data: memoryview
    last: bool


@dataclass(frozen=True, slots=True)
class RefusalReceived:
    """The instance itself says that it did not carry out the request."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class CreditReceived:
    """More parts may be sent."""


@dataclass(frozen=True, slots=True)
class RequestCancelled:
    """The device does not want the response any more."""


@dataclass(frozen=True, slots=True)
class FailureReceived:
    """The gateway or the other side says that it does not go on; unproven. It may have been done.

    :ivar failure: who says it, and what.
    """

    failure: Failure


@dataclass(frozen=True, slots=True)
class ExchangeFailed:
    """The parts that came are not what the other side sent, or break the rules.

    :ivar error: RemoteProtocolError or AuthenticationFailed.
    :ivar goodbye: a part that the other side is owed.
    """

    error: RemoteProtocolError | AuthenticationFailed
    goodbye: bytes


DeviceEvent = (
    ResponseReceived | RefusalReceived | CreditReceived | FailureReceived | ExchangeFailed
)
InstanceEvent = (
    RequestReceived | RequestCancelled | CreditReceived | FailureReceived | ExchangeFailed
)


def demand_state(state: ExchangeState, *allowed: ExchangeState) -> None:
    """Only in these states.

    :raises LocalProtocolError: in any other.
    """
    if state not in allowed:
        raise LocalProtocolError(f"not the turn in a request: {state.value}")
