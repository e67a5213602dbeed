"""Whom the loopback proxy serves: programs of this machine, and pages that it served itself.

A browser sends whatever any web page asks for to 127.0.0.1 as well. Two things tell such requests
from the user's own: Host, which names another site when its name was made to lead here (DNS
rebinding), and what the browser says of who asks (Fetch Metadata, and Origin where that is
missing). A link from elsewhere may be followed; nothing else comes in from outside.
"""

from __future__ import annotations

from enum import Enum

from porttunnel.gateway.http_head import Fields

__all__ = ["HOST_NAMES", "Objection", "find_field", "find_objection", "own_authorities"]

HOST_NAMES = (b"127.0.0.1", b"localhost")  # how browsers may call where the proxy listens
HTTP_PORT = 80  # needs not be written

_OWN_SITES = (b"same-origin", b"none")  # the page itself; the address bar and bookmarks
_SAFE_METHODS = (b"GET", b"HEAD")


class Objection(Enum):
    """Why a request is not passed on."""

    FOREIGN_HOST = "it names another host"
    FOREIGN_PAGE = "a page of another site asks for it"


def own_authorities(port: int) -> frozenset[bytes]:
    """What Host may say.

    :param port: where the proxy listens.
    """
    with_port = frozenset(b"%s:%d" % (name, port) for name in HOST_NAMES)
    return with_port | frozenset(HOST_NAMES) if port == HTTP_PORT else with_port


def find_field(fields: Fields, name: bytes) -> bytes | None:
    """The value of the only field of this name; None if there is none, or more than one.

    :param name: in lower case.
    """
    values = [value for found, value in fields if found == name]
    return values[0] if len(values) == 1 else None


def find_objection(
    method: bytes, authority: bytes, fields: Fields, own: frozenset[bytes]
) -> Objection | None:
    """Why a request may not be passed on; None if it may.

    :param authority: of Host, or of the target if it names one.
    :param fields: of its head.
    :param own: what ``authority`` may be.
    """
    if authority.lower() not in own:
        return Objection.FOREIGN_HOST
    if not _is_own(method, authority.lower(), fields):
        return Objection.FOREIGN_PAGE
    return None


def _is_own(method: bytes, authority: bytes, fields: Fields) -> bool:
    said = {name for name, _ in fields}
    if b"sec-fetch-site" in said:
        site = find_field(fields, b"sec-fetch-site")
        return site in _OWN_SITES or (method in _SAFE_METHODS and _is_navigation(fields))
    # No browser of today, or one that opens a WebSocket; programs say nothing of the kind.
    if b"origin" in said:
        return find_field(fields, b"origin") == b"http://" + authority
    return True


def _is_navigation(fields: Fields) -> bool:
    """Whether a tab or window goes there as a whole: in a frame a page could hide it."""
    return (
        find_field(fields, b"sec-fetch-mode") == b"navigate"
        and find_field(fields, b"sec-fetch-dest") == b"document"
    )
