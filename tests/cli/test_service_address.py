"""How services are written for people and programs."""

from __future__ import annotations

import pytest

from porttunnel.cli.service_address import (
    format_address,
    format_host_port,
    format_services,
    is_port,
    is_web,
)
from porttunnel.session.record import Service


@pytest.mark.parametrize(
    ("name", "kind", "web"),
    [
        ("web", "tcp", True),
        ("Wiki2", "tcp", True),
        ("anything", "dir", True),
        ("db", "tcp", False),
        ("web", "socks", False),
    ],
)
def test_browsers_are_for_web_sites(name: str, kind: str, web: bool) -> None:
    assert is_web(Service(name=name, kind=kind)) is web


def test_only_plain_ports_are_forwarded() -> None:
    assert [is_port(Service(name="x", kind=kind)) for kind in ("tcp", "dir", "socks", "new")] == [
        True,
        True,
        False,
        False,
    ]


def test_addresses() -> None:
    assert format_host_port("::1", 80) == "[::1]:80"
    assert format_address(Service(name="db", kind="tcp"), "127.0.0.1", 5432) == "127.0.0.1:5432"
    assert format_address(Service(name="web", kind="tcp"), "::1", 80) == "http://[::1]:80/"


def test_lists() -> None:
    assert format_services([Service(name="a", kind="tcp"), Service(name="b", kind="dir")]) == (
        "a, b"
    )
    assert format_services([]) == "nothing"
