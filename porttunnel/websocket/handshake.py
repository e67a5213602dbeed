"""The opening handshake: a request's head, who is let in on which terms, and the answer.

Source: RFC 6455, sections 4.2 and 4.4. Of HTTP (RFC 9112, sections 2 to 6) it takes only what a
WebSocket client has to send, and that strictly: what proxies might read in two ways is refused.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha1

from porttunnel.errors import ConfigurationError

__all__ = [
    "MAX_REQUEST_BYTES",
    "UPGRADE_REQUIRED",
    "Accepted",
    "Refused",
    "Request",
    "RequestReader",
    "Terms",
    "accept_value",
    "negotiate",
    "parse_request",
]

MAX_REQUEST_BYTES = (
    8_192  # of the head: what browsers send at most, cookies included, more or less
)
VERSION = "13"  # of WebSocket; there is no other one in use
UPGRADE_REQUIRED = 426

_KEY_BYTES = 16
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HEAD_END = b"\r\n\r\n"
_LONE_BREAK = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-\"$-~]+) HTTP/1\.([0-9])")
# Blanks before a value are not tried as its beginning too (`*+`): that would take quadratic time.
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*)")
_TARGET = re.compile(r"(?:(?:https?|wss?)://[^/?]+)?(/[^?]*)?(?:\?(.*))?", re.IGNORECASE)
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head.

    :ivar method: as it was sent.
    :ivar target: path and query, as they were sent.
    :ivar minor_version: of HTTP/1.
    :ivar fields: the header, by names in lower case; cookies and passwords are in it.
    """

    method: str
    target: str
    minor_version: int
    fields: Mapping[str, tuple[str, ...]] = field(repr=False)

    def values(self, name: str) -> tuple[str, ...]:
        """All values of a field, as they were sent; the name is in lower case."""
        return self.fields.get(name, ())

    def elements(self, name: str) -> list[str]:
        """What a field lists, separated by commas, in one line or several."""
        listed = ",".join(self.values(name)).split(",")
        return [element for part in listed if (element := part.strip(" \t"))]

    @property
    def path(self) -> str:
        """The target's path; percent signs are left as they are."""
        return self._target_part(1) or "/"

    @property
    def query(self) -> str:
        """What follows the target's question mark."""
        return self._target_part(2)

    def _target_part(self, number: int) -> str:
        found = _TARGET.fullmatch(self.target)
        return (found[number] or "") if found else ""


@dataclass(frozen=True, slots=True)
class Terms:
    """Who is let in.

    :ivar subprotocols: those that are spoken here, the preferred one first. A client that offers
        none of them is refused; without any it is let in, and none is agreed on.
    :ivar origins: the web pages whose scripts may connect, as ``https://example.org``, or None
        for all. A request without an Origin is no browser's, and is let in.
    :ivar path: the only path that there is, or None for all.
    :raises ConfigurationError: one of them can't be right.
    """

    subprotocols: tuple[str, ...] = ()
    origins: frozenset[str] | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        for name in self.subprotocols:
            if not _TOKEN.fullmatch(name):
                raise ConfigurationError(f"{name!r} can't be a subprotocol: it has to be a token")
        for origin in self.origins or ():
            if not _ORIGIN.fullmatch(origin):
                raise ConfigurationError(
                    f"{origin!r} is not an origin: write scheme, host and port as in "
                    "https://example.org:8443, without a path"
                )
        if self.path is not None and not self.path.startswith("/"):
            raise ConfigurationError(f"{self.path!r} is not a path: it has to begin with /")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client may come in.

    :ivar request: what it sent.
    :ivar subprotocol: what both will speak, or None.
    """

    request: Request
    subprotocol: str | None

    def answer(self) -> bytes:
        """What the client is sent."""
        (key,) = self.request.values("sec-websocket-key")
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept_value(key)}",
        ]
        if self.subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {self.subprotocol}")
        return "\r\n".join((*lines, "", "")).encode("ascii")


@dataclass(frozen=True, slots=True)
class Refused:
    """The client may not come in.

    :ivar status: of HTTP.
    :ivar phrase: that belongs to it, in ASCII.
    :ivar text: what is wrong and what to do, for people.
    :ivar fields: of the answer's header that belong to this status, in ASCII.
    :ivar head_only: the request was HEAD: the answer has no body.
    """

    status: int
    phrase: str
    text: str
    fields: tuple[tuple[str, str], ...] = ()
    head_only: bool = False

    def answer(self) -> bytes:
        """What the client is sent; the connection ends after it."""
        body = f"{self.text}\n".encode()
        lines = [
            f"HTTP/1.1 {self.status} {self.phrase}",
            *(f"{name}: {value}" for name, value in self.fields),
            f"Connection: {'Upgrade, close' if self.status == UPGRADE_REQUIRED else 'close'}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
        ]
        head = "\r\n".join((*lines, "", "")).encode("ascii")
        return head if self.head_only else head + body


class RequestReader:
    """Waits for a request's head, at most :data:`MAX_REQUEST_BYTES`.

    :ivar rest: what came after it, once it is there.
    """

    __slots__ = ("_head", "rest")

    def __init__(self) -> None:
        self._head = b""
        self.rest = b""

    def read(self, data: memoryview) -> Request | Refused | None:
        """The request, or why there is none, or None while its head has not come whole.

        :param data: the next bytes of the client.
        """
        head = self._head + data[: MAX_REQUEST_BYTES + 1]
        found = head.find(_HEAD_END, 0, MAX_REQUEST_BYTES)
        if found >= 0:
            end = found + len(_HEAD_END)
            self.rest = bytes(data[end - len(self._head) :])
            self._head = b""
            return parse_request(head[:found])
        # What a line of its own ends with can't become right, so nobody has to wait for more.
        if _LONE_BREAK.search(head, max(0, len(self._head) - 1)):
            return _malformed()
        if len(head) >= MAX_REQUEST_BYTES:
            text = f"The request's head is too long. Send less than {MAX_REQUEST_BYTES} bytes."
            return Refused(431, "Request Header Fields Too Large", text)
        self._head = head
        return None


def parse_request(head: bytes) -> Request | Refused:
    """Read a request's head.

    :param head: without the empty line that ends it.
    """
    if _LONE_BREAK.search(head):
        return _malformed()
    line, *lines = head.decode("latin-1").split("\r\n")
    request_line = _REQUEST_LINE.fullmatch(line)
    if request_line is None:
        return _malformed()
    fields: dict[str, tuple[str, ...]] = {}
    for text in lines:
        found = _FIELD.fullmatch(text)
        if found is None:
            return _malformed()
        name = found[1].lower()
        fields[name] = (*fields.get(name, ()), found[2].rstrip(" \t"))
    return Request(request_line[1], request_line[2], int(request_line[3]), fields)


def negotiate(request: Request, terms: Terms) -> Accepted | Refused:
    """Whether the client may come in."""
    return (
        _refuse_request(request, terms)
        or _refuse_upgrade(request)
        or _refuse_origin(request, terms)
        or _agree(request, terms)
    )


def accept_value(key: str) -> str:
    """What proves to a client that the server has read its Sec-WebSocket-Key as such."""
    digest = sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return b64encode(digest).decode("ascii")


def _refuse_request(request: Request, terms: Terms) -> Refused | None:
    """As any HTTP server would."""
    if request.method != "GET":
        return Refused(
            405,
            "Method Not Allowed",
            "This is a WebSocket service. Open it with GET, by a WebSocket client.",
            (("Allow", "GET"),),
            head_only=request.method == "HEAD",
        )
    if len(request.values("host")) != 1:
        return _bad("The request names no host, or several. Send one Host field.")
    if _TARGET.fullmatch(request.target) is None:
        return _bad("The request's target is not a path. Check the address.")
    if request.values("transfer-encoding") or set(request.values("content-length")) - {"0"}:
        return _bad("The request has a body. A WebSocket handshake has none.")
    if terms.path is not None and request.path != terms.path:
        return Refused(404, "Not Found", "There is nothing at this path. Check the address.")
    return None


def _refuse_upgrade(request: Request) -> Refused | None:
    """Whoever asks for something else than WebSocket, or asks wrongly."""
    upgrade = [name.lower() for name in request.elements("upgrade")]
    connection = [name.lower() for name in request.elements("connection")]
    if not request.minor_version or "websocket" not in upgrade or "upgrade" not in connection:
        return _upgrade_required(
            "This is a WebSocket service. Use a WebSocket client (ws:// or wss://), and if there "
            "is a proxy in between, tell it to pass on the Upgrade and Connection fields."
        )
    if request.values("sec-websocket-version") != (VERSION,):
        return _upgrade_required(f"This server speaks version {VERSION} of WebSocket only.")
    keys = request.values("sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        return _bad("The request has no Sec-WebSocket-Key, or one that isn't 16 bytes in base64.")
    return None


def _refuse_origin(request: Request, terms: Terms) -> Refused | None:
    """A browser's user may have opened a page that means harm to this server."""
    origins = request.values("origin")
    if len(origins) > 1:
        return _bad("The request has several origins. Send one, or none.")
    if terms.origins is None or not origins:
        return None
    if origins[0].lower() in {origin.lower() for origin in terms.origins}:
        return None
    return Refused(
        403,
        "Forbidden",
        "Pages of this origin may not connect here. The server's operator can allow it.",
    )


def _agree(request: Request, terms: Terms) -> Accepted | Refused:
    """On a subprotocol."""
    offered = request.elements("sec-websocket-protocol")
    if len(offered) != len(set(offered)) or not all(map(_TOKEN.fullmatch, offered)):
        return _bad("The request's Sec-WebSocket-Protocol is not a list of different names.")
    if not terms.subprotocols:
        return Accepted(request, None)
    for name in terms.subprotocols:
        if name in offered:
            return Accepted(request, name)
    return _bad(
        "The client offers no subprotocol that is spoken here. "
        f"Offer this in Sec-WebSocket-Protocol: {', '.join(terms.subprotocols)}"
    )


def _is_key(value: str) -> bool:
    try:
        return len(a2b_base64(value, strict_mode=True)) == _KEY_BYTES
    except ValueError:
        return False


def _upgrade_required(text: str) -> Refused:
    fields = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION))
    return Refused(UPGRADE_REQUIRED, "Upgrade Required", text, fields)


def _bad(text: str) -> Refused:
    return Refused(400, "Bad Request", text)


def _malformed() -> Refused:
    return _bad("This is not a request of HTTP/1.1. Check the address and the program.")
