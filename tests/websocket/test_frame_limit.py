"""How much a client may send at a time: what can't be meant."""

from __future__ import annotations

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.websocket.frame_limit import MAX_CONTROL_BYTES, FrameLimits


@pytest.mark.parametrize("name", ["frame_bytes", "message_bytes"])
def test_control_frames_are_always_allowed(name: str) -> None:
    FrameLimits(**{name: MAX_CONTROL_BYTES})
    with pytest.raises(ConfigurationError, match="125"):
        FrameLimits(**{name: MAX_CONTROL_BYTES - 1})


def test_a_message_has_a_fragment() -> None:
    FrameLimits(fragments=1)
    with pytest.raises(ConfigurationError, match="fragment"):
        FrameLimits(fragments=0)
