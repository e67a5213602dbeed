"""What a browser does at `porttunnel device serve` for the web system's pages, and for others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from tests.real.chromium import Chromium, Page
from tests.real.gateway_site import GatewaySite, Serving
from tests.real.program import Start

pytestmark = pytest.mark.real

USER = "ada"
WAIT_SECONDS = 30.0  # a deadline, not a measure
HTML = b"<!DOCTYPE html><title>page</title><body>the page</body>"
# Everything that a page can make a browser ask for, as a promise for when all of it is over.
ATTACK = """(async target => {
  const over = [];
  const later = what => over.push(Promise.resolve(what).catch(() => null));
  const loaded = element => new Promise(done => {
    element.onload = element.onerror = done;
    document.body.append(element);
  });
  const made = (name, properties) => Object.assign(document.createElement(name), properties);
  const mine = { mode: "no-cors", credentials: "include" };
  later(fetch(target + "/stolen/get", mine));
  later(fetch(target + "/stolen/post", { ...mine, method: "POST", body: "x" }));
  later(fetch(target + "/stolen/read"));
  later(fetch(target + "/stolen/put", { method: "PUT", headers: { "x-a": "b" } }));
  later(fetch(target + "/stolen/bare", { ...mine, referrerPolicy: "no-referrer" }));
  navigator.sendBeacon(target + "/stolen/beacon", "x");
  later(loaded(made("img", { src: target + "/stolen/image" })));
  later(loaded(made("script", { src: target + "/stolen/script" })));
  later(loaded(made("link", { rel: "stylesheet", href: target + "/stolen/style" })));
  later(loaded(made("iframe", { src: target + "/stolen/frame" })));
  later(loaded(made("object", { data: target + "/stolen/object" })));
  for (const method of ["GET", "POST"]) {
    const frame = made("iframe", { name: "into" + method });
    const form = made("form", { method, target: frame.name });
    form.action = target + "/stolen/form" + method;
    later(loaded(frame));
    document.body.append(form);
    form.submit();
  }
  later(new Promise(done => {
    const socket = new WebSocket(target.replace("http", "ws") + "/stolen/socket");
    socket.onopen = socket.onerror = done;
  }));
  await Promise.all(over);
})(%s)"""


class RecordingSite:
    """Answers everything with a page, and keeps what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                pass

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with site.changed:
                    site.asked.append((self.command, self.path.partition("?")[0]))
                    site.changed.notify_all()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(HTML)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(HTML)

        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
            setattr(Handler, f"do_{method}", Handler.answer)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for_paths(self, part: str, count: int) -> None:
        """Until so many different ones were asked for."""

        def paths() -> set[str]:
            return {path for _, path in self.asked_for(part)}

        with self.changed:
            asked = self.changed.wait_for(lambda: len(paths()) >= count, WAIT_SECONDS)
        assert asked, sorted(paths())

    def asked_for(self, part: str) -> list[tuple[str, str]]:
        return [each for each in self.asked if part in each[1]]


@pytest.fixture(scope="module")
def system() -> Iterator[RecordingSite]:
    """What is behind the firewall."""
    with closing(RecordingSite()) as running:
        yield running


@pytest.fixture(scope="module")
def evil() -> Iterator[RecordingSite]:
    """What the user happens to look at."""
    with closing(RecordingSite()) as running:
        yield running


@pytest.fixture(scope="module")
def serving(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, system: RecordingSite
) -> Serving:
    folder = tmp_path_factory.mktemp("served")
    site = GatewaySite(start_for_module, folder, f"http://127.0.0.1:{system.port}")
    return site.pair(USER, immediate=True).serve()


@pytest.fixture(scope="module")
def browser(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chromium]:
    folder: Path = tmp_path_factory.mktemp("browser")
    with closing(Chromium(start_for_module, folder)) as running:
        yield running


@pytest.fixture(params=["localhost", "127.0.0.1"])
def evil_page(request: pytest.FixtureRequest, browser: Chromium, evil: RecordingSite) -> Page:
    """To the browser 127.0.0.1 with another port is the same site, though another origin."""
    return browser.open(f"http://{request.param}:{evil.port}/")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_nothing_that_another_page_asks_for_reaches_the_system(
    serving: Serving, system: RecordingSite, evil: RecordingSite, evil_page: Page, name: str
) -> None:
    evil_page.evaluate(ATTACK % json.dumps(f"http://{name}:{serving.port}"))
    # The control: what was tried does reach a site that lets it.
    evil_page.go(f"{evil_page.evaluate('location.origin')}/")
    with evil.changed:
        evil.asked.clear()
    evil_page.evaluate(ATTACK % json.dumps(f"http://{name}:{evil.port}"))
    evil.wait_for_paths("/stolen", 14)
    assert system.asked_for("/stolen") == []


def test_another_page_can_not_send_the_user_there_with_a_form(
    serving: Serving, system: RecordingSite, evil_page: Page
) -> None:
    evil_page.evaluate(
        f"document.body.innerHTML = '<form method=post action={serving.url}/form><button>'"
    )
    evil_page.click_through("button")
    assert "From there only links can be followed" in evil_page.text
    assert system.asked_for("/form") == []


def test_its_links_can_be_followed(
    serving: Serving, system: RecordingSite, evil_page: Page
) -> None:
    system.asked.clear()
    evil_page.evaluate(f"document.body.innerHTML = '<a href={serving.url}/linked>there</a>'")
    evil_page.click_through("a")
    assert evil_page.text == "the page"
    assert system.asked_for("/linked") == [("GET", "/linked")]


def test_the_systems_own_pages_may_ask_for_anything(
    serving: Serving, system: RecordingSite, browser: Chromium
) -> None:
    page = browser.open(serving.url)
    system.asked.clear()
    page.evaluate("fetch('/own', {method: 'PUT', headers: {'x-a': 'b'}}).then(r => r.text())")
    page.evaluate("document.body.innerHTML = '<form method=post action=/saved><button>'")
    page.click_through("button")
    assert page.text == "the page"
    assert system.asked_for("/own") + system.asked_for("/saved") == [
        ("PUT", "/own"),
        ("POST", "/saved"),
    ]


class TestWebSockets:
    """A page, and a WebSocket that says everything back."""

    @pytest.fixture
    def live(self) -> Iterator[Server]:
        def respond(connection: ServerConnection, request: Request) -> Response | None:
            if request.headers.get("Upgrade") == "websocket":
                return None
            fields = {"Content-Type": "text/html", "Content-Length": str(len(HTML))}
            return Response(200, "OK", Headers({**fields, "Connection": "close"}), HTML)

        def echo(connection: ServerConnection) -> None:
            for message in connection:
                connection.send(message)

        server = serve(
            echo, "127.0.0.1", 0, process_request=respond, subprotocols=["chat"], max_size=None
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()

    def test_a_page_talks_to_its_server(
        self, start: Start, tmp_path: Path, live: Server, browser: Chromium
    ) -> None:
        port = live.socket.getsockname()[1]
        site = GatewaySite(start, tmp_path / "site", f"http://127.0.0.1:{port}")
        url = site.pair(USER, immediate=True).serve().url
        page = browser.open(url)
        told = page.evaluate(
            """new Promise((done, failed) => {
              const socket = new WebSocket(location.href.replace("http", "ws") + "live", "chat");
              const large = "ä".repeat(1 << 20);
              socket.onerror = failed;
              socket.onopen = () => { socket.send("hello"); socket.send(large) };
              const heard = [socket];
              socket.onmessage = event => {
                heard.push(event.data);
                if (heard.length == 3) socket.close(1000, "enough");
              };
              socket.onclose = event => done([
                socket.protocol, heard[1], heard[2] === large, event.code, event.wasClean
              ]);
            })"""
        )
        assert told == ["chat", "hello", True, 1000, True]
