"""The broker's settings: defaults, then a TOML file, then the command line."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from porttunnel.errors import ConfigurationError
from porttunnel.mqtt.policy import Bounds, Profile, SlowConsumer
from porttunnel.services.config_file import ADMIN_OFF, read_config

__all__ = [
    "DEFAULT_ADMIN",
    "DEFAULT_LISTEN",
    "BrokerSettings",
    "DrainSettings",
    "RuleSettings",
    "UserSettings",
    "load_settings",
]

DEFAULT_LISTEN = "tcp:1883:interface=127.0.0.1"  # others may come once somebody says so
DEFAULT_ADMIN = "tcp:9464:interface=127.0.0.1"
STATUS_SECONDS = 10  # what other brokers have
DRAIN_SECONDS = 5.0  # so that not all clients come back at the same moment
MAX_DRAIN_SECONDS = 3_600.0  # TOML has "inf", too, and with that a broker could not be stopped

_MAY_BE_ZERO = {"max_qos", "max_session_seconds", "topic_alias_maximum", "outgoing_aliases"}
_AT_MOST = {"max_qos": 2, "receive_maximum": 0xFFFF, "max_inflight": 0xFFFF}

_Table = TypeVar("_Table", Profile, Bounds)


class RuleSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The table ``[everybody]``: topics for all clients.

    :ivar publish: filters, in which ``%u`` is the user name and ``%c`` the client id.
    :ivar subscribe: likewise.
    """

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


class UserSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One of ``[[users]]``.

    :ivar name: the user name.
    :ivar password: its hash, made by ``python -m porttunnel.services.broker_password``.
    :ivar publish: see :class:`RuleSettings`.
    :ivar subscribe: likewise.
    """

    name: Annotated[str, Meta(min_length=1)]
    password: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"UserSettings(name={self.name!r})"


class DrainSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The table ``[drain]``: how clients are sent away when the broker is stopped.

    :ivar seconds: over which they are spread.
    :ivar server_reference: another broker, told in MQTT 5; empty: they are to come back here.
    """

    seconds: Annotated[float, Meta(ge=0, le=MAX_DRAIN_SECONDS)] = DRAIN_SECONDS
    server_reference: str = ""


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker is built from.

    :ivar listen: Twisted's endpoint strings, for plain MQTT (or MQTT in TLS).
    :ivar websocket: the same, for MQTT in WebSocket.
    :ivar websocket_path: the only path that is served there; empty: every one.
    :ivar websocket_origins: web pages whose scripts may connect, or None: all.
    :ivar admin: the endpoint string of health, metrics and status; empty or ``off`` for none.
    :ivar status_interval_s: how often ``$SYS`` is told; 0: never.
    :ivar anonymous: whether clients without a user name may come in; None: if there are no users
        and no rules, when everybody may do everything.
    :ivar everybody: topics for all.
    :ivar users: who may come in by name.
    :ivar drain: see there.
    :ivar client: what one client may do.
    :ivar limits: what the whole broker may take.
    """

    listen: tuple[str, ...] = ()
    websocket: tuple[str, ...] = ()
    websocket_path: str = ""
    websocket_origins: tuple[str, ...] | None = None
    admin: str = DEFAULT_ADMIN
    status_interval_s: Annotated[int, Meta(ge=0)] = STATUS_SECONDS
    anonymous: bool | None = None
    everybody: RuleSettings | None = None
    users: tuple[UserSettings, ...] = ()
    drain: DrainSettings = DrainSettings()
    client: Profile = Profile()
    limits: Bounds = Bounds()

    @property
    def has_admin(self) -> bool:
        """Whether there are admin pages."""
        return self.admin not in ADMIN_OFF

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything."""
        return not self.users and self.everybody is None and self.anonymous is not False


def load_settings(
    config: str | None, listen: list[str], websocket: list[str], admin: str | None
) -> BrokerSettings:
    """Put the settings together; what is None or empty was not said on the command line.

    :param config: the TOML file.
    :param listen: replaces all of the file's listeners.
    :param websocket: likewise.
    :raises ConfigurationError: the file can't be read, or says something that is no setting.
    """
    said = read_config(config)
    if listen:
        said["listen"] = listen
    if websocket:
        said["websocket"] = websocket
    if admin is not None:
        said["admin"] = admin
    if "listen" not in said and "websocket" not in said:
        said["listen"] = [DEFAULT_LISTEN]
    unknown = said.keys() - set(BrokerSettings.__struct_fields__)
    if unknown:
        raise ConfigurationError(f"{config}: {min(unknown)} is no setting; correct the file")
    try:
        client = _convert(said.pop("client", {}), Profile)
        limits = _convert(said.pop("limits", {}), Bounds)
        settings = msgspec.convert(said, BrokerSettings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{config}: {error}; correct the file") from error
    return msgspec.structs.replace(settings, client=client, limits=limits)


def _convert(table: Any, kind: type[_Table]) -> _Table:
    """A table of numbers, strictly.

    :raises msgspec.ValidationError: there is no such setting, or a value that it can't have.
    """
    fields = dict(msgspec.convert(table, dict[str, Any]))
    unknown = fields.keys() - set(kind.__struct_fields__)
    if unknown:
        raise msgspec.ValidationError(f"{min(unknown)} is no setting here")
    for name, value in fields.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            least = 0 if name in _MAY_BE_ZERO else 1e-9
            if not least <= value <= _AT_MOST.get(name, value):
                raise msgspec.ValidationError(f"{name} can't be {value}")
    if "slow_consumer" in fields:
        name = msgspec.convert(fields.pop("slow_consumer"), str)
        if name.upper() not in SlowConsumer.__members__:
            raise msgspec.ValidationError("slow_consumer is drop, pause or cut")
        fields["slow_consumer"] = SlowConsumer[name.upper()].value
    return msgspec.convert(fields, kind)
