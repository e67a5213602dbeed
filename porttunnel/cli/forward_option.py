"""``--forward [HOST:]PORT=NAME``."""

from __future__ import annotations

from dataclasses import dataclass

import click

from porttunnel.cli import text

__all__ = ["LOOPBACK", "Forward", "parse_forward"]

MAX_PORT = 65_535
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of this machine for a service.

    :param host: the interface's address; loopback unless the user wants others to come in.
    :param port: 0 takes any free one.
    :param service: its name; None: the one that is a SOCKS proxy.
    """

    host: str
    port: int
    service: str | None


def parse_forward(value: str) -> Forward:
    """Read ``[HOST:]PORT=NAME``; an IPv6 host may stand in brackets.

    :raises click.BadParameter: it is something else.
    """
    address, equals, service = value.partition("=")
    host, colon, port = address.rpartition(":")
    if (
        not (equals and service)
        or (colon and not host)
        or not (port.isascii() and port.isdecimal() and int(port) <= MAX_PORT)
    ):
        raise click.BadParameter(text.BAD_FORWARD.format(forward=value))
    return Forward(host.strip("[]") or LOOPBACK, int(port), service)
