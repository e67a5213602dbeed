"""What the loopback proxy says itself: why there is no answer of the web system.

Each page says what happened, whether the request may have been carried out, and what to do.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from http import HTTPStatus

from porttunnel.errors import (
    DeviceRevoked,
    PorttunnelError,
    RequestFailed,
    RequestFailureCode,
)
from porttunnel.gateway.http_head import Fields, ResponseHead
from porttunnel.net.device.proxy_rule import Objection

__all__ = ["ProxyPage", "page_of_error", "page_of_fault", "page_of_objection"]

_CODES = RequestFailureCode
_STATUSES = {
    _CODES.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    _CODES.REFUSED: HTTPStatus.SERVICE_UNAVAILABLE,
    _CODES.TIMED_OUT: HTTPStatus.GATEWAY_TIMEOUT,
    _CODES.WAITING: HTTPStatus.FORBIDDEN,
    _CODES.REVOKED: HTTPStatus.FORBIDDEN,
}
_NOT_DONE = "Nothing was done at the web system."
_FAULTS = {
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The head of the request is too long.",
    HTTPStatus.NOT_IMPLEMENTED: "The request is encoded in a way that is not understood.",
}
_OBJECTIONS = {
    Objection.FOREIGN_HOST: (
        "The request is for another host than this one, as happens when a web page tries to reach "
        "your machine under a false name. Write the address as porttunnel device serve shows it."
    ),
    Objection.FOREIGN_PAGE: (
        "A page of another site asked for this. From there only links can be followed. Open the "
        "page yourself if you want it."
    ),
}


@dataclass(frozen=True, slots=True)
class ProxyPage:
    """A page of the proxy's own.

    :ivar status: of HTTP.
    :ivar sentences: what there is to say.
    :ivar fields: more fields of its head.
    """

    status: HTTPStatus
    sentences: tuple[str, ...]
    fields: Fields = ()

    def encode(self, accept: bytes) -> tuple[ResponseHead, bytes]:
        """Head and content.

        :param accept: what the client says it wants: browsers get HTML, programs plain text.
        """
        if b"text/html" in accept.lower():
            kind, body = b"text/html", self._format_html()
        else:
            kind, body = b"text/plain", "\n".join((*self.sentences, ""))
        content = body.encode()
        fields = (
            (b"content-type", kind + b"; charset=utf-8"),
            (b"content-length", b"%d" % len(content)),
            (b"cache-control", b"no-store"),
            (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
            *self.fields,
        )
        return ResponseHead(self.status, fields), content

    def _format_html(self) -> str:
        title = html.escape(f"{self.status.value} {self.status.phrase}")
        paragraphs = "\n".join(f"<p>{html.escape(each)}</p>" for each in self.sentences)
        return _HTML.format(title=title, paragraphs=paragraphs)


def page_of_error(error: PorttunnelError) -> ProxyPage:
    """Why there is no response. The error's own text says whether it may have been carried out."""
    if isinstance(error, DeviceRevoked):
        return ProxyPage(HTTPStatus.FORBIDDEN, (str(error),))
    status = HTTPStatus.BAD_GATEWAY
    if isinstance(error, RequestFailed):
        status = _STATUSES.get(error.code, status)
    return ProxyPage(status, (str(error),))


def page_of_objection(objection: Objection) -> ProxyPage:
    """Why a request was not passed on."""
    status = HTTPStatus.FORBIDDEN
    if objection is Objection.FOREIGN_HOST:
        status = HTTPStatus.MISDIRECTED_REQUEST
    return ProxyPage(status, (_OBJECTIONS[objection],))


def page_of_fault(status: int, sentence: str | None = None) -> ProxyPage:
    """What came is no request that can be passed on.

    :param status: of HTTP.
    :param sentence: what is wrong, if more is known than the status tells.
    """
    status = HTTPStatus(status)
    said = sentence or _FAULTS.get(status, "What came is no request of HTTP/1.1.")
    return ProxyPage(status, (said, _NOT_DONE))


_HTML = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font: 1.1em/1.5 sans-serif; margin: 3em auto; max-width: 36em; padding: 0 1em }}
</style>
<h1>{title}</h1>
{paragraphs}
<p><small>This page comes from porttunnel on your own machine, not from the web system.</small></p>
</html>
"""
