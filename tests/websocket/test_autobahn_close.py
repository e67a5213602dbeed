"""What the Autobahn testsuite says of the end of a connection: its section 7."""

from __future__ import annotations

import pytest

from tests.websocket.client import Frame, frame
from tests.websocket.echo import CLOSE_NORMALLY, EchoServer

CONTINUATION, TEXT, CLOSE, PING = 0, 1, 8, 9
CLOSED_NORMALLY = Frame(0x88, b"\x03\xe8")


def code(number: int) -> bytes:
    return number.to_bytes(2, "big")


def failed(payload: bytes, failed_with: int) -> bool:
    """A Close frame with this payload breaks the protocol, and the client is told so."""
    server = EchoServer()
    (last,) = server.send(frame(CLOSE, payload))
    told = (last.first, last.payload[:2]) == (0x88, code(failed_with))
    return told and server.failed_with == failed_with


def test_case_7_1_1_a_message_then_close() -> None:
    server = EchoServer()
    hello = Frame(0x81, b"Hello World!")
    assert server.send(frame(TEXT, b"Hello World!")) == [hello]
    assert server.send(CLOSE_NORMALLY) == [CLOSED_NORMALLY]
    assert server.code == 1_000
    # Not said there: both in one read.
    server = EchoServer()
    assert server.send(frame(TEXT, b"Hello World!") + CLOSE_NORMALLY) == [hello, CLOSED_NORMALLY]


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(CLOSE_NORMALLY, id="7.1.2"),
        pytest.param(frame(PING), id="7.1.3"),
        pytest.param(frame(TEXT, b"Hello World!"), id="7.1.4"),
    ],
)
def test_cases_7_1_2_to_7_1_4_nothing_after_close_matters(after: bytes) -> None:
    server = EchoServer()
    assert server.send(CLOSE_NORMALLY + after, after) == [CLOSED_NORMALLY]
    assert (server.code, server.failed_with) == (1_000, None)


def test_case_7_1_5_close_between_fragments() -> None:
    server = EchoServer()
    sent = frame(TEXT, b"fragment1", final=False) + CLOSE_NORMALLY
    assert server.send(sent + frame(CONTINUATION, b"fragment2")) == [CLOSED_NORMALLY]
    assert server.code == 1_000


def test_case_7_1_6_close_after_a_long_message() -> None:
    server = EchoServer()
    payload = b"BAsd7&jh23" * 26_215
    sent = frame(TEXT, payload) + frame(TEXT, b"Hello World!") + CLOSE_NORMALLY + frame(PING)
    assert server.send(sent) == [
        Frame(0x81, payload),
        Frame(0x81, b"Hello World!"),
        CLOSED_NORMALLY,
    ]


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        pytest.param(b"", b"", id="7.3.1"),
        pytest.param(code(1_000), code(1_000), id="7.3.3"),
        pytest.param(code(1_000) + b"Hello World!", code(1_000), id="7.3.4"),
        pytest.param(code(1_000) + b"*" * 123, code(1_000), id="7.3.5"),
    ],
)
def test_cases_7_3_a_close_of_any_length(payload: bytes, answer: bytes) -> None:
    server = EchoServer()
    assert server.send(frame(CLOSE, payload)) == [Frame(0x88, answer)]
    assert server.failed_with is None


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"a", id="7.3.2"),
        pytest.param(code(1_000) + b"*" * 124, id="7.3.6"),
    ],
)
def test_cases_7_3_2_and_7_3_6_but_half_a_code_and_too_long(payload: bytes) -> None:
    assert failed(payload, 1_002)


def test_case_7_5_1_a_reason_that_is_not_utf_8() -> None:
    reason = "κόσμε".encode() + b"\xed\xa0\x80edited"
    assert failed(code(1_000) + reason, 1_007)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, id=f"7.7.{case}")
        for case, number in enumerate(
            (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1
        )
    ],
)
def test_cases_7_7_codes_that_may_be_sent(number: int) -> None:
    server = EchoServer()
    assert server.send(frame(CLOSE, code(number))) == [Frame(0x88, code(number))]
    assert server.code == number


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, id=f"7.9.{case}")
        for case, number in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1)
    ],
)
def test_cases_7_9_codes_that_may_not(number: int) -> None:
    assert failed(code(number), 1_002)


@pytest.mark.parametrize(
    "number", [pytest.param(5_000, id="7.13.1"), pytest.param(65_535, id="7.13.2")]
)
def test_cases_7_13_codes_of_which_nothing_is_said(number: int) -> None:
    """Both outcomes are right there; ours is to refuse them."""
    assert failed(code(number), 1_002)
