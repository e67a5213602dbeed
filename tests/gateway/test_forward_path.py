"""porttunnel/gateway/forward_path.py: one reading of a path, and what is allowed."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.forward_path import AllowList, Denial, normalise_path

EVERYTHING = AllowList.parse(["GET", "OPTIONS"], ["/"])

segments = st.binary(min_size=1, max_size=8)
escapes = st.sampled_from(
    [
        *(
            b"%2e",
            b"%2F",
            b"%5C",
            b"%252e",
            b"%00",
            b"%c0%ae",
            b"..",
            b".",
            b"\\",
            b";",
            b"%3b",
            b"%",
        ),
        *(b"%25", b"%32", b"e", b"5c", b"2f", b"%2520", b"%253b"),
    ]
)
pieces = st.lists(st.one_of(segments, escapes, st.just(b"/")), max_size=12)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (b"/", b"/"),
        (b"/wiki/", b"/wiki/"),
        (b"/a.b/..c/d..", b"/a.b/..c/d.."),
        (b"/%77iki", b"/wiki"),
        (b"/a%7Eb%2db%5f", b"/a~b-b_"),
        (b"/a%3bb;c", b"/a%3Bb;c"),
        (b"/100%25", b"/100%25"),
        (b"/%2541", b"/%2541"),
        (b"/gr%c3%bc%C3%9fe", b"/gr%C3%BC%C3%9Fe"),
        (b"/gr\xc3\xbc", b"/gr%C3%BC"),
        (b"/gr%FC", b"/gr%FC"),
        (b'/a"<>[]{}|^`b', b"/a%22%3C%3E%5B%5D%7B%7D%7C%5E%60b"),
        (b"/start:a@b!$&'()*+,=", b"/start:a@b!$&'()*+,="),
        (b"/a%20b", b"/a%20b"),
        (b"/a%2520/b%253B", b"/a%2520/b%253B"),
        (b"/%3Fquery%23fragment", b"/%3Fquery%23fragment"),
    ],
)
def test_a_path_has_one_form(path: bytes, form: bytes) -> None:
    assert normalise_path(path) == form
    assert normalise_path(form) == form


@pytest.mark.parametrize(
    "path",
    [
        b"//",
        b"//a",
        b"/a//b",
        b"/a//",
        b"/.",
        b"/..",
        b"/a/../b",
        b"/a/./b",
        b"/a/..",
        b"/a/...",
        b"/..;x/b",
        b"/a/;x/b",
        b"/a/;",
        b"/a/..%20/b",
        b"/a/%20/b",
        b"/%2e%2e/b",
        b"/a%2Eb",
        b"/a%2fb",
        b"/a%2Fb",
        b"/a%5cb",
        b"/a%5Cb",
        b"/a\\b",
        b"/a%00",
        b"/a%0d%0a",
        b"/a%1fb",
        b"/a%7f",
        b"/a\x01",
        b"/a\x7f",
        b"/%252e%252E/b",
        b"/%25252fb",
        b"/%255c",
        b"/%2500",
        b"/%25%32%65%25%32%65/b",
        b"/%25%32f",
        b"/a%25%35c",
        b"/..%253Bx/b",
        b"/..%2520/b",
        b"/%2525203b/.%252520%3b",
        b"/a%",
        b"/a%2",
        b"/a%zz",
        b"/%u002e",
        b"/%c0%ae%c0%ae/",
        b"/\xc0\xaf",
        b"/%e0%80%af",
        b"/%f0%80%80%af",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(path: bytes) -> None:
    assert normalise_path(path) is None
    assert EVERYTHING.find_target(b"GET", path) is Denial.AMBIGUOUS_PATH
    assert EVERYTHING.find_target(b"GET", path + b"?a=b") is Denial.AMBIGUOUS_PATH


@given(pieces)
def test_whatever_passes_means_the_same_and_is_plain(parts: list[bytes]) -> None:
    path = b"/" + b"".join(parts)
    form = normalise_path(path)
    if form is None:
        return
    assert normalise_path(form) == form
    assert unquote_to_bytes(form) == unquote_to_bytes(path)
    assert form.isascii()
    for decoded in (unquote_to_bytes(form), unquote_to_bytes(unquote_to_bytes(form))):
        assert not {b".", b"..", b""} & set(decoded.removesuffix(b"/").split(b"/")[1:])
        assert decoded.count(b"/") == path.count(b"/")
        assert not set(decoded) & {0, 10, 13, 92}


@given(pieces)
def test_nothing_leaves_the_prefix(parts: list[bytes]) -> None:
    allowed = AllowList.parse(["GET"], ["/wiki"])
    target = allowed.find_target(b"GET", b"/wiki" + b"".join(parts).replace(b"?", b""))
    if not isinstance(target, Denial):
        assert target == b"/wiki" or target.startswith(b"/wiki/")


def test_prefixes_end_where_segments_do() -> None:
    allowed = AllowList.parse(["GET", "OPTIONS"], ["/wiki", "/files/", "/gr%c3%bcn"])
    for path in (b"/wiki", b"/wiki/", b"/wiki/x", b"/%77iki?a=/../b", b"/files/", b"/files/x"):
        assert not isinstance(allowed.find_target(b"GET", path), Denial)
    assert allowed.find_target(b"GET", b"/%77iki?a=%2e%2e//") == b"/wiki?a=%2e%2e//"
    assert allowed.find_target(b"GET", b"/wiki?") == b"/wiki?"
    assert allowed.find_target(b"GET", b"/gr%C3%BCn/x") == b"/gr%C3%BCn/x"
    for path in (b"/", b"/wikis", b"/Wiki", b"/wiki;x", b"/files", b"/x/wiki"):
        assert allowed.find_target(b"GET", path) is Denial.PATH
    assert allowed.find_target(b"OPTIONS", b"*") is Denial.PATH
    assert EVERYTHING.find_target(b"OPTIONS", b"*") == b"*"


def test_methods_are_taken_as_they_are_written() -> None:
    for method in (b"POST", b"get", b"TRACE", b"GET\n"):
        assert EVERYTHING.find_target(method, b"/") is Denial.METHOD


@pytest.mark.parametrize(
    ("methods", "prefixes", "text"),
    [
        (["get"], ["/"], "no method"),
        (["GET "], ["/"], "no method"),
        (["TRACE"], ["/"], "can't be allowed"),
        (["CONNECT"], ["/"], "can't be allowed"),
        (["GET"], ["wiki"], "no path"),
        (["GET"], ["/wiki?a"], "no path"),
        (["GET"], ["/wiki/.."], "no path"),
        ([], ["/"], "no request"),
        (["GET"], [], "no request"),
    ],
)
def test_settings_that_cannot_be(methods: list[str], prefixes: list[str], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        AllowList.parse(methods, prefixes)


def test_each_denial_has_a_status_and_a_text_of_its_own() -> None:
    assert {denial.status for denial in Denial} == {400, 403, 405}
    assert len({denial.value for denial in Denial}) == len(Denial)
