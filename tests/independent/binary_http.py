"""Writes tests/vectors/binary_http.json, HTTP messages in binary form::

    python -m tests.independent.binary_http

Written from RFC 9292 alone, with the standard library alone; the examples of its section 5 stand
here as they are printed there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["PLACE", "build"]

PLACE = Path(__file__).resolve().parents[1] / "vectors" / "binary_http.json"

ABOUT = (
    "Vectors of RFC 9292; made by tests/independent. Bytes of messages and contents are"
    " hexadecimal, heads and fields are text. `messages` read as said, and those that are"
    " `canonical` are written so. `failures` must fail, at their end at the latest; `cuts` are"
    " whole if they are cut after one of these lengths, and must fail after any other."
)

# RFC 9292, section 5: figures 10, 11, 13 and 15.
EXAMPLES = {
    "RFC 9292, a request of known length": (
        "0003474554056874747073000a2f68656c6c6f2e747874406c0a757365722d6167656e74346375726c2f37"
        "2e31362e33206c69626375726c2f372e31362e33204f70656e53534c2f302e392e376c207a6c69622f312e"
        "322e3304686f73740f7777772e6578616d706c652e636f6d0f6163636570742d6c616e677561676506656e"
        "2c206d690000"
    ),
    "RFC 9292, a request of indeterminate length, padded": (
        "0203474554056874747073000a2f68656c6c6f2e7478740a757365722d6167656e74346375726c2f372e31"
        "362e33206c69626375726c2f372e31362e33204f70656e53534c2f302e392e376c207a6c69622f312e322e"
        "3304686f73740f7777772e6578616d706c652e636f6d0f6163636570742d6c616e677561676506656e2c20"
        "6d6900000000000000000000000000"
    ),
    "RFC 9292, a response of known length": (
        "0140c8001d5468697320636f6e74656e7420636f6e7461696e732043524c462e0d0a0d07747261696c6572"
        "0474657874"
    ),
    "RFC 9292, a response with heads before its own": (
        "0340660772756e6e696e670a22736c65657020313522004067046c696e6b233c2f7374796c652e6373733e"
        "3b2072656c3d7072656c6f61643b2061733d7374796c65046c696e6b243c2f7363726970742e6a733e3b20"
        "72656c3d7072656c6f61643b2061733d7363726970740040c804646174651d4d6f6e2c203237204a756c20"
        "323030392031323a32383a353320474d5406736572766572064170616368650d6c6173742d6d6f64696669"
        "65641d5765642c203232204a756c20323030392031393a31353a353620474d540465746167142233346161"
        "3338372d642d3135363865623030220d6163636570742d72616e6765730562797465730e636f6e74656e74"
        "2d6c656e67746802353104766172790f4163636570742d456e636f64696e670c636f6e74656e742d747970"
        "650a746578742f706c61696e003348656c6c6f20576f726c6421204d7920636f6e74656e7420696e636c75"
        "646573206120747261696c696e672043524c462e0d0a0000"
    ),
}

Lines = list[tuple[str, str]]


class Message(NamedTuple):
    """A message in parts; of a request ``control`` is its first line, of a response the status."""

    heads: list[tuple[list[str] | int, Lines]]
    content: bytes = b""
    trailers: Lines = []


def number(value: int) -> bytes:
    """Section 16 of RFC 9000."""
    if value <= 63:
        return bytes([value])
    if value <= 16383:
        return (0x4000 + value).to_bytes(2, "big")
    if value <= 1073741823:
        return (0x80000000 + value).to_bytes(4, "big")
    return (0xC000000000000000 + value).to_bytes(8, "big")


def text(value: str | bytes) -> bytes:
    """Length and bytes."""
    raw = value.encode("latin-1") if isinstance(value, str) else value
    return number(len(raw)) + raw


def section(lines: Lines, known: bool) -> bytes:
    """Fields."""
    joined = b"".join(text(name) + text(value) for name, value in lines)
    return text(joined) if known else joined + b"\x00"


def write(message: Message, known: bool, chunks: list[int] | None = None) -> bytes:
    """The whole message; of indeterminate length with content in chunks of these lengths."""
    request = isinstance(message.heads[0][0], list)
    out = bytes([(0 if known else 2) + (0 if request else 1)])
    for control, lines in message.heads:
        out += b"".join(map(text, control)) if isinstance(control, list) else number(control)
        out += section(lines, known)
    if known:
        out += text(message.content)
    else:
        at = 0
        for length in chunks or ([len(message.content)] if message.content else []):
            out += text(message.content[at : at + length])
            at += length
        out += b"\x00"
    return out + section(message.trailers, known)


def read(data: bytes) -> Message:
    """A whole message that is right; what is missing at its end is empty."""
    at = 0

    def varint() -> int:
        nonlocal at
        if at >= len(data):
            return 0
        length = 1 << (data[at] >> 6)
        value = int.from_bytes(data[at : at + length], "big") % (1 << (8 * length - 2))
        at += length
        return value

    def take() -> bytes:
        nonlocal at
        length = varint()
        at += length
        return data[at - length : at]

    def lines() -> Lines:
        nonlocal at
        found = []
        if known:
            length = varint()
            end = at + length
            while at < end:
                found.append((take().decode("latin-1"), take().decode("latin-1")))
        else:
            while name := take():
                found.append((name.decode("latin-1"), take().decode("latin-1")))
        return found

    kind = varint()
    known = kind < 2
    heads: list[tuple[list[str] | int, Lines]] = []
    if kind % 2 == 0:
        control = [take().decode("latin-1") for _ in range(4)]
        heads.append((control, lines()))
    else:
        while not heads or heads[-1][0] < 200:  # type: ignore[operator]  # of responses: numbers
            status = varint()
            heads.append((status, lines()))
    content = take()
    while not known and (more := take() if content else b""):
        content += more
    return Message(heads, content, lines())


def described(name: str, data: bytes, canonical: bool) -> dict[str, Any]:
    """As it stands in the file."""
    message = read(data)
    return {
        "name": name,
        "request": isinstance(message.heads[0][0], list),
        "message": data.hex(),
        "canonical": canonical,
        "heads": [
            {"control": control, "fields": [list(line) for line in lines]}
            for control, lines in message.heads
        ],
        "content": message.content.hex(),
        "trailers": [list(line) for line in message.trailers],
    }


GET = ["GET", "https", "", "/"]
POST = ["POST", "http", "wiki.example:8080", "/save?page=a%20b"]
FORM = [("content-type", "text/plain"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-empty", "")]


def build() -> dict[str, Any]:
    """All groups."""
    written: dict[str, tuple[Message, list[int] | None]] = {
        "the shortest request": (Message([(GET, [])]), None),
        "fields, content and trailers": (
            Message([(POST, FORM)], b"hello world", [("x-sum", "1"), ("x-sum", "2")]),
            None,
        ),
        "content of 64 bytes": (Message([(POST, [])], bytes(range(64))), None),
        "about everything": (Message([(["OPTIONS", "https", "a.example", "*"], [])]), None),
        "a WebSocket is asked for": (
            Message(
                [(["CONNECT", "https", "a", "/ws"], [(":protocol", "websocket"), ("origin", "x")])]
            ),
            None,
        ),
        "a value with bytes beyond ASCII": (Message([(GET, [("x-name", "\xe4\xff \x01")])]), None),
        "the shortest response": (Message([(200, [])]), None),
        "the last status": (Message([(599, [("a", "b")])], b"no"), None),
        "a response with heads before its own": (
            Message([(100, []), (103, [("link", "<a>")]), (404, [("a", "b")])], b"none", FORM),
            None,
        ),
    }
    messages = [
        described(f"{name}, {'known' if known else 'indeterminate'}", write(m, known, c), True)
        for name, (m, c) in written.items()
        for known in (True, False)
    ]
    chunked = Message([(POST, [])], b"hello world", [("a", "b")])
    get = write(Message([(GET, [])]), False)
    long_numbers = b"\x40\x02" + b"\x80\x00\x00\x03GET" + get[5:]
    messages += [
        described("content in chunks", write(chunked, False, [1, 4, 6]), False),
        described("numbers longer than needed", long_numbers, False),
        *(
            described(
                f"cut short in {form}, by {count}",
                write(Message([(head, [])]), known)[:-count],
                False,
            )
            for form, known in (("known length", True), ("indeterminate length", False))
            for head in (GET, 204)
            for count in (1, 2, 3)
        ),
        *(
            described(f"padded, {form}", write(chunked, known) + bytes(300), False)
            for form, known in (("known length", True), ("indeterminate length", False))
        ),
        *(described(n, bytes.fromhex(t), n.endswith("length")) for n, t in EXAMPLES.items()),
        described("RFC 9292, cut short", bytes.fromhex(list(EXAMPLES.values())[1])[:-12], False),
    ]
    return {"about": ABOUT, "messages": messages, "failures": failures(), "cuts": cuts()}


def failures() -> list[dict[str, Any]]:
    """What must not be read."""

    def request(control: list[str], lines: Lines | None = None) -> bytes:
        return write(Message([(control, lines or [])]), False)

    get, posted = request(GET), write(Message([(POST, FORM)], b"hello", FORM), False)
    many = [("a", "")] * 513
    malformed = {
        "nothing": (True, b""),
        "a framing that is none": (True, b"\x04" + get[1:]),
        "a response where a request belongs": (True, b"\x03\x40\xc8"),
        "a request where a response belongs": (False, get),
        "padding with something in it": (True, get + b"\x00\x00\x01"),
        "a second message behind it": (True, posted + posted),
        "an empty method": (True, request(["", *GET[1:]])),
        "a method with a space": (True, request(["GE T", *GET[1:]])),
        "an empty scheme": (True, request(["GET", "", "", "/"])),
        "a scheme in capitals": (True, request(["GET", "HTTP", "", "/"])),
        "an authority with a name": (True, request(["GET", "http", "me@a", "/"])),
        "an authority with a slash": (True, request(["GET", "http", "a/b", "/"])),
        "an empty path": (True, request(["GET", "http", "a", ""])),
        "a path without its slash": (True, request(["GET", "http", "a", "b"])),
        "a path with a space": (True, request(["GET", "http", "a", "/b c"])),
        "a path with a fragment": (True, request(["GET", "http", "a", "/b#c"])),
        "a path with a line end": (True, request(["GET", "http", "a", "/b\r\nc"])),
        "a path beyond ASCII": (True, request(["GET", "http", "a", "/\xe4"])),
        "everything, but not OPTIONS": (True, request(["GET", "http", "a", "*"])),
        "everything and more": (True, request(["OPTIONS", "http", "a", "*a"])),
        "status 99": (False, write(Message([(99, [])]), False)),
        "status 600": (False, write(Message([(600, [])]), False)),
        "status 0": (False, b"\x03\x00\x00\x00\x00"),
        "no final head": (False, b"\x03\x40\x67\x00"),
        **{
            f"a field called {name!r}": (True, request(GET, [(name, "x")]))
            for name in ("A", "a b", "a:", ":status", ":path", ":other", "\xe4", "a\x00", "a\x7f")
        },
        **{
            f"a field with {value!r}": (True, request(GET, [("a", value)]))
            for value in ("a\nb", "a\rb", "a\x00", " a", "a ", "\ta", "a\t", "\n")
        },
        "a field without a name, known": (True, b"\x00" + get[1:-3] + b"\x02\x00\x00"),
        "a field beyond its section": (True, b"\x00" + get[1:-3] + b"\x03\x01a\x04bbbb"),
        "a field's length beyond its section": (True, b"\x00" + get[1:-3] + b"\x02\x01a\x00\x00"),
        "a number beyond its section": (True, b"\x00" + get[1:-3] + b"\x01\x40\x01ab"),
        ":protocol after another": (True, request(GET, [("a", "b"), (":protocol", "c")])),
        ":protocol twice": (True, request(GET, [(":protocol", "c"), (":protocol", "c")])),
        ":protocol in a response": (False, write(Message([(200, [(":protocol", "c")])]), False)),
        "a bad name in a trailer": (True, posted[:-1] + b"\x01A\x00\x00"),
        ":protocol in a trailer": (True, get[:-1] + text(":protocol") + b"\x00\x00"),
        "a bad name in an early head": (False, b"\x03\x40\x67\x01A\x00\x00\x40\xc8"),
    }
    beyond = {
        "a method that is too long": (True, request(["M" * 33, *GET[1:]])),
        "a scheme that is too long": (True, request(["GET", "h" * 17, "", "/"])),
        "an authority that is too long": (True, request(["GET", "http", "a" * 262, "/"])),
        "too many fields": (True, request(GET, many)),
        "too many fields, known": (True, write(Message([(GET, many)]), True)),
        "too many bytes, known": (True, b"\x00" + get[1:-3] + number(65_537)),
        "too many heads": (False, write(Message([(100, [])] * 17 + [(200, [])]), False)),
    }
    groups = [("RemoteProtocolError", malformed), ("LimitExceeded", beyond)]
    return [
        {"name": name, "request": is_request, "message": data.hex(), "error": error}
        for error, group in groups
        for name, (is_request, data) in group.items()
    ]


def cuts() -> list[dict[str, Any]]:
    """Messages, and the only lengths after which they may be cut short without being invalid."""
    request = Message([(POST, FORM)], b"hello", FORM)
    response = Message([(103, []), (200, FORM)], b"hello", FORM)
    found = []
    for message in (request, response):
        for known in (True, False):
            whole = write(message, known)
            content = whole.index(b"\x05hello")
            trailers = content + len(b"\x05hello") + (not known)
            fields = content - len(section(FORM, known))
            name = f"{'known' if known else 'indeterminate'} length"
            places = [fields, content, trailers, len(whole)]
            is_request = message is request
            found.append(
                {"name": name, "request": is_request, "message": whole.hex(), "whole_at": places}
            )
    return found


def main() -> None:
    """Write the file."""
    PLACE.write_text(json.dumps(build(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
