"""Which methods and paths devices may use at the web system, and in what form a path is sent.

See docs/agent, "What the agent passes on". A path that two programs could read in two ways
is refused: what is matched here must be what the web system sees. Hence its escapes are decoded
once, it is written in one form, matched in that form and sent in that form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from porttunnel.errors import ConfigurationError

__all__ = ["AllowList", "Denial", "normalise_path"]

NEVER_ALLOWED = {
    "CONNECT",  # asks a proxy for a way to elsewhere
    "TRACE",  # sends back what we add for the user: an identity, a password
    "TRACK",  # the same at old servers
}

_ROOT = b"/"
_EVERYTHING = b"*"  # what OPTIONS may ask about in place of a path

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]{1,32}")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9a-f]{2})", re.IGNORECASE)
# A dot, a slash, a backslash or a control character, escaped once or more often: who decodes once
# too often would see another path than we do.
_REFUSED_ESCAPE = re.compile(rb"%(?:25)*(?:2[ef]|5c|[01][0-9a-f]|7f)", re.IGNORECASE)
_REFUSED = re.compile(rb"[\0-\x1f\x7f\\]")
# ASCII in more bytes than it takes: what old decoders of UTF-8 read as dots and slashes.
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
# What is no name: some servers cut parameters, blanks and dots off before they look what a segment
# is, and who decodes once too often cuts off escaped ones as well.
_NO_SEGMENT = re.compile(rb"(?:[. ]|%(?:25)*20)*(?:(?:;|%(?:25)*3b).*)?", re.IGNORECASE)
_TO_ENCODE = re.compile(rb"%[0-9A-Fa-f]{2}|[^!$&'()*+,;=:@/._~0-9A-Za-z-]")
_UNRESERVED = re.compile(rb"[._~0-9A-Za-z-]")


class Denial(Enum):
    """Why a request is not passed on, in words for who made it."""

    AMBIGUOUS_PATH = "The path of the request can be read in more than one way."
    MALFORMED = "The fields of the request can't be passed on as they are."
    PATH = "This path is not open to devices."
    METHOD = "This method is not open to devices."
    IDENTITY = "The device's user is not known to the web system."

    @property
    def status(self) -> int:
        """Of the answer that says so."""
        return _STATUSES[self]


_STATUSES = {
    Denial.AMBIGUOUS_PATH: 400,
    Denial.MALFORMED: 400,
    Denial.PATH: 403,
    Denial.METHOD: 405,
    Denial.IDENTITY: 403,
}


def normalise_path(path: bytes) -> bytes | None:
    """The one form of a path, or None if it could be read in more than one way.

    Refused are empty segments, segments of dots, also with blanks or a parameter behind them,
    backslashes, control characters, and escapes of any of these; overlong UTF-8; broken escapes.

    :param path: begins with a slash; without a query.
    """
    if _BROKEN_ESCAPE.search(path) or _REFUSED_ESCAPE.search(path):
        return None
    decoded = _ESCAPE.sub(_decode, path)
    if _REFUSED.search(decoded) or _OVERLONG.search(decoded):
        return None
    form = _TO_ENCODE.sub(_encode, path)
    if _REFUSED_ESCAPE.search(form):
        return None  # %25%32%65: what was escaped made an escape
    segments = form.split(b"/")[1:]
    if not segments[-1]:
        segments.pop()  # a slash at the end is no empty segment
    if any(map(_NO_SEGMENT.fullmatch, segments)):
        return None
    return form


@dataclass(frozen=True, slots=True)
class AllowList:
    """What may be asked for.

    :ivar methods: as they are written in requests.
    :ivar prefixes: paths in their one form; each stands for itself and all that is below it.
    """

    methods: frozenset[bytes]
    prefixes: tuple[bytes, ...]

    @classmethod
    def parse(cls, methods: Iterable[str], prefixes: Iterable[str]) -> AllowList:
        """From settings.

        :raises ConfigurationError: something is no method, or no path, or must not be allowed.
        """
        allowed = []
        for method in methods:
            if not _METHOD.fullmatch(method):
                raise ConfigurationError(f"{method!r} is no method; write for example GET")
            if method in NEVER_ALLOWED:
                raise ConfigurationError(f"{method} can't be allowed to devices; take it out")
            allowed.append(method.encode())
        paths = []
        for prefix in prefixes:
            path = prefix.encode()
            form = normalise_path(path) if path.startswith(_ROOT) and b"?" not in path else None
            if form is None:
                raise ConfigurationError(
                    f"{prefix!r} is no path that can be allowed; it begins with /, and has no "
                    "query, no empty segments and no dots alone"
                )
            paths.append(form)
        if not allowed or not paths:
            raise ConfigurationError("no request is allowed; name a method and a path at least")
        return cls(frozenset(allowed), tuple(paths))

    def find_target(self, method: bytes, path: bytes) -> bytes | Denial:
        """What to send as the target of a request, or why it is not sent.

        :param path: of the request's head, with its query, which is left as it is.
        """
        if method not in self.methods:
            return Denial.METHOD
        if path == _EVERYTHING:
            return path if _ROOT in self.prefixes else Denial.PATH
        path, mark, query = path.partition(b"?")
        form = normalise_path(path)
        if form is None:
            return Denial.AMBIGUOUS_PATH
        if not any(_is_below(form, prefix) for prefix in self.prefixes):
            return Denial.PATH
        return form + mark + query


def _is_below(path: bytes, prefix: bytes) -> bool:
    return path == prefix or path.startswith(prefix.removesuffix(b"/") + b"/")


def _decode(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 16)])


def _encode(found: re.Match[bytes]) -> bytes:
    """What need not be escaped isn't; what was escaped otherwise stays so, since it may differ."""
    text = found[0]
    if len(text) == 1:
        return b"%%%02X" % text[0]
    octet = bytes([int(text[1:], 16)])
    return octet if _UNRESERVED.fullmatch(octet) else text.upper()
