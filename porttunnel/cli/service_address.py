"""How services and their addresses are written for people and programs."""

from __future__ import annotations

from collections.abc import Iterable

from porttunnel.cli import text
from porttunnel.session.record import Service

__all__ = ["format_address", "format_host_port", "format_services", "is_port", "is_web"]

_WEB_NAMES = ("web", "www", "http", "wiki", "site", "docs")
_PORT_KINDS = ("tcp", "dir")


def is_port(service: Service) -> bool:
    """Whether any program can be pointed at a port that leads to it."""
    return service.kind in _PORT_KINDS


def is_web(service: Service) -> bool:
    """Whether a browser is what one would look at it with; for ports, by the name."""
    return service.kind == "dir" or (
        service.kind == "tcp" and service.name.lower().startswith(_WEB_NAMES)
    )


def format_host_port(host: str, port: int) -> str:
    """``127.0.0.1:8000``, ``[::1]:8000``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def format_address(service: Service, host: str, port: int) -> str:
    """What a person can use: a link for the browser, or host and port."""
    address = format_host_port(host, port)
    return f"http://{address}/" if is_web(service) else address


def format_services(services: Iterable[Service]) -> str:
    """``web, db``."""
    return ", ".join(service.name for service in services) or text.NOTHING_SHARED
