"""What outlives a client's connections."""

from __future__ import annotations

import pytest

from porttunnel.errors import MqttError
from porttunnel.mqtt.keeping import ID_BYTES
from porttunnel.mqtt.message import Message, deliver_as
from porttunnel.mqtt.outgoing import HeldBytes
from porttunnel.mqtt.packet import Version, Will
from porttunnel.mqtt.policy import Client, Profile, SlowConsumer
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.session import PendingWill, Session

CLIENT = Client("c", "name", None, Version.V5, "")
USER_PROPERTIES = Properties(user_properties=(("a", "b"),))


@pytest.mark.parametrize(
    ("slow_consumer", "is_watched", "pauses_publishers"),
    [
        (SlowConsumer.DROP, False, False),
        (SlowConsumer.PAUSE, True, True),
        (SlowConsumer.CUT, True, False),
    ],
)
def test_knows_what_its_latest_connection_may(
    slow_consumer: SlowConsumer, is_watched: bool, pauses_publishers: bool
) -> None:
    session = Session("name", CLIENT, Profile(), HeldBytes(1_000))
    assert not session.is_watched
    other = Client("d", "name", None, Version.V3_1_1, "")
    session.take_over(other, Profile(slow_consumer=slow_consumer))
    assert (session.name, session.client) == ("name", other)
    assert (session.is_watched, session.pauses_publishers) == (is_watched, pauses_publishers)


def test_what_is_to_be_known_of_qos_2_messages_is_charged_to_all_sessions() -> None:
    held = HeldBytes(4 * ID_BYTES)
    session = Session("name", CLIENT, Profile(receive_maximum=3), held)
    other = Session("other", CLIENT, Profile(), held)
    for packet_id in (7, 8):
        assert session.may_note()
        session.note(packet_id)
    assert held.held == 2 * ID_BYTES
    assert not session.may_note()  # no more than it leaves for all others
    assert other.may_note()
    assert session.release(7)
    assert not session.release(7)
    assert held.held == ID_BYTES
    held.limit *= 10
    for packet_id in (9, 10):
        session.note(packet_id)
    with pytest.raises(MqttError) as caught:
        session.may_note()
    assert caught.value.reason == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


def test_forgets_all_messages() -> None:
    held = HeldBytes(10_000)
    session = Session("name", CLIENT, Profile(), held)
    session.deliver(deliver_as(Message("a", b"x", 1), 1, False, "a", ()), 0.0)
    before = held.held
    session.note(7)
    assert held.held > before > 0
    session.discard()
    assert (held.held, session.incoming, session.is_behind) == (0, {}, False)


def test_a_will_is_charged_as_long_as_it_is_kept() -> None:
    held = HeldBytes(10_000)
    session = Session("name", CLIENT, Profile(), held)
    small = PendingWill("inner", Will("outer", b"gone"))
    large = PendingWill("inner", Will("outer", bytes(1_000), properties=USER_PROPERTIES))
    assert large.cost > small.cost + 1_000
    for will in (small, large, None):
        session.will = will
        assert session.will is will
        assert held.held == (will.cost if will else 0)


def test_a_wills_time_begins_when_it_is_published() -> None:
    properties = Properties(message_expiry_interval=10, content_type="t", will_delay_interval=5)
    will = PendingWill("inner", Will("outer", b"gone", 1, True, properties))
    message = will.made(100.0)
    assert (message.topic, message.payload, message.qos, message.retain) == (
        "inner",
        b"gone",
        1,
        True,
    )
    assert message.expires_at == 110.0
    assert message.properties == Properties(content_type="t")
