"""How a command ends: the code for programs and shells, and the word for JSON."""

from __future__ import annotations

from enum import IntEnum

from porttunnel.errors import (
    AuthenticationFailed,
    CodeUsedUp,
    ConfigurationError,
    ConsentRefused,
    CutOff,
    LinkBroken,
    LocalProtocolError,
    MistypedCode,
    NoSuchNumber,
    NotReachable,
    NotTakenBack,
    PorttunnelError,
    RemoteProtocolError,
    SessionEnded,
    StreamError,
)

__all__ = ["ExitCode", "exit_code_of", "word_of"]


class ExitCode(IntEnum):
    """What a shell sees; docs/running, "Exit codes"."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_REACHABLE = 4


_EXIT_CODES: dict[type[PorttunnelError], ExitCode] = {
    ConfigurationError: ExitCode.USAGE,
    MistypedCode: ExitCode.USAGE,
    ConsentRefused: ExitCode.REFUSED,
    NotReachable: ExitCode.NOT_REACHABLE,
}

_WORDS: dict[type[PorttunnelError], str] = {
    AuthenticationFailed: "authentication-failed",
    CodeUsedUp: "code-used-up",
    ConfigurationError: "configuration",
    ConsentRefused: "consent-refused",
    CutOff: "cut-off",
    LinkBroken: "cut-off",
    LocalProtocolError: "internal",
    MistypedCode: "mistyped-code",
    NoSuchNumber: "no-such-number",
    NotReachable: "not-reachable",
    NotTakenBack: "not-taken-back",
    SessionEnded: "session-ended",
}


def exit_code_of(error: PorttunnelError) -> ExitCode:
    """What a command that ends with this error tells its shell."""
    return _EXIT_CODES.get(type(error), ExitCode.FAILED)


def word_of(error: PorttunnelError) -> str:
    """The ``code`` of an ``error`` event in JSON."""
    if isinstance(error, StreamError | RemoteProtocolError):
        return error.code.value
    return _WORDS.get(type(error), "failed")
