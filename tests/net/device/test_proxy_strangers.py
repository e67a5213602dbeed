"""What the proxy makes of bytes in any pieces, and of any bytes at all."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.net.device.browser import HOST, BrowserEnd

CONVERSATION = (
    f"GET /1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    f"POST /2 HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    "3\r\nabc\r\n2\r\nde\r\n0\r\nx: y\r\n\r\n"
    f"PUT /3 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nfghi"
    f"HEAD /4 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
).encode()
EXPECTED = [
    (b"/1", b"", ()),
    (b"/2", b"abcde", ((b"x", b"y"),)),
    (b"/3", b"fghi", ()),
    (b"/4", b"", ()),
]
# What requests are made of, so that more than their first line is tried.
WORDS = st.sampled_from(
    [
        *(b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"HEAD /a HTTP/1.0\r\n"),
        *(b"Host: " + HOST.encode() + b"\r\n", b"Content-Length: 3\r\n", b"Content-Length: 2\r\n"),
        *(
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n",
            b"\r\n",
            b"3\r\nabc\r\n",
        ),
        *(b"0\r\n\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n", b"abc"),
        *(b"Connection: upgrade\r\nSec-WebSocket-Version: 13\r\n", b"Origin: null\r\n"),
        *(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b": \r\n", b"\n", b"\0"),
    ]
)


def answer_what_is_whole(browser: BrowserEnd) -> None:
    for request in browser.device.asked:
        if request.writer.trailers is not None and request.body.receiver is None:
            request.respond(200).end()


@given(st.sets(st.integers(1, len(CONVERSATION) - 1)))
def test_the_pieces_do_not_matter(cuts: set[int]) -> None:
    browser = BrowserEnd()
    for start, end in pairwise([0, *sorted(cuts), len(CONVERSATION)]):
        browser.send(CONVERSATION[start:end])
        answer_what_is_whole(browser)
    while len(browser.device.asked) < len(EXPECTED):
        answer_what_is_whole(browser)
    answer_what_is_whole(browser)
    seen = [(r.head.path, r.writer.data, r.writer.trailers) for r in browser.device.asked]
    assert seen == EXPECTED
    assert re.findall(rb"HTTP/1.1 (\d+)", browser.received()) == [b"200"] * len(EXPECTED)
    assert browser.wire.disconnecting
    browser.leave()


@given(st.lists(WORDS | st.binary(min_size=1, max_size=20), max_size=30))
def test_nothing_that_comes_makes_it_fail(pieces: list[bytes]) -> None:
    browser = BrowserEnd()
    for piece in pieces:
        browser.send(piece)
        answer_what_is_whole(browser)
    statuses = re.findall(rb"HTTP/1.1 (\d+)", browser.received())
    answered = [request for request in browser.device.asked if request.body.receiver is not None]
    assert statuses.count(b"200") + statuses.count(b"101") == len(answered)
    browser.leave()
    browser.clock.advance(60)
    assert browser.clock.getDelayedCalls() == []
