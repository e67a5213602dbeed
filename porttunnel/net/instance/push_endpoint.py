"""``POST /push``: a web system has its agent tell devices something.

On a socket in the file system whoever may open it may push. On a port of the loopback interface
whoever has the token may; a web page has not, and can't say the host that is asked for either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from porttunnel.errors import GatewayError, PairingError, PorttunnelError, RemoteProtocolError
from porttunnel.keys.primitives import constant_time_equal
from porttunnel.net.bounded_request import BoundedRequest
from porttunnel.net.instance.device_record import PushReport
from porttunnel.net.instance.push_message import PushAsked, decode_push_asked

__all__ = ["PushSite", "PushingInstance"]

MAX_PUSH_BODY_BYTES = 192 * 1024  # 64 KiB in base64, and a thousand devices by name
MAX_RUNNING = 32  # each is sealed for each of its devices
MAX_CONNECTIONS = 64  # programs of this machine
REQUEST_SECONDS = 30.0  # from a connection's beginning, or the answer before, however it drips
PUSH_SECONDS = 30.0  # for the gateway to take it
RETRY_SECONDS = 1

_JSON = b"application/json"
_PATH = b"/push"
_SOCKET_HOSTS = (b"localhost",)
_NOT_FOUND = "There is /push here and nothing else."
_WRONG_HOST = "Ask for the host that the agent has printed."
_WRONG_METHOD = "Use POST."
_WRONG_TOKEN = "Send the token of the agent's token file: Authorization: Bearer TOKEN."
_NOT_JSON = "Send the body as application/json."
_BUSY = "Too many pushes are under way. Try again in a moment."
_TOO_LATE = "The gateway gave no answer in time. The push may have gone out."
_FAILED = "The agent failed; its log says why."
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class PushingInstance(Protocol):
    """What is asked of an instance."""

    async def push(
        self,
        name: str,
        plaintext: bytes,
        devices: Sequence[str] | None = None,
        user: str | None = None,
    ) -> PushReport: ...


class _Refusal(Exception):
    """:ivar status: of HTTP; :ivar code: for programs."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class _PushRequest(BoundedRequest):
    max_body_bytes = MAX_PUSH_BODY_BYTES


class _PushResource(Resource):
    isLeaf = True
    _log = Logger()

    def __init__(
        self, reactor: Any, instance: PushingInstance, hosts: Sequence[bytes], token: str | None
    ) -> None:
        Resource.__init__(self)
        self._reactor = reactor
        self._instance = instance
        self._hosts = hosts
        self._token = token
        self._running = 0

    def render(self, request: Request) -> Any:
        try:
            asked = self._read(request)
        except _Refusal as refusal:
            return _refuse(request, refusal)
        if self._running >= MAX_RUNNING:
            return _refuse(request, _Refusal(503, "busy", _BUSY))
        self._running += 1
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        pushing = Deferred.fromCoroutine(
            self._instance.push(
                asked.name, asked.plaintext, devices=asked.devices, user=asked.user
            )
        )
        pushing.addTimeout(PUSH_SECONDS, self._reactor)
        answered = pushing.addCallbacks(
            lambda report: self._tell_report(request, report),
            lambda failure: self._tell_failure(request, failure),
        )
        answered.addCallback(self._finish, request, gone)
        return NOT_DONE_YET

    def _read(self, request: Request) -> PushAsked:
        """:raises _Refusal: it is not to be carried out."""
        if request.requestHeaders.getRawHeaders(b"host", []) not in [[h] for h in self._hosts]:
            raise _Refusal(421, "wrong-host", _WRONG_HOST)
        if request.uri != _PATH:
            raise _Refusal(404, "not-found", _NOT_FOUND)
        if request.method != b"POST":
            raise _Refusal(405, "wrong-method", _WRONG_METHOD)
        if not self._is_allowed(request):
            raise _Refusal(401, "wrong-token", _WRONG_TOKEN)
        kind = (request.getHeader(b"content-type") or b"").partition(b";")[0]
        if kind.strip().lower() != _JSON:
            raise _Refusal(415, "not-json", _NOT_JSON)
        content: Any = request.content
        try:
            return decode_push_asked(content.read())
        except RemoteProtocolError as error:
            raise _Refusal(400, "malformed", str(error)) from None

    def _is_allowed(self, request: Request) -> bool:
        if self._token is None:
            return True
        scheme, _, token = (request.getHeader(b"authorization") or b"").partition(b" ")
        return scheme.lower() == b"bearer" and constant_time_equal(token, self._token.encode())

    def _tell_report(self, request: Request, report: PushReport) -> bytes:
        _prepare(request, 200, _JSON)
        return msgspec.json.encode({"sent": report.sent, "offline": report.offline})

    def _tell_failure(self, request: Request, failure: Failure) -> bytes:
        error = failure.value
        if isinstance(error, PairingError):
            return _refuse(request, _Refusal(422, "no-such-device", str(error)))
        if isinstance(error, GatewayError):
            return _refuse(request, _Refusal(503, "not-connected", str(error)))
        if isinstance(error, PorttunnelError):
            return _refuse(request, _Refusal(503, "failed", str(error)))
        if isinstance(error, TimeoutError):
            return _refuse(request, _Refusal(504, "timed-out", _TOO_LATE))
        self._log.failure("a push failed", failure)
        return _refuse(request, _Refusal(500, "internal", _FAILED))

    def _finish(self, body: bytes, request: Request, gone: Deferred[None]) -> None:
        self._running -= 1
        if not gone.called:
            request.setHeader(b"content-length", str(len(body)).encode("ascii"))
            request.write(body)
            request.finish()


class _Channel(HTTPChannel):
    """One of so many connections, each with one deadline for all of a request."""

    site: PushSite

    def connectionMade(self) -> None:
        HTTPChannel.connectionMade(self)
        if not self.site.add(self):
            transport: Any = self.transport
            transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.remove(self)
        HTTPChannel.connectionLost(self, reason)

    def resetTimeout(self) -> None:
        """Called with each piece that comes: those shall gain no time."""


class PushSite(Site):
    """For a socket in the file system, or a port of the loopback interface.

    :param reactor: time.
    :param instance: tells the devices.
    :param hosts: which ``Host`` may be asked for; those of a socket if there is no token.
    :param token: what has to be shown, but on a socket.
    """

    noisy = False
    protocol = _Channel  # type: ignore[assignment]  # there is no HTTP/2 here to choose from

    def __init__(
        self,
        reactor: Any,
        instance: PushingInstance,
        *,
        hosts: Sequence[bytes] = _SOCKET_HOSTS,
        token: str | None = None,
    ) -> None:
        Site.__init__(
            self,
            _PushResource(reactor, instance, hosts, token),
            requestFactory=_PushRequest,
            parsePOSTFormSubmission=False,
            timeout=REQUEST_SECONDS,
            reactor=reactor,
        )
        self._channels: set[_Channel] = set()

    def add(self, channel: _Channel) -> bool:
        """Whether there is room for one more connection."""
        if len(self._channels) >= MAX_CONNECTIONS:
            return False
        self._channels.add(channel)
        return True

    def remove(self, channel: _Channel) -> None:
        """It is over."""
        self._channels.discard(channel)

    def log(self, request: Any) -> None:
        """No line for each push: the instance's own log says what fails."""


def _prepare(request: Request, status: int, kind: bytes) -> None:
    request.setResponseCode(status)
    request.setHeader(b"content-type", kind)
    request.setHeader(b"cache-control", b"no-store")


def _refuse(request: Request, refusal: _Refusal) -> bytes:
    """The answer as RFC 9457 has it."""
    _prepare(request, refusal.status, b"application/problem+json")
    if refusal.status == 401:
        request.setHeader(b"www-authenticate", b"Bearer")
    if refusal.status == 405:
        request.setHeader(b"allow", b"POST")
    if refusal.status == 503:
        request.setHeader(b"retry-after", str(RETRY_SECONDS).encode("ascii"))
    return msgspec.json.encode(
        {
            "type": "about:blank",
            "status": refusal.status,
            "title": _TITLES[refusal.status],
            "code": refusal.code,
            "detail": str(refusal),
        }
    )
