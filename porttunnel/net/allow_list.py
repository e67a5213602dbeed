"""Which addresses a SOCKS proxy of ours may lead to. Nothing is allowed that is not listed.

A rule by address decides on addresses only: who asks for a name gets what the name resolves to
checked, and is connected to the very address that was checked. Thus nobody who can write into
some zone of the DNS gets past such a rule.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from porttunnel.errors import ConfigurationError

__all__ = ["AllowList", "parse_address"]

MAX_PORT = 65_535
MAX_NAME_CHARACTERS = 253  # a host name's, in the DNS

_NAME = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_address(text: str) -> Address | None:
    """The address that a text spells, or None if it is a name.

    An IPv4 address in IPv6 clothes (``::ffff:127.0.0.1``) is the IPv4 address: the kernel connects
    to that one, so the rules for that one decide.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@dataclass(frozen=True, slots=True)
class _NetworkRule:
    network: Network
    port: int | None

    def allows(self, address: Address, port: int) -> bool:
        # `in` raises for an address of the other version.
        same = address.version == self.network.version
        return same and address in self.network and self.port in (None, port)


@dataclass(frozen=True, slots=True)
class _NameRule:
    name: str  # lower case; for a wildcard what follows the star, with its dot
    wildcard: bool
    port: int | None

    def allows(self, name: str, port: int) -> bool:
        fits = name.endswith(self.name) if self.wildcard else name == self.name
        return fits and self.port in (None, port)


class AllowList:
    """Rules of the forms ``HOST``, ``HOST:PORT``, ``CIDR``, ``CIDR:PORT``, ``*.DOMAIN[:PORT]``.

    :param rules: at least one. An IPv6 address or network with a port stands in brackets.
    :raises ConfigurationError: a rule has none of these forms, or there is none.
    """

    def __init__(self, rules: Sequence[str]) -> None:
        if not any(rule.strip() for rule in rules):
            raise ConfigurationError(
                "A SOCKS proxy needs to be told where it may lead: a host (db.example), a network "
                "(192.168.0.0/16), *.DOMAIN, each with :PORT after it if you like."
            )
        self._networks: list[_NetworkRule] = []
        self._names: list[_NameRule] = []
        for rule in rules:
            self._add(rule)

    @property
    def has_networks(self) -> bool:
        """Whether an unlisted name could still be allowed, by its addresses."""
        return bool(self._networks)

    def allows_address(self, address: Address, port: int) -> bool:
        """Whether connections to this address and port are allowed."""
        return any(rule.allows(address, port) for rule in self._networks)

    def allows_name(self, name: str, port: int) -> bool:
        """Whether connections to this name are allowed, wherever it leads."""
        name = name.lower().rstrip(".")
        return any(rule.allows(name, port) for rule in self._names)

    def _add(self, rule: str) -> None:
        host, port = _split_port(rule)
        try:
            self._networks.append(_NetworkRule(ipaddress.ip_network(host), port))
            return
        except ValueError:
            pass
        name = host.lower().rstrip(".")
        # A last label of digits is an address with a fault in it, which the system's resolver
        # might still take for one ("127.1").
        if (
            not _NAME.fullmatch(name)
            or len(name) > MAX_NAME_CHARACTERS
            or name.rpartition(".")[2].isdecimal()
        ):
            raise _bad_rule(rule)
        wildcard = name.startswith("*.")
        self._names.append(_NameRule(name[1:] if wildcard else name, wildcard, port))


def _split_port(rule: str) -> tuple[str, int | None]:
    text = rule.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        # The prefix length of a network stands inside the brackets or after them.
        prefix, colon, port = rest.partition(":")
        if not bracket or (prefix and not prefix.startswith("/")):
            raise _bad_rule(rule)
        host += prefix
    elif text.count(":") > 1:
        return text, None  # IPv6
    else:
        host, colon, port = text.partition(":")
    if not colon:
        return host, None
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= MAX_PORT):
        raise _bad_rule(rule)
    return host, int(port)


def _bad_rule(rule: str) -> ConfigurationError:
    return ConfigurationError(
        f"{rule!r} does not say where a SOCKS proxy may lead: write HOST, HOST:PORT, a network "
        "(10.0.0.0/8, [fd00::/8]:443; no bits set after the prefix) or *.DOMAIN[:PORT]."
    )
