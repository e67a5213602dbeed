"""Which fields pass between devices and the web system.

See docs/agent, "What the agent passes on". Names are compared in lower case, with
everything but letters and digits read as ``-``: behind CGI, ``X_Remote_User`` and
``X.Remote.User`` become the same variable as ``X-Remote-User``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from porttunnel.gateway.http_head import Fields

__all__ = ["compare_name", "find_values", "keep_answered", "keep_asked"]

_HOP_BY_HOP = {
    b"connection",
    b"http2-settings",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}

_NOT_ASKED = _HOP_BY_HOP | {
    # Who asks, and with what right: the instance says that.
    b"authorization",
    b"cookie",
    b"cookie2",
    # From where, and where to.
    b"cdn-loop",
    b"cf-connecting-ip",
    b"client-ip",
    b"fastly-client-ip",
    b"forwarded",
    b"front-end-https",
    b"host",
    b"true-client-ip",
    b"via",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-forwarded",
    b"x-host",
    b"x-http-host-override",
    b"x-originating-ip",
    b"x-real-ip",
    # What would go around the lists of methods and paths.
    b"destination",
    b"x-accel-mapping",
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-rewrite-url",
    b"x-script-name",
    b"x-sendfile-type",
    # The length is told by what follows; nobody waits for a 100; HTTP_PROXY is a variable that
    # programs behind CGI take for a setting.
    b"content-length",
    b"expect",
    b"proxy",
    # Of a handshake that each side makes with its own neighbour.
    b"sec-websocket-accept",
    b"sec-websocket-key",
    b"sec-websocket-version",
}
_NOT_ASKED_BEGINNINGS = (
    # Where proxies tell the user's name they tell groups and rights beside it (X-Remote-Group).
    b"remote-",
    b"x-auth-request-",
    b"x-authenticated-",
    b"x-authentik-",
    b"x-remote-",
    b"x-webauth-",
    b"client-cert",
    b"ssl-client-",
    b"x-client-cert",
    b"x-ssl-",
    b"x-envoy-",
    b"x-forwarded-",
    b"x-original-",
)

_NOT_ANSWERED = _HOP_BY_HOP | {
    # These would be remembered about an address that is only a loopback port.
    b"alt-svc",
    b"expect-ct",
    b"public-key-pins",
    b"public-key-pins-report-only",
    b"strict-transport-security",
    # Cookies are kept for the device; what it could answer to a challenge is not passed on.
    b"set-cookie",
    b"set-cookie2",
    b"www-authenticate",
    b"authentication-info",
    b"sec-websocket-accept",
}

_NOT_LETTERS = re.compile(rb"[^a-z0-9]")


def compare_name(name: bytes) -> bytes:
    """The form in which names of fields are compared."""
    return _NOT_LETTERS.sub(b"-", name.lower())


def find_values(fields: Fields, name: bytes) -> list[bytes]:
    """All values of a field.

    :param name: in lower case.
    """
    return [value for found, value in fields if found == name]


def keep_asked(fields: Fields, identity: Iterable[bytes] = ()) -> Fields:
    """What a device may say to the web system.

    :param fields: of a request, or its trailers.
    :param identity: names of fields that only the instance sets.
    """
    gone = _NOT_ASKED | _named(fields) | {compare_name(name) for name in identity}
    return tuple(
        (name, value)
        for name, value in fields
        if (compared := compare_name(name)) not in gone
        and not compared.startswith(_NOT_ASKED_BEGINNINGS)
        and not name.startswith(b":")
    )


def keep_answered(fields: Fields) -> Fields:
    """What the web system may say to a device.

    :param fields: of a response, or its trailers.
    """
    gone = _NOT_ANSWERED | _named(fields)
    return tuple((name, value) for name, value in fields if compare_name(name) not in gone)


def _named(fields: Fields) -> set[bytes]:
    """What Connection names: meant for the next hop only."""
    values = b",".join(find_values(fields, b"connection"))
    return {compare_name(name.strip()) for name in values.split(b",") if name.strip()}
