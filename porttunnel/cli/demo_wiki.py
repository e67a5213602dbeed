"""The small wiki of `porttunnel demo`: pages that can be read and changed, in memory.

It is a web system as the agent expects it: it listens on loopback alone and believes the header
that says who somebody is (docs/agent, "What the agent passes on").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import parse_qs

from twisted.web.http import BAD_REQUEST, FORBIDDEN, NOT_FOUND, SEE_OTHER
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from porttunnel.cli import demo_text

__all__ = ["USER_HEADER", "DemoWiki", "make_wiki_site"]

USER_HEADER = b"x-remote-user"
START = "start"
# It is a toy, but whoever is let in shall not fill the memory with it.
MAX_PAGES = 100
MAX_PAGE_CHARACTERS = 100_000
MAX_FORM_BYTES = 4 * MAX_PAGE_CHARACTERS
_NAME = re.compile(r"[a-z0-9-]{1,40}")


class DemoWiki(Resource):
    """All of its pages; a name is a page's address.

    :param private: whose page each of these is, by its name; nobody else sees it.
    """

    isLeaf = True

    def __init__(self, private: Mapping[str, str]) -> None:
        Resource.__init__(self)
        self._private = dict(private)
        self._pages = {START: demo_text.WIKI_START}
        self._pages |= {
            name: demo_text.WIKI_PRIVATE.format(user=user) for name, user in private.items()
        }

    def render_GET(self, request: Request) -> bytes:
        name = _name_of(request)
        user = _user_of(request)
        if name is None:
            return _answer(request, NOT_FOUND, user, demo_text.WIKI_NO_PAGE)
        if not self._may_see(name, user):
            return _answer(request, FORBIDDEN, user, demo_text.WIKI_PRIVATE_TO_OTHER)
        shown = demo_text.WIKI_PAGE.format(
            name=name, content=escape(self._pages.get(name, "")), others=self._list_pages(user)
        )
        return _answer(request, 200, user, shown)

    def render_POST(self, request: Request) -> bytes:
        name = _name_of(request)
        user = _user_of(request)
        if name is None or user is None or not self._may_see(name, user):
            return _answer(request, FORBIDDEN, user, demo_text.WIKI_NOT_YOURS)
        body: Any = request.content  # until it is read Twisted says that it may be None
        form = body.read(MAX_FORM_BYTES + 1)
        content = parse_qs(form.decode(errors="replace")).get("content", [""])[0]
        is_new = name not in self._pages
        if len(content) > MAX_PAGE_CHARACTERS or (is_new and len(self._pages) >= MAX_PAGES):
            return _answer(request, BAD_REQUEST, user, demo_text.WIKI_FULL)
        self._pages[name] = content
        request.setResponseCode(SEE_OTHER)
        request.setHeader(b"location", b"/" + name.encode())
        return b""

    def _may_see(self, name: str, user: str | None) -> bool:
        return self._private.get(name, user) == user

    def _list_pages(self, user: str | None) -> str:
        names = sorted(name for name in self._pages if self._may_see(name, user))
        return " ".join(f'<a href="/{name}">{name}</a>' for name in names)


def make_wiki_site(private: Mapping[str, str]) -> Site:
    """The wiki, to listen with; arguments as :class:`DemoWiki`'s."""
    site = Site(DemoWiki(private))
    site.noisy = False
    site.displayTracebacks = False
    return site


def _name_of(request: Request) -> str | None:
    path = request.path.decode("ascii", "replace").strip("/") or START
    return path if _NAME.fullmatch(path) else None


def _user_of(request: Request) -> str | None:
    value: bytes | None = request.getHeader(USER_HEADER)
    return None if value is None else value.decode(errors="replace")


def _answer(request: Request, code: int, user: str | None, body: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/html; charset=utf-8")
    who = demo_text.WIKI_NOBODY if user is None else demo_text.WIKI_USER.format(user=escape(user))
    return demo_text.WIKI_FRAME.format(who=who, body=body).encode()
