"""This machine's ports for what is shared: `join --forward`, `join --socks`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory

from porttunnel.cli import text
from porttunnel.cli.dialogue import Dialogue
from porttunnel.cli.forward_option import LOOPBACK, Forward
from porttunnel.cli.service_address import format_services, is_port
from porttunnel.errors import ConfigurationError
from porttunnel.net.client import JoinedSession
from porttunnel.net.forwarding import ForwardingFactory
from porttunnel.session.packet import MASTER
from porttunnel.session.record import Service

__all__ = ["LocalPorts"]


class LocalPorts:
    """See the module.

    :param dialogue: is told of each port.
    :param forwards: ports that are wished; none: each service gets a free one.
    """

    def __init__(self, dialogue: Dialogue, forwards: Sequence[Forward]) -> None:
        self._dialogue = dialogue
        self._forwards = forwards
        self._ports: list[IListeningPort] = []

    async def check(self, reactor: Any) -> None:
        """Before the code is used up: the ports that are wished are free.

        :raises ConfigurationError: one can't be had.
        """
        for forward in self._forwards:
            port = await _listen(reactor, forward, Factory())
            await maybeDeferred(port.stopListening)

    async def open(self, reactor: Any, session: JoinedSession) -> None:
        """Listen.

        :raises ConfigurationError: a port can't be had, or leads to nothing that is shared.
        """
        for service, forward in self._chosen(session.services):
            on_refused = partial(self._dialogue.tell_refused, service.name)
            factory = ForwardingFactory(session, MASTER, service.name, on_refused)
            port = await _listen(reactor, forward, factory)
            self._ports.append(port)
            self._dialogue.tell_listening(service, forward.host, port.getHost().port)

    async def close(self) -> None:
        """Listen no more."""
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)

    def _chosen(self, services: Sequence[Service]) -> list[tuple[Service, Forward]]:
        if not self._forwards:
            for service in services:
                if not is_port(service):
                    self._dialogue.tell_not_forwarded(service)
            return [(each, Forward(LOOPBACK, 0, each.name)) for each in services if is_port(each)]
        return [(_find(services, forward), forward) for forward in self._forwards]


async def _listen(reactor: Any, forward: Forward, factory: IProtocolFactory) -> Any:
    kind: Any = TCP6ServerEndpoint if ":" in forward.host else TCP4ServerEndpoint
    endpoint = kind(reactor, forward.port, interface=forward.host)
    try:
        return await endpoint.listen(factory)
    except (CannotListenError, OSError) as error:
        refused = getattr(error, "socketError", error)
        reason = getattr(refused, "strerror", None) or refused
        raise ConfigurationError(
            text.PORT_NOT_FREE.format(port=forward.port, host=forward.host, reason=reason)
        ) from None


def _find(services: Sequence[Service], forward: Forward) -> Service:
    shared = format_services(services)
    for service in services:
        if service.name == forward.service or (
            forward.service is None and service.kind == "socks"
        ):
            return service
    if forward.service is None:
        raise ConfigurationError(text.NO_SOCKS.format(shared=shared))
    raise ConfigurationError(text.UNKNOWN_SERVICE.format(service=forward.service, shared=shared))
