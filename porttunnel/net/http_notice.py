"""What the tunnel server's port says to a web browser: that it is none of its business.

Small and on its own, because it answers strangers: nothing is kept of a request but its head,
and a body is not waited for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

__all__ = ["HTTPNoticeFactory"]

MAX_HEAD_BYTES = 8_192  # what browsers and proxies send at most, more or less
ANSWER_SECONDS = 15.0  # for the request to come, the answer to go and the client to close

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) [!-~]+ HTTP/1\.[0-9]\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_UPGRADE = (
    "This is the port of a porttunnel tunnel server. There are no web pages here.\n"
    "To join a session, install porttunnel and run: porttunnel join\n"
)
_BAD_REQUEST = "This request is not one that HTTP knows. Check the address and the program.\n"


class _NoticeProtocol(Protocol):
    def __init__(self, reactor: Any, unix_time: Callable[[], float]) -> None:
        self._reactor = reactor
        self._unix_time = unix_time
        self._head = b""
        self._answered = False
        self._timer: Any = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._timer = self._reactor.callLater(ANSWER_SECONDS, transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if self._answered:
            return
        self._head += data[: MAX_HEAD_BYTES - len(self._head)]
        line = _REQUEST_LINE.match(self._head)
        if _HEAD_END.search(self._head) and line is not None:
            self._answer("426 Upgrade Required", _UPGRADE, head_only=line[1] == b"HEAD")
        elif _HEAD_END.search(self._head) or len(self._head) == MAX_HEAD_BYTES:
            self._answer("400 Bad Request", _BAD_REQUEST, head_only=False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer.active():
            self._timer.cancel()

    def _answer(self, status: str, text: str, *, head_only: bool) -> None:
        self._answered = True
        self._head = b""
        body = text.encode("ascii")
        head = (
            f"HTTP/1.1 {status}\r\n"
            f"Date: {formatdate(self._unix_time(), usegmt=True)}\r\n"
            "Upgrade: ptun/1\r\n"
            "Connection: upgrade, close\r\n"
            "Content-Type: text/plain; charset=us-ascii\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        transport: Any = self.transport
        transport.write(head.encode("ascii") + (b"" if head_only else body))
        transport.loseConnection()


class HTTPNoticeFactory(Factory):
    """Answers 426 to every request, and closes.

    :param reactor: for the deadline.
    :param unix_time: seconds, for the answer's date.
    """

    noisy = False

    def __init__(self, reactor: Any, unix_time: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._unix_time = unix_time

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _NoticeProtocol(self._reactor, self._unix_time)
