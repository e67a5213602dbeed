"""What the pages of operators are made of, whatever the service is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from porttunnel.net.bounded_request import BoundedRequest

__all__ = ["NO_METRICS", "TextResource", "format_page", "make_site", "prepare"]

NO_METRICS = (
    "There are no metrics, because prometheus-client is not installed. "
    "Run: pip install 'porttunnel[metrics]' and start the server again.\n"
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<h1>{title}</h1>
<p>{state}</p>
<table>
{rows}
</table>
<p><a href="metrics">metrics</a> · <a href="healthz">healthz</a> · <a href="readyz">readyz</a></p>
</html>
"""


class _RootResource(Resource):
    """Has its children and nothing else."""

    def __init__(self) -> None:
        Resource.__init__(self)

    def getChild(self, path: bytes, request: Request) -> Any:
        return notFound()


class TextResource(Resource):
    """Answers with what ``text`` returns: a status code and a text."""

    isLeaf = True

    def __init__(
        self, text: Callable[[], tuple[int, str]], content_type: str = "text/plain"
    ) -> None:
        Resource.__init__(self)
        self._text = text
        self._content_type = content_type

    def render_GET(self, request: Request) -> bytes:
        code, text = self._text()
        prepare(request, code, self._content_type)
        return text.encode("utf-8")


def make_site(
    reactor: Any,
    *,
    page: Callable[[], str],
    ready: Resource,
    metrics: Callable[[], tuple[int, str]],
) -> Site:
    """The pages of a service.

    :param reactor: for time-outs.
    :param page: makes the status page (:func:`format_page`).
    :param ready: answers whether users may be sent here.
    :param metrics: a status code, and the figures for Prometheus.
    """
    root = _RootResource()
    root.putChild(b"", TextResource(lambda: (200, page()), "text/html; charset=utf-8"))
    root.putChild(b"healthz", TextResource(lambda: (200, "ok\n")))
    root.putChild(b"readyz", ready)
    root.putChild(b"metrics", TextResource(metrics))
    # No line for each look: a monitor that comes every few seconds would fill the log.
    # Whoever can open the port could fill the disk with a body that nobody wants.
    return Site(root, requestFactory=BoundedRequest, logPath=os.devnull, reactor=reactor)


def format_page(title: str, state: str, numbers: Mapping[str, int]) -> str:
    """The status page as HTML; nothing in it comes from users."""
    rows = "\n".join(
        f"<tr><th scope=row>{name}</th><td>{number}</td></tr>" for name, number in numbers.items()
    )
    return _PAGE.format(title=title, state=state, rows=rows)


def prepare(request: Request, code: int, content_type: str = "text/plain") -> None:
    """Begin an answer that nobody is to keep."""
    request.setResponseCode(code)
    request.setHeader(b"content-type", content_type.encode("ascii"))
    request.setHeader(b"cache-control", b"no-store")
