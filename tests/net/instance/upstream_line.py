"""A request of a device's and a line to a web system, both in the test's hands."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.errors import LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead
from porttunnel.net.instance.upstream import Upstream
from porttunnel.net.instance.upstream_setting import UpstreamSettings

__all__ = ["ANNA", "AskedInTest", "BodyInTest", "Line", "LineEndpoint", "WebSystem"]

ANNA = "a" * 32
NOW = 1_800_000_000.0


class BodyInTest:
    """What the device sends.

    :ivar paused: whether no credit is given.
    :ivar cancelled: whether nobody wants the rest.
    """

    def __init__(self) -> None:
        self.paused = False
        self.cancelled = False
        self._receiver: Any = None
        self._waiting: list[Any] = []

    def deliver(self, receiver: Any) -> None:
        self._receiver = receiver
        self._flow()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self._flow()

    def cancel(self) -> None:
        self.cancelled = True

    def send(self, data: bytes) -> None:
        self._waiting.append(lambda: self._receiver.body_received(data))
        self._flow()

    def end(self, *trailers: tuple[bytes, bytes]) -> None:
        self._waiting.append(lambda: self._receiver.body_ended(trailers))
        self._flow()

    def break_off(self) -> None:
        self._waiting.clear()
        if not self.cancelled:
            self._receiver.body_broken(RemoteProtocolError("cut"))

    def _flow(self) -> None:
        while self._receiver is not None and not self.paused and self._waiting:
            call = self._waiting.pop(0)
            if not self.cancelled:
                call()


@implementer(IConsumer)
class WriterInTest:
    """What the device gets.

    :ivar end_state: None, or how it ended: its trailers, or "aborted".
    """

    def __init__(self) -> None:
        self.data = b""
        self.producer: Any = None
        self.end_state: Fields | str | None = None

    def write(self, data: bytes) -> None:
        assert self.end_state is None
        assert isinstance(data, bytes)
        self.data += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def end(self, trailers: Fields = ()) -> None:
        assert self.end_state is None
        self.end_state = trailers

    def abort(self) -> None:
        assert self.end_state is None
        self.end_state = "aborted"


class AskedInTest:
    """A ``ServedRequest``.

    :ivar answer: the final head.
    :ivar ended: "busy" or "failed", if it was refused or failed.
    :ivar unfit: whether heads are refused from now on.
    """

    def __init__(self, head: RequestHead, device_id: str = ANNA, user: str = "anna") -> None:
        self.device_id = device_id
        self.user = user
        self.head = head
        self.body = BodyInTest()
        self.on_cancelled: Any = None
        self.informed: list[ResponseHead] = []
        self.answer: ResponseHead | None = None
        self.writer = WriterInTest()
        self.ended = ""
        self.unfit = False

    def inform(self, head: ResponseHead) -> None:
        if self.unfit:
            raise LocalProtocolError("unfit")
        self.informed.append(head)

    def respond(self, head: ResponseHead) -> WriterInTest:
        if self.unfit:
            self.unfit = False
            raise LocalProtocolError("unfit")
        assert self.answer is None
        assert not self.ended
        self.answer = head
        return self.writer

    def refuse_busy(self) -> None:
        self.ended = "busy"

    def fail(self) -> None:
        self.ended = "failed"

    @property
    def status(self) -> int | None:
        """Of the answer, if there is one."""
        return self.answer.status if self.answer else None

    @property
    def fields(self) -> dict[bytes, bytes]:
        """Of the answer."""
        assert self.answer is not None
        return dict(self.answer.fields)


class _LineTransport(StringTransport):
    half_closed = False
    aborting = False

    def abortConnection(self) -> None:
        self.aborting = True
        super().abortConnection()

    def loseWriteConnection(self) -> None:
        self.half_closed = True


class Line:
    """The web system's end of a connection."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport: Any = _LineTransport()
        protocol.makeConnection(self.transport)

    @property
    def asked(self) -> bytes:
        """What was sent since this was looked at."""
        sent: bytes = self.transport.value()
        self.transport.clear()
        return sent

    @property
    def aborted(self) -> bool:
        return bool(self.transport.aborting)

    @property
    def closing(self) -> bool:
        """Whether it is closed in order."""
        return bool(self.transport.disconnecting) and not self.aborted

    @property
    def paused(self) -> bool:
        """Whether nothing is read."""
        return bool(self.transport.producerState == "paused")

    def say(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def close(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def cut(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionLost()))


@implementer(IStreamClientEndpoint)
class LineEndpoint:
    """Makes lines at once, or when the test says so.

    :ivar lines: oldest first.
    :ivar held: whether connections wait for :meth:`accept` or :meth:`refuse`.
    :ivar cancelled: how many were given up.
    """

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.held = False
        self.cancelled = 0
        self._waiting: list[tuple[defer.Deferred[Any], Any]] = []

    def connect(self, protocolFactory: Any) -> defer.Deferred[Any]:
        def cancel(connecting: defer.Deferred[Any]) -> None:
            self.cancelled += 1
            self._waiting = [waiting for waiting in self._waiting if waiting[0] is not connecting]

        connecting: defer.Deferred[Any] = defer.Deferred(cancel)
        self._waiting.append((connecting, protocolFactory))
        if not self.held:
            self.accept()
        return connecting

    def accept(self) -> None:
        connecting, factory = self._waiting.pop(0)
        protocol = factory.buildProtocol(None)
        self.lines.append(Line(protocol))
        connecting.callback(protocol)

    def refuse(self, error: Exception) -> None:
        self._waiting.pop(0)[0].errback(error)


class WebSystem:
    """A web system whose lines the test holds, and the application that asks it."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.endpoint = LineEndpoint()
        self.settings = UpstreamSettings(origin="http://wiki.example:8080", **settings)
        self.upstream = Upstream(
            self.clock,
            self.settings,
            endpoint=self.endpoint,
            unix_time=lambda: NOW + self.clock.seconds(),
            token_bytes=bytes,
        )

    @property
    def line(self) -> Line:
        """The newest."""
        return self.endpoint.lines[-1]

    def ask(
        self,
        path: bytes = b"/",
        method: bytes = b"GET",
        *fields: tuple[bytes, bytes],
        data: bytes | None = b"",
        device_id: str = ANNA,
    ) -> AskedInTest:
        """A device asks.

        :param data: the whole body; None: the test sends it.
        """
        head = RequestHead(method, b"http", b"127.0.0.1:40123", path, fields)
        asked = AskedInTest(head, device_id)
        if data is not None:
            if data:
                asked.body.send(data)
            asked.body.end()
        self.upstream.open(asked)
        return asked
