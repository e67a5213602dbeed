"""Real TLS on loopback: our own key, pins, the machine's trust, ALPN."""

from __future__ import annotations

import ipaddress
import re
import stat
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from twisted.internet import defer, endpoints, reactor, ssl
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLContextFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from porttunnel.errors import ConfigurationError, NotReachable
from porttunnel.net import certificate, port_sharing, tls
from porttunnel.net.certificate import Identity, load_or_create_identity, spki_pin
from porttunnel.net.counters import ServerCounters
from porttunnel.net.http_notice import HTTPNoticeFactory
from porttunnel.net.port_sharing import Branch, SharedPortFactory
from porttunnel.net.tls import client_context, pinned_context, server_context, tls_endpoint
from porttunnel.session.limit import ConnectionLimiter

OTHER_PIN = "sha256-" + "A" * 43


# The identity and its file


def test_an_identity_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    first = load_or_create_identity(folder)
    second = load_or_create_identity(folder)
    assert first.pin == second.pin
    assert re.fullmatch(r"sha256-[A-Za-z0-9_-]{43}", first.pin)
    assert load_or_create_identity(tmp_path / "other").pin != first.pin
    assert isinstance(first.private_key.curve, ec.SECP256R1)
    assert first.certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=30_000)
    assert "private_key" not in repr(first)


def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    load_or_create_identity(tmp_path)
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_or_create_identity(tmp_path)


def test_an_unfinished_file_of_a_crash_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "server-identity.new").write_bytes(b"half")
    assert load_or_create_identity(tmp_path).pin == load_or_create_identity(tmp_path).pin


@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAA\n"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / certificate.FILE_NAME
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="is damaged"):
        load_or_create_identity(tmp_path)


def test_key_and_certificate_must_belong_together(tmp_path: Path) -> None:
    one, other = load_or_create_identity(tmp_path / "1"), load_or_create_identity(tmp_path / "2")
    rsa_key = rsa.generate_private_key(65_537, 2_048)
    path = tmp_path / certificate.FILE_NAME
    for key in (other.private_key, rsa_key):
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + one.certificate.public_bytes(Encoding.PEM)
        )
        path.chmod(0o600)
        with pytest.raises(ConfigurationError, match="is damaged"):
            load_or_create_identity(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="name another data folder"):
        load_or_create_identity(tmp_path / "file" / "data")


def test_a_pin_that_is_none() -> None:
    for pin in ("", "sha256-", OTHER_PIN[:-1], OTHER_PIN + "A", OTHER_PIN.replace("A", "/", 1)):
        with pytest.raises(ConfigurationError, match="copy the whole address"):
            pinned_context(pin)


def test_a_renewed_certificate_keeps_its_pin(tmp_path: Path) -> None:
    identity = load_or_create_identity(tmp_path)
    renewed = certificate_for(identity.private_key, "renewed.example", [])
    assert spki_pin(renewed) == identity.pin


def certificate_for(
    key: ec.EllipticCurvePrivateKey,
    host: str,
    alternatives: list[x509.GeneralName],
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(key if issuer is None else issuer[1], SHA256())


# Connections


@implementer(IHandshakeListener)
class Conversation(Protocol):
    """Sends ``greeting`` at once; keeps what comes and why it ended."""

    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting
        self.data = b""
        self.handshaken = False
        self.ended: defer.Deferred[Failure] = defer.Deferred()
        self.answered: defer.Deferred[None] = defer.Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.greeting)

    def handshakeCompleted(self) -> None:
        self.handshaken = True

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if not self.answered.called:
            self.answered.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Handed over in a list: a Deferred would take a bare Failure for its own.
        self.ended.callback([reason])


class Echo(Protocol):
    """What stands behind the port for packets."""

    def connectionMade(self) -> None:
        self.factory.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.factory.seen.append(data)
        self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.connections.remove(self)
        if not self.factory.connections:
            gone, self.factory.gone = self.factory.gone, defer.Deferred()
            gone.callback(None)


class EchoFactory(Factory):
    protocol = Echo
    noisy = False

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.seen: list[bytes] = []
        self.gone: defer.Deferred[None] = defer.Deferred()


class TLSTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    async def listen(self, context: Any) -> int:
        self.echo = EchoFactory()
        factory = SharedPortFactory(
            reactor,
            {Branch.PACKETS: self.echo, Branch.HTTP: HTTPNoticeFactory(reactor)},
            tls=context,
            limiter=ConnectionLimiter(),
            counters=ServerCounters(),
        )
        endpoint = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def identity(self, name: str = "a") -> Identity:
        return load_or_create_identity(self.folder / name)

    async def converse(
        self, port: int, hostname: str, pin: str | None, greeting: bytes = b"PT\x01hello"
    ) -> Conversation:
        host = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        endpoint = tls_endpoint(reactor, host, hostname, pin)
        conversation = Conversation(greeting)
        await endpoint.connect(Factory.forProtocol(lambda: conversation))
        return conversation

    async def hang_up(self, conversation: Conversation) -> None:
        assert conversation.transport is not None
        conversation.transport.loseConnection()
        await conversation.ended
        if self.echo.connections:
            await self.echo.gone

    async def test_the_right_pin(self) -> None:
        identity = self.identity()
        port = await self.listen(server_context(identity))
        for hostname in ("127.0.0.1", "::1", "localhost", "some.other.example"):
            conversation = await self.converse(port, hostname, identity.pin)
            await conversation.answered
            self.assertTrue(conversation.handshaken)
            self.assertEqual(conversation.data, b"PT\x01hello")
            await self.hang_up(conversation)

    async def test_a_wrong_pin_gets_no_byte(self) -> None:
        port = await self.listen(server_context(self.identity()))
        conversation = await self.converse(port, "localhost", self.identity("b").pin)
        (reason,) = await conversation.ended
        self.assertIsInstance(reason.value, NotReachable)
        self.assertIn("ask for its address again", str(reason.value))
        self.assertFalse(conversation.handshaken)
        self.assertEqual((conversation.data, self.echo.seen), (b"", []))

    async def test_a_certificate_that_nobody_knows_is_refused_without_a_pin(self) -> None:
        port = await self.listen(server_context(self.identity()))
        conversation = await self.converse(port, "localhost", None)
        (reason,) = await conversation.ended
        self.assertIsInstance(reason.value, NotReachable)
        self.assertIn("does not trust", str(reason.value))
        self.assertEqual(self.echo.seen, [])

    def trust(self, trusted: x509.Certificate) -> None:
        """Make it the only one that this machine trusts."""
        file = self.folder / "trusted.pem"
        file.write_bytes(trusted.public_bytes(Encoding.PEM))
        self.patch(
            tls,
            "platformTrust",
            lambda: ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(file.read_bytes())]),
        )

    async def test_the_machines_trust_and_the_name_count(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        trusted = certificate_for(key, "localhost", alternatives)
        self.trust(trusted)
        port = await self.listen(server_context(Identity(key, trusted)))
        for hostname in ("localhost", "127.0.0.1"):
            conversation = await self.converse(port, hostname, None)
            await conversation.answered
            self.assertEqual(conversation.data, b"PT\x01hello")
            await self.hang_up(conversation)
        self.echo.seen.clear()
        for hostname in ("elsewhere.example", "127.0.0.2"):
            conversation = await self.converse(port, hostname, None)
            (reason,) = await conversation.ended
            self.assertIsInstance(reason.value, NotReachable)
            self.assertIn("another name", str(reason.value))
        self.assertEqual(self.echo.seen, [])

    async def test_a_trusted_certificate_that_names_nobody(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        trusted = certificate_for(key, "localhost", [])
        self.trust(trusted)
        port = await self.listen(server_context(Identity(key, trusted)))
        conversation = await self.converse(port, "localhost", None)
        (reason,) = await conversation.ended
        self.assertIsInstance(reason.value, NotReachable)
        self.assertEqual((conversation.handshaken, self.echo.seen), (False, []))

    async def test_a_pin_is_of_the_servers_own_key_and_no_other_in_the_chain(self) -> None:
        root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer = certificate_for(root, "root.example", [])
        certificate = certificate_for(leaf, "localhost", [], issuer=(issuer, root))
        context = ssl.CertificateOptions(
            privateKey=leaf, certificate=certificate, extraCertChain=[issuer]
        )
        port = await self.listen(context)
        wrong = await self.converse(port, "localhost", spki_pin(issuer))
        (reason,) = await wrong.ended
        self.assertIsInstance(reason.value, NotReachable)
        right = await self.converse(port, "localhost", spki_pin(certificate))
        await right.answered
        await self.hang_up(right)

    async def test_a_client_with_alpn(self) -> None:
        """As curl does: h2 and http/1.1 offered, HTTP spoken."""
        port = await self.listen(server_context(self.identity()))
        options = ssl.CertificateOptions(acceptableProtocols=[b"h2", b"http/1.1"])
        endpoint = endpoints.wrapClientTLS(
            options, endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        )
        conversation = Conversation(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await endpoint.connect(Factory.forProtocol(lambda: conversation))
        await conversation.answered
        transport: Any = conversation.transport
        self.assertEqual(transport.negotiatedProtocol, b"http/1.1")
        self.assertTrue(conversation.data.startswith(b"HTTP/1.1 426 "))
        await conversation.ended

    async def test_a_client_with_a_foreign_protocol_name_is_served_without(self) -> None:
        port = await self.listen(server_context(self.identity()))
        options = ssl.CertificateOptions(acceptableProtocols=[b"other"])
        endpoint = endpoints.wrapClientTLS(
            options, endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        )
        conversation = Conversation(b"PT\x01")
        await endpoint.connect(Factory.forProtocol(lambda: conversation))
        await conversation.answered
        await self.hang_up(conversation)

    async def test_tls_in_tls_is_refused(self) -> None:
        identity = self.identity()
        port = await self.listen(server_context(identity))
        conversation = await self.converse(port, "localhost", identity.pin, b"\x16\x03\x01")
        await conversation.ended
        self.assertEqual(conversation.data, b"")

    async def test_old_versions_are_refused(self) -> None:
        port = await self.listen(server_context(self.identity()))

        @implementer(IOpenSSLContextFactory)
        class Old:
            def getContext(self) -> SSL.Context:
                context = SSL.Context(SSL.TLS_CLIENT_METHOD)
                context.set_cipher_list(b"ALL:@SECLEVEL=0")
                context.set_max_proto_version(SSL.TLS1_1_VERSION)
                return context

        endpoint = endpoints.wrapClientTLS(
            Old(), endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        )
        conversation = Conversation(b"PT\x01")
        await endpoint.connect(Factory.forProtocol(lambda: conversation))
        (reason,) = await conversation.ended
        self.assertIsInstance(reason.value, SSL.Error)
        self.assertEqual(self.echo.seen, [])

    async def test_who_never_finishes_the_handshake_is_cut_off(self) -> None:
        self.patch(port_sharing, "HANDSHAKE_SECONDS", 0.05)
        port = await self.listen(server_context(self.identity()))
        endpoint = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        conversation = Conversation(b"\x16")
        await endpoint.connect(Factory.forProtocol(lambda: conversation))
        await conversation.ended
        self.assertEqual(self.echo.seen, [])

    async def test_what_breaks_in_the_check_is_a_refusal(self) -> None:
        identity = self.identity()
        port = await self.listen(server_context(identity))

        def broken(_: object) -> str:
            raise ArithmeticError("on purpose")

        self.patch(tls, "spki_digest", broken)
        conversation = await self.converse(port, "localhost", identity.pin)
        (reason,) = await conversation.ended
        self.assertIsInstance(reason.value, ArithmeticError)
        self.assertEqual(self.echo.seen, [])


def test_a_name_that_is_no_host() -> None:
    with pytest.raises(UnicodeError):
        client_context("a" * 70 + ".example")
