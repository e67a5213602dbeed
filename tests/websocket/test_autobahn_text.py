"""What the Autobahn testsuite says of a server's texts: its section 6.

Sections 6.5 to 6.23 are generated from one table here as there; their bytes come from Markus
Kuhn's decoder test.
"""

from __future__ import annotations

import itertools

import pytest

from tests.websocket.client import Frame, frame
from tests.websocket.echo import CLOSE_NORMALLY, EchoServer, fragments

TEXT = 1
INVALID_PAYLOAD = 1007

GREETING = "Hello-µ@ßöäüàá-UTF-8!!".encode()
GREEK = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"  # kosme
SURROGATE = GREEK + b"\xed\xa0\x80edited"
TOO_HIGH = GREEK + b"\xf4\x90\x80\x80edited"  # its 13th byte is the first that can't be right


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def echoes(*parts: bytes) -> bool:
    """Sent in these fragments, the text comes back whole."""
    server = EchoServer()
    got = server.send(fragments(TEXT, parts))
    server.send(CLOSE_NORMALLY)
    return got == [Frame(0x81, b"".join(parts))] and server.code == 1_000


def refuses(*parts: bytes) -> bool:
    """Sent in these fragments, the text ends the connection."""
    server = EchoServer()
    (last,) = server.send(fragments(TEXT, parts))
    closed = (last.first, last.payload[:2]) == (0x88, b"\x03\xef")
    return closed and server.failed_with == INVALID_PAYLOAD


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b""], id="6.1.1"),
        pytest.param([b"", b"", b""], id="6.1.2"),
        pytest.param([b"", b"middle frame payload", b""], id="6.1.3"),
        pytest.param([GREETING], id="6.2.1"),
        pytest.param([GREETING[:13], GREETING[13:]], id="6.2.2"),
        pytest.param(single_bytes(GREETING), id="6.2.3"),
        pytest.param(single_bytes(GREEK), id="6.2.4"),
    ],
)
def test_cases_6_1_and_6_2_text_in_fragments_comes_back(parts: list[bytes]) -> None:
    assert echoes(*parts)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([SURROGATE], id="6.3.1"),
        pytest.param(single_bytes(SURROGATE), id="6.3.2"),
    ],
)
def test_cases_6_3_what_is_not_utf_8_ends_the_connection(parts: list[bytes]) -> None:
    assert refuses(*parts)


@pytest.mark.parametrize(
    ("right", "wrong", "in_fragments"),
    [
        pytest.param(11, 15, True, id="6.4.1"),
        pytest.param(12, 13, True, id="6.4.2"),
        pytest.param(11, 15, False, id="6.4.3"),
        pytest.param(12, 13, False, id="6.4.4"),
    ],
)
def test_cases_6_4_and_does_so_at_once(right: int, wrong: int, in_fragments: bool) -> None:
    server = EchoServer()
    parts = [TOO_HIGH[:right], TOO_HIGH[right:wrong]]
    if in_fragments:
        first, second = frame(TEXT, parts[0], final=False), frame(0, parts[1], final=False)
    else:
        whole = frame(TEXT, TOO_HIGH)
        head = len(whole) - len(TOO_HIGH)
        first, second = whole[: head + right], whole[head + right : head + wrong]
    assert server.send(first) == []
    assert server.open
    (last,) = server.send(second)
    assert (last.first, last.payload[:2]) == (0x88, b"\x03\xef")
    assert server.failed_with == INVALID_PAYLOAD


INCOMPLETE = [
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xf8\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfb\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf",
]
# Code points that are no characters, U+1FFFE and U+1FFFF, then U+2FFFE, and so on.
NO_CHARACTERS = [
    chr(plane << 16 | last).encode() for plane in range(1, 17) for last in (65_534, 65_535)
]
# By section: (right, bytes), in the order of the cases.
SECTIONS: dict[int, list[tuple[bool, bytes]]] = {
    5: [
        (True, b"hello\x24world"),
        (True, b"hello\xc2\xa2world"),
        (True, b"hello\xe2\x82\xacworld"),
        (True, b"hello\xf0\xa4\xad\xa2world"),
        (True, GREEK),
    ],
    6: [(count in (2, 5, 7, 9, 11), GREEK[:count]) for count in range(1, len(GREEK) + 1)],
    7: [(True, text) for text in (b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80")],
    8: [(False, b"\xf8\x88\x80\x80\x80"), (False, b"\xfc\x84\x80\x80\x80\x80")],
    9: [(True, text) for text in (b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf")],
    10: [
        (False, b"\xf7\xbf\xbf\xbf"),
        (False, b"\xfb\xbf\xbf\xbf\xbf"),
        (False, b"\xfd\xbf\xbf\xbf\xbf\xbf"),
    ],
    11: [
        (True, b"\xed\x9f\xbf"),
        (True, b"\xee\x80\x80"),
        (True, b"\xef\xbf\xbd"),
        (True, b"\xf4\x8f\xbf\xbf"),
        (False, b"\xf4\x90\x80\x80"),
    ],
    12: [
        (False, b"\x80"),
        (False, b"\xbf"),
        *((False, (b"\x80\xbf" * 3)[:count]) for count in range(2, 7)),
        (False, bytes(range(0x80, 0xBF))),
    ],
    13: [
        (False, b"".join(bytes((byte, 0x20)) for byte in range(first, last)))
        for first, last in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    ],
    14: [(False, text) for text in INCOMPLETE],
    15: [(False, b"".join(INCOMPLETE))],
    16: [(False, text) for text in (b"\xfe", b"\xff", b"\xfe\xfe\xff\xff")],
    17: [
        (False, b"\xc0\xaf"),
        (False, b"\xe0\x80\xaf"),
        (False, b"\xf0\x80\x80\xaf"),
        (False, b"\xf8\x80\x80\x80\xaf"),
        (False, b"\xfc\x80\x80\x80\x80\xaf"),
    ],
    18: [
        (False, b"\xc1\xbf"),
        (False, b"\xe0\x9f\xbf"),
        (False, b"\xf0\x8f\xbf\xbf"),
        (False, b"\xf8\x87\xbf\xbf\xbf"),
        (False, b"\xfc\x83\xbf\xbf\xbf\xbf"),
    ],
    19: [
        (False, b"\xc0\x80"),
        (False, b"\xe0\x80\x80"),
        (False, b"\xf0\x80\x80\x80"),
        (False, b"\xf8\x80\x80\x80\x80"),
        (False, b"\xfc\x80\x80\x80\x80\x80"),
    ],
    20: [
        (False, chr(surrogate).encode("utf-8", "surrogatepass"))
        for surrogate in (0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF)
    ],
    21: [
        (False, (chr(high) + chr(low)).encode("utf-8", "surrogatepass"))
        for high, low in itertools.product((0xD800, 0xDB7F, 0xDB80, 0xDBFF), (0xDC00, 0xDFFF))
    ],
    22: [(True, text) for text in (b"\xef\xbf\xbe", b"\xef\xbf\xbf", *NO_CHARACTERS)],
    23: [(True, b"\xef\xbf" + bytes((last,))) for last in range(0xB9, 0xC0)],
}


@pytest.mark.parametrize(
    ("right", "text"),
    [
        pytest.param(right, text, id=f"6.{section}.{number}")
        for section, cases in SECTIONS.items()
        for number, (right, text) in enumerate(cases, 1)
    ],
)
def test_cases_6_5_to_6_23_of_all_kinds_of_bytes(right: bool, text: bytes) -> None:
    assert echoes(text) if right else refuses(text)
    # Not said there: the same in fragments.
    assert echoes(*single_bytes(text), b"") if right else refuses(*single_bytes(text), b"")


def test_there_are_as_many_cases_as_in_the_testsuite() -> None:
    counts = {section: len(cases) for section, cases in SECTIONS.items()}
    assert counts == dict(
        zip(
            range(5, 24), (5, 11, 4, 2, 4, 3, 5, 8, 5, 10, 1, 3, 5, 5, 5, 7, 8, 34, 7), strict=True
        )
    )
