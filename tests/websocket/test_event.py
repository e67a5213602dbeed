"""What is reported has happened, and can't be changed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from porttunnel.errors import CutOff
from porttunnel.websocket.event import (
    BytesReceived,
    CloseReceived,
    ConnectionFailed,
    Event,
    TextReceived,
)


def test_events_are_what_happened() -> None:
    events = [
        TextReceived("a"),
        BytesReceived(memoryview(b"a")),
        CloseReceived(None, ""),
        ConnectionFailed(CutOff("gone")),
    ]
    assert tuple(map(type, events)) == get_args(Event)
    for event in events:
        with pytest.raises(FrozenInstanceError):
            setattr(event, fields(event)[0].name, None)
