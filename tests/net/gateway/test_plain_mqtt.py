"""porttunnel.net.gateway.plain_mqtt: who comes without TLS is told so."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.mqtt.decode import decode
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import Connack, Connect, Version
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway.plain_mqtt import ANSWER_SECONDS, PlainMQTTFactory


class PlainMQTTTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.protocol = PlainMQTTFactory(self.clock).buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def test_it_is_refused_in_its_own_version(self) -> None:
        for version in (Version.V5, Version.V3_1_1):
            self.setUp()
            connect = encode(Connect(version, "c", user_name="u", password=b"p"), version)
            for byte in connect[:-1]:
                self.protocol.dataReceived(bytes([byte]))
                self.assertEqual(self.transport.value(), b"")
            self.protocol.dataReceived(connect[-1:] + b"more")
            answer = self.transport.value()
            connack = decode(answer[0], memoryview(answer)[2:], version)
            assert isinstance(connack, Connack)
            self.assertIs(connack.reason, ReasonCode.NOT_AUTHORIZED)
            if version is Version.V5:
                self.assertIn("TLS", connack.properties.reason_string or "")
            self.assertTrue(self.transport.disconnecting)
            self.protocol.dataReceived(connect)
            self.assertEqual(self.transport.value(), answer)

    def test_nonsense_is_closed(self) -> None:
        for nonsense in (b"\x10\xff\xff\xff\xff\xff", b"\x10\xff\xff\x7f", b"\x10\x02ab"):
            self.setUp()
            self.protocol.dataReceived(nonsense)
            self.assertEqual(self.transport.value(), b"")
            self.assertTrue(self.transport.disconnecting)

    def test_silence_is_cut_off(self) -> None:
        self.protocol.dataReceived(b"\x10")
        self.clock.advance(ANSWER_SECONDS)
        self.assertTrue(self.transport.disconnected)
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def test_the_end_leaves_no_timer(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
