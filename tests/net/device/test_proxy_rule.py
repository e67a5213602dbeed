"""porttunnel.net.device.proxy_rule: who may come in."""

from __future__ import annotations

import pytest

from porttunnel.gateway.http_head import Fields
from porttunnel.net.device.proxy_rule import (
    Objection,
    find_field,
    find_objection,
    own_authorities,
)

OWN = own_authorities(8080)
HERE = b"127.0.0.1:8080"
TAB = ((b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document"))
FRAME = ((b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"iframe"))
IMAGE = ((b"sec-fetch-mode", b"no-cors"), (b"sec-fetch-dest", b"image"))


def site(value: bytes) -> Fields:
    return ((b"sec-fetch-site", value),)


def test_names_of_this_machine() -> None:
    assert {b"127.0.0.1:8080", b"localhost:8080"} == OWN
    assert own_authorities(80) == {
        b"127.0.0.1:80",
        b"localhost:80",
        b"127.0.0.1",
        b"localhost",
    }


@pytest.mark.parametrize("authority", [HERE, b"localhost:8080", b"LocalHost:8080"])
def test_own_names_come_in(authority: bytes) -> None:
    assert find_objection(b"POST", authority, (), OWN) is None


@pytest.mark.parametrize(
    "authority",
    [
        b"",
        b"127.0.0.1",
        b"127.0.0.1:8081",
        b"evil.example:8080",
        b"127.0.0.1.evil.example:8080",
        b"localhost:8080.evil.example",
        b"user@localhost:8080",
        b"[::1]:8080",
    ],
)
def test_other_names_do_not(authority: bytes) -> None:
    assert find_objection(b"GET", authority, (), OWN) is Objection.FOREIGN_HOST


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize(
    "fields",
    [
        (),  # a program
        site(b"same-origin"),
        site(b"none") + TAB,  # the address bar
        # A page that sends no referrer says `null` of its own forms.
        (*site(b"same-origin"), (b"origin", b"null")),
        ((b"origin", b"http://127.0.0.1:8080"),),
    ],
)
def test_own_pages_and_programs_come_in(method: bytes, fields: Fields) -> None:
    assert find_objection(method, HERE, fields, OWN) is None


@pytest.mark.parametrize("said", [b"cross-site", b"same-site"])
def test_links_of_other_sites_can_be_followed(said: bytes) -> None:
    for method in (b"GET", b"HEAD"):
        assert find_objection(method, HERE, site(said) + TAB, OWN) is None


@pytest.mark.parametrize("said", [b"cross-site", b"same-site", b"something-new"])
@pytest.mark.parametrize(
    ("method", "fields"),
    [
        (b"POST", TAB),
        (b"GET", FRAME),
        (b"GET", IMAGE),
        (b"OPTIONS", TAB),
        (b"GET", ()),
    ],
)
def test_nothing_else_of_theirs_comes_in(said: bytes, method: bytes, fields: Fields) -> None:
    found = find_objection(method, HERE, site(said) + fields, OWN)
    assert found is Objection.FOREIGN_PAGE


@pytest.mark.parametrize(
    "fields",
    [
        ((b"origin", b"https://evil.example"),),
        ((b"origin", b"null"),),
        ((b"origin", b"http://localhost:8080"),),  # another origin than 127.0.0.1
        ((b"origin", b"http://127.0.0.1:8080"), (b"origin", b"http://127.0.0.1:8080")),
        (*site(b"same-origin"), *site(b"same-origin")),
    ],
)
def test_browsers_that_only_name_an_origin_are_heard(fields: Fields) -> None:
    assert find_objection(b"GET", HERE, fields, OWN) is Objection.FOREIGN_PAGE


def test_a_field_that_comes_twice_says_nothing() -> None:
    fields = ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    assert [find_field(fields, name) for name in (b"a", b"b", b"c")] == [None, b"2", None]
