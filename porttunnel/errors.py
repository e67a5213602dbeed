"""Every exception of porttunnel, and what its reader can do next.

::

    PorttunnelError
    ├── ProtocolError
    │   ├── LocalProtocolError          our own code called a core wrongly
    │   └── RemoteProtocolError         the peer broke the protocol (has a code)
    │       ├── LimitExceeded           the peer asked for more than it may have
    │       ├── MqttError               the peer broke MQTT (has a reason code)
    │       └── WebSocketError          the peer broke WebSocket (has a close code)
    ├── AuthenticationFailed            one message, never a detail
    ├── SessionError
    │   ├── MistypedCode                found on this machine, nothing was sent
    │   ├── CodeUsedUp                  three runs failed: ask for a new code
    │   ├── NoSuchNumber                unknown, expired, locked or full
    │   ├── SessionEnded                the number is void for ever
    │   ├── ConsentRefused              the other user said no
    │   ├── NotTakenBack                the ticket that was kept is void
    │   ├── CutOff                      the connection ended without a goodbye
    │   │   └── LinkBroken              a new connection mends it
    │   ├── NotReachable                no connection to the tunnel server
    │   └── StreamError
    │       ├── StreamRefused           the other side did not open it (has a code)
    │       └── StreamReset             it broke off in the middle (has a code)
    ├── MessagingError                  what an MQTT client was asked for was not done
    │   ├── BrokerRefused               the broker says no, or would (has a reason code)
    │   ├── QueueFull                   too much waits already: slow down
    │   ├── OutcomeUnknown              done or not, nobody can tell any more
    │   └── ClientStopped               the client was stopped before it was done
    ├── GatewayError                    what was asked of a gateway, or through it, was not done
    │   ├── GatewayUnreachable          no connection, or no answer that is one
    │   ├── GatewayRefused              it says no (has a status and a code)
    │   ├── DeviceRevoked               it does not know the device any more: pair again
    │   ├── RequestBroken               the instance: a device's request won't become whole
    │   └── RequestFailed               a request to the web system (has a code)
    │       ├── RequestNotExecuted      nothing happened there
    │       └── RequestUncertain        it may have been carried out
    ├── GatewayBusy                     not now; it says when to come again
    ├── UpstreamError                   the web system did not answer (has a status)
    ├── PairingError
    ├── AgentError                      a running agent did not do a command (has a code)
    └── ConfigurationError              a setting, an address or a file is wrong

No message carries a secret, and each says what to do next.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "AgentError",
    "AuthenticationFailed",
    "BrokerRefused",
    "ClientStopped",
    "CodeUsedUp",
    "ConfigurationError",
    "ConsentRefused",
    "CutOff",
    "DeviceRevoked",
    "ErrorCode",
    "GatewayBusy",
    "GatewayError",
    "GatewayRefused",
    "GatewayUnreachable",
    "LimitExceeded",
    "LinkBroken",
    "LocalProtocolError",
    "MessagingError",
    "MistypedCode",
    "MqttError",
    "NoSuchNumber",
    "NotReachable",
    "NotTakenBack",
    "OutcomeUnknown",
    "PairingError",
    "PorttunnelError",
    "ProtocolError",
    "QueueFull",
    "RemoteProtocolError",
    "RequestBroken",
    "RequestFailed",
    "RequestFailureCode",
    "RequestNotExecuted",
    "RequestUncertain",
    "SessionEnded",
    "SessionError",
    "StreamCode",
    "StreamError",
    "StreamRefused",
    "StreamReset",
    "UpstreamError",
    "WebSocketError",
]


class ErrorCode(StrEnum):
    """What an ERROR packet can say (docs/session-protocol, section 3)."""

    MALFORMED = "malformed"
    UNEXPECTED = "unexpected"
    NOT_ALLOWED = "not-allowed"
    LIMIT = "limit"
    TOO_LATE = "too-late"
    NO_SUCH_NUMBER = "no-such-number"
    SESSION_ENDED = "session-ended"
    HANDSHAKE_FAILED = "handshake-failed"
    BUSY = "busy"
    REPLACED = "replaced"
    INTERNAL = "internal"


class StreamCode(StrEnum):
    """Why a stream was refused or reset (docs/session-protocol, section 6)."""

    UNKNOWN_SERVICE = "unknown-service"
    NOT_ALLOWED = "not-allowed"
    CONNECTION_REFUSED = "connection-refused"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed-out"
    TOO_MANY_STREAMS = "too-many-streams"
    ABORTED = "aborted"
    INTERNAL = "internal"


class RequestFailureCode(StrEnum):
    """Why a request to a web system behind a gateway has no response, or no whole one."""

    NOT_CONNECTED = "not-connected"  # the device has no connection to the gateway
    CONNECTION_LOST = "connection-lost"  # it had one
    INSTANCE_OFFLINE = "instance-offline"  # the gateway says so
    INSTANCE_LOST = "instance-lost"  # likewise; it was there when the request began
    BUSY = "busy"  # the instance or the gateway: too much is going on
    BROKEN = "broken"  # what came was not what the instance sent, or it says so of ours
    REVOKED = "revoked"  # the gateway: this device is none any more
    REFUSED = "refused"  # the instance can't just now
    WAITING = "waiting"  # the device's digits have to be typed at the instance first
    TIMED_OUT = "timed-out"  # nothing came for too long
    CANCELLED = "cancelled"  # by our own program
    TOO_LONG = "too-long"  # more came than our own program wants


class PorttunnelError(Exception):
    """The root of all errors that porttunnel raises on purpose."""


class ProtocolError(PorttunnelError):
    """Somebody did not keep to a protocol."""


class LocalProtocolError(ProtocolError):
    """Our own program called a core in a state that does not allow it."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the connection can't go on.

    :param text: what was wrong, in one sentence, without content of the peer's.
    :param code: what the peer is told.
    """

    def __init__(self, text: str, code: ErrorCode = ErrorCode.MALFORMED) -> None:
        super().__init__(text)
        self.code = code


class LimitExceeded(RemoteProtocolError):
    """The peer asked for more than a named limit allows."""

    def __init__(self, text: str) -> None:
        super().__init__(text, ErrorCode.LIMIT)


class MqttError(RemoteProtocolError):
    """The peer sent what MQTT forbids.

    :param text: what was wrong, in one sentence, without content of the peer's.
    :param reason: which of MQTT 5's reason codes says it: a ``porttunnel.mqtt.reason.ReasonCode``,
        also where MQTT 3.1.1 is spoken, which has no code for it and only ends the connection.
    """

    def __init__(self, text: str, reason: int) -> None:
        super().__init__(text)
        self.reason = reason


class WebSocketError(RemoteProtocolError):
    """The peer sent what WebSocket forbids, or more than it may.

    :param text: what was wrong, in one sentence, without content of the peer's.
    :param close_code: what a Close frame calls it: a ``porttunnel.websocket.close.CloseCode``.
    """

    def __init__(self, text: str, close_code: int) -> None:
        super().__init__(text)
        self.close_code = close_code


class AuthenticationFailed(PorttunnelError):
    """Something did not authenticate. One message: a detail would help a guesser."""

    MESSAGE = (
        "The other side could not be verified. Check the code with the person who gave it "
        "to you and type it again."
    )

    def __init__(self) -> None:
        super().__init__(self.MESSAGE)


class SessionError(PorttunnelError):
    """A session can't begin or can't go on."""


class MistypedCode(SessionError):
    """The code is not one that any master can have shown. Nothing was sent."""


class CodeUsedUp(SessionError):
    """Too many runs with one code failed."""


class NoSuchNumber(SessionError):
    """The tunnel server has one answer for unknown, expired, locked and full."""


class SessionEnded(SessionError):
    """The session is over; its number is never given out again."""


class ConsentRefused(SessionError):
    """The user of the other side said no."""


class NotTakenBack(SessionError):
    """A session does not let us in with the ticket that was kept; it is removed."""


class CutOff(SessionError):
    """The connection ended without a goodbye: never to be taken for a finished one."""


class LinkBroken(CutOff):
    """A connection is dead, and nothing else: another one can take its place."""


class NotReachable(SessionError):
    """No connection to the tunnel server could be made."""


class StreamError(SessionError):
    """One stream failed; the session goes on.

    :param text: what happened and what to do.
    :param code: the reason in a form for programs.
    """

    def __init__(self, text: str, code: StreamCode) -> None:
        super().__init__(text)
        self.code = code


class StreamRefused(StreamError):
    """The other side did not open the stream."""


class StreamReset(StreamError):
    """The stream was broken off: what came before may be incomplete."""


class MessagingError(PorttunnelError):
    """What an MQTT client was asked for was not done."""


class BrokerRefused(MessagingError):
    """The broker refused a connection, a message or a subscription, or is known to refuse it.

    :param text: what was refused and what to do.
    :param reason: the reason code, a number of MQTT 5 (0x80 and above).
    """

    def __init__(self, text: str, reason: int) -> None:
        super().__init__(text)
        self.reason = reason


class QueueFull(MessagingError):
    """More waits to be sent than may wait. Nothing was taken: wait until there is room."""


class OutcomeUnknown(MessagingError):
    """The broker forgot the session while a message was under way, which may have arrived.

    Sent again it might arrive twice, which was not wanted: that is for the program to decide.
    """


class ClientStopped(MessagingError):
    """The client was stopped, or its connection closed for good, before this was done."""


class GatewayError(PorttunnelError):
    """What was asked of a gateway, or through it, was not done."""


class GatewayUnreachable(GatewayError):
    """The gateway could not be reached, or gave no answer that is one. It may have been done."""


class GatewayRefused(GatewayError):
    """The gateway answered and says no.

    :param text: what happened and what to do.
    :param status: of HTTP.
    :param code: the reason in a form for programs; empty if it gave none.
    :param retry_after_seconds: when it may be otherwise, if it said so.
    """

    def __init__(
        self, text: str, status: int, code: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class DeviceRevoked(GatewayError):
    """The gateway does not know the device any more."""


class RequestBroken(GatewayError):
    """What an instance got of a device's request is not the whole of it and never will be."""


class RequestFailed(GatewayError):
    """A request to the web system has no response, or no whole one.

    :param text: what happened and what to do.
    :param code: the reason in a form for programs.
    """

    def __init__(self, text: str, code: RequestFailureCode) -> None:
        super().__init__(text)
        self.code = code


class RequestNotExecuted(RequestFailed):
    """It never left this machine, or the instance itself says that it did nothing."""


class RequestUncertain(RequestFailed):
    """It may have been carried out: look before you ask for it again."""


class GatewayBusy(PorttunnelError):
    """What a gateway raises in its own process when it doesn't look at something.

    :param retry_seconds: when it may be otherwise.
    :param too_many: whether it is because of what the same address or account did before.
    """

    def __init__(self, retry_seconds: float, *, too_many: bool = False) -> None:
        super().__init__("The gateway has too much to do. Try again in a while.")
        self.retry_seconds = retry_seconds
        self.too_many = too_many


class UpstreamError(PorttunnelError):
    """The web system behind an instance did not answer.

    :param text: what happened, for the log of who runs the instance.
    :param status: of the answer that a device gets: 502, 503 or 504.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class PairingError(PorttunnelError):
    """A device could not be paired."""


class AgentError(PorttunnelError):
    """A running agent did not do what a command told it to.

    :param text: what happened and what to do, as the agent says.
    :param code: the reason in a form for programs.
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class ConfigurationError(PorttunnelError):
    """A setting, an address or a file is not usable as it is."""
