"""The agent's socket for commands and the programs that use it, on real sockets and in memory."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from porttunnel.errors import AgentError, ConfigurationError, NotReachable, PairingError
from porttunnel.net import local_socket
from porttunnel.net.instance import control, control_client
from porttunnel.net.instance.control import (
    COMMAND_SECONDS,
    FIRST_COMMAND_SECONDS,
    IDLE_SECONDS,
    MAX_CONNECTIONS,
    MAX_WATCHED,
    PORT_FILE_NAME,
    SOCKET_NAME,
    ControlFactory,
    ControlPort,
)
from porttunnel.net.instance.control_client import ControlClient, ControlConnection
from porttunnel.net.instance.control_desk import ControlDesk
from porttunnel.net.instance.control_message import (
    MAX_ANSWER_BYTES,
    MAX_COMMAND_BYTES,
    Answer,
    Command,
    DeviceList,
    Done,
    Invitation,
    Invite,
    ListDevices,
    Login,
    Progress,
    Refused,
    Revoke,
    Watch,
    decode_answer,
    encode_line,
)
from porttunnel.net.instance.device_record import DeviceState
from porttunnel.net.instance.event import DevicePaired, DigitsWanted
from tests.net.instance.fake_instance import DEVICE, FakeInstance


class BothEnds:
    """On real sockets."""

    timeout = 20
    socket_bytes = local_socket.MAX_PATH_BYTES

    async def setUp(self) -> None:
        self.patch(local_socket, "MAX_PATH_BYTES", self.socket_bytes)
        # Not trial's own: its path may be too long for a socket.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.instance = FakeInstance()
        self.desk = ControlDesk(self.instance)
        self.port = ControlPort(reactor, self.folder, self.desk)
        await self.port.open()
        self.addCleanup(self.close)

    async def close(self) -> None:
        await self.port.close()

    @property
    def client(self) -> ControlClient:
        return ControlClient(reactor, self.folder)

    def ask(self, command: Command) -> Deferred[Answer]:
        return Deferred.fromCoroutine(self.client.ask(command))

    def watch(self, tell: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(self.client.watch(DEVICE, tell))

    async def test_commands_and_their_answers(self) -> None:
        self.assertIsInstance(await self.ask(Invite("anna")), Invitation)
        devices = await self.ask(ListDevices())
        assert isinstance(devices, DeviceList)
        self.assertEqual([device.user for device in devices.devices], ["anna"])
        self.assertEqual(await self.ask(Revoke(DEVICE)), Done())

    async def test_a_refusal(self) -> None:
        error = await self.assertFailure(self.ask(Revoke(DEVICE)), AgentError)
        self.assertEqual(error.code, "pairing-failed")

    async def test_a_pairing_is_watched_to_its_end(self) -> None:
        self.instance.add(DeviceState.INVITED)
        told: list[Progress] = []
        waiting: Deferred[None] = Deferred()

        def tell(progress: Progress) -> None:
            told.append(progress)
            if progress.state == "invited":
                waiting.callback(None)

        ended = self.watch(tell)
        await waiting
        self.desk.receive_event(DigitsWanted(DEVICE, "anna", 3))
        self.desk.receive_event(DevicePaired(DEVICE, "anna"))
        await ended
        self.assertEqual(told, [Progress("invited"), Progress("waiting", 3), Progress("paired")])

    async def test_who_stops_watching_is_told_nothing_more(self) -> None:
        self.instance.add(DeviceState.INVITED)
        begun: Deferred[Progress] = Deferred()
        ended = self.watch(begun.callback)
        await begun
        ended.cancel()
        await self.assertFailure(ended, CancelledError)
        self.desk.receive_event(DevicePaired(DEVICE, "anna"))
        self.assertIsInstance(await self.ask(ListDevices()), DeviceList)

    async def test_an_agent_that_stops_says_so_to_all(self) -> None:
        self.instance.add(DeviceState.INVITED)
        begun: Deferred[Progress] = Deferred()
        watched = self.watch(begun.callback)
        await begun
        asked_for: Deferred[None] = Deferred()
        invited: Deferred[None] = Deferred()
        self.instance.answers = [invited]
        self.instance.on_asked = lambda: asked_for.callback(None)
        asked = self.ask(Invite("anna"))
        await asked_for
        await self.port.close()
        await self.assertFailure(watched, NotReachable)
        await self.assertFailure(asked, NotReachable)
        invited.callback(None)
        self.assertEqual(os.listdir(self.folder), [])
        error = await self.assertFailure(self.ask(ListDevices()), NotReachable)
        self.assertIn("No agent runs with the data folder", str(error))

    async def test_an_agent_that_was_killed_is_in_nobody_s_way(self) -> None:
        await self.port.close()
        left = socket.socket(socket.AF_UNIX)
        with left:
            left.bind(str(self.folder / SOCKET_NAME))
        (self.folder / PORT_FILE_NAME).write_text('{"port": 1, "token": "x"}')
        error = await self.assertFailure(self.ask(ListDevices()), NotReachable)
        self.assertIn("Start it", str(error))
        await self.port.open()
        self.assertIsInstance(await self.ask(ListDevices()), DeviceList)


class SocketTests(BothEnds, TestCase):
    async def test_only_its_user_can_open_it(self) -> None:
        mode = (self.folder / SOCKET_NAME).lstat().st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(mode & 0o777, 0o600)
        self.assertEqual(os.listdir(self.folder), [SOCKET_NAME])


class TokenTests(BothEnds, TestCase):
    """Where there are no UNIX sockets, or the path is too long for one."""

    socket_bytes = 0

    def ask_raw(self, data: bytes) -> Deferred[bytes]:
        # In a thread: what is asked runs in this one.
        from twisted.internet.threads import deferToThread

        return deferToThread(self._ask_raw, data)

    def _ask_raw(self, data: bytes) -> bytes:
        content = control.msgspec.json.decode((self.folder / PORT_FILE_NAME).read_bytes())
        with socket.create_connection(("127.0.0.1", content["port"]), 20) as connection:
            connection.sendall(data)
            answer = b""
            while part := connection.recv(65_536):
                answer += part
        return answer

    async def test_only_its_user_can_read_the_token(self) -> None:
        self.assertEqual(os.listdir(self.folder), [PORT_FILE_NAME])
        self.assertEqual((self.folder / PORT_FILE_NAME).stat().st_mode & 0o777, 0o600)

    async def test_without_the_token_nothing_is_done(self) -> None:
        for data in (
            encode_line(ListDevices()),
            encode_line(Login("x" * 64)) + encode_line(ListDevices()),
        ):
            answer = decode_answer(await self.ask_raw(data))
            assert isinstance(answer, Refused)
            self.assertEqual(answer.code, "not-allowed")
        self.assertEqual(self.instance.asked, [])

    async def test_a_web_page_gets_nowhere(self) -> None:
        answer = await self.ask_raw(
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
            + encode_line(ListDevices())
        )
        refused = decode_answer(answer)
        assert isinstance(refused, Refused)
        self.assertEqual(refused.code, "usage")

    async def test_a_file_that_is_none(self) -> None:
        for content in (b"nonsense", b'{"port":1,"token":"\xff"}'):
            (self.folder / PORT_FILE_NAME).write_bytes(content)
            error = await self.assertFailure(self.ask(ListDevices()), NotReachable)
            self.assertIn("No agent runs", str(error))


class RefusedFolder:
    """A path of somebody else's."""

    def __truediv__(self, name: str) -> RefusedFolder:
        return self

    def __str__(self) -> str:
        return "/home/other/data"

    def exists(self) -> bool:
        raise PermissionError(13, "Permission denied")


class FolderTests(TestCase):
    async def test_a_folder_of_another_user(self) -> None:
        folder: Any = RefusedFolder()
        with self.assertRaisesRegex(ConfigurationError, "Run this as that user"):
            await ControlClient(reactor, folder).ask(ListDevices())

    async def test_a_socket_of_another_user(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / SOCKET_NAME).write_text("")

            async def refuse(endpoint: Any, client: Any) -> Any:
                raise control_client.ConnectError(PermissionError(13, "Permission denied"))

            self.patch(control_client, "connectProtocol", refuse)
            with self.assertRaisesRegex(ConfigurationError, "Run this as that user"):
                await ControlClient(reactor, Path(name)).ask(ListDevices())

    async def test_a_folder_that_can_not_be_written(self) -> None:
        self.patch(local_socket, "MAX_PATH_BYTES", 0)
        with tempfile.TemporaryDirectory() as name:
            port = ControlPort(reactor, Path(name) / "none", ControlDesk(FakeInstance()))
            with self.assertRaisesRegex(ConfigurationError, "commands can't be received"):
                await port.open()
            await port.close()

    async def test_a_reactor_without_unix_sockets(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            memory: Any = TCPOnlyReactor()
            port = ControlPort(memory, Path(name), ControlDesk(FakeInstance()))
            await port.open()
            self.assertEqual(os.listdir(name), [PORT_FILE_NAME])
            await port.close()
            self.assertEqual(os.listdir(name), [])


class TCPOnlyReactor:
    def __init__(self) -> None:
        self.listenTCP = MemoryReactorClock().listenTCP


class Line(StringTransport):
    """A connection whose end is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class ConnectionTests(SynchronousTestCase):
    """One connection of the agent's, without a socket and with a clock that the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.instance = FakeInstance()
        self.desk = ControlDesk(self.instance)
        self.factory = ControlFactory(self.clock, self.desk, None)

    def connect(self) -> tuple[Any, Line]:
        protocol, line = self.factory.buildProtocol(None), Line()
        protocol.makeConnection(line)
        return protocol, line

    def answers(self, line: Line) -> list[Answer]:
        lines = line.value().splitlines()
        line.clear()
        return [decode_answer(each) for each in lines]

    def code(self, line: Line) -> str:
        (refused,) = self.answers(line)
        assert isinstance(refused, Refused)
        return refused.code

    def test_a_command_at_a_time(self) -> None:
        protocol, line = self.connect()
        first: Deferred[None] = Deferred()
        self.instance.answers = [first]
        self.instance.add(DeviceState.INVITED)
        protocol.dataReceived(
            encode_line(Revoke(DEVICE)) + encode_line(ListDevices()) + encode_line(Watch(DEVICE))
        )
        self.assertEqual(line.producerState, "paused")
        self.assertEqual(self.answers(line), [])
        first.callback(None)
        self.assertEqual(
            [type(answer) for answer in self.answers(line)], [Done, DeviceList, Progress]
        )
        self.assertEqual(line.producerState, "producing")
        # Whoever watches says nothing more.
        protocol.dataReceived(encode_line(ListDevices()))
        self.assertEqual(self.answers(line), [])

    def test_a_line_without_an_end(self) -> None:
        protocol, line = self.connect()
        protocol.dataReceived(b"x" * (MAX_COMMAND_BYTES + 1))
        self.assertEqual(self.code(line), "usage")
        self.assertTrue(line.disconnecting)

    def test_a_login_that_nobody_asks_for(self) -> None:
        protocol, line = self.connect()
        protocol.dataReceived(encode_line(Login("x")) + encode_line(ListDevices()))
        self.assertEqual([type(answer) for answer in self.answers(line)], [DeviceList])

    def test_silence_ends(self) -> None:
        protocol, line = self.connect()
        self.clock.advance(FIRST_COMMAND_SECONDS)
        self.assertTrue(line.aborted)
        protocol, line = self.connect()
        protocol.dataReceived(encode_line(ListDevices()))
        self.clock.advance(IDLE_SECONDS - 1)
        self.assertFalse(line.aborted)
        self.clock.advance(1)
        self.assertTrue(line.aborted)
        self.factory.token = "t0ken"
        protocol, line = self.connect()
        protocol.dataReceived(encode_line(Login("t0ken")))
        self.clock.advance(IDLE_SECONDS)
        self.assertTrue(line.aborted)

    def test_who_watches_may_take_its_time(self) -> None:
        self.instance.add(DeviceState.INVITED)
        protocol, line = self.connect()
        protocol.dataReceived(encode_line(Watch(DEVICE)))
        self.clock.advance(86_400)
        self.assertFalse(line.aborted)
        self.desk.receive_event(DevicePaired(DEVICE, "anna"))
        self.assertEqual(self.answers(line), [Progress("invited"), Progress("paired")])
        self.assertTrue(line.disconnecting)
        # Who takes no answer does not keep a connection either.
        self.clock.advance(FIRST_COMMAND_SECONDS)
        self.assertTrue(line.aborted)

    def test_who_has_hung_up_is_told_nothing(self) -> None:
        self.instance.add(DeviceState.INVITED)
        protocol, line = self.connect()
        protocol.dataReceived(encode_line(Watch(DEVICE)))
        protocol.connectionLost()
        line.clear()
        self.desk.receive_event(DevicePaired(DEVICE, "anna"))
        self.assertEqual(self.answers(line), [])

    def test_an_instance_that_gives_no_answer(self) -> None:
        protocol, line = self.connect()
        self.instance.answers = [Deferred()]
        protocol.dataReceived(encode_line(Invite("anna")))
        self.clock.advance(COMMAND_SECONDS)
        self.assertEqual(self.code(line), "timed-out")

    def test_an_instance_that_fails(self) -> None:
        protocol, line = self.connect()
        self.instance.answers = [RuntimeError("a fault"), PairingError("no")]
        protocol.dataReceived(encode_line(Invite("anna")))
        self.assertEqual(self.code(line), "internal")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        protocol.dataReceived(encode_line(Invite("anna")))
        self.assertEqual(self.code(line), "pairing-failed")

    def test_what_was_begun_goes_on_without_whoever_asked(self) -> None:
        protocol, line = self.connect()
        invited: Deferred[None] = Deferred()
        self.instance.answers = [invited]
        protocol.dataReceived(encode_line(Invite("anna")))
        protocol.connectionLost()
        invited.callback(None)
        self.assertEqual(self.answers(line), [])
        self.assertEqual(len(self.instance.devices()), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_there_is_room_for_so_many(self) -> None:
        connected = [self.connect() for _ in range(MAX_CONNECTIONS)]
        protocol, line = self.connect()
        self.assertEqual(self.code(line), "busy")
        self.assertTrue(line.disconnecting)
        protocol.connectionLost()
        connected[0][0].connectionLost()
        protocol, line = self.connect()
        self.assertFalse(line.disconnecting)
        self.factory.end()
        self.assertTrue(line.disconnecting)

    def test_who_waits_for_a_pairing_leaves_room_for_commands(self) -> None:
        self.instance.add(DeviceState.INVITED)
        for _ in range(MAX_WATCHED):
            protocol, line = self.connect()
            protocol.dataReceived(encode_line(Watch(DEVICE)))
            self.assertEqual(self.answers(line), [Progress("invited")])
        another, refused = self.connect()
        another.dataReceived(encode_line(Watch(DEVICE)))
        self.assertEqual(self.code(refused), "busy")
        self.assertTrue(refused.disconnecting)
        other, answered = self.connect()
        other.dataReceived(encode_line(Revoke(DEVICE)))
        self.assertEqual(self.answers(answered), [Done()])
        protocol.connectionLost()
        protocol, line = self.connect()
        protocol.dataReceived(encode_line(Watch(DEVICE)))
        self.assertIsInstance(self.answers(line)[0], Progress)


class ClientTests(SynchronousTestCase):
    """The other end, with an agent that does as the test wants."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.line = StringTransport()
        self.client = ControlConnection(self.clock)
        self.client.makeConnection(self.line)

    def test_no_answer_comes(self) -> None:
        asked = self.client.ask(ListDevices())
        self.clock.advance(control_client.ANSWER_SECONDS)
        self.failureResultOf(asked, NotReachable)
        # And then it comes all the same.
        self.client.dataReceived(encode_line(Done()))
        self.client.dataReceived(encode_line(Progress("paired")))

    def test_an_answer_that_is_none(self) -> None:
        asked = self.client.ask(ListDevices())
        self.client.dataReceived(b"poem\n")
        self.assertIn("same version", str(self.failureResultOf(asked).value))

    def test_an_answer_without_an_end(self) -> None:
        asked = self.client.ask(ListDevices())
        self.client.dataReceived(bytes(MAX_ANSWER_BYTES + 1))
        self.assertIn("too long", str(self.failureResultOf(asked).value))

    def test_a_watch_that_was_given_up(self) -> None:
        watched = self.client.watch(DEVICE, lambda progress: None)
        watched.addErrback(lambda failure: None)
        watched.cancel()
        self.client.dataReceived(encode_line(Progress("paired")))
        self.client.connectionLost()
        self.client.close()
