"""porttunnel/gateway/forward_origin.py: references stay inside, and never lead to a new host."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.gateway.forward_origin import (
    Origin,
    point_inside,
    point_refresh_inside,
    replace_origin,
)

WIKI = Origin(b"http", b"wiki.example", 8080)
PUBLIC = Origin(b"https", b"wiki.example", 443)
INSIDE = frozenset({WIKI, PUBLIC})
DEVICE = Origin(b"http", b"127.0.0.1", 40123)


@pytest.mark.parametrize(
    ("scheme", "authority", "origin"),
    [
        (b"http", b"Wiki.example", Origin(b"http", b"wiki.example", 80)),
        (b"HTTPS", b"wiki", Origin(b"https", b"wiki", 443)),
        (b"http", b"wiki:", Origin(b"http", b"wiki", 80)),
        (b"http", b"[FE80::1]:81", Origin(b"http", b"[fe80::1]", 81)),
        (b"http", b"me:secret@wiki:81", Origin(b"http", b"wiki", 81)),
        (b"ftp", b"wiki", None),
        (b"http", b"", None),
        (b"http", b":80", None),
        (b"http", b"wiki:x", None),
        (b"http", b"wiki:65536", None),
        (b"http", b"wiki:123456", None),
        (b"http", b"[::1", None),
    ],
)
def test_origins_are_read(scheme: bytes, authority: bytes, origin: Origin | None) -> None:
    assert Origin.parse(scheme, authority) == origin


def test_origins_are_written_as_short_as_browsers_do() -> None:
    assert bytes(WIKI) == b"http://wiki.example:8080"
    assert bytes(PUBLIC) == b"https://wiki.example"
    assert bytes(Origin(b"http", b"[::1]", 443)) == b"http://[::1]:443"


@pytest.mark.parametrize(
    ("reference", "given"),
    [
        (b"http://wiki.example:8080/start?do=edit#x", b"/start?do=edit#x"),
        (b"HTTP://WIKI.example:8080/a", b"/a"),
        (b"https://wiki.example:443/a", b"/a"),
        (b"https://wiki.example", b"/"),
        (b"https://wiki.example?a", b"/?a"),
        (b"https://wiki.example#a", b"/#a"),
        (b"//wiki.example:8080/a", b"/a"),
        (b"http:\\\\wiki.example:8080\\a", b"\\a"),
        (b" https://me@wiki.example/a\t", b"/a"),
        (b"http://wiki.example:8080//evil.example/", b"/.//evil.example/"),
        (b"http://wiki.example:8080/\\evil.example/", b"/./\\evil.example/"),
        (b"http://wiki.example:8080/\t/evil.example/", b"/.//evil.example/"),
        # These lead elsewhere, or are paths already.
        (b"http://wiki.example/a", b"http://wiki.example/a"),
        (b"https://other.example/a", b"https://other.example/a"),
        (b"//other.example/a", b"//other.example/a"),
        (b"mailto:anna@wiki.example", b"mailto:anna@wiki.example"),
        (b"ftp://wiki.example/", b"ftp://wiki.example/"),
        (b"/a//b", b"/a//b"),
        (b"../a", b"../a"),
        (b"", b""),
    ],
)
def test_references_of_a_response(reference: bytes, given: bytes) -> None:
    assert point_inside(reference, WIKI, INSIDE) == given


@given(st.text("/\\.a\t ?#:@", max_size=12))
def test_no_rewritten_reference_leads_to_another_host(rest: str) -> None:
    reference = point_inside(b"https://wiki.example/" + rest.encode(), WIKI, INSIDE)
    # As browsers do it: backslashes are slashes, tabs are nothing.
    seen = reference.decode().replace("\\", "/")
    assert urlsplit(urljoin("http://127.0.0.1:40123/page", seen)).netloc == "127.0.0.1:40123"
    assert "\t" not in seen


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (b"5; url=https://wiki.example/a", b"5; url=/a"),
        (b"0;URL='https://wiki.example/a'", b"0;URL='/a'"),
        (b'1.5 , url = "https://wiki.example/a" ', b'1.5 , url = "/a" '),
        (b"3 https://wiki.example/a", b"3 /a"),
        (b"3; url=https://other.example/", b"3; url=https://other.example/"),
        (b"3;/a", b"3;/a"),
        (b"3", b"3"),
        (b"", b""),
        (b"never", b"never"),
    ],
)
def test_refreshes_of_a_response(value: bytes, given: bytes) -> None:
    assert point_refresh_inside(value, WIKI, INSIDE) == given


def test_long_values_take_no_long_time() -> None:
    blanks = b" " * 60_000 + b"!"
    assert point_refresh_inside(b"5" + blanks, WIKI, INSIDE) == b"5" + blanks


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (b"http://127.0.0.1:40123", b"http://wiki.example:8080"),
        (b"http://127.0.0.1:40123/a?b", b"http://wiki.example:8080/a?b"),
        (b"http://127.0.0.1:40124", b"http://127.0.0.1:40124"),
        (b"https://evil.example", b"https://evil.example"),
        (b"null", b"null"),
        (b"//127.0.0.1:40123", b"//127.0.0.1:40123"),
    ],
)
def test_where_a_request_comes_from(value: bytes, given: bytes) -> None:
    assert replace_origin(value, DEVICE, WIKI) == given
    assert replace_origin(value, None, WIKI) == value
