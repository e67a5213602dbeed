"""The tunnel server's settings: defaults, then a TOML file, then the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from porttunnel.errors import ConfigurationError
from porttunnel.net.tunnel_server import MAX_WAITING_BYTES
from porttunnel.services.config_file import ADMIN_OFF, find_data_path, read_config
from porttunnel.session.directory import CLIENT_GRACE_SECONDS, MASTER_GRACE_SECONDS
from porttunnel.session.limit import (
    CREATES_PER_HOUR,
    CREATES_PER_MINUTE,
    FAILURES_PER_HOUR,
    FAILURES_PER_MINUTE,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_PREFIX,
)

__all__ = ["DEFAULT_ADMIN", "DEFAULT_LISTEN", "LimitSettings", "ServerSettings", "load_settings"]

DEFAULT_LISTEN = "tcp:4663"
DEFAULT_ADMIN = "tcp:9463:interface=127.0.0.1"

_Positive = Annotated[int, Meta(ge=1)]


class LimitSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The table ``[limits]``; see docs/session-protocol, section 10.

    :ivar connections: open at a time, in all.
    :ivar connections_per_prefix: open at a time from one IPv4 address or IPv6 /64. Behind a proxy
        or a load balancer all come from one: then as many as in all.
    :ivar join_failures_per_minute: wrong numbers from one prefix.
    :ivar join_failures_per_hour: wrong numbers from one prefix.
    :ivar creates_per_minute: sessions opened from one prefix.
    :ivar creates_per_hour: sessions opened from one prefix.
    :ivar waiting_bytes: kept for slow members, in all.
    :ivar master_grace_s: how long a session waits for its master.
    :ivar client_grace_s: how long a client's place is kept.
    """

    connections: _Positive = MAX_CONNECTIONS
    connections_per_prefix: _Positive = MAX_CONNECTIONS_PER_PREFIX
    join_failures_per_minute: _Positive = FAILURES_PER_MINUTE
    join_failures_per_hour: _Positive = FAILURES_PER_HOUR
    creates_per_minute: _Positive = CREATES_PER_MINUTE
    creates_per_hour: _Positive = CREATES_PER_HOUR
    waiting_bytes: _Positive = MAX_WAITING_BYTES
    master_grace_s: _Positive = int(MASTER_GRACE_SECONDS)
    client_grace_s: _Positive = int(CLIENT_GRACE_SECONDS)


class ServerSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the file may hold, and what the server is built from.

    :ivar listen: Twisted's endpoint strings.
    :ivar data_dir: where the book of sessions and the server's key are kept.
    :ivar admin: the endpoint string of health, metrics and status; empty or ``off`` for none.
    :ivar public_name: the host name that people shall use, if it is not this machine's own.
    :ivar limits: how much of everything.
    """

    listen: Annotated[tuple[str, ...], Meta(min_length=1)] = (DEFAULT_LISTEN,)
    data_dir: str = ""
    admin: str = DEFAULT_ADMIN
    public_name: str = ""
    limits: LimitSettings = LimitSettings()

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
        return msgspec.convert(said, ServerSettings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{config}: {error}; correct the file") from error
