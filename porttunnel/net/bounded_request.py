"""A request of twisted.web's that keeps no more of a body than it may have.

Twisted's own keeps whatever comes, in memory or in a file, and asks afterwards.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.web.server import Request

__all__ = ["MAX_BODY_BYTES", "BoundedRequest"]

MAX_BODY_BYTES = 65_536  # of what programs ask a service; the longest of it has some hundred bytes

_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedRequest(Request):
    """For ``Site(..., requestFactory=BoundedRequest)``: what is longer gets 413 and is cut off.

    :cvar max_body_bytes: how long a body may be.
    """

    max_body_bytes = MAX_BODY_BYTES
    _received_bytes = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """The head is here.

        :param length: None: nobody knows it yet.
        """
        # Never a file: it would have the reactor wait for the disk.
        self.content = BytesIO()
        if length is not None and length > self.max_body_bytes:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body is here."""
        self._received_bytes += len(data)
        if self._received_bytes > self.max_body_bytes and not self._refused:
            self._refuse()
        if not self._refused:
            Request.handleContentChunk(self, data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it is here."""
        if not self._refused:
            Request.requestReceived(self, command, path, version)

    def _refuse(self) -> None:
        self._refused = True
        # Or Twisted would ask for the body.
        self.requestHeaders.removeHeader(b"expect")
        channel: Any = self.channel
        channel.transport.write(_TOO_LARGE)
        channel.loseConnection()
