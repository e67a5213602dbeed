"""porttunnel/gateway/cookie.py: Set-Cookie as browsers read it; dates against a calendar."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.gateway.cookie import (
    MAX_AGE_SECONDS,
    MAX_COOKIE_BYTES,
    Cookie,
    default_path,
    parse_cookie_date,
    parse_set_cookie,
)

NOW = 1_800_000_000.0
# The forms that servers have written in the course of time.
FORMS = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
    "%d %B %Y %H:%M:%S",
]


@pytest.mark.parametrize(
    ("field", "cookie"),
    [
        (b"a=b", Cookie(b"a", b"b")),
        (b" a = b c ; ", Cookie(b"a", b"b c")),
        (b"a=", Cookie(b"a", b"")),
        (b'a="b=c"', Cookie(b"a", b'"b=c"')),
        (b"a=\xfc", Cookie(b"a", b"\xfc")),
        (b"a=b; Secure; HttpOnly; SameSite=Lax", Cookie(b"a", b"b", secure=True)),
        (b"a=b; PATH=/x; path=/y", Cookie(b"a", b"b", path=b"/y")),
        (b"a=b; path=/x; path=y", Cookie(b"a", b"b")),
        (b"a=b; Domain=.Wiki.Example", Cookie(b"a", b"b", domain=b"wiki.example")),
        (b"a=b; domain=", Cookie(b"a", b"b")),
        (b"a=b; max-age=60", Cookie(b"a", b"b", expires=NOW + 60)),
        (b"a=b; max-age=0", Cookie(b"a", b"b", expires=0)),
        (b"a=b; max-age=-9999999999999", Cookie(b"a", b"b", expires=0)),
        (b"a=b; max-age=1h", Cookie(b"a", b"b")),
        (b"a=b; max-age=9999999999", Cookie(b"a", b"b", expires=NOW + MAX_AGE_SECONDS)),
        (b"a=b; max-age=" + b"9" * 4_000, Cookie(b"a", b"b", expires=NOW + MAX_AGE_SECONDS)),
        (b"a=b; expires=Fri, 15 Jan 2027 08:00:01 GMT", Cookie(b"a", b"b", expires=NOW + 1)),
        (b"a=b; expires=soon", Cookie(b"a", b"b")),
        (
            b"a=b; max-age=60; expires=Thu, 01 Jan 1970 00:00:00 GMT",
            Cookie(b"a", b"b", expires=NOW + 60),
        ),
        (
            b"a=b; expires=Fri, 31-Dec-9999 23:59:59 GMT",
            Cookie(b"a", b"b", expires=NOW + MAX_AGE_SECONDS),
        ),
        (b"", None),
        (b"a", None),
        (b"=b", None),
        (b"; a=b", None),
        (b"a\x01=b", None),
        (b"a=b\x7f", None),
        (b"a=" + b"b" * (MAX_COOKIE_BYTES - 1), Cookie(b"a", b"b" * (MAX_COOKIE_BYTES - 1))),
        (b"a=" + b"b" * MAX_COOKIE_BYTES, None),
    ],
)
def test_fields_are_read(field: bytes, cookie: Cookie | None) -> None:
    assert parse_set_cookie(field, NOW) == cookie


@given(st.binary(max_size=80))
def test_nothing_raises(field: bytes) -> None:
    parsed = parse_set_cookie(b"a=b;" + field, NOW)
    assert parsed is not None
    assert parsed.name == b"a"
    assert parse_set_cookie(field, NOW) is None or b"=" in field


@pytest.mark.parametrize("form", FORMS)
@given(when=st.datetimes(datetime(1971, 1, 1), datetime(2068, 12, 31)))
def test_dates_are_those_of_the_calendar(form: str, when: datetime) -> None:
    when = when.replace(microsecond=0, tzinfo=UTC)
    assert parse_cookie_date(when.strftime(form).encode()) == when.timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1 Jan 1970 0:0:0", 0),
        (b"29 Feb 2000 00:00:00", 951_782_400),
        (b"1 Mar 1900 00:00:00", -2_203_891_200),
        (b"1 Jan 69 00:00:00", 3_124_224_000),
        (b"1 Jan 70 00:00:00", 0),
        (b"00:00:00 1 Jan 1970 23:59:59 5 Feb 1999", 0),
    ],
)
def test_other_dates(text: bytes, seconds: float) -> None:
    assert parse_cookie_date(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1 Jan 1970",
        b"1 Jan 00:00:00",
        b"1970 00:00:00",
        b"Jan 1970 00:00:00",
        b"1 Jan 1600 00:00:00",
        b"0 Jan 1970 00:00:00",
        b"29 Feb 1900 00:00:00",
        b"30 Feb 2000 00:00:00",
        b"31 Apr 2000 00:00:00",
        b"1 Jan 1970 24:00:00",
        b"1 Jan 1970 00:60:00",
        b"1 Jan 1970 00:00:60",
        b"1 Jan 1970 000:00:00",
        b"1 Jan 12345 00:00:00",
    ],
)
def test_what_is_no_date(text: bytes) -> None:
    assert parse_cookie_date(text) is None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", b"/"),
        (b"/a", b"/"),
        (b"/a/", b"/a"),
        (b"/a/b?c=/d/e", b"/a"),
        (b"*", b"/"),
    ],
)
def test_paths_that_nobody_named(target: bytes, path: bytes) -> None:
    assert default_path(target) == path


def test_no_value_is_shown() -> None:
    assert "s3cret" not in repr(Cookie(b"session", b"s3cret"))
