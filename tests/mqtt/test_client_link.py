"""One connection of a client: what waits to be sent, and how long silence may last."""

from __future__ import annotations

import pytest

from porttunnel.errors import LinkBroken, MqttError
from porttunnel.mqtt.client_keep_alive import PINGRESP_SECONDS
from porttunnel.mqtt.client_link import CONNACK_SECONDS, ClientLink
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import Disconnect, Pingreq, Pingresp, Publish, Version
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode

PINGREQ = b"\xc0\0"
PINGRESP = b"\xd0\0"


def link(**settings: int) -> ClientLink:
    return ClientLink(ClientSettings(**settings), 100.0)  # type: ignore[arg-type]  # numbers only


def waiting(connection: ClientLink) -> bytes:
    return b"".join(connection.views())


def test_what_is_queued_is_sent_in_order_and_in_parts() -> None:
    connection = link()
    assert connection.views() == []
    connection.send(Pingreq())
    connection.send_encoded(b"abc")
    assert connection.unsent_bytes == 5
    assert waiting(connection) == PINGREQ + b"abc"
    connection.sent(3)
    connection.send_encoded(b"def")
    assert waiting(connection) == b"bcdef"
    assert waiting(connection) == b"bcdef"
    connection.sent(5)
    assert connection.unsent_bytes == 0
    assert connection.views() == []


def test_packets_come_whole_however_they_arrive() -> None:
    data = PINGRESP + b"\x30\x06\0\x01a\0hi"
    expected = [Pingresp(), Publish("a", memoryview(b"hi"))]
    assert list(link().packets(memoryview(data), 1.0)) == expected
    connection = link()
    each = [memoryview(bytes((byte,))) for byte in data]
    found = [packet for byte in each for packet in connection.packets(byte, 1.0)]
    assert [type(packet) for packet in found] == [Pingresp, Publish]


def test_a_packet_above_our_limit_is_refused() -> None:
    connection = link(max_packet_bytes=10)
    with pytest.raises(MqttError) as caught:
        list(connection.packets(memoryview(b"\x30\x09"), 1.0))
    assert caught.value.reason == ReasonCode.PACKET_TOO_LARGE


def test_the_broker_has_a_time_to_take_us() -> None:
    connection = link()
    due = 100 + CONNACK_SECONDS
    assert connection.next_deadline() == due
    connection.check(due - 1, reading=True)
    connection.await_answer()
    assert connection.next_deadline() == due - 1 + CONNACK_SECONDS
    with pytest.raises(LinkBroken, match="CONNECT"):
        connection.check(due - 1 + CONNACK_SECONDS, reading=True)
    connection.pong()


@pytest.mark.mqtt5("3.14.2-3", "3.14.2-4", "3.2.2-15")
def test_a_goodbye_that_is_too_long_says_less() -> None:
    said = Properties(
        session_expiry_interval=5, reason_string="x" * 20, user_properties=(("a", "b"),)
    )
    for limit, kept in ((100, said), (20, Properties(session_expiry_interval=5))):
        connection = link()
        connection.establish(60, limit)
        connection.say_goodbye(Disconnect(properties=said))
        assert waiting(connection) == encode(Disconnect(properties=kept), Version.V5)


def test_a_silent_broker_is_pinged_and_given_up() -> None:
    connection = link()
    connection.establish(60, 1_000)
    assert connection.next_deadline() == 145.0
    connection.check(145.0, reading=True)
    assert waiting(connection) == PINGREQ
    connection.sent(2)
    assert list(connection.packets(memoryview(PINGRESP), 146.0)) == [Pingresp()]
    connection.pong()
    assert connection.next_deadline() == 190.0
    connection.check(190.0, reading=True)
    with pytest.raises(LinkBroken, match="does not answer"):
        connection.check(190.0 + PINGRESP_SECONDS, reading=True)


def test_who_is_not_read_from_can_give_no_sign_of_life() -> None:
    connection = link()
    connection.establish(60, 1_000)
    connection.check(145.0, reading=True)
    connection.check(145.0 + PINGRESP_SECONDS, reading=False)
    assert connection.next_deadline() == 145.0 + 2 * PINGRESP_SECONDS
