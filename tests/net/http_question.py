"""A request of HTTP, and all that comes back."""

from __future__ import annotations

from twisted.internet import defer, endpoints, reactor
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

__all__ = ["Question", "ask"]


class Question(Protocol):
    """Sends a request as it stands; ``ended`` fires with the answer when the server closes."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.data = b""
        self.ended: defer.Deferred[bytes] = defer.Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.data)


async def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes, bytes]:
    """Status, head in lower case, body."""
    question = Question(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    client = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{port}")
    await client.connect(Factory.forProtocol(lambda: question))
    head, _, body = (await question.ended).partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower(), body
