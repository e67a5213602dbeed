"""The web system's own addresses, and how references to them are changed on the way.

A device reaches the web system under an address of its own (``http://127.0.0.1:40123``), which the
web system doesn't know; and the web system's address leads nowhere at the device. So what a
response refers to by an address of the web system's is given as a path alone, and what a request
says about where it comes from is given with the web system's address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Origin", "point_inside", "point_refresh_inside", "replace_origin"]

DEFAULT_PORTS = {b"http": 80, b"https": 443}
MAX_PORT = 65_535

_ABSOLUTE = re.compile(rb"(?:([A-Za-z][A-Za-z0-9+.-]*):)?[/\\]{2}([^/\\?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(rb"(?:[^@]*@)?(\[[0-9A-Fa-f:.]+\]|[^@:\[\]]+)(?::([0-9]{0,5}))?")
# Seconds, and what may stand before a reference; the rest; in one pass, whatever it is.
_REFRESH = re.compile(
    rb"""([0-9. \t]*[;,]?[ \t]*(?:url[ \t]*=[ \t]*)?["']?)([^"']*)(.*)""",
    re.IGNORECASE | re.DOTALL,
)
_BLANKS = bytes(range(0x21))  # what browsers cut off at both ends of a reference
_UNSEEN = b"\t\r\n"  # what they take out of its middle


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host and a port.

    :ivar host: in lower case; an IPv6 address in brackets.
    """

    scheme: bytes
    host: bytes
    port: int

    @classmethod
    def parse(cls, scheme: bytes, authority: bytes) -> Origin | None:
        """From ``host[:port]``; a user name before it is passed over. None if it is none."""
        scheme = scheme.lower()
        found = _AUTHORITY.fullmatch(authority)
        if found is None or scheme not in DEFAULT_PORTS:
            return None
        port = int(found[2]) if found[2] else DEFAULT_PORTS[scheme]
        return cls(scheme, found[1].lower(), port) if port <= MAX_PORT else None

    @property
    def authority(self) -> bytes:
        """As in a Host field: the port only if it is not the scheme's own."""
        if self.port == DEFAULT_PORTS[self.scheme]:
            return self.host
        return b"%b:%d" % (self.host, self.port)

    def __bytes__(self) -> bytes:
        return self.scheme + b"://" + self.authority


def point_inside(reference: bytes, origin: Origin, inside: frozenset[Origin]) -> bytes:
    """A reference of a response: without scheme and host if it leads to the web system.

    What leads elsewhere stays as it is, and so does what has no host.

    :param reference: as in Location.
    :param origin: which answered; its scheme counts where a reference has none.
    :param inside: the web system's origins.
    """
    seen = reference.strip(_BLANKS).translate(None, _UNSEEN)
    split = _split(seen, origin.scheme)
    if split is None or split[0] not in inside:
        return reference
    rest = split[1]
    if not rest.startswith((b"/", b"\\")):
        return b"/" + rest
    # Two slashes at the beginning would make a host of what follows them.
    return b"/." + rest if rest[1:2] in (b"/", b"\\") else rest


def point_refresh_inside(value: bytes, origin: Origin, inside: frozenset[Origin]) -> bytes:
    """The same for the reference in a Refresh field, behind its seconds."""
    return _REFRESH.sub(
        lambda found: found[1] + point_inside(found[2], origin, inside) + found[3], value, count=1
    )


def replace_origin(value: bytes, outer: Origin | None, inner: Origin) -> bytes:
    """What Origin or Referer say: with the web system's origin in place of the device's.

    :param outer: under which the device reaches the web system; None if it doesn't say.
    """
    split = _split(value, b"")
    if outer is None or split is None or split[0] != outer:
        return value
    return bytes(inner) + split[1]


def _split(reference: bytes, scheme: bytes) -> tuple[Origin | None, bytes] | None:
    """Origin and the rest; None if it has no host."""
    found = _ABSOLUTE.fullmatch(reference)
    if found is None:
        return None
    return Origin.parse(found[1] or scheme, found[2]), found[3]
