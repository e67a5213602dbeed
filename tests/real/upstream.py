"""A web system of the tests' own: it counts what was carried out, waits until it is told to go
on, breaks off where it is told to, and can be gone for a while.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections import Counter, defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.real.server_port import port_to_come_back_to
from tests.real.web_site import page_chunks

__all__ = ["Upstream"]

WAIT_SECONDS = 30.0  # a deadline, not a measure
PIECE_BYTES = 65_536
PACE_SECONDS = 0.005  # between two pieces, for who is slow
QUEUE = 256  # of connections that aren't accepted yet
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: the connection ends with a reset


class Upstream:
    """Its pages; ``NAME`` is any word:

    ``/effect/NAME``
        Counts once the request is whole, then answers.
    ``/held/NAME``
        Counts, and answers when :meth:`release` says so.
    ``/page/NUMBER/SIZE``
        A body of this size, as of :func:`page_chunks`.
    ``/slow-effect/NAME``
        As ``/effect``, but it takes its time for the body.
    ``/cut/SIZE/SENT``
        Says that SIZE bytes follow, and resets the connection after SENT.
    ``/drip/NAME``
        A body whose pieces are :meth:`drip`'s; ends with an empty one.
    ``/echo/...``
        Tells, as JSON, the request: its fields, the length and the hash of its body.

    :ivar port: stays the same over :meth:`stop` and :meth:`run`.
    :ivar effects: how often each NAME was carried out.
    """

    def __init__(self) -> None:
        self.port = port_to_come_back_to()
        self.url = f"http://127.0.0.1:{self.port}"
        self.effects: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._released: set[str] = set()
        self._drops: dict[str, list[bytes]] = defaultdict(list)
        self._broken: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    def run(self) -> None:
        """Listen (again)."""
        upstream = self

        class Page(_Page):
            of = upstream

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = QUEUE

        server = self._server = Server(("127.0.0.1", self.port), Page)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Be gone, with all connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def release(self, name: str) -> None:
        """Let ``/held/NAME`` answer, now and later."""
        with self._changed:
            self._released.add(name)
            self._changed.notify_all()

    def drip(self, name: str, data: bytes) -> None:
        """The next piece of ``/drip/NAME``; empty: the end."""
        with self._changed:
            self._drops[name].append(data)
            self._changed.notify_all()

    def wait_for_effect(self, name: str, count: int = 1) -> None:
        """Until it was carried out so often."""
        self._wait(lambda: self.effects[name] >= count, f"{name} was not carried out")

    def wait_for_request(self, path: str) -> None:
        """Until somebody has asked for a path."""
        self._wait(lambda: self._asked[path] > 0, f"nobody asked for {path}")

    def wait_for_body(self, path: str) -> None:
        """Until something of the body of a request is there."""
        self._wait(lambda: self._begun[path] > 0, f"nothing was sent to {path}")

    def wait_for_break(self, path: str) -> None:
        """Until whoever asked for a path (without its query) has broken off."""
        self._wait(lambda: self._broken[path] > 0, f"{path} was not broken off")

    def _wait(self, condition: Any, otherwise: str) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_SECONDS), otherwise

    # In the threads of its requests

    def count(self, name: str) -> None:
        with self._changed:
            self.effects[name] += 1
            self._changed.notify_all()

    def note_broken(self, path: str) -> None:
        with self._changed:
            self._broken[path] += 1
            self._changed.notify_all()

    def note_asked(self, path: str) -> None:
        with self._changed:
            self._asked[path] += 1
            self._changed.notify_all()

    def note_begun(self, path: str) -> None:
        with self._changed:
            self._begun[path] += 1
            self._changed.notify_all()

    def take_time(self) -> None:
        with self._changed:
            self._changed.wait(PACE_SECONDS)

    def note_connection(self, connection: socket.socket, *, open_: bool) -> None:
        with self._changed:
            (self._connections.add if open_ else self._connections.discard)(connection)

    def hold(self, name: str, connection: socket.socket) -> bool:
        """Whether it was released before the asker went."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: name in self._released, 0.02):
                    return True
            if _is_gone(connection):
                return False

    def next_drop(self, name: str, connection: socket.socket) -> bytes | None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._drops[name], 0.02):
                    return self._drops[name].pop(0)
            if _is_gone(connection):
                return None


def _is_gone(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class _Page(BaseHTTPRequestHandler):
    of: Upstream
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.of.note_connection(self.connection, open_=True)

    def finish(self) -> None:
        self.of.note_connection(self.connection, open_=False)
        with suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *arguments: Any) -> None:
        pass

    def answer(self) -> None:
        path = urlsplit(self.path).path
        try:
            body = self._read_body(path)
        except ConnectionError:
            self.of.note_broken(path)
            raise
        self.of.requests.append(
            {"method": self.command, "path": self.path, "fields": list(self.headers.items())}
        )
        self.of.note_asked(path)
        kind, *words = path.strip("/").split("/")
        try:
            getattr(self, f"_{kind.replace('-', '_')}", self._missing)(body, *words)
        except ConnectionError:
            self.of.note_broken(path)
            raise

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # whatever the method
            return self.answer
        raise AttributeError(name)

    def _read_body(self, path: str) -> bytes:
        self._slow = path.startswith("/slow-")
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self._line(), 16):
                pieces.append(self._exactly(size))
                self._line()
            while self._line().strip():
                continue
            return b"".join(pieces)
        return self._exactly(int(self.headers.get("Content-Length", 0)))

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the request was broken off")
        return line

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self.rfile.read(min(count - len(data), PIECE_BYTES))
            if not piece:
                raise ConnectionError("the request was broken off")
            data += piece
            self.of.note_begun(urlsplit(self.path).path)
            if self._slow:
                self.of.take_time()
        return bytes(data)

    def _begin(self, length: int | None = None, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _say(self, data: bytes, status: int = 200) -> None:
        self._begin(len(data), status)
        if self.command != "HEAD":
            self.wfile.write(data)

    def _missing(self, body: bytes, *words: str) -> None:
        self._say(b"nothing here", 404)

    def _effect(self, body: bytes, name: str) -> None:
        self.of.count(name)
        self._say(b"done")

    _slow_effect = _effect

    def _held(self, body: bytes, name: str) -> None:
        self.of.count(name)
        if not self.of.hold(name, self.connection):
            raise ConnectionError("whoever asked has gone")
        self._say(b"done at last")

    def _page(self, body: bytes, number: str, size: str) -> None:
        self._begin(int(size))
        if self.command != "HEAD":
            for chunk in page_chunks(int(number), int(size)):
                self.wfile.write(chunk)

    def _cut(self, body: bytes, size: str, sent: str) -> None:
        self._begin(int(size))
        self.wfile.write(bytes(int(sent)))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        self.close_connection = True

    def _drip(self, body: bytes, name: str) -> None:
        self._begin()
        while data := self.of.next_drop(name, self.connection):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        if data is None:
            raise ConnectionError("whoever asked has gone")
        self.wfile.write(b"0\r\n\r\n")

    def _echo(self, body: bytes, *words: str) -> None:
        told = {
            "method": self.command,
            "path": self.path,
            "fields": [[name.lower(), value] for name, value in self.headers.items()],
            "length": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        self._say(json.dumps(told).encode())
