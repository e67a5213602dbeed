"""Which addresses a SOCKS proxy may lead to."""

from __future__ import annotations

import ipaddress

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.net.allow_list import AllowList, parse_address


def allows(rules: str, host: str, port: int = 80) -> bool:
    allowed = AllowList(rules.split(","))
    address = parse_address(host)
    if address is None:
        return allowed.allows_name(host, port)
    return allowed.allows_address(address, port)


@pytest.mark.parametrize(
    ("rules", "host", "port"),
    [
        ("db.example", "db.example", 5432),
        ("db.example", "DB.Example.", 5432),
        ("db.example:5432", "db.example", 5432),
        ("*.example.com", "a.b.example.com", 1),
        ("*.example.com:443", "www.example.com", 443),
        ("127.0.0.1", "127.0.0.1", 1),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("10.0.0.0/8", "10.255.0.1", 9),
        ("10.0.0.0/8:22", "10.1.2.3", 22),
        ("::1", "::1", 80),
        ("[::1]:80", "::1", 80),
        ("fd00::/8", "fd12::1", 80),
        ("[fd00::/8]:443", "fd12::1", 443),
        ("[fd00::]/8:443", "fd12::1", 443),
        ("a.example, b.example", "b.example", 80),
        ("127.0.0.0/8", "::ffff:127.0.0.1", 80),
    ],
)
def test_what_is_listed_is_allowed(rules: str, host: str, port: int) -> None:
    assert allows(rules, host, port)


@pytest.mark.parametrize(
    ("rules", "host", "port"),
    [
        ("db.example", "xdb.example", 80),
        ("db.example", "db.example.evil.net", 80),
        ("db.example:5432", "db.example", 5433),
        ("*.example.com", "example.com", 80),
        ("*.example.com", "evilexample.com", 80),
        ("127.0.0.1", "127.0.0.2", 80),
        ("127.0.0.1", "::1", 80),
        ("127.0.0.1:80", "127.0.0.1", 81),
        ("10.0.0.0/8:22", "10.1.2.3", 23),
        ("0.0.0.0/0", "::1", 80),
        ("::/0", "127.0.0.1", 80),
        # An IPv4 address in IPv6 clothes is judged as the IPv4 address that it leads to.
        ("::/0", "::ffff:127.0.0.1", 80),
    ],
)
def test_everything_else_is_not(rules: str, host: str, port: int) -> None:
    assert not allows(rules, host, port)


@pytest.mark.parametrize(
    "rule",
    [
        "",
        " ",
        "*",
        "*.",
        "a b",
        "-x",
        "host:",
        "host:0",
        "host:65536",
        "host:http",
        "host:²",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "300.1.1.1",
        "127.1",
        "[::1",
        "[::1]x",
        "[::1]:",
        "a.*.example",
        "x" * 254,
        "exämple",
    ],
)
def test_what_is_no_rule_says_what_is(rule: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write HOST|told where"):
        AllowList([rule])


def test_one_bad_rule_among_good_ones_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="'b:c:d'"):
        AllowList(["a", "b:c:d"])


def test_knows_whether_addresses_decide() -> None:
    assert not AllowList(["a.example"]).has_networks
    assert AllowList(["a.example", "127.0.0.1"]).has_networks


def test_a_name_is_no_address() -> None:
    assert parse_address("localhost") is None
    assert parse_address("::ffff:10.0.0.1") == ipaddress.IPv4Address("10.0.0.1")
