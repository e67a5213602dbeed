"""The tunnel server's settings: defaults, then a TOML file, then the command line."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from porttunnel.errors import ConfigurationError
from porttunnel.net.proxied_address import TrustedProxies
from porttunnel.services.config_file import ADMIN_OFF, find_data_path, read_config
from porttunnel.services.server_gateway_config import GatewaySettings
from porttunnel.services.server_limit_config import LimitSettings

__all__ = [
    "DEFAULT_ADMIN",
    "DEFAULT_LISTEN",
    "GatewaySettings",
    "LimitSettings",
    "ProxySettings",
    "ServerSettings",
    "load_settings",
]

DEFAULT_LISTEN = "tcp:4663"
DEFAULT_ADMIN = "tcp:9463:interface=127.0.0.1"
_IN_NO_NAME = re.compile(r"[\s/@#?\[\]\\:]")


class ProxySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The table ``[proxy]``.

    :ivar trusted: addresses and networks of proxies whose connections begin with a PROXY header,
        or ``unix`` for UNIX sockets. It is required of them, and taken from nobody else.
    """

    trusted: tuple[str, ...] = ()


class ServerSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the file may hold, and what the server is built from.

    :ivar listen: Twisted's endpoint strings.
    :ivar data_dir: where the book of sessions and the server's key are kept.
    :ivar admin: the endpoint string of health, metrics and status; empty or ``off`` for none.
    :ivar public_name: the host name that people shall use, if it is not this machine's own.
    :ivar limits: how much of everything.
    :ivar proxy: who says who its clients are.
    :ivar gateway: see there.
    """

    listen: Annotated[tuple[str, ...], Meta(min_length=1)] = (DEFAULT_LISTEN,)
    data_dir: str = ""
    admin: str = DEFAULT_ADMIN
    public_name: str = ""
    limits: LimitSettings = LimitSettings()
    proxy: ProxySettings = ProxySettings()
    gateway: GatewaySettings = GatewaySettings()

    @property
    def data_path(self) -> Path:
        """The data folder: as set, from ``$PORTTUNNEL_DATA``, or the platform's."""
        return find_data_path(self.data_dir)

    @property
    def has_admin(self) -> bool:
        """Whether there are admin pages."""
        return self.admin not in ADMIN_OFF


def load_settings(
    config: str | None, listen: list[str], data_dir: str | None, admin: str | None
) -> ServerSettings:
    """Put the settings together; what is None or empty was not said on the command line.

    :param config: the TOML file.
    :param listen: replaces all of the file's listeners.
    :raises ConfigurationError: the file can't be read, or says something that is no setting.
    """
    said = read_config(config)
    if listen:
        said["listen"] = listen
    if data_dir is not None:
        said["data_dir"] = data_dir
    if admin is not None:
        said["admin"] = admin
    try:
        settings = msgspec.convert(said, ServerSettings)
        TrustedProxies(settings.proxy.trusted)  # now, not when somebody comes
        _check_name(settings.public_name)
    except (msgspec.ValidationError, ConfigurationError) as error:
        raise ConfigurationError(f"{config}: {error}; correct the file") from error
    return settings


def _check_name(public_name: str) -> None:
    if not _IN_NO_NAME.search(public_name):
        return
    try:
        ipaddress.IPv6Address(public_name)
    except ValueError:
        raise ConfigurationError(
            f"public_name {public_name!r} is no host name; write it as tunnel.example.com, "
            "without https:// and port"
        ) from None
