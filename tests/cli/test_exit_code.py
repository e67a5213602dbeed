"""How commands end."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from porttunnel import errors
from porttunnel.cli.exit_code import ExitCode, exit_code_of, word_of
from porttunnel.errors import (
    AgentError,
    AuthenticationFailed,
    CodeUsedUp,
    ConfigurationError,
    ConsentRefused,
    CutOff,
    DeviceRevoked,
    ErrorCode,
    GatewayRefused,
    GatewayUnreachable,
    LimitExceeded,
    MistypedCode,
    NoSuchNumber,
    NotReachable,
    NotTakenBack,
    PairingError,
    PorttunnelError,
    RemoteProtocolError,
    RequestFailureCode,
    RequestNotExecuted,
    RequestUncertain,
    StreamCode,
    StreamRefused,
)


@pytest.mark.parametrize(
    ("error", "exit_code", "word"),
    [
        (AgentError("x", "not-reachable"), ExitCode.NOT_REACHABLE, "not-reachable"),
        (AgentError("x", "full"), ExitCode.FAILED, "full"),
        (AuthenticationFailed(), ExitCode.FAILED, "authentication-failed"),
        (CodeUsedUp(), ExitCode.FAILED, "code-used-up"),
        (ConfigurationError(), ExitCode.USAGE, "configuration"),
        (ConsentRefused(), ExitCode.REFUSED, "consent-refused"),
        (CutOff(), ExitCode.FAILED, "cut-off"),
        (DeviceRevoked(), ExitCode.REFUSED, "revoked"),
        (GatewayRefused("x", 404), ExitCode.FAILED, "gateway-refused"),
        (GatewayUnreachable(), ExitCode.NOT_REACHABLE, "not-reachable"),
        (LimitExceeded("x"), ExitCode.FAILED, "limit"),
        (MistypedCode(), ExitCode.USAGE, "mistyped-code"),
        (NoSuchNumber(), ExitCode.FAILED, "no-such-number"),
        (NotTakenBack(), ExitCode.FAILED, "not-taken-back"),
        (NotReachable(), ExitCode.NOT_REACHABLE, "not-reachable"),
        (PairingError(), ExitCode.FAILED, "pairing-failed"),
        (RemoteProtocolError("x", ErrorCode.BUSY), ExitCode.FAILED, "busy"),
        (
            RequestNotExecuted("x", RequestFailureCode.NOT_CONNECTED),
            ExitCode.NOT_REACHABLE,
            "not-connected",
        ),
        (
            RequestUncertain("x", RequestFailureCode.INSTANCE_OFFLINE),
            ExitCode.NOT_REACHABLE,
            "instance-offline",
        ),
        (RequestUncertain("x", RequestFailureCode.TIMED_OUT), ExitCode.FAILED, "timed-out"),
        (StreamRefused("x", StreamCode.TIMED_OUT), ExitCode.FAILED, "timed-out"),
    ],
)
def test_errors_have_a_code_and_a_word(
    error: PorttunnelError, exit_code: ExitCode, word: str
) -> None:
    assert (exit_code_of(error), word_of(error)) == (exit_code, word)


def test_the_codes_are_what_programs_know() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4]


def test_every_session_error_has_a_word_of_its_own() -> None:
    def is_leaf(kind: Any) -> bool:
        return (
            inspect.isclass(kind)
            and issubclass(kind, errors.SessionError)
            and not kind.__subclasses__()
            and not issubclass(kind, errors.StreamError)
        )

    words = [word_of(kind("x")) for _, kind in inspect.getmembers(errors, is_leaf)]
    assert "failed" not in words
    assert len(words) == len(set(words))
