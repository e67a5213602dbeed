"""What people are told when a request has no response: what happened, and what to do."""

from __future__ import annotations

from porttunnel.errors import RequestFailureCode, RequestNotExecuted, RequestUncertain

__all__ = ["not_executed", "seen_before", "uncertain"]

_Code = RequestFailureCode

_REASONS = {
    _Code.NOT_CONNECTED: "There is no connection to the gateway.",
    _Code.CONNECTION_LOST: "The connection to the gateway was lost.",
    _Code.INSTANCE_OFFLINE: "The gateway says that the agent at the other side is offline.",
    _Code.INSTANCE_LOST: "The gateway says that the agent at the other side went offline.",
    _Code.BUSY: "The other side says that too much is going on.",
    _Code.BROKEN: "What came is not what the other side sent, or it says so of what we sent.",
    _Code.REVOKED: "The gateway says that this device was revoked.",
    _Code.REFUSED: "The agent at the other side can't carry it out just now.",
    _Code.WAITING: "The digits of this device were not typed at the other side yet.",
    _Code.TIMED_OUT: "The other side has said nothing for too long.",
    _Code.CANCELLED: "The request was cancelled.",
    _Code.TOO_LONG: "The response is longer than what is taken at once.",
}
_SEEN = "The agent at the other side says that it has seen this request before."
_NOTHING_HAPPENED = "Nothing was carried out; try again."
_NO_EFFECT = "Try again."
_MAY_HAVE_HAPPENED = "It may have been carried out: look before you try again."


def not_executed(code: RequestFailureCode) -> RequestNotExecuted:
    """Nothing happened there."""
    return RequestNotExecuted(f"{_REASONS[code]} {_NOTHING_HAPPENED}", code)


def seen_before(is_safe: bool) -> RequestUncertain:
    """The instance has the request, or a copy of it, already.

    :param is_safe: see :func:`uncertain`.
    """
    advice = _NO_EFFECT if is_safe else _MAY_HAVE_HAPPENED
    return RequestUncertain(f"{_SEEN} {advice}", _Code.BROKEN)


def uncertain(code: RequestFailureCode, is_safe: bool) -> RequestUncertain:
    """Nobody can tell whether anything did.

    :param is_safe: its method has no effects that anybody would mind.
    """
    advice = _NO_EFFECT if is_safe else _MAY_HAVE_HAPPENED
    return RequestUncertain(f"{_REASONS[code]} {advice}", code)
