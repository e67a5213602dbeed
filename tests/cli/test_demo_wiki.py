"""The wiki of the demo keeps what its users write, and keeps a private page to its user."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from urllib.parse import urlencode

import pytest
from twisted.web.test.requesthelper import DummyRequest

from porttunnel.cli import demo_wiki
from porttunnel.cli.demo_wiki import DemoWiki

PRIVATE = {"anna-only": "anna"}


class _Request(DummyRequest):
    """Twisted's, with what it leaves out."""

    def __init__(self, path: str, user: str | None, form: Mapping[str, str] | None) -> None:
        super().__init__([])
        self.path = path.encode()
        self.content = BytesIO(urlencode(form or {}).encode())
        if user is not None:
            self.requestHeaders.setRawHeaders(demo_wiki.USER_HEADER, [user.encode()])


def get(wiki: DemoWiki, path: str, user: str | None = None) -> tuple[int, str]:
    request = _Request(path, user, None)
    content = wiki.render_GET(request).decode()
    return request.responseCode, content


def post(wiki: DemoWiki, path: str, user: str | None, content: str) -> int:
    request = _Request(path, user, {"content": content})
    wiki.render_POST(request)
    code: int = request.responseCode
    return code


def test_says_whom_it_sees() -> None:
    wiki = DemoWiki({})
    assert "<b>an&lt;na</b>" in get(wiki, "/", "an<na")[1]
    assert "doesn't know you" in get(wiki, "/")[1]


def test_keeps_what_a_user_writes() -> None:
    wiki = DemoWiki({})
    assert post(wiki, "/notes", "anna", "<b>bread</b>") == 303
    code, shown = get(wiki, "/notes", "ben")
    assert code == 200
    assert "&lt;b&gt;bread&lt;/b&gt;" in shown
    assert '<a href="/notes">' in get(wiki, "/")[1]


def test_takes_nothing_from_nobody() -> None:
    wiki = DemoWiki({})
    assert post(wiki, "/start", None, "gone") == 403
    assert "It works" in get(wiki, "/start")[1]


def test_shows_a_private_page_to_its_user_alone() -> None:
    wiki = DemoWiki(PRIVATE)
    assert "Only anna may read this" in get(wiki, "/anna-only", "anna")[1]
    for other in ("ben", None):
        code, shown = get(wiki, "/anna-only", other)
        assert (code, "Only anna" in shown) == (403, False)
        assert "anna-only" not in get(wiki, "/start", other)[1]
    assert post(wiki, "/anna-only", "ben", "mine") == 403


@pytest.mark.parametrize("path", ["/../etc", "/A", "/a/b", "/%41", "/" + 41 * "a"])
def test_has_only_pages_with_plain_names(path: str) -> None:
    wiki = DemoWiki({})
    assert get(wiki, path, "anna")[0] == 404
    assert post(wiki, path, "anna", "x") == 403


def test_is_full_some_time() -> None:
    wiki = DemoWiki({})
    assert post(wiki, "/long", "anna", "x" * (demo_wiki.MAX_PAGE_CHARACTERS + 1)) == 400
    codes = [post(wiki, f"/page-{number}", "anna", "x") for number in range(demo_wiki.MAX_PAGES)]
    assert codes == [303] * (demo_wiki.MAX_PAGES - 1) + [400]
    assert post(wiki, "/page-0", "anna", "changed") == 303
