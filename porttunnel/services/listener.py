"""What services that listen have in common: opening, saying where, giving up with a sentence."""

from __future__ import annotations

import atexit
import errno
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Generic, TypeVar

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

import porttunnel
from porttunnel.errors import ConfigurationError, PorttunnelError

__all__ = [
    "ListeningService",
    "ServiceOptions",
    "listen_on",
    "print_line",
    "real_endpoint",
    "with_backlog",
]

# Connections that wait to be taken. Twisted's 50 fill within a millisecond of a rush; whoever
# comes then tries again after a whole second.
LISTEN_BACKLOG = 1024
_SOCKET_ENDPOINT = re.compile("(haproxy:)?(tcp|tcp6|ssl):", re.IGNORECASE)
_ZERO_PORT = re.compile(r"(?<=:)(port=)?0(?=:|$)")
_ADVICE = {
    errno.EADDRINUSE: "Stop the program that does, or choose another port",
    errno.EACCES: "This user may not; choose a port from 1024 on, or a folder of its own",
}
_log = Logger()

_Settings = TypeVar("_Settings")


class ServiceOptions(usage.Options, Generic[_Settings]):
    """A command line that becomes settings, once all of it is read.

    :ivar settings: what the service is built from.
    """

    settings: _Settings

    def __init__(self) -> None:
        usage.Options.__init__(self)

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"porttunnel {porttunnel.__version__}, Twisted {version('twisted')}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        try:
            self.settings = self._load()
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from error

    @abstractmethod
    def _load(self) -> _Settings:
        """Put the settings together.

        :raises ConfigurationError: they can't be used.
        """


class ListeningService(Service, ABC, Generic[_Settings]):
    """Opens everything in ``startService``, and ends in order.

    :param reactor: the reactor.
    :param settings: what it is built from.
    :param announce: gets each line for standard output.
    :ivar program: how the program is called, for what is said when it can't run.
    """

    program: str
    _log = Logger()

    def __init__(self, reactor: Any, settings: _Settings, announce: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._settings = settings
        self._announce = announce
        self._problem: str | None = None
        self._ports: list[IListeningPort] = []
        self._admin_port: IListeningPort | None = None

    def startService(self) -> None:
        """Open everything.

        :raises SystemExit: something can't be opened; with a sentence for the operator, which a
            traceback would hide.
        """
        Service.startService(self)
        opening = Deferred.fromCoroutine(self._open())
        opening.addErrback(self._give_up)
        if self._problem is not None:
            raise SystemExit(f"{self.program}: {self._problem}")

    def stopService(self) -> Deferred[None]:
        """Take nobody new, say goodbye to those who are there, and end."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    @abstractmethod
    async def _open(self) -> None:
        """Open everything.

        :raises ConfigurationError: something can't be opened.
        """

    @abstractmethod
    async def _stop(self) -> None:
        """Close everything, also what was opened in part."""

    async def _listen(
        self, description: str, factory: IProtocolFactory, example: str
    ) -> IListeningPort:
        """Listen for users, and say where.

        :raises ConfigurationError: see :func:`listen_on`.
        """
        port = await listen_on(self._reactor, description, factory, example)
        self._ports.append(port)
        self._announce(f"listening {real_endpoint(description, port)}")
        return port

    async def _listen_for_operator(
        self, description: str, site: IProtocolFactory, example: str
    ) -> None:
        """Open the admin pages, and say where.

        :raises ConfigurationError: see :func:`listen_on`.
        """
        port = self._admin_port = await listen_on(self._reactor, description, site, example)
        self._announce(f"admin {real_endpoint(description, port)}")

    async def _stop_listening(self) -> None:
        """Take no users any more; the admin pages stay."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)

    async def _stop_admin(self) -> None:
        """Close the admin pages, if there are any."""
        if self._admin_port is not None:
            await maybeDeferred(self._admin_port.stopListening)

    def _give_up(self, failure: Failure) -> None:
        if self._problem is not None:
            return  # that has been told
        self._problem = failure.getErrorMessage()
        if failure.check(PorttunnelError):
            self._log.critical("the service can't run: {problem}", problem=self._problem)
        else:
            self._log.failure("the service can't run", failure)
        if self._reactor.running:
            # An endpoint took its time to fail. twistd returns 0 however its reactor came to
            # stop; what restarts services looks at that.
            atexit.register(os._exit, 1)
            self._reactor.stop()


async def listen_on(
    reactor: Any, description: str, factory: IProtocolFactory, example: str
) -> IListeningPort:
    """Listen at an endpoint string.

    :param example: of one, for what is said about a wrong one.
    :raises ConfigurationError: it is none, or can't be listened on.
    """
    try:
        endpoint = serverFromString(reactor, with_backlog(description))
    except OSError as error:
        raise ConfigurationError(
            f"can't listen on {description}: {error.filename} can't be read ({error.strerror}); "
            "name the right file, and let this user read it"
        ) from error
    except Exception as error:  # each kind of endpoint has its own, and so has OpenSSL
        raise ConfigurationError(
            f"{description!r} is no endpoint to listen on ({error}); write for instance {example}"
        ) from error
    try:
        port: IListeningPort = await endpoint.listen(factory)
    except (CannotListenError, OSError, OverflowError) as error:
        number: Any = getattr(getattr(error, "socketError", error), "errno", None)
        advice = _ADVICE.get(number, "Choose another place to listen")
        raise ConfigurationError(f"can't listen on {description}: {error} {advice}") from error
    return port


def with_backlog(description: str) -> str:
    """The endpoint string with room for a rush of connections, unless it says how much."""
    if not _SOCKET_ENDPOINT.match(description) or ":backlog=" in description:
        return description
    return f"{description}:backlog={LISTEN_BACKLOG}"


def real_endpoint(description: str, port: IListeningPort) -> str:
    """The endpoint string with the port that was really taken in place of 0."""
    host = port.getHost()
    if isinstance(host, IPv4Address | IPv6Address):
        return _ZERO_PORT.sub(lambda match: f"{match[1] or ''}{host.port}", description, count=1)
    return description


def print_line(line: str) -> None:
    """To the real standard output: twistd turns the other one into its log.

    Whoever started the program may have read what they wanted and gone: that ends nothing.
    """
    try:
        print(line, file=sys.__stdout__, flush=True)
    except OSError as error:
        _log.warn("standard output can't be written ({error}): {line}", error=error, line=line)
