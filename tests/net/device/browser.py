"""A browser's end of a connection to the proxy, in memory."""

from __future__ import annotations

from typing import Any

import h11
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from porttunnel.net.device.proxy_connection import ProxyConnection
from porttunnel.net.device.proxy_rule import own_authorities
from tests.net.device.fake_device import FakeDevice

__all__ = ["HOST", "PORT", "BrowserEnd", "Wire"]

PORT = 8080
HOST = "127.0.0.1:8080"


class Wire(StringTransport):
    """The proxy's end of the connection."""

    half_closed = False
    aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        StringTransport.abortConnection(self)

    @property
    def reading(self) -> bool:
        return self.producerState == "producing"


class BrowserEnd:
    """One connection, and what the browser makes of the answers.

    :param device: what the proxy asks.
    """

    def __init__(self, device: FakeDevice | None = None) -> None:
        self.clock = Clock()
        self.device = device or FakeDevice()
        self.wire = Wire()
        self.gone: list[ProxyConnection] = []
        self.connection = ProxyConnection(
            self.clock, self.device, own_authorities(PORT), self.gone.append
        )
        self.connection.makeConnection(self.wire)
        self._reader = h11.Connection(h11.CLIENT)
        self._fed = 0

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        *fields: tuple[str, str],
        host: str = HOST,
        version: str = "1.1",
        body: bytes = b"",
    ) -> None:
        """Send a request."""
        lines = [f"{method} {path} HTTP/{version}", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in fields]
        self.send("\r\n".join((*lines, "", "")).encode("latin-1") + body)

    def send(self, data: bytes) -> None:
        self.connection.dataReceived(data)

    def leave(self) -> None:
        """Go away."""
        reason: Any = ConnectionAborted() if self.wire.aborted else ConnectionDone()
        self.connection.connectionLost(Failure(reason))

    def received(self) -> bytes:
        """All that came since the last call."""
        data: bytes = self.wire.value()
        self.wire.clear()
        return data

    def answer(self, method: str = "GET") -> tuple[h11.Response, bytes, h11.EndOfMessage | None]:
        """The answer to the last request, as h11 reads it; without its end if it isn't whole."""
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("Host", HOST)]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(self.received())
        head, data, end = None, b"", None
        while True:
            event = reader.next_event()
            match event:
                case h11.Response():
                    head = event
                case h11.Data():
                    data += bytes(event.data)
                case h11.EndOfMessage():
                    end = event
                    break
                case h11.InformationalResponse():
                    continue
                case _:
                    break
        assert head is not None
        return head, data, end
