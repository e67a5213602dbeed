"""What a member shares: a name and where streams to it lead.

Source: docs/session-protocol, section 6 ("Services").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from porttunnel.errors import ConfigurationError
from porttunnel.session.record import Service

__all__ = ["Offer", "is_service_name", "parse_offer", "parse_offers"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KINDS = ("tcp", "unix", "dir", "socks")
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Offer:
    """One service.

    :param name: what clients ask for: letters, digits, ``.``, ``_``, ``-``; 64 at most.
    :param kind: ``tcp``, ``unix`` (a Twisted client endpoint string), ``dir`` (a folder, served
        as a web site), ``socks`` (a SOCKS proxy with an allow-list) or ``listen`` (streams go to
        ``session.listen(name)`` in this program).
    :param target: what follows the kind; empty for ``listen``.
    """

    name: str
    kind: str
    target: str = ""

    @property
    def service(self) -> Service:
        """As clients see it: where it leads stays here."""
        return Service(name=self.name, kind="tcp" if self.kind == "unix" else self.kind)


def is_service_name(name: str) -> bool:
    """Whether a service may be called so."""
    return _NAME.fullmatch(name) is not None


def parse_offer(text: str) -> Offer:
    """Read ``[NAME=]TARGET``.

    :param text: a target is ``8000``, ``HOST:PORT``, ``tcp:HOST:PORT``, ``unix:PATH``,
        ``dir:PATH``, ``socks:ALLOWED[,ALLOWED]``; ``NAME=`` may be left out.
    :raises ConfigurationError: none of these.
    """
    name, separator, target = text.partition("=")
    # An endpoint string may hold "=" itself (tcp:host=...): then there is no name before it.
    if not separator or not is_service_name(name):
        name, target = "", text
    kind, colon, rest = target.partition(":")
    if target.isascii() and target.isdecimal():
        kind, rest = "tcp", f"127.0.0.1:{target}"
    elif not colon or not rest:
        raise ConfigurationError(
            f"{text!r} is nothing to share: write a port (8000), HOST:PORT, tcp:HOST:PORT, "
            "unix:PATH, dir:FOLDER or socks:RULE, with NAME= before it if you like; a name has "
            "letters, digits and . _ - only."
        )
    elif kind not in KINDS:
        kind, rest = "tcp", target
    if kind == "tcp":
        _check_port(text, rest)
    return Offer(name or _default_name(kind, rest), kind, rest)


def parse_offers(texts: Iterable[str]) -> list[Offer]:
    """Read several, each with a name of its own.

    :raises ConfigurationError: one is none, or two have the same name.
    """
    offers: dict[str, Offer] = {}
    for text in texts:
        offer = parse_offer(text)
        if offer.name in offers:
            raise ConfigurationError(
                f"{offer.name!r} would be the name of two things: write another NAME= before "
                f"{text!r}."
            )
        offers[offer.name] = offer
    return [*offers.values()]


def _check_port(text: str, rest: str) -> None:
    port = rest.rpartition(":")[2] if "=" not in rest else "1"
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= MAX_PORT):
        raise ConfigurationError(f"{text!r} has no port from 1 to {MAX_PORT} at its end.")


def _default_name(kind: str, rest: str) -> str:
    if kind == "tcp":
        return f"tcp-{rest.rpartition(':')[2]}"
    return {"dir": "files", "unix": "unix", "socks": "socks"}[kind]
