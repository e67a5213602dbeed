"""A WebSocket of a web system's, by `device serve`, gateway and agent: frames as they are."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.real.gateway_site import GatewaySite, Serving
from tests.real.program import Start

pytestmark = pytest.mark.real

WAIT_SECONDS = 30.0  # a deadline, not a measure
CHAT: Any = "chat"
MEBIBYTE = 1 << 20


class WebSocketSystem:
    """``/echo`` says each message again, ``/closing`` closes at the first, ``/forbidden`` is.

    :ivar asked: the fields of each request.
    :ivar closed: close code and reason of each that is over.
    """

    def __init__(self) -> None:
        self.asked: queue.Queue[Any] = queue.Queue()
        self.closed: queue.Queue[tuple[int | None, str | None]] = queue.Queue()
        self.server: Server = serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=[CHAT],
            process_request=self._judge,
            max_size=None,
        )
        self.url = f"http://127.0.0.1:{self.server.socket.getsockname()[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _judge(self, connection: ServerConnection, request: Any) -> Any:
        self.asked.put(request)
        if request.path == "/forbidden":
            return connection.respond(HTTPStatus.FORBIDDEN, "not you")
        return None

    def _serve(self, connection: ServerConnection) -> None:
        request: Any = connection.request
        with suppress(ConnectionClosed):
            for message in connection:
                if request.path == "/closing":
                    connection.close(4001, "enough")
                else:
                    connection.send(message)
        self.closed.put((connection.close_code, connection.close_reason))


@pytest.fixture(scope="module")
def system() -> Iterator[WebSocketSystem]:
    running = WebSocketSystem()
    yield running
    running.server.shutdown()


@pytest.fixture(scope="module")
def serving(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, system: WebSocketSystem
) -> Serving:
    folder: Path = tmp_path_factory.mktemp("site")
    site = GatewaySite(start_for_module, folder, system.url)
    return site.pair("ada", immediate=True).serve()


def open_at(serving: Serving, path: str) -> Any:
    return connect(
        f"ws://127.0.0.1:{serving.port}{path}",
        origin=f"http://127.0.0.1:{serving.port}",  # type: ignore[arg-type]  # a str of another name
        subprotocols=[CHAT],
        open_timeout=WAIT_SECONDS,
        close_timeout=WAIT_SECONDS,
        max_size=None,
    )


def test_messages_come_back_as_they_were(system: WebSocketSystem, serving: Serving) -> None:
    with open_at(serving, "/echo?a=b") as socket:
        assert socket.subprotocol == "chat"
        request = system.asked.get(timeout=WAIT_SECONDS)
        assert request.path == "/echo?a=b"
        assert request.headers["X-Remote-User"] == "ada"
        assert request.headers["Origin"] == system.url
        assert request.headers["Host"] == system.url.removeprefix("http://")
        for message in ("grüß", b"", bytes(range(256)) * 4_096, "x" * MEBIBYTE):
            socket.send(message)
            assert socket.recv(WAIT_SECONDS) == message
        assert socket.ping().wait(WAIT_SECONDS)
        socket.close(4002, "done")
    assert system.closed.get(timeout=WAIT_SECONDS) == (4002, "done")


def test_many_at_once_do_not_mix(system: WebSocketSystem, serving: Serving) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(open_at(serving, "/echo")) for _ in range(10)]
        for number, socket in enumerate(sockets):
            socket.send(f"{number}" * 10_000)
        for number, socket in reversed(list(enumerate(sockets))):
            assert socket.recv(WAIT_SECONDS) == f"{number}" * 10_000
    for _ in sockets:
        assert system.closed.get(timeout=WAIT_SECONDS)[0] == 1000


def test_the_web_system_closes(system: WebSocketSystem, serving: Serving) -> None:
    with open_at(serving, "/closing") as socket:
        socket.send("hello")
        with pytest.raises(ConnectionClosed):
            socket.recv(WAIT_SECONDS)
        assert (socket.close_code, socket.close_reason) == (4001, "enough")
    assert system.closed.get(timeout=WAIT_SECONDS)[0] == 4001


def test_a_browser_that_goes_is_seen_to_go(system: WebSocketSystem, serving: Serving) -> None:
    with open_at(serving, "/echo") as socket:
        socket.send("hello")
        assert socket.recv(WAIT_SECONDS) == "hello"
        socket.socket.shutdown(SHUT_RDWR)
    assert system.closed.get(timeout=WAIT_SECONDS)[0] == 1006


def test_the_web_system_says_no(serving: Serving) -> None:
    with pytest.raises(InvalidStatus) as refused, open_at(serving, "/forbidden"):
        pass
    assert refused.value.response.status_code == HTTPStatus.FORBIDDEN
