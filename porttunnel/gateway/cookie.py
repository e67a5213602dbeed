"""One Set-Cookie field, read as browsers read it.

Source: RFC 6265, sections 5.1 and 5.2. What is no cookie is None; what is no attribute is passed
over. ``HttpOnly`` and ``SameSite`` mean nothing here: no page sees the cookies that are kept, and
who may make a request is judged at the device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Cookie", "default_path", "parse_cookie_date", "parse_set_cookie"]

MAX_COOKIE_BYTES = 4_096  # name and value: what browsers keep at most
MAX_AGE_SECONDS = 400 * 86_400  # what browsers keep a cookie at most, by draft 6265bis
_MAX_AGE_DIGITS = 12  # more is forever as well

_REFUSED = re.compile(rb"[\0-\x08\x0a-\x1f\x7f]")
_INTEGER = re.compile(rb"-?[0-9]+")
_DATE_DELIMITER = re.compile(rb"[\t -/;-@\[-`{-~]+")
_TIME = re.compile(rb"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY = re.compile(rb"([0-9]{1,2})(?![0-9])")
_YEAR = re.compile(rb"([0-9]{2,4})(?![0-9])")
_MONTHS = b"jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FIRST_YEAR = 1601  # the RFC's


@dataclass(frozen=True, slots=True)
class Cookie:
    """What a web system wants to be told again.

    :ivar domain: in lower case, without a dot before it; empty if none was said.
    :ivar path: empty if none, or none that counts, was said.
    :ivar secure: only on a channel that nobody can listen to.
    :ivar expires: in seconds since 1970; None: not before the jar is gone.
    """

    name: bytes
    value: bytes
    domain: bytes = b""
    path: bytes = b""
    secure: bool = False
    expires: float | None = None

    def __repr__(self) -> str:
        return f"Cookie(name={self.name!r}, path={self.path!r})"


def parse_set_cookie(field: bytes, now: float) -> Cookie | None:
    """Read a field's value.

    :param now: in seconds since 1970.
    """
    pair, *attributes = field.split(b";")
    name, mark, value = pair.partition(b"=")
    name, value = name.strip(), value.strip()
    too_long = len(name) + len(value) > MAX_COOKIE_BYTES
    if not mark or not name or too_long or _REFUSED.search(pair):
        return None
    domain = path = b""
    secure = False
    until: float | None = None
    age: float | None = None
    for attribute in attributes:
        key, _, said = attribute.partition(b"=")
        said = said.strip()
        match key.strip().lower():
            case b"expires" if (date := parse_cookie_date(said)) is not None:
                until = min(date, now + MAX_AGE_SECONDS)
            case b"max-age" if _INTEGER.fullmatch(said):
                age = _age_seconds(said)
            case b"domain" if said:
                domain = said.removeprefix(b".").lower()
            case b"path":
                path = said if said.startswith(b"/") else b""
            case b"secure":
                secure = True
    if age is not None:
        until = now + age if age > 0 else 0.0
    return Cookie(name, value, domain, path, secure, until)


def default_path(target: bytes) -> bytes:
    """The path of a cookie that names none: that of the request, up to its last slash.

    :param target: of the request, with its query.
    """
    path = target.partition(b"?")[0]
    folder = path.rpartition(b"/")[0]
    return folder if folder.startswith(b"/") else b"/"


def parse_cookie_date(text: bytes) -> float | None:
    """A date in whatever form servers write it, in seconds since 1970; None if it is none."""
    time: re.Match[bytes] | None = None
    day = month = year = None
    for token in _DATE_DELIMITER.split(text):
        if time is None and (found := _TIME.match(token)):
            time = found
        elif day is None and (found := _DAY.match(token)):
            day = int(found[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (found := _YEAR.match(token)):
            year = _whole_year(int(found[1]))
    if time is None or day is None or month is None or year is None or year < _FIRST_YEAR:
        return None
    hour, minute, second = (int(part) for part in time.groups())
    in_month = _MONTH_DAYS[month - 1] + (month == 2 and _is_leap(year))
    if not 1 <= day <= in_month or hour > 23 or minute > 59 or second > 59:
        return None
    days = _days_before(year) - _days_before(1970) + _days_in_year(year, month) + day - 1
    return float(days * 86_400 + hour * 3_600 + minute * 60 + second)


def _age_seconds(text: bytes) -> float:
    if text.startswith(b"-"):
        return 0.0
    return float(
        min(int(text), MAX_AGE_SECONDS) if len(text) <= _MAX_AGE_DIGITS else MAX_AGE_SECONDS
    )


def _whole_year(year: int) -> int:
    if 70 <= year <= 99:
        return year + 1900
    return year + 2000 if year <= 69 else year


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_before(year: int) -> int:
    """From 1 January of the year 1 on."""
    before = year - 1
    return before * 365 + before // 4 - before // 100 + before // 400


def _days_in_year(year: int, month: int) -> int:
    """Before the first of the month."""
    return sum(_MONTH_DAYS[: month - 1]) + (month > 2 and _is_leap(year))
