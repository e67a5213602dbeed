"""Bodies that are too long."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import Site

from porttunnel.net.bounded_request import MAX_BODY_BYTES, BoundedRequest


class Sizes(Resource):
    """Answers how long a body was."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self.asked = 0

    def render_POST(self, request: Any) -> bytes:
        self.asked += 1
        return str(len(request.content.read())).encode()


class Asked:
    def __init__(self) -> None:
        self.sizes = Sizes()
        site = Site(self.sizes, requestFactory=BoundedRequest, logPath="/dev/null")
        self.line = StringTransport()
        self.channel: Any = site.buildProtocol(None)
        self.channel.callLater = lambda *_: None
        self.channel.makeConnection(self.line)

    def send(self, *pieces: bytes) -> bytes:
        for piece in pieces:
            self.channel.dataReceived(piece)
        return self.line.value()


def head(*fields: str) -> bytes:
    return "\r\n".join(("POST / HTTP/1.1", "Host: x", *fields, "", "")).encode()


def chunks(*sizes: int) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (size, bytes(size)) for size in sizes)


@pytest.mark.parametrize("size", [0, 1, MAX_BODY_BYTES])
def test_what_fits_is_served(size: int) -> None:
    asked = Asked()
    answer = asked.send(head(f"Content-Length: {size}"), bytes(size))
    assert answer.endswith(b"\r\n\r\n%d" % size)
    assert not asked.line.disconnecting


def test_pieces_add_up_to_what_fits() -> None:
    answer = Asked().send(
        head("Transfer-Encoding: chunked"), chunks(40_000, MAX_BODY_BYTES - 40_000, 0)
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert str(MAX_BODY_BYTES).encode() in answer


def test_a_length_that_is_too_long_is_refused_before_the_body() -> None:
    asked = Asked()
    asking = head(f"Content-Length: {MAX_BODY_BYTES + 1}", "Expect: 100-continue")
    answer = asked.send(asking)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer
    assert asked.line.disconnecting
    # And what was under way is dropped.
    assert asked.send(bytes(MAX_BODY_BYTES + 1)) == answer
    assert asked.sizes.asked == 0


def test_pieces_that_add_up_to_too_much_are_refused_once() -> None:
    asked = Asked()
    asked.send(head("Transfer-Encoding: chunked"))
    assert asked.send(chunks(MAX_BODY_BYTES)) == b""
    answer = asked.send(chunks(1), chunks(1), chunks(0))
    assert answer.count(b"HTTP/1.1 413 ") == 1
    assert asked.line.disconnecting
    assert asked.sizes.asked == 0
