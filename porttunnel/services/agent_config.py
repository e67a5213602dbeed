"""The agent's settings: defaults, then a TOML file, then the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.forward_identity import UserCredentials
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.instance.upstream_setting import UpstreamSettings
from porttunnel.net.offer import parse_offers
from porttunnel.services.config_file import ADMIN_OFF, find_data_path, read_config
from porttunnel.session.record import MAX_NAME_CHARACTERS

__all__ = [
    "DEFAULT_ADMIN",
    "AgentSettings",
    "PushSettings",
    "SessionSettings",
    "load_settings",
]

DEFAULT_ADMIN = "tcp:9465:interface=127.0.0.1"
PUSH_SOCKET_NAME = "push.sock"
PUSH_TOKEN_NAME = "push.token"
MAX_TOKEN_BYTES = 4_096  # a larger file is something else

_READABLE_BY_OTHERS = 0o077


class PushSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The table ``[push]``: where a web system asks for pushes.

    :ivar socket: a path; empty: ``push.sock`` in the data folder; ``off``: none.
    :ivar socket_mode: who may open it, such as 0o660 for its group.
    :ivar port: of the loopback interface, as well; 0 takes any; None: none.
    :ivar token_file: whose content must be shown at the port; made if it isn't there; empty:
        ``push.token`` in the data folder.
    """

    socket: str = ""
    socket_mode: Annotated[int, Meta(ge=0, le=0o777)] = 0o600
    port: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    token_file: str = ""


class SessionSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The table ``[session]``: a session that is kept open at a tunnel server.

    :ivar server: its address, or an endpoint string.
    :ivar offers: what is shared, each ``[NAME=]TARGET``.
    :ivar accept: ``all`` who have the code, or ``nobody``, as there is nobody to ask.
    :ivar name: how the agent calls itself; user@machine if empty.
    :ivar direct: whether others on the same network may come straight to this machine.
    :ivar remember: whether who was let in may come back without a code.
    """

    server: str = ""
    offers: tuple[str, ...] = ()
    accept: Literal["all", "nobody"] = "nobody"
    name: Annotated[str, Meta(max_length=MAX_NAME_CHARACTERS)] = ""
    direct: bool = False
    remember: bool = False


class AgentSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the agent is built from.

    :ivar gateway: its address; empty: none.
    :ivar registration_token_file: of the gateway's operator, for the first start; empty: the
        gateway asks for none.
    :ivar data_dir: where the agent's state is kept.
    :ivar admin: the endpoint string of health, metrics and status; empty or ``off`` for none.
    :ivar upstream: the web system that devices reach.
    :ivar push: see there.
    :ivar session: see there.
    """

    gateway: str = ""
    registration_token_file: str = ""
    data_dir: str = ""
    admin: str = "off"
    upstream: UpstreamSettings | None = None
    push: PushSettings = PushSettings()
    session: SessionSettings = SessionSettings()

    @property
    def data_path(self) -> Path:
        """The data folder: as set, from ``$PORTTUNNEL_DATA``, or the platform's."""
        return find_data_path(self.data_dir)

    @property
    def has_admin(self) -> bool:
        """Whether there are admin pages."""
        return self.admin not in ADMIN_OFF

    @property
    def has_session(self) -> bool:
        """Whether a session is kept open."""
        return bool(self.session.server)

    @property
    def push_socket(self) -> Path | None:
        """Where the socket for pushes is, or None."""
        chosen = self.push.socket
        if chosen == "off":
            return None
        return Path(chosen) if chosen else self.data_path / PUSH_SOCKET_NAME

    @property
    def push_token_path(self) -> Path:
        """Where the token for pushes at a port is."""
        chosen = self.push.token_file
        return Path(chosen) if chosen else self.data_path / PUSH_TOKEN_NAME

    def read_registration_token(self) -> str | None:
        """The token of the gateway's operator, if there is one.

        :raises ConfigurationError: the file can't be read, is empty, or is open to others.
        """
        if not self.registration_token_file:
            return None
        path = Path(self.registration_token_file)
        demand_private(path, "a token")
        try:
            with path.open(encoding="utf-8") as file:
                token = file.read(MAX_TOKEN_BYTES).strip()
        except (OSError, ValueError):  # its words could quote the token
            raise ConfigurationError(f"{path} can't be read; name the right file") from None
        if not token or not token.isascii() or len(token.split()) != 1:
            raise ConfigurationError(f"{path} holds no token; write one line into it")
        return token


def load_settings(config: str | None, said: Mapping[str, Any]) -> AgentSettings:
    """Put the settings together.

    :param config: the TOML file.
    :param said: on the command line, each None or empty if it wasn't: ``gateway``, ``upstream``
        (the origin), ``data_dir``, ``admin``, ``server``, ``offers``, ``accept``.
    :raises ConfigurationError: the file can't be read, or says something that is no setting, or
        there is nothing to do.
    """
    tables = read_config(config)
    folder = Path(config).resolve().parent if config else Path.cwd()
    for name in ("gateway", "data_dir", "admin"):
        if said.get(name) is not None:
            tables[name] = said[name]
    try:
        upstream = msgspec.convert(tables.get("upstream", {}), dict[str, Any])
        session = msgspec.convert(tables.get("session", {}), dict[str, Any])
        if said.get("upstream") is not None:
            upstream["origin"] = said["upstream"]
        session |= {name: said[name] for name in ("server", "offers", "accept") if said.get(name)}
        if upstream:
            tables["upstream"] = upstream | _read_users(upstream, config, folder)
            tables["upstream"].pop("users_file", None)
        tables["session"] = session
        settings = msgspec.convert(tables, AgentSettings)
    except msgspec.ValidationError as error:
        where = config or "the command line"
        raise ConfigurationError(f"{where}: {error}; correct that") from error
    # What was said on the command line counts from where it was said.
    settings = _resolve(settings, folder, data_dir=said.get("data_dir"))
    _check(settings)
    return settings


def demand_private(path: Path, what: str) -> None:
    """Others must not be able to read a file with a secret in it.

    :raises ConfigurationError: they are, or it isn't there.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be read ({error.strerror}); name the right file"
        ) from error
    # Windows has no such bits; there the user's folder protects the file.
    if os.name == "posix" and mode & _READABLE_BY_OTHERS:
        raise ConfigurationError(
            f"{path} holds {what} and others may read it; run: chmod 600 {path}"
        )


def _read_users(
    upstream: Mapping[str, Any], config: str | None, folder: Path
) -> dict[str, dict[str, UserCredentials]]:
    """The credentials of users, which stand in a file of their own, or in this one.

    :raises ConfigurationError: others may read them, or they are none.
    """
    name = upstream.get("users_file")
    if "users" in upstream:
        if name is not None:
            raise ConfigurationError(
                f"{config}: there are users and a users_file; leave one of them out"
            )
        if config is not None:
            demand_private(Path(config), "passwords")
        return {}
    if name is None:
        return {}
    path = folder / msgspec.convert(name, str)
    demand_private(path, "passwords")
    try:
        return {"users": msgspec.convert(read_config(str(path)), dict[str, UserCredentials])}
    except msgspec.ValidationError as error:  # it never quotes values
        raise ConfigurationError(f"{path}: {error}; correct the file") from None


def _resolve(settings: AgentSettings, folder: Path, data_dir: str | None) -> AgentSettings:
    """Paths in a file count from where it is: a service runs anywhere.

    :param data_dir: of the command line.
    """

    def absolute(path: str) -> str:
        return str(folder / Path(path).expanduser()) if path not in ADMIN_OFF else path

    push = msgspec.structs.replace(
        settings.push,
        socket=absolute(settings.push.socket),
        token_file=absolute(settings.push.token_file),
    )
    return msgspec.structs.replace(
        settings,
        registration_token_file=absolute(settings.registration_token_file),
        data_dir=absolute(settings.data_dir) if data_dir is None else data_dir,
        push=push,
    )


def _check(settings: AgentSettings) -> None:
    """:raises ConfigurationError: these settings don't make an agent."""
    if settings.upstream is not None and not settings.gateway:
        raise ConfigurationError("an upstream needs a gateway; say --gateway URL")
    if not settings.gateway and not settings.session.server:
        raise ConfigurationError(
            "there is nothing to do; say --gateway URL --upstream URL, or --server ENDPOINT "
            "--offer NAME=TARGET, or name a file with --config"
        )
    if settings.gateway:
        GatewayAddress.parse(settings.gateway)
        if settings.upstream is None:
            raise ConfigurationError(
                "which web system shall devices reach? Say --upstream URL, or set origin in "
                "[upstream]"
            )
        settings.upstream.place()
        settings.upstream.rules()
    if settings.session.server and not settings.session.offers:
        raise ConfigurationError("what shall be shared? Say --offer [NAME=]TARGET")
    if settings.session.offers and not settings.session.server:
        raise ConfigurationError("an offer needs a tunnel server; say --server ENDPOINT")
    parse_offers(settings.session.offers)
