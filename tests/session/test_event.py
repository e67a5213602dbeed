"""What cores report."""

from __future__ import annotations

import msgspec
import pytest

from porttunnel.errors import LinkBroken
from porttunnel.session import event
from porttunnel.session.code import SessionCode


@pytest.mark.parametrize("name", sorted(set(event.__all__) - {"PathKind"}))
def test_is_a_frozen_value(name: str) -> None:
    kind = getattr(event, name)
    assert issubclass(kind, msgspec.Struct)
    assert kind.__struct_config__.frozen


def test_an_event_cannot_be_changed() -> None:
    happened = event.StreamEnded(2, 1)
    assert happened == event.StreamEnded(2, 1)
    with pytest.raises(AttributeError):
        happened.stream = 3  # type: ignore[misc]  # that it can't is what is tested


def test_a_lost_link_may_be_sought_at_once_unless_told_otherwise() -> None:
    error = LinkBroken("The connection to the tunnel server was cut.")
    assert event.LinkLost(error).retry_after_seconds == 0
    assert event.LinkLost(error, 2.5).retry_after_seconds == 2.5


def test_the_way_of_packets_is_told_in_words() -> None:
    moved = event.PathChanged(2, event.PathKind.DIRECT, "192.168.1.5 answered")
    assert f"{moved.path}: {moved.reason}" == "direct: 192.168.1.5 answered"
    assert list(event.PathKind) == ["relay", "direct"]


def test_an_invitation_shows_no_secret() -> None:
    made = event.InvitationMade(
        SessionCode(48213, pin="604219"), SessionCode(48213, link_secret="A" * 26)
    )
    assert "604219" not in repr(made)
    assert "AAA" not in repr(made)
