"""How a command ends: the code for programs and shells, and the word for JSON."""

from __future__ import annotations

from enum import IntEnum

from porttunnel.errors import (
    AgentError,
    AuthenticationFailed,
    CodeUsedUp,
    ConfigurationError,
    ConsentRefused,
    CutOff,
    DeviceRevoked,
    GatewayRefused,
    GatewayUnreachable,
    LinkBroken,
    LocalProtocolError,
    MistypedCode,
    NoSuchNumber,
    NotReachable,
    NotTakenBack,
    PairingError,
    PorttunnelError,
    RemoteProtocolError,
    RequestFailed,
    RequestFailureCode,
    SessionEnded,
    StreamError,
)

__all__ = ["ExitCode", "exit_code_of", "word_of"]


class ExitCode(IntEnum):
    """What a shell sees; docs/sharing, "Exit codes"."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_REACHABLE = 4


_EXIT_CODES: dict[type[PorttunnelError], ExitCode] = {
    ConfigurationError: ExitCode.USAGE,
    MistypedCode: ExitCode.USAGE,
    ConsentRefused: ExitCode.REFUSED,
    DeviceRevoked: ExitCode.REFUSED,
    GatewayUnreachable: ExitCode.NOT_REACHABLE,
    NotReachable: ExitCode.NOT_REACHABLE,
}
_AWAY = (
    RequestFailureCode.NOT_CONNECTED,
    RequestFailureCode.INSTANCE_OFFLINE,
    RequestFailureCode.INSTANCE_LOST,
)

_WORDS: dict[type[PorttunnelError], str] = {
    AuthenticationFailed: "authentication-failed",
    CodeUsedUp: "code-used-up",
    ConfigurationError: "configuration",
    ConsentRefused: "consent-refused",
    CutOff: "cut-off",
    DeviceRevoked: "revoked",
    GatewayRefused: "gateway-refused",
    GatewayUnreachable: "not-reachable",
    LinkBroken: "cut-off",
    LocalProtocolError: "internal",
    MistypedCode: "mistyped-code",
    NoSuchNumber: "no-such-number",
    NotReachable: "not-reachable",
    NotTakenBack: "not-taken-back",
    PairingError: "pairing-failed",
    SessionEnded: "session-ended",
}


def exit_code_of(error: PorttunnelError) -> ExitCode:
    """What a command that ends with this error tells its shell."""
    if isinstance(error, RequestFailed) and error.code in _AWAY:
        return ExitCode.NOT_REACHABLE
    if isinstance(error, AgentError) and error.code == _WORDS[NotReachable]:
        return ExitCode.NOT_REACHABLE
    return _EXIT_CODES.get(type(error), ExitCode.FAILED)


def word_of(error: PorttunnelError) -> str:
    """The ``code`` of an ``error`` event in JSON."""
    if isinstance(error, StreamError | RemoteProtocolError | RequestFailed):
        return error.code.value
    if isinstance(error, AgentError):
        return error.code
    return _WORDS.get(type(error), "failed")
