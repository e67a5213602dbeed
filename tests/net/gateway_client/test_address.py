"""porttunnel.net.gateway_client.address: what people write, what a QR says, who is believed."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

from porttunnel.errors import ConfigurationError, NotReachable
from porttunnel.gateway.pairing_code import WEB_PKI, PairingCode
from porttunnel.net.certificate import load_or_create_identity, spki_digest
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.tls import digest_context, server_context

PIN = "sha256-" + "A" * 43


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://gateway.example", "https://gateway.example"),
        (" https://Gateway.Example:443/ ", "https://gateway.example"),
        ("https://gateway.example:8443/a/B/", "https://gateway.example:8443/a/B"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    address = GatewayAddress.parse(text)
    assert address == GatewayAddress(url)
    assert GatewayAddress.parse(address.format()) == address
    assert address.code_pin == WEB_PKI


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gateway.example",
        "ftp://gateway.example",
        "https://",
        "https://user:password@gateway.example",
        "https://gateway.example?query",
        "https://gateway.example:port",
        "https://gateway.example/a b",
        "http://gateway.example",
        "http://127.0.0.1/path",
        "https://gateway.example#sha1-" + "A" * 43,
        f"https://gateway.example#{PIN[:-1]}",
        f"http://localhost#{PIN}",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        GatewayAddress.parse(text)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("length", [16, 32])
def test_a_pin_is_kept(length: int) -> None:
    address = GatewayAddress("https://a", bytes(range(1, length + 1)))
    assert GatewayAddress.parse(address.format()) == address
    assert address.code_pin == bytes(range(1, 17))


def test_of_a_code() -> None:
    code = PairingCode("https://a/b", b"k" * 16, b"s" * 32, WEB_PKI, 0)
    assert GatewayAddress.from_pairing_code(code) == GatewayAddress("https://a/b")
    pinned = PairingCode("https://a/b", b"k" * 16, b"s" * 32, b"p" * 16, 0)
    address = GatewayAddress.from_pairing_code(pinned)
    assert (address.pin, address.code_pin) == (b"p" * 16, b"p" * 16)


def test_where_mqtt_is() -> None:
    assert GatewayAddress("https://a/b").mqtt_url == "wss://a/b/mqtt"
    assert GatewayAddress("http://localhost:1").mqtt_url == "ws://localhost:1/mqtt"


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://192.0.2.7", 443),
        ("https://[2001:db8::1]:8443/path", 8443),
        ("http://127.0.0.1", 80),
    ],
)
def test_where_it_connects(url: str, port: int) -> None:
    memory = MemoryReactorClock()
    connecting = GatewayAddress(url).endpoint(memory).connect(Factory.forProtocol(Protocol))
    # Names and addresses are all one to this reactor.
    assert memory.tcpClients[0][1] == port
    connecting.addErrback(lambda _: None)
    connecting.cancel()


def test_half_a_digest_is_too_little() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        digest_context(bytes(15))


class _Hearing(Protocol):
    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard.callback(data)

    def connectionLost(self, reason: Any = None) -> None:
        if not self.heard.called:
            self.heard.errback(reason)


class _Greeting(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")


class PinTests(TestCase):
    """Against a real key, in real TLS."""

    timeout = 30.0

    async def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.identity = load_or_create_identity(Path(folder.name))
        factory = TLSMemoryBIOFactory(
            server_context(self.identity), False, Factory.forProtocol(_Greeting)
        )
        self.port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(lambda: maybeDeferred(self.port.stopListening))

    async def hear(self, pin: bytes) -> bytes:
        url = f"https://127.0.0.1:{self.port.getHost().port}"
        endpoint = GatewayAddress(url, pin).endpoint(reactor)
        protocol: Any = await endpoint.connect(Factory.forProtocol(_Hearing))
        try:
            return bytes(await protocol.heard)
        finally:
            protocol.transport.abortConnection()

    async def test_the_right_key(self) -> None:
        digest = spki_digest(self.identity.certificate)
        for pin in (digest, digest[:16]):
            self.assertEqual(await self.hear(pin), b"hello")

    async def test_another_key(self) -> None:
        digest = spki_digest(self.identity.certificate)
        for pin in (digest[:15] + bytes([digest[15] ^ 1]), bytes(32), b""):
            with self.assertRaises(NotReachable):
                await self.hear(pin)

    def test_a_qr_has_the_same_pin(self) -> None:
        digest = spki_digest(self.identity.certificate)
        address = GatewayAddress.parse(f"https://a#{self.identity.pin}")
        self.assertEqual(address.pin, digest)
        spki = self.identity.certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        self.assertEqual(address.code_pin, sha256(spki).digest()[:16])
