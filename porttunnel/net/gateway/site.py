"""HTTP on the gateway's port: accounts, MQTT in WebSocket, health, two pages; all of it bounded.

Nothing is logged of who asks for what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.web.http import HTTPChannel
from twisted.web.pages import errorPage, notFound
from twisted.web.resource import Resource
from twisted.web.server import Site

from porttunnel.net.admin_page import TextResource
from porttunnel.net.bounded_request import BoundedRequest
from porttunnel.net.gateway.page import pair_page, root_page

__all__ = ["GatewaySite"]

MAX_LINE_BYTES = 8_192  # of the request line, and of each field
MAX_HEAD_BYTES = 16_384
MAX_FIELDS = 100
# From a connection's beginning, or the answer before, to the end of a request; however fast it
# drips.
REQUEST_SECONDS = 30.0
ABORT_SECONDS = 5.0  # for who was too slow, to close
# For the last answer to go out, and, in TLS, for the client to say goodbye: a phone that is out of
# reach by then never does.
LAST_SECONDS = 30.0

_READING = (b"GET", b"HEAD")
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"


class _Channel(HTTPChannel):
    """Takes less than Twisted's own, and says nothing about it."""

    MAX_LENGTH = MAX_LINE_BYTES
    maxHeaders = MAX_FIELDS
    totalHeadersSize = MAX_HEAD_BYTES

    def resetTimeout(self) -> None:
        """Called with each piece that comes: those shall gain no time."""

    def requestDone(self, request: Any) -> None:
        """Called once it is answered."""
        # Who asks on and doesn't read the answers would have us keep them all: Twisted goes on
        # with what it has read already, and a few bytes ask for a long answer.
        if self._waitingForTransport and (self._dataBuffer or self._buffer):
            self.persistent = False
        HTTPChannel.requestDone(self, request)

    def timeoutConnection(self) -> None:
        self._abort_in(ABORT_SECONDS)
        self.loseConnection()

    def loseConnection(self) -> None:
        """Also called after the last answer; then nothing else would end it."""
        if self._abortingCall is None:
            channel: Any = self
            channel.setTimeout(None)
            self._abort_in(LAST_SECONDS)
        HTTPChannel.loseConnection(self)

    def forceAbortClient(self) -> None:
        self._abortingCall = None
        transport: Any = self.transport
        transport.abortConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        transport: Any = self.transport
        transport.write(_HEAD_TOO_LARGE)
        self.loseConnection()

    def _abort_in(self, seconds: float) -> None:
        channel: Any = self
        self._abortingCall = channel.callLater(seconds, self.forceAbortClient)


class _RootResource(Resource):
    """Has its children and nothing else; below its pages is nothing.

    :param pages: by their names.
    """

    def __init__(self, pages: Mapping[bytes, Resource]) -> None:
        Resource.__init__(self)
        self._pages = pages

    def getChild(self, path: bytes, request: Any) -> Any:
        page = None if request.postpath else self._pages.get(path)
        if page is None:
            return notFound()
        if request.method not in _READING:
            # Twisted's own answer makes HTML of what was asked.
            request.setHeader(b"allow", b", ".join(_READING))
            return errorPage(405, "Method Not Allowed", "This page can only be read.")
        return page


class GatewaySite(Site):
    """For the HTTP of a port.

    :param reactor: for time-outs.
    :param accounts: the resource of ``/v1`` and ``/openapi.json``.
    :param mqtt: the one of ``/mqtt``.
    :param is_ready: whether users may be sent here.
    """

    noisy = False
    protocol = _Channel  # type: ignore[assignment]  # there is no HTTP/2 here to choose from

    def __init__(
        self,
        reactor: Any,
        *,
        accounts: Resource,
        mqtt: Resource,
        is_ready: Callable[[], bool],
    ) -> None:
        root = _RootResource(
            {
                b"": root_page(),
                b"pair": pair_page(),
                b"healthz": TextResource(lambda: (200, "ok\n")),
                b"readyz": TextResource(lambda: _readiness(is_ready())),
            }
        )
        root.putChild(b"mqtt", mqtt)
        root.putChild(b"v1", accounts)
        root.putChild(b"openapi.json", accounts)
        Site.__init__(
            self,
            root,
            requestFactory=BoundedRequest,
            parsePOSTFormSubmission=False,
            timeout=REQUEST_SECONDS,
            reactor=reactor,
        )

    def log(self, request: Any) -> None:
        """No line for each request: it would say who asked for what."""


def _readiness(is_ready: bool) -> tuple[int, str]:
    return (200, "ready\n") if is_ready else (503, "not ready: come again later\n")
