"""porttunnel.net.gateway.presence: who is there, and who is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from porttunnel.gateway.event import ALL_REQUESTS, decode_event
from porttunnel.gateway.part import Failure, decode_part
from porttunnel.gateway.policy import GatewayAnswer
from porttunnel.gateway.topic import parse_response_topic
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.presence import Presence

INSTANCE, OTHER = "1a" * 16, "1b" * 16
DEVICE, SECOND = "da" * 16, "db" * 16
OWNER = Account(INSTANCE, INSTANCE)
STRANGER = Account(OTHER, OTHER)
ONE, TWO = Account(DEVICE, INSTANCE), Account(SECOND, INSTANCE)


def read(answer: GatewayAnswer) -> tuple[str, str, str]:
    """To whom, what, and about which device or request."""
    match answer.topic.split("/"):
        case ["instance", instance_id, "event", name]:
            return instance_id, name, decode_event(answer.payload)
    device_id, request_id = parse_response_topic(answer.topic) or ("", "")
    failure = decode_part(answer.payload)
    assert isinstance(failure, Failure)
    assert failure.from_gateway
    return device_id, failure.code, request_id


class Telling(Presence):
    def __init__(self) -> None:
        self.said: list[GatewayAnswer] = []
        super().__init__(self.said.append)

    def heard(self) -> list[tuple[str, str, str]]:
        """What was told since the last look."""
        said = [read(answer) for answer in self.said]
        self.said.clear()
        return said


@pytest.fixture
def presence() -> Iterator[Telling]:
    presence = Telling()
    yield presence
    assert presence.said == []


def test_an_instance_hears_of_its_devices(presence: Telling) -> None:
    presence.arrived(OWNER, INSTANCE)
    presence.arrived(STRANGER, OTHER)
    presence.arrived(ONE, "one")
    assert presence.heard() == [(INSTANCE, "device-online", DEVICE)]
    presence.arrived(ONE, "one more")
    presence.left(ONE, "one")
    assert presence.heard() == []
    assert presence.sessions(DEVICE) == ("one more",)
    presence.left(ONE, "one more")
    assert presence.heard() == [(INSTANCE, "device-offline", DEVICE)]
    assert presence.sessions(DEVICE) == ()


def test_who_is_there_is_told_to_who_comes(presence: Telling) -> None:
    presence.arrived(ONE, "one")
    presence.arrived(TWO, "two")
    presence.arrived(OWNER, INSTANCE)
    presence.introduce(INSTANCE)
    assert sorted(presence.heard()) == [
        (INSTANCE, "device-online", DEVICE),
        (INSTANCE, "device-online", SECOND),
    ]
    presence.introduce(OTHER)
    assert presence.devices(INSTANCE) == {DEVICE, SECOND}
    assert presence.devices(OTHER) == set()


def test_devices_hear_that_their_instance_is_gone(presence: Telling) -> None:
    presence.arrived(OWNER, INSTANCE)
    presence.arrived(ONE, "one")
    presence.arrived(Account("dc" * 16, OTHER), "another's")
    presence.heard()
    presence.left(OWNER, INSTANCE)
    assert presence.heard() == [(DEVICE, "instance-offline", ALL_REQUESTS)]


def test_one_that_is_removed(presence: Telling) -> None:
    presence.arrived(OWNER, INSTANCE)
    presence.device_removed(INSTANCE, SECOND)
    assert presence.heard() == [(INSTANCE, "device-removed", SECOND)]
    presence.arrived(ONE, "one")
    presence.heard()
    presence.device_removed(INSTANCE, DEVICE)
    assert presence.heard() == [
        (INSTANCE, "device-removed", DEVICE),
        (DEVICE, "revoked", ALL_REQUESTS),
    ]


def test_two_that_came_with_one_key(presence: Telling) -> None:
    presence.setup_raced(INSTANCE, DEVICE)
    assert presence.heard() == []
    presence.arrived(OWNER, INSTANCE)
    presence.setup_raced(INSTANCE, DEVICE)
    assert presence.heard() == [(INSTANCE, "setup-race", DEVICE)]


def test_how_many(presence: Telling) -> None:
    for account in (ONE, TWO, STRANGER):
        presence.arrived(account, account.user_name)
    assert (presence.instance_count, presence.device_count) == (1, 2)
    for account in (ONE, TWO, STRANGER):
        presence.left(account, account.user_name)
    assert (presence.instance_count, presence.device_count) == (0, 0)
