"""porttunnel.net.instance.upstream_setting: what a file may say, and where it leads."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.forward_identity import UserCredentials
from porttunnel.gateway.forward_origin import Origin
from porttunnel.net.instance.upstream_setting import UpstreamSettings

PIN = "sha256-" + "A" * 43


@pytest.mark.parametrize(
    ("origin", "expected", "private"),
    [
        ("http://wiki.example", Origin(b"http", b"wiki.example", 80), False),
        ("http://wiki.example:8080/", Origin(b"http", b"wiki.example", 8080), False),
        ("http://127.0.0.2:8080", Origin(b"http", b"127.0.0.2", 8080), True),
        ("http://[::1]:8080", Origin(b"http", b"[::1]", 8080), True),
        ("http://10.0.0.1", Origin(b"http", b"10.0.0.1", 80), False),
        ("http://LOCALHOST", Origin(b"http", b"localhost", 80), True),
        ("http://wiki.localhost", Origin(b"http", b"wiki.localhost", 80), True),
        ("https://wiki.example", Origin(b"https", b"wiki.example", 443), True),
        (f"https://wiki.example:1#{PIN}", Origin(b"https", b"wiki.example", 1), True),
        ("unix:/run/a%20b.sock", Origin(b"http", b"localhost", 80), True),
    ],
)
def test_places(origin: str, expected: Origin, private: bool) -> None:
    place = UpstreamSettings(origin=origin).place()
    assert (place.origin, place.private) == (expected, private)
    assert place.pin == (PIN if "#" in origin else None)


def test_endpoints_lead_there() -> None:
    def endpoint(origin: str) -> Any:
        return UpstreamSettings(origin=origin).place().endpoint(reactor, 7.0)

    unix = endpoint("unix:/run/a%20b.sock")
    assert isinstance(unix, UNIXClientEndpoint)
    assert (unix._path, unix._timeout) == ("/run/a b.sock", 7.0)
    plain = endpoint("http://[::1]:8080")
    assert isinstance(plain, HostnameEndpoint)
    assert (plain._hostText, plain._port, plain._timeout) == ("::1", 8080, 7.0)
    for origin in ("https://wiki.example", f"https://wiki.example#{PIN}"):
        assert endpoint(origin)._wrappedEndpoint._port == 443


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"origin": "wiki.example"}, "no address"),
        ({"origin": "ftp://wiki.example"}, "no address"),
        ({"origin": "http://wiki.example/wiki"}, "no address"),
        ({"origin": "http://me:secret@wiki.example"}, "no address"),
        ({"origin": "http://wiki.example:99999"}, "no address"),
        ({"origin": "http://wiki.example?a"}, "no address"),
        ({"origin": "http://jürgen.example"}, "no address"),
        ({"origin": ""}, "no address"),
        ({"origin": "unix:run.sock"}, "unix:"),
        ({"origin": f"http://wiki.example#{PIN}"}, "https"),
        ({"host": "wiki/x"}, "no address"),
        ({"aliases": ("wiki.example",)}, "no address"),
        ({"methods": ("TRACE",)}, "TRACE"),
        ({"paths": ("wiki",)}, "no path"),
        ({"identity_header": "X Remote"}, "identity_header"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], text: str) -> None:
    settings = UpstreamSettings(**{"origin": "http://wiki.example"} | change)
    with pytest.raises(ConfigurationError, match=text) as caught:
        settings.rules()
    assert "secret" not in str(caught.value)


def test_a_pin_that_is_none() -> None:
    place = UpstreamSettings(origin="https://wiki.example#sha256-x").place()
    with pytest.raises(ConfigurationError, match="pin"):
        place.endpoint(reactor, 1.0)


def test_what_the_web_system_is_told() -> None:
    rules = UpstreamSettings(
        origin="http://127.0.0.1:8080",
        host="wiki.example",
        aliases=("https://wiki.example", "https://www.wiki.example"),
    ).rules()
    assert rules.origin == Origin(b"http", b"wiki.example", 80)
    assert {bytes(origin) for origin in rules.inside} == {
        b"http://127.0.0.1:8080",
        b"http://wiki.example:8080",
        b"https://wiki.example",
        b"https://www.wiki.example",
    }
    socket = UpstreamSettings(origin="unix:/run/x", host="wiki.example:8080").rules()
    assert socket.origin == Origin(b"http", b"wiki.example", 8080)


def test_who_asks() -> None:
    def header(**settings: Any) -> bytes:
        return UpstreamSettings(origin="http://wiki", **settings).rules().identity.header

    users = {"anna": UserCredentials(password="x")}
    assert header() == b"x-remote-user"
    assert header(identity_header="Remote-User") == b"remote-user"
    assert header(identity_header="") == b""
    assert header(users=users) == b""
    assert header(users=users, identity_header="X-User") == b"x-user"


def test_a_table_of_a_file() -> None:
    table = {
        "origin": "http://127.0.0.1:8080",
        "paths": ["/wiki"],
        "head_seconds": 5,
        "users": {"anna": {"login": "ann", "password": "s3cret"}},
    }
    settings = msgspec.convert(table, UpstreamSettings)
    assert settings.users["anna"].login == "ann"
    assert "s3cret" not in repr(settings)
    for wrong in ({"orign": "x"}, {"max_waiting": 0}, {"idle_seconds": 0}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(table | wrong, UpstreamSettings)
