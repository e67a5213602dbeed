"""A web site of the tests' own: pages of any size, no two alike, made while they are sent."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

__all__ = ["WebSite", "page_chunks", "page_sha256", "serve_web_site"]

CHUNK_BYTES = 1 << 18


def page_chunks(number: int, size: int) -> Iterator[memoryview]:
    """What page ``number`` holds; each chunk is valid until the next.

    Not compressible and the same each time, so that a byte that is lost, doubled or swapped shows.
    """
    stream = Cipher(AES(number.to_bytes(16)), CTR(bytes(16))).encryptor()
    zeros = bytes(CHUNK_BYTES)
    room = bytearray(CHUNK_BYTES + AES.block_size)
    while size:
        count = min(size, CHUNK_BYTES)
        stream.update_into(zeros[:count], room)
        yield memoryview(room)[:count]
        size -= count


def page_sha256(number: int, size: int) -> str:
    """Of the page's content."""
    content = hashlib.sha256()
    for chunk in page_chunks(number, size):
        content.update(chunk)
    return content.hexdigest()


class WebSite(ThreadingHTTPServer):
    """``/NUMBER/SIZE`` is a page.

    :ivar sent: bytes of each page that the kernel took so far.
    """

    daemon_threads = True
    request_queue_size = 256  # many clients come at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.sent: Counter[int] = Counter()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes is none."""


class _Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebSite

    def do_GET(self) -> None:
        number, size = map(int, self.path.strip("/").split("/"))
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for chunk in page_chunks(number, size):
            self.connection.sendall(chunk)
            self.server.sent[number] += len(chunk)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def serve_web_site() -> Iterator[WebSite]:
    """A site on a free loopback port."""
    site = WebSite()
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        site.server_close()
        thread.join()
