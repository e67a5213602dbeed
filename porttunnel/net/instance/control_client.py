"""Tells a running agent what to do: the other end of its socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorUNIX, IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from porttunnel.errors import (
    AgentError,
    ConfigurationError,
    NotReachable,
    PorttunnelError,
    RemoteProtocolError,
)
from porttunnel.net.instance.control import PORT_FILE_NAME, SOCKET_NAME, PortFile
from porttunnel.net.instance.control_message import (
    MAX_ANSWER_BYTES,
    Answer,
    Command,
    Login,
    Progress,
    Refused,
    Watch,
    decode_answer,
    encode_line,
)

__all__ = ["ControlClient"]

CONNECT_SECONDS = 5  # to a program of this machine
ANSWER_SECONDS = 75.0  # longer than the agent takes before it gives up itself
MAX_FILE_BYTES = 4_096  # a port and a token; a larger file is something else
_NOBODY = (
    "No agent runs with the data folder {folder}. Start it (twistd porttunnel-agent), or name "
    "its folder with --data-dir."
)
_FORBIDDEN = (
    "The agent's folder {folder} is for the agent's user alone. Run this as that user, for "
    "instance with sudo -u."
)
_GONE = "The agent has closed the connection. Does it still run?"
_SILENT = "The agent gives no answer. Look at its log."


class ControlClient:
    """What a running agent can be told.

    :param reactor: connections and time.
    :param folder: the agent's data folder.
    """

    def __init__(self, reactor: Any, folder: Path) -> None:
        self._reactor = reactor
        self._folder = folder

    async def ask(self, command: Command) -> Answer:
        """Give a command, on a connection of its own: people take their time between two.

        :raises AgentError: the agent says no.
        :raises NotReachable: no agent runs there, or it gives no answer.
        :raises ConfigurationError: the folder is another user's.
        """
        connection = await _open(self._reactor, self._folder)
        try:
            return await connection.ask(command)
        finally:
            connection.close()

    async def watch(self, device_id: str, tell: Callable[[Progress], None]) -> None:
        """See how a pairing goes, until it is over or this is cancelled.

        :param tell: called with each change, the final one last.
        :raises NotReachable: no agent runs there, or not any more.
        :raises ConfigurationError: the folder is another user's.
        """
        connection = await _open(self._reactor, self._folder)
        try:
            await connection.watch(device_id, tell)
        finally:
            connection.close()


class ControlConnection(LineOnlyReceiver):
    """One connection to an agent, for one command or one pairing that is watched.

    :param reactor: time.
    """

    delimiter = b"\n"
    MAX_LENGTH = MAX_ANSWER_BYTES

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._wanted: Deferred[Answer] | None = None
        self._watched: Callable[[Progress], None] | None = None
        self._watch_ended: Deferred[None] | None = None

    def ask(self, command: Command) -> Deferred[Answer]:
        """See :meth:`ControlClient.ask`."""
        answered: Deferred[Answer] = Deferred()
        self._wanted = answered
        self._send(command)
        answered.addTimeout(ANSWER_SECONDS, self._reactor, lambda *_: _raise(_SILENT))
        return answered

    def watch(self, device_id: str, tell: Callable[[Progress], None]) -> Deferred[None]:
        """See :meth:`ControlClient.watch`."""
        ended: Deferred[None] = Deferred()
        self._watched, self._watch_ended = tell, ended
        self._send(Watch(device_id))
        return ended

    def log_in(self, token: str) -> None:
        """Say the token, first of all; it has no answer unless it is wrong."""
        self._send(Login(token))

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        try:
            answer = decode_answer(line)
        except RemoteProtocolError as error:
            self._fail(error)
            return
        if isinstance(answer, Refused):
            self._fail(AgentError(answer.text, answer.code))
        elif isinstance(answer, Progress):
            if self._watched is not None:
                self._watched(answer)
                if answer.final:
                    self._end_watch()
        elif self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            if not wanted.called:
                wanted.callback(answer)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._fail(RemoteProtocolError("The agent gave an answer that is too long."))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport = None
        self._fail(NotReachable(_GONE))

    def _send(self, command: Command) -> None:
        transport: Any = self.transport
        transport.write(encode_line(command))

    def _end_watch(self) -> None:
        ended, self._watch_ended = self._watch_ended, None
        self._watched = None
        if ended is not None and not ended.called:
            ended.callback(None)

    def _fail(self, error: PorttunnelError) -> None:
        wanted, self._wanted = self._wanted, None
        ended, self._watch_ended = self._watch_ended, None
        self._watched = None
        for waiting in (wanted, ended):
            if waiting is not None and not waiting.called:
                waiting.errback(Failure(error))


async def _open(reactor: Any, folder: Path) -> ControlConnection:
    """Connect to the agent of a data folder.

    :raises NotReachable: none runs there.
    :raises ConfigurationError: the folder is another user's.
    """
    token = None
    try:
        socket, port_file = folder / SOCKET_NAME, folder / PORT_FILE_NAME
        endpoint: IStreamClientEndpoint
        if socket.exists() and IReactorUNIX.providedBy(reactor):
            endpoint = UNIXClientEndpoint(reactor, str(socket), CONNECT_SECONDS)
        elif port_file.exists():
            with port_file.open("rb") as file:
                content = msgspec.json.decode(file.read(MAX_FILE_BYTES), type=PortFile)
            token = content.token
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", content.port, CONNECT_SECONDS)
        else:
            raise NotReachable(_NOBODY.format(folder=folder))
    except PermissionError:
        raise ConfigurationError(_FORBIDDEN.format(folder=folder)) from None
    except (OSError, ValueError, msgspec.DecodeError):  # its words could quote the token
        raise NotReachable(_NOBODY.format(folder=folder)) from None
    try:
        connection: ControlConnection = await connectProtocol(endpoint, ControlConnection(reactor))
    except ConnectError as error:
        if isinstance(getattr(error, "osError", None), PermissionError):
            raise ConfigurationError(_FORBIDDEN.format(folder=folder)) from None
        raise NotReachable(_NOBODY.format(folder=folder)) from None
    if token is not None:
        connection.log_in(token)
    return connection


def _raise(text: str) -> Any:
    raise NotReachable(text)
