"""Endpoint strings that begin with ``porttunnel:``: a session behind an ordinary endpoint.

Client ``porttunnel:NAME:host=H:port=4663:tls=no:codefile=FILE``, server the same with
``accept=all``; ``server=`` instead of host, port and tls takes any address of a tunnel server,
escaped as Twisted's ``quoteStringArgument`` does it. See docs/sharing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.errors import ConfigurationError, PorttunnelError
from porttunnel.net.client import JoinedSession, join
from porttunnel.net.code_file import CodeFile
from porttunnel.net.master import SharedSession, share
from porttunnel.net.offer import is_service_name
from porttunnel.net.server_address import DEFAULT_PORT, is_loopback, parse_server_address
from porttunnel.session import event

__all__ = ["JoiningEndpoint", "SharedPort", "SharingEndpoint", "parse_client", "parse_server"]

_ADDRESS_ARGUMENTS = ("host", "port", "tls", "server")
_CLIENT_ARGUMENTS = (*_ADDRESS_ARGUMENTS, "codefile", "direct")
_SERVER_ARGUMENTS = (*_CLIENT_ARGUMENTS, "accept")
_log = Logger()


def parse_client(reactor: Any, *args: str, **kwargs: str) -> IStreamClientEndpoint:
    """The endpoint for ``porttunnel:NAME:codefile=FILE...`` in a client.

    :raises ValueError: an argument is unknown, missing or not usable.
    """
    service, server = _read_arguments(reactor, args, kwargs, _CLIENT_ARGUMENTS)
    code_file = CodeFile(Path(kwargs["codefile"]))
    return JoiningEndpoint(reactor, service, server, code_file, direct=_read_direct(kwargs))


def parse_server(reactor: Any, *args: str, **kwargs: str) -> IStreamServerEndpoint:
    """The endpoint for ``porttunnel:NAME:codefile=FILE:accept=all...`` in a server.

    :raises ValueError: an argument is unknown, missing or not usable.
    """
    service, server = _read_arguments(reactor, args, kwargs, _SERVER_ARGUMENTS)
    accept = kwargs.get("accept")
    if accept not in (None, "all"):
        raise ValueError(
            f"accept={accept} is not possible: write accept=all to let everybody in who has the "
            "code, or leave it out to let nobody in."
        )
    code_file = CodeFile(Path(kwargs["codefile"]))
    return SharingEndpoint(
        reactor,
        service,
        server,
        code_file,
        accept_all=accept == "all",
        direct=_read_direct(kwargs),
    )


def _read_direct(arguments: Mapping[str, str]) -> bool:
    """Whether ``direct=yes`` is there: who writes none is not surprised by an open port."""
    direct = arguments.get("direct", "no")
    if direct not in ("yes", "no"):
        raise ValueError(
            f"direct={direct} is not possible: write direct=yes to go straight to a machine on "
            "the same network, or leave it out."
        )
    return direct == "yes"


@implementer(IStreamClientEndpoint)
class JoiningEndpoint:
    """Joins a session for each connection; the session is left when its stream is over.

    :param reactor: the reactor.
    :param service: what to connect to in the session.
    :param server: the tunnel server.
    :param code_file: where the code is at the time of connecting.
    :param direct: go straight to the other machine if it is on the same network.
    """

    def __init__(
        self,
        reactor: Any,
        service: str,
        server: IStreamClientEndpoint,
        code_file: CodeFile,
        *,
        direct: bool,
    ) -> None:
        self._direct = direct
        self._reactor = reactor
        self._service = service
        self._server = server
        self._code_file = code_file

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        """As ``IStreamClientEndpoint.connect``; fails with a ``PorttunnelError``."""
        return defer.Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        code = self._code_file.read()
        session = await join(self._reactor, self._server, code, direct=self._direct)
        try:
            protocol: IProtocol = await session.endpoint(self._service).connect(factory)
        except BaseException:
            _leave(session)
            raise
        session.when_streams_done().addCallback(lambda _: _leave(session))
        return protocol


def _leave(session: JoinedSession | SharedSession) -> None:
    # A session that was cut off fails here again; who uses it has been told that already.
    session.close().addErrback(lambda _: None)


@implementer(IStreamServerEndpoint)
class SharingEndpoint:
    """Opens a session and listens to the streams of one service in it.

    :param reactor: the reactor.
    :param service: its name.
    :param server: the tunnel server.
    :param code_file: where the code for the next client is written.
    :param accept_all: let everybody in who has the code; otherwise nobody, since there is nobody
        to ask.
    :param direct: let clients on the same network connect straight to this machine.
    """

    def __init__(
        self,
        reactor: Any,
        service: str,
        server: IStreamClientEndpoint,
        code_file: CodeFile,
        *,
        accept_all: bool,
        direct: bool,
    ) -> None:
        self._direct = direct
        self._reactor = reactor
        self._service = service
        self._server = server
        self._code_file = code_file
        self._accept_all = accept_all

    def listen(self, factory: IProtocolFactory) -> defer.Deferred[IListeningPort]:
        """As ``IStreamServerEndpoint.listen``; fires once the code is in its file."""
        return defer.Deferred.fromCoroutine(self._listen(factory))

    async def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        # What can't be written must fail here, and not when the second client comes.
        self._code_file.write(None)
        try:
            session = await share(
                self._reactor,
                self._server,
                [],
                on_consent=self._decide,
                on_event=self._receive_event,
                direct=self._direct,
            )
        except BaseException:
            self._code_file.remove()
            raise
        try:
            listening: IListeningPort = await session.listen(self._service).listen(factory)
        except BaseException:
            _leave(session)
            self._code_file.remove()
            raise
        _log.info(
            "session {number} is open for {service}; the code is in {path}",
            number=session.number,
            service=self._service,
            path=str(self._code_file.path),
        )
        return SharedPort(session, listening, self._code_file)

    def _decide(self, asked: event.ConsentAsked) -> bool:
        if not self._accept_all:
            _log.warn(
                "{name!r} had the right code and was refused: nobody can be asked here; write "
                "accept=all in the endpoint string to let in who has the code",
                name=asked.name,
            )
        return self._accept_all

    def _receive_event(self, happened: Any) -> None:
        match happened:
            case event.InvitationMade(code=code):
                try:
                    self._code_file.write(code)
                except ConfigurationError as error:
                    _log.error("the new code can't be told: {error}", error=error)
            case event.MemberJoined(member=member, name=name):
                _log.info("{name!r} has joined as member {member}", name=name, member=member)
            case event.MemberLeft(member=member, reason=reason):
                _log.info("member {member} has left: {reason}", member=member, reason=reason)
            case event.RunFailed(member=member):
                _log.warn("somebody tried to join and was not verified ({member})", member=member)
            case event.JoiningPaused(wrong_tries=wrong_tries):
                _log.error(
                    "{wrong_tries} tries to join were wrong, somebody may be guessing: nobody can "
                    "join any more until this program is started again",
                    wrong_tries=wrong_tries,
                )


@implementer(IListeningPort)
class SharedPort:
    """A service that is listened to in a session of its own.

    :param session: the session.
    :param listening: the service in it.
    :param code_file: removed at the end.
    """

    def __init__(
        self, session: SharedSession, listening: IListeningPort, code_file: CodeFile
    ) -> None:
        self._session = session
        self._listening = listening
        self._code_file = code_file
        self._stopping = False
        session.when_done().addCallbacks(self._ended, self._failed)

    def startListening(self) -> None:
        """As ``IListeningPort.startListening``: it has been since it was made."""

    def stopListening(self) -> defer.Deferred[None]:
        """End the session, its streams too; fires when its goodbyes are out."""
        self._stopping = True
        return defer.Deferred.fromCoroutine(self._stop())

    def getHost(self) -> IAddress:
        """Our member and the service."""
        return self._listening.getHost()

    async def _stop(self) -> None:
        await defer.maybeDeferred(self._listening.stopListening)
        self._code_file.remove()
        try:
            await self._session.close()
        except PorttunnelError:
            return  # it had ended before, which was logged then

    def _ended(self, _: None) -> None:
        if not self._stopping:
            self._give_up("it was closed")

    def _failed(self, failure: Failure) -> None:
        self._give_up(failure.getErrorMessage())

    def _give_up(self, reason: str) -> None:
        self._code_file.remove()
        _log.error(
            "session {number} at {host} has ended: {reason} Nobody can reach the service "
            "through it any more; start this program again.",
            number=self._session.number,
            host=self.getHost(),
            reason=reason,
        )


def _read_arguments(
    reactor: Any, args: tuple[str, ...], kwargs: dict[str, str], allowed: tuple[str, ...]
) -> tuple[str, IStreamClientEndpoint]:
    """The service's name and the tunnel server.

    :raises ValueError: an argument is unknown, missing or not usable.
    """
    form = f"porttunnel:NAME:codefile=FILE, and one or more of {', '.join(allowed)}"
    unknown = [*args[1:], *(name for name in kwargs if name not in allowed)]
    if unknown:
        raise ValueError(f"unknown in a porttunnel endpoint: {', '.join(unknown)}. Write {form}.")
    if not args or "codefile" not in kwargs:
        raise ValueError(f"a porttunnel endpoint needs a service and a file. Write {form}.")
    if not is_service_name(args[0]):
        raise ValueError(
            f"{args[0]!r} can't be a service's name: letters, digits, '.', '_', '-', at most 64."
        )
    try:
        return args[0], parse_server_address(reactor, _server_address(kwargs))
    except ConfigurationError as error:
        # What Twisted's own endpoints raise for what they can't read.
        raise ValueError(str(error)) from None


def _server_address(kwargs: dict[str, str]) -> str:
    server, host, tls = kwargs.get("server"), kwargs.get("host", ""), kwargs.get("tls")
    if (server is None) == (not host):
        raise ValueError("a porttunnel endpoint needs host=HOST or server=ADDRESS, not both.")
    if server is not None:
        if "port" in kwargs or tls is not None:
            raise ValueError("server= says all about the server: leave out port= and tls=.")
        return server
    if tls not in (None, "yes", "no"):
        raise ValueError(f"tls={tls} is not possible: write tls=yes or tls=no.")
    plain = is_loopback(host) if tls is None else tls == "no"
    shown = f"[{host}]" if ":" in host else host
    scheme = "ptun" if plain else "ptuns"
    return f"{scheme}://{shown}:{kwargs.get('port', DEFAULT_PORT)}"
