"""Where commands reach a running agent: a socket in its data folder that only its user can open.

Where there are no UNIX sockets, or the folder's path is too long for one, it is a port of the
loopback interface with a token from a file that only that user can read. A web page can open such
a port as well, but begins with a line of HTTP, which is no command.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from porttunnel.errors import ConfigurationError, PorttunnelError, RemoteProtocolError
from porttunnel.keys.primitives import constant_time_equal
from porttunnel.net.instance.control_message import (
    MAX_COMMAND_BYTES,
    Answer,
    Command,
    Login,
    Progress,
    Refused,
    Watch,
    decode_command,
    encode_line,
)
from porttunnel.net.local_socket import can_listen, listen_locally
from porttunnel.net.secret_file import write_secret_file

__all__ = ["PORT_FILE_NAME", "SOCKET_NAME", "ControlFactory", "ControlPort", "Desk", "PortFile"]

SOCKET_NAME = "agent.sock"
PORT_FILE_NAME = "agent-control.json"

MAX_CONNECTIONS = 64  # people at their terminals; each invitation that is waited for has one
# Of these: whoever invites a whole company must not keep others from revoking a device.
MAX_WATCHED = 48
FIRST_COMMAND_SECONDS = 10.0  # from a program of this machine, which knows what it wants
IDLE_SECONDS = 300.0  # between commands: somebody goes and looks for a phone
COMMAND_SECONDS = 60.0  # the gateway is asked, which may be slow
_BUSY = "The agent has too many commands at a time. Try again in a moment."
_BUSY_WATCHING = (
    "The agent tells of so many invitations that it can't tell of another. The code stays good; "
    "porttunnel instance confirm asks for the digits later."
)
_WRONG_TOKEN = "The agent was not given the token that stands in its data folder."
_TOO_LONG = "A command was longer than commands are."
_TOO_LATE = (
    "The agent has had no answer in time; it may be done all the same. Look at the list of "
    "devices, and at the agent's log."
)
_FAILED = "The agent failed; its log says why."
_TOKEN_BYTES = 32


class Desk(Protocol):
    """What does the commands."""

    def answer(self, command: Command) -> Coroutine[Any, Any, Answer]:
        """What comes of a command.

        :raises PorttunnelError: it was not done.
        """

    def watch(self, device_id: str, tell: Callable[[Progress], None]) -> Callable[[], None]:
        """Tell how a pairing goes, at once and whenever it changes.

        :returns: ends it.
        """

    def refuse(self, error: PorttunnelError) -> Refused:
        """How an error is told."""


class PortFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What stands in the file that takes the socket's place.

    :ivar port: of 127.0.0.1.
    :ivar token: to be sent first.
    """

    port: int
    token: str

    def __repr__(self) -> str:
        return f"PortFile({self.port}, <secret>)"


class ControlProtocol(LineOnlyReceiver):
    """One connection: a command at a time, each with its answer.

    :param factory: what all connections have in common.
    """

    delimiter = b"\n"
    MAX_LENGTH = MAX_COMMAND_BYTES
    _log = Logger()

    def __init__(self, factory: ControlFactory) -> None:
        self._factory = factory
        self._logged_in = factory.token is None
        self._deadline: IDelayedCall | None = None
        self._busy = False
        self._lost = False
        self._stop_watching: Callable[[], None] | None = None
        self._waiting: list[bytes] = []

    def connectionMade(self) -> None:
        if not self._factory.add(self):
            self._refuse("busy", _BUSY)
            return
        self._set_deadline(FIRST_COMMAND_SECONDS)

    def lineReceived(self, line: bytes) -> None:
        # Whoever watches says nothing more.
        if self._stop_watching is None:
            # Not more than came in one read: while one is done none is read.
            self._waiting.append(line)
            self._go_on()

    def lineLengthExceeded(self, line: bytes) -> None:
        self._refuse("usage", _TOO_LONG)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self._factory.remove(self)
        self._set_deadline(None)
        self._waiting.clear()
        if self._stop_watching is not None:
            self._stop_watching()
            self._stop_watching = None

    def end(self) -> None:
        """The agent stops."""
        self._hang_up()

    @property
    def is_watching(self) -> bool:
        """Whether it is told how a pairing goes."""
        return self._stop_watching is not None

    def _go_on(self) -> None:
        while self._waiting and not self._busy:
            self._begin(self._waiting.pop(0))

    def _begin(self, line: bytes) -> None:
        self._set_deadline(None)
        try:
            command = decode_command(line)
        except RemoteProtocolError as error:
            self._refuse("usage", str(error))
            return
        if isinstance(command, Login):
            self._log_in(command)
        elif not self._logged_in:
            self._refuse("not-allowed", _WRONG_TOKEN)
        elif isinstance(command, Watch):
            self._watch(command.device_id)
        else:
            self._run(command)

    def _watch(self, device_id: str) -> None:
        if not self._factory.may_watch:
            self._refuse("busy", _BUSY_WATCHING)
        else:
            self._waiting.clear()
            self._stop_watching = self._factory.desk.watch(device_id, self._progress)

    def _log_in(self, login: Login) -> None:
        token = self._factory.token
        if token is not None and not constant_time_equal(token.encode(), login.token.encode()):
            self._refuse("not-allowed", _WRONG_TOKEN)
            return
        self._logged_in = True
        self._set_deadline(IDLE_SECONDS)

    def _run(self, command: Command) -> None:
        self._busy = True
        transport: Any = self.transport
        transport.pauseProducing()
        # What was begun goes on if whoever asked has hung up: half done it would be worse.
        running = Deferred.fromCoroutine(self._factory.desk.answer(command))
        running.addTimeout(COMMAND_SECONDS, self._factory.reactor)
        running.addErrback(self._tell_failure).addCallback(self._answer)
        running.addErrback(lambda failure: self._log.failure("no answer", failure))

    def _tell_failure(self, failure: Failure) -> Answer:
        if failure.check(PorttunnelError):
            error: Any = failure.value
            return self._factory.desk.refuse(error)
        if failure.check(TimeoutError):
            return Refused("timed-out", _TOO_LATE)
        self._log.failure("a command failed", failure)
        return Refused("internal", _FAILED)

    def _answer(self, answer: Answer) -> None:
        self._busy = False
        if self._lost:
            return
        self._send(answer)
        self._set_deadline(IDLE_SECONDS)
        transport: Any = self.transport
        transport.resumeProducing()
        self._go_on()

    def _progress(self, progress: Progress) -> None:
        self._send(progress)
        if progress.final:
            self._hang_up()

    def _send(self, answer: Answer) -> None:
        transport: Any = self.transport
        transport.write(encode_line(answer))

    def _refuse(self, code: str, text: str) -> None:
        self._send(Refused(code, text))
        self._hang_up()

    def _hang_up(self) -> None:
        if not self._lost:
            self._waiting.clear()
            transport: Any = self.transport
            transport.loseConnection()
            # Who takes no answer does not keep a connection either.
            self._set_deadline(FIRST_COMMAND_SECONDS)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            self._deadline = self._factory.reactor.callLater(seconds, self._give_up)

    def _give_up(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class ControlFactory(Factory):
    """Makes the connections.

    :param reactor: time.
    :param desk: does the commands.
    :param token: what has to be said first; None where only the right user can connect.
    """

    noisy = False

    def __init__(self, reactor: Any, desk: Desk, token: str | None) -> None:
        self.reactor = reactor
        self.desk = desk
        self.token = token
        self._connections: set[ControlProtocol] = set()

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol:
        return ControlProtocol(self)

    def add(self, connection: ControlProtocol) -> bool:
        """Whether there is room for one more."""
        if len(self._connections) >= MAX_CONNECTIONS:
            return False
        self._connections.add(connection)
        return True

    @property
    def may_watch(self) -> bool:
        """Whether one more may be told how a pairing goes."""
        return sum(each.is_watching for each in self._connections) < MAX_WATCHED

    def remove(self, connection: ControlProtocol) -> None:
        """It is over."""
        self._connections.discard(connection)

    def end(self) -> None:
        """Close all connections."""
        for connection in tuple(self._connections):
            connection.end()


class ControlPort:
    """Listens for commands.

    :param reactor: the reactor.
    :param folder: the agent's data folder, which nobody else uses.
    :param desk: does the commands.
    """

    def __init__(self, reactor: Any, folder: Path, desk: Desk) -> None:
        self._reactor = reactor
        self._socket = folder / SOCKET_NAME
        self._port_file = folder / PORT_FILE_NAME
        self._desk = desk
        self._factory: ControlFactory | None = None
        self._port: IListeningPort | None = None

    async def open(self) -> None:
        """Begin.

        :raises ConfigurationError: it can't be listened on.
        """
        # Of an agent that was killed; that none runs is seen to by the folder's lock.
        for left in (self._socket, self._port_file):
            with suppress(OSError):
                left.unlink()
        if can_listen(self._reactor, self._socket):
            self._factory = ControlFactory(self._reactor, self._desk, None)
            self._port = await listen_locally(self._reactor, self._socket, self._factory)
        else:
            await self._open_port()

    async def close(self) -> None:
        """End, with all connections."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            self._port = None
            with suppress(OSError):
                self._port_file.unlink()
        if self._factory is not None:
            self._factory.end()

    async def _open_port(self) -> None:
        token = secrets.token_hex(_TOKEN_BYTES)
        self._factory = ControlFactory(self._reactor, self._desk, token)
        endpoint = TCP4ServerEndpoint(self._reactor, 0, interface="127.0.0.1")
        try:
            port: Any = await endpoint.listen(self._factory)
            self._port = port
            content = PortFile(port.getHost().port, token)
            write_secret_file(self._port_file, msgspec.json.encode(content))
        except (CannotListenError, OSError) as error:
            raise ConfigurationError(
                f"commands can't be received ({error}); give this user the right to write to "
                f"{self._port_file}, or name another data folder"
            ) from error
