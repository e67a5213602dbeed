"""What cores report."""

from __future__ import annotations

import msgspec
import pytest

from porttunnel.session import event
from porttunnel.session.code import SessionCode


@pytest.mark.parametrize("name", event.__all__)
def test_is_a_frozen_value(name: str) -> None:
    kind = getattr(event, name)
    assert issubclass(kind, msgspec.Struct)
    assert kind.__struct_config__.frozen


def test_an_event_cannot_be_changed() -> None:
    happened = event.StreamEnded(2, 1)
    assert happened == event.StreamEnded(2, 1)
    with pytest.raises(AttributeError):
        happened.stream = 3  # type: ignore[misc]  # that it can't is what is tested


def test_an_invitation_shows_no_secret() -> None:
    made = event.InvitationMade(
        SessionCode(48213, pin="604219"), SessionCode(48213, link_secret="A" * 26)
    )
    assert "604219" not in repr(made)
    assert "AAA" not in repr(made)
