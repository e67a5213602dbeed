"""What people see who open the gateway's address, or a pairing's, in a browser.

No scripts, nothing from elsewhere: what stands behind the # of a pairing's address is read by
nobody here.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request

from porttunnel.net.admin_page import prepare

__all__ = ["PageResource", "pair_page", "root_page"]

_FIELDS = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
{text}
</html>
"""
_ROOT_TEXT = """<p>This is a server of porttunnel. It passes on what others have sealed, and can
read none of it.</p>
<ul>
<li>To join a session somebody gave you a code. Run: <code>porttunnel join</code></li>
<li>To pair a device you were shown a picture. Run: <code>porttunnel device pair</code></li>
</ul>"""
_PAIR_TEXT = """<p>You have opened an address that pairs a device with a system behind this
gateway. What stands in it behind the <code>#</code> is the secret of that pairing: your browser
has kept it to itself, and this page does not look at it.</p>
<p>To pair this device:</p>
<ol>
<li>Install porttunnel on it.</li>
<li>Run <code>porttunnel device pair</code> and paste the whole address, or give it the picture:
<code>porttunnel device pair picture.png</code></li>
<li>Type the six digits that it shows where you were shown the picture, if you are asked for
them.</li>
</ol>
<p>Whoever has the address can do this in your place. Show it to nobody, and close this page.</p>
"""


class PageResource(Resource):
    """One page.

    :param title: as HTML.
    :param text: as HTML.
    """

    isLeaf = True

    def __init__(self, title: str, text: str) -> None:
        Resource.__init__(self)
        self._content = _PAGE.format(title=title, text=text).encode("utf-8")

    def render_GET(self, request: Request) -> bytes:
        prepare(request, 200, "text/html; charset=utf-8")
        for name, value in _FIELDS.items():
            request.setHeader(name, value)
        return self._content


def root_page() -> PageResource:
    """What stands at ``/``."""
    return PageResource("porttunnel", _ROOT_TEXT)


def pair_page() -> PageResource:
    """What a phone opens that was pointed at a pairing's picture."""
    return PageResource("Pair a device", _PAIR_TEXT)
