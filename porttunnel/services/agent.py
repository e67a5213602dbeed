"""``twistd porttunnel-agent``: an instance of a gateway beside a web system, and a session that is
kept open at a tunnel server; either or both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.python.failure import Failure

from porttunnel.errors import ConfigurationError
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.folder_lock import FolderLock
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.instance.agent_admin import AgentParts, agent_admin_site
from porttunnel.net.instance.control import ControlPort
from porttunnel.net.instance.control_desk import ControlDesk
from porttunnel.net.instance.event import (
    DevicePaired,
    DeviceRemoved,
    GatewayConnected,
    GatewayLost,
    InstanceEvent,
    InstanceRefused,
    InstanceRegistered,
    PairingFailed,
    RestoreNoticed,
    SetupRaced,
    StoreFailed,
)
from porttunnel.net.instance.instance import Instance
from porttunnel.net.instance.patient_instance import PatientInstance
from porttunnel.net.instance.push_port import PushPort
from porttunnel.net.instance.sqlite_store import SQLiteInstanceStore
from porttunnel.net.instance.upstream import Upstream
from porttunnel.net.instance.upstream_setting import UpstreamSettings
from porttunnel.net.local_socket import can_listen
from porttunnel.net.open_files import allow_open_files
from porttunnel.net.steady_time import keep_time_steady
from porttunnel.services.agent_config import DEFAULT_ADMIN, AgentSettings, load_settings
from porttunnel.services.kept_session import KeptSession
from porttunnel.services.listener import ListeningService, ServiceOptions, print_line

__all__ = ["AgentService", "Options", "makeService"]

DATABASE_NAME = "instance.sqlite"
LOCK_NAME = "agent.lock"
_REFUSED = (
    "the gateway refuses this agent ({error}) If it was set up anew, or has removed the agent: "
    "stop the agent, remove instance.sqlite and what begins so from its data folder, and invite "
    "all devices again"
)
_TAKEN_OVER = (
    "another agent with the same state has taken this one's place: a copy of the data folder is "
    "in use somewhere. Find it, and let only one of the two run"
)
FILES_BESIDE_CONNECTIONS = 200  # commands and pushes, the database, logs, libraries


class Options(ServiceOptions[AgentSettings]):
    """The command line."""

    synopsis = "[options]"
    longdesc = (
        "Makes a web system behind a firewall usable for paired devices, through a gateway that "
        "can read nothing (--gateway and --upstream), and keeps a session open at a tunnel "
        "server (--server and --offer); either or both. It connects outwards only. Registers "
        "itself at its first start; then: porttunnel instance invite --user NAME. A TOML file "
        "may hold the same settings and more, see docs/agent; what stands here wins."
    )
    optParameters = [
        ["config", "c", None, "A TOML file, see docs/agent."],
        ["gateway", "g", None, "The gateway: https://HOST[:PORT][#sha256-PIN]."],
        ["upstream", "u", None, "The web system: http://HOST:PORT, https://HOST or unix:PATH."],
        [
            "data-dir",
            "d",
            None,
            "Where its state is kept; one folder is one agent. "
            "[$PORTTUNNEL_DATA, or the user's folder]",
        ],
        ["admin", "a", None, f"Endpoint of health, metrics, status: {DEFAULT_ADMIN}. [off]"],
        ["server", "s", None, "A tunnel server: ptuns://HOST[:PORT][#sha256-PIN], or the like."],
        ["accept", None, None, "all: everybody who has the code gets into it. [nobody]"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._offers: list[str] = []

    def opt_offer(self, offer: str) -> None:
        """Share [NAME=]TARGET in the session; may be given several times."""
        self._offers.append(offer)

    opt_o = opt_offer

    def _load(self) -> AgentSettings:
        names = ("gateway", "upstream", "admin", "server", "accept")
        said = {name: self[name] for name in names}
        said |= {"data_dir": self["data-dir"], "offers": tuple(self._offers)}
        return load_settings(self["config"], said)


class AgentService(ListeningService[AgentSettings]):
    """The agent of one process."""

    program = "porttunnel-agent"

    def __init__(
        self, reactor: Any, settings: AgentSettings, announce: Callable[[str], None]
    ) -> None:
        super().__init__(reactor, settings, announce)
        self._folder: Path = settings.data_path
        self._lock = FolderLock(self._folder / LOCK_NAME)
        self._gateway = ""
        self._upstream: Upstream | None = None
        self._instance: PatientInstance | None = None
        self._desk: ControlDesk | None = None
        self._control: ControlPort | None = None
        self._push: PushPort | None = None
        self._session: KeptSession | None = None
        self._told_id = False

    async def _open(self) -> None:
        settings = self._settings
        self._lock.acquire()
        if settings.upstream is not None:
            await self._open_instance(settings.upstream)
        if settings.has_session:
            session = KeptSession(self._reactor, settings.session, self._folder, self._announce)
            session.start()
            self._session = session
        if settings.has_admin:
            parts = AgentParts(self._instance, self._upstream, self._session)
            site = agent_admin_site(self._reactor, parts)
            await self._listen_for_operator(settings.admin, site, DEFAULT_ADMIN)
        if self._instance is not None:
            # Last, so that a failure above leaves no thread that would keep the process alive.
            self._instance.start().addCallbacks(lambda _: self._tell_id(), self._give_up)

    async def _open_instance(self, upstream_settings: UpstreamSettings) -> None:
        settings = self._settings
        address = GatewayAddress.parse(settings.gateway)
        self._gateway = address.url
        token = settings.read_registration_token()
        most = upstream_settings.max_connections + upstream_settings.max_websockets
        allow_open_files(most + FILES_BESIDE_CONNECTIONS)
        upstream = self._upstream = Upstream(self._reactor, upstream_settings)

        def make() -> Instance:
            return Instance(
                self._reactor,
                SQLiteInstanceStore(self._folder / DATABASE_NAME),
                address,
                upstream,
                on_event=self._receive_event,
                registration_token=token,
            )

        instance = PatientInstance(self._reactor, make)
        desk = self._desk = ControlDesk(instance)
        control = self._control = ControlPort(self._reactor, self._folder, desk)
        await control.open()
        await self._open_push(instance)
        self._instance = instance

    async def _open_push(self, instance: PatientInstance) -> None:
        settings = self._settings
        push = self._push = PushPort(self._reactor, instance)
        socket, number = settings.push_socket, settings.push.port
        chosen = settings.push.socket  # then it has to be there
        if socket is not None and not chosen and not can_listen(self._reactor, socket):
            self._log.info(
                "there can be no socket at {path}; pushes are taken at a port, with the token in "
                "{token}",
                path=str(socket),
                token=str(settings.push_token_path),
            )
            socket, number = None, number or 0
        if socket is not None:
            self._announce(await push.open_socket(socket, settings.push.socket_mode))
        if number is not None:
            self._announce(await push.open_port(number, settings.push_token_path))

    def _tell_id(self, instance_id: str = "") -> None:
        if not instance_id and self._instance is not None:
            instance_id = self._instance.instance_id
        if instance_id and not self._told_id:
            self._told_id = True
            self._announce(f"instance {instance_id}")

    def _receive_event(self, happened: InstanceEvent) -> None:
        if self._desk is not None:
            self._desk.receive_event(happened)
        match happened:
            case InstanceRegistered(instance_id=instance_id):
                self._tell_id(instance_id)
            case GatewayConnected():
                self._tell_id()
                self._announce(f"connected {self._gateway}")
            case GatewayLost(error=error):
                why = "the connection ended" if error is None else str(error)
                self._log.warn("the gateway is lost, connecting anew: {why}", why=why)
            case InstanceRefused(error=error):
                is_other = getattr(error, "reason", None) == ReasonCode.SESSION_TAKEN_OVER
                words = _TAKEN_OVER if is_other else _REFUSED.format(error=error)
                self._give_up(Failure(ConfigurationError(words)))
            case DevicePaired(device_id=device_id):
                self._log.info("device {device_id} is paired", device_id=device_id)
            case PairingFailed(device_id=device_id, reason=reason):
                why = "the code expired" if reason is None else reason.value
                self._log.warn("device {device_id}: {why}", device_id=device_id, why=why)
            case SetupRaced(device_id=device_id):
                self._log.warn(
                    "device {device_id}: somebody else used its code too; if that was not its "
                    "user revoke it and make a new code",
                    device_id=device_id,
                )
            case DeviceRemoved(device_id=device_id):
                self._log.info("device {device_id} was removed", device_id=device_id)
            case RestoreNoticed():
                self._log.warn(
                    "the state is older than what has happened (a backup?): each device changes "
                    "its secret before it is served"
                )
            case StoreFailed(error=error):
                self._log.error("nothing is served: {error}", error=str(error))

    async def _stop(self) -> None:
        if self._push is not None:
            await self._push.close()
        if self._control is not None:
            await self._control.close()
        if self._session is not None:
            await self._session.stop()
        if self._instance is not None:
            await self._instance.stop()
        if self._upstream is not None:
            self._upstream.stop()
        await self._stop_admin()
        self._lock.release()


def makeService(options: Options) -> AgentService:
    """What twistd calls: build, open nothing."""
    # At the top it would choose the reactor of whatever program imports this module.
    from twisted.internet import reactor  # noqa: PLC0415  # see above

    keep_time_steady(reactor)
    return AgentService(reactor, options.settings, print_line)
