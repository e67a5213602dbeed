"""Endpoint strings that begin with ``porttunnel:``, as Twisted's programs use them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    clientFromString,
    quoteStringArgument,
    serverFromString,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from porttunnel.errors import (
    ConfigurationError,
    ConsentRefused,
    CutOff,
    NotReachable,
    StreamRefused,
)
from porttunnel.net.endpoint_strings import parse_client, parse_server
from porttunnel.net.stream_transport import StreamAddress
from porttunnel.session.notice import Ended
from tests.net.on_loopback import LoopbackTestCase

reactor: Any = real_reactor


class TCPTransport(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Client(Protocol):
    """Sends, and collects until the end."""

    def __init__(self) -> None:
        self.received = b""
        self.answered: Deferred[bytes] = Deferred()
        self.lost: Deferred[type[BaseException]] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if not self.answered.called:
            self.answered.callback(self.received)

    def connectionLost(self, reason: Failure) -> None:
        assert reason.type is not None
        self.lost.callback(reason.type)


class TestArguments:
    def parse_both(self, description: str) -> None:
        serverFromString(MemoryReactorClock(), description)
        clientFromString(MemoryReactorClock(), description)

    @pytest.mark.parametrize(
        "description",
        [
            "porttunnel:web:host=127.0.0.1:codefile=code",
            "porttunnel:web:host=127.0.0.1:port=1:tls=no:codefile=code",
            "porttunnel:web:host=tunnel.example.com:codefile=code",
            "porttunnel:web:host=tunnel.example.com:tls=yes:codefile=code",
            r"porttunnel:web:host=\:\:1:codefile=code",
            "porttunnel:web:codefile=code:server="
            + quoteStringArgument("ptuns://tunnel.example.com:4663"),
            "porttunnel:web:codefile=code:server=" + quoteStringArgument("tcp:127.0.0.1:4663"),
        ],
    )
    def test_that_are_right_make_endpoints(self, description: str) -> None:
        self.parse_both(description)

    @pytest.mark.parametrize(
        ("description", "reason"),
        [
            ("porttunnel:", "needs a service and a file"),
            ("porttunnel:web", "needs a service and a file"),
            ("porttunnel:host=h:codefile=code", "needs a service and a file"),
            ("porttunnel:web:codefile=code", "needs host=HOST or server=ADDRESS"),
            ("porttunnel:web:host=h", "needs a service and a file"),
            ("porttunnel:web:host=h:server=h:codefile=code", "not both"),
            ("porttunnel:web:server=h:port=1:codefile=code", "leave out port= and tls="),
            ("porttunnel:web:server=h:tls=no:codefile=code", "leave out port= and tls="),
            ("porttunnel:web:host=h:codefile=code:color=red", "unknown .*: color"),
            ("porttunnel:web:more:host=h:codefile=code", "unknown .*: more"),
            ("porttunnel:a b:host=h:codefile=code", "can't be a service's name"),
            ("porttunnel:web:host=h:tls=maybe:codefile=code", "tls=yes or tls=no"),
            ("porttunnel:web:host=h:port=http:codefile=code", "is not usable"),
            ("porttunnel:web:host=127.0.0.1:tls=yes:codefile=code", "No authority certifies"),
        ],
    )
    def test_that_are_wrong_say_what_is_right(self, description: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            serverFromString(MemoryReactorClock(), description)
        with pytest.raises(ValueError, match=reason):
            clientFromString(MemoryReactorClock(), description)

    def test_accept_is_for_servers(self) -> None:
        with pytest.raises(ValueError, match=r"unknown .*: accept"):
            parse_client(MemoryReactorClock(), "web", host="h", codefile="code", accept="all")
        with pytest.raises(ValueError, match="direct=yes to go straight"):
            parse_client(MemoryReactorClock(), "web", host="h", codefile="code", direct="1")
        for parse in parse_client, parse_server:
            for direct, goes in (("yes", True), ("no", False)):
                endpoint: Any = parse(
                    MemoryReactorClock(), "web", host="h", codefile="code", direct=direct
                )
                assert endpoint._direct is goes
        with pytest.raises(ValueError, match="accept=all to let everybody in"):
            parse_server(MemoryReactorClock(), "web", host="h", codefile="code", accept="Ben")

    @pytest.mark.parametrize(
        ("arguments", "first_bytes"),
        [
            ({"host": "127.0.0.1"}, b"PT\x01"),
            ({"host": "::1"}, b"PT\x01"),
            ({"host": "192.0.2.1"}, b"\x16\x03"),
            ({"host": "192.0.2.1", "tls": "yes"}, b"\x16\x03"),
            ({"host": "192.0.2.1", "tls": "no"}, b"PT\x01"),
            ({"server": "192.0.2.1"}, b"\x16\x03"),
            ({"server": "tcp:192.0.2.1:4663"}, b"\x16\x03"),
            ({"server": "TCP:192.0.2.1:4663"}, b"\x16\x03"),
            ({"server": "tcp:192.0.2.1:4663:host=127.0.0.1"}, b"\x16\x03"),
            ({"server": "tcp:host=127.0.0.1:host=192.0.2.1:port=4663"}, b"\x16\x03"),
            ({"server": "tcp:4663:host=192.0.2.1"}, b"\x16\x03"),
            ({"server": "tcp:192.0.2.1:port=4663"}, b"\x16\x03"),
            ({"server": "tcp:127.0.0.1:4663:host=192.0.2.1"}, b"PT\x01"),
            ({"server": "Tcp:127.0.0.1:4663"}, b"PT\x01"),
            ({"server": "tcp:4663:host=127.0.0.1"}, b"PT\x01"),
            ({"server": "ptun://192.0.2.1"}, b"PT\x01"),
        ],
    )
    def test_tls_is_used_unless_it_is_loopback_or_asked_not_to(
        self, arguments: dict[str, str], first_bytes: bytes, tmp_path: Path
    ) -> None:
        memory: Any = MemoryReactorClock()
        endpoint = parse_server(memory, "web", codefile=str(tmp_path / "code"), **arguments)
        factory: Any = Factory.forProtocol(Echo)
        listening = endpoint.listen(factory)
        _, port, connecting, *_ = memory.tcpClients[0]
        assert port == 4663
        transport = TCPTransport()
        connecting.buildProtocol(None).makeConnection(transport)
        assert transport.value().startswith(first_bytes)
        listening.addErrback(lambda _: None)
        listening.cancel()


class SessionTests(LoopbackTestCase):
    async def listen(self, *arguments: str, path: str = "code") -> Any:
        self.code_file = self.folder() / path
        description = ":".join((f"{self.description()}", *arguments))
        listening = await serverFromString(reactor, description).listen(
            Factory.forProtocol(Echo)  # type: ignore[arg-type]  # provides IProtocolFactory
        )
        self.addCleanup(listening.stopListening)
        return listening

    def folder(self) -> Path:
        # Trial's mktemp() would leave one in the folder that the tests are started in.
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        return Path(temporary.name)

    def description(self, service: str = "echo") -> str:
        where = f"host=127.0.0.1:port={self.tunnel.port}"
        return f"porttunnel:{service}:{where}:codefile={self.code_file}"

    async def connect(self, service: str = "echo") -> Client:
        factory: Any = Factory.forProtocol(Client)
        client: Any = await clientFromString(reactor, self.description(service)).connect(factory)
        return client  # type: ignore[no-any-return]  # what the factory makes

    def logged(self) -> list[str]:
        lines: list[str] = []

        def observe(event: Any) -> None:
            if event["log_namespace"] == "porttunnel.net.endpoint_strings":
                lines.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return lines

    async def test_carries_bytes(self) -> None:
        await self.listen("accept=all")
        first_code = self.code_file.read_text()
        client = await self.connect()
        assert client.transport is not None
        client.transport.write(b"there and back")
        self.assertEqual(await client.answered, b"there and back")
        self.assertNotEqual(self.code_file.read_text(), first_code)
        client.transport.loseConnection()
        self.assertIs(await client.lost, ConnectionDone)

    async def test_each_connection_leaves_its_session(self) -> None:
        lines = self.logged()
        await self.listen("accept=all")
        for _ in range(2):
            client = await self.connect()
            assert client.transport is not None
            client.transport.loseConnection()
            await client.lost
            while not lines[-1].endswith("has left: closed"):
                await next_turn()
            while len(self.tunnel.server.links) > 1:
                await next_turn()
        self.assertIn("has joined as member 3", lines[-2])

    async def test_the_port_is_a_port(self) -> None:
        listening = await self.listen("accept=all")
        self.assertTrue(verifyObject(IListeningPort, listening))
        listening.startListening()
        self.assertEqual(listening.getHost(), StreamAddress(1, "echo"))

    async def test_the_end_of_listening_ends_the_session_and_its_code(self) -> None:
        listening = await self.listen("accept=all")
        client = await self.connect()
        await listening.stopListening()
        self.assertFalse(self.code_file.exists())
        self.assertIs(await client.lost, CutOff)
        with self.assertRaises(ConfigurationError):
            await self.connect()
        await listening.stopListening()

    async def test_nobody_comes_in_unless_told(self) -> None:
        lines = self.logged()
        await self.listen()
        with self.assertRaises(ConsentRefused):
            await self.connect()
        self.assertIn("accept=all", lines[-1])

    async def test_a_service_that_is_not_there_is_refused(self) -> None:
        await self.listen("accept=all")
        with self.assertRaises(StreamRefused):
            await self.connect("web")

    async def test_without_a_server_listening_fails(self) -> None:
        listening = await self.listen("accept=all")
        await listening.stopListening()
        description = self.description().replace(f"port={self.tunnel.port}", "port=1")
        factory: Any = Factory.forProtocol(Echo)
        with self.assertRaises(NotReachable):
            await serverFromString(reactor, description).listen(factory)
        self.assertFalse(self.code_file.exists())

    async def test_without_a_place_for_the_code_listening_fails_at_once(self) -> None:
        with self.assertRaises(ConfigurationError):
            await self.listen("accept=all", path="missing/code")
        self.assertEqual(len(self.tunnel.server.links), 0)

    async def test_a_code_that_can_not_be_written_any_more_is_logged(self) -> None:
        lines = self.logged()
        await self.listen("accept=all")
        client = await self.connect()
        code = self.code_file.read_text()
        self.code_file.unlink()
        self.code_file.mkdir()
        (self.code_file / "in the way").touch()
        elsewhere = self.folder() / "code"
        elsewhere.write_text(code)
        description = self.description().replace(str(self.code_file), str(elsewhere))
        factory: Any = Factory.forProtocol(Client)
        other: Any = await clientFromString(reactor, description).connect(factory)
        self.assertTrue(any("can't be told" in line for line in lines))
        for each in (client, other):
            each.transport.loseConnection()
            await each.lost

    async def test_the_end_of_the_session_is_logged(self) -> None:
        lines = self.logged()
        await self.listen("accept=all")
        for session_id in list(self.tunnel.server.sessions):
            self.tunnel.server.end_session(Ended(session_id, "its time is over"))
        while not lines or "has ended" not in lines[-1]:
            await next_turn()
        self.assertIn("start this program again", lines[-1])
        self.assertFalse(self.code_file.exists())

    async def test_a_factory_that_can_not_start_leaves_no_session(self) -> None:
        class Broken(Factory):
            def startFactory(self) -> None:
                raise OSError("no folder for logs")

        server = self.tunnel.server
        code_file = self.folder() / "code"
        endpoint = parse_server(
            reactor, "echo", host="127.0.0.1", port=str(self.tunnel.port), codefile=str(code_file)
        )
        broken: Any = Broken()
        with self.assertRaises(OSError):
            await endpoint.listen(broken)
        self.assertFalse(code_file.exists())
        while server.links:
            await next_turn()
        self.assertEqual(len(server.sessions), 0)

    async def test_listening_can_be_cancelled(self) -> None:
        server = self.tunnel.server
        code_file = self.folder() / "code"
        endpoint = parse_server(
            reactor, "echo", host="127.0.0.1", port=str(self.tunnel.port), codefile=str(code_file)
        )
        factory: Any = Factory.forProtocol(Echo)
        listening = endpoint.listen(factory)
        failed = self.assertFailure(listening, Exception)
        listening.cancel()
        await failed
        self.assertFalse(code_file.exists())
        self.assertEqual(len(server.sessions), 0)


def next_turn() -> Deferred[None]:
    """Lets the reactor turn once; the test's own time-out is the deadline."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned
