"""How much a client may send at a time.

Source: RFC 6455, sections 5.5 and 10.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from porttunnel.errors import ConfigurationError

__all__ = ["MAX_CONTROL_BYTES", "FrameLimits"]

MAX_CONTROL_BYTES = 125  # of a control frame's payload; the standard's limit
MAX_PAYLOAD_BYTES = 1 << 20  # of a message and of a frame, unless the program says otherwise
MAX_FRAGMENTS = 4_096  # of a message: a frame of one byte costs as much to read as one of 100


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """How much a client may send at a time; more ends the connection with 1009.

    :ivar frame_bytes: of one frame's payload, at least 125.
    :ivar message_bytes: of all fragments of a message together.
    :ivar fragments: of one message.
    :raises ConfigurationError: a limit is so low that nothing would work.
    """

    frame_bytes: int = MAX_PAYLOAD_BYTES
    message_bytes: int = MAX_PAYLOAD_BYTES
    fragments: int = MAX_FRAGMENTS

    def __post_init__(self) -> None:
        if self.frame_bytes < MAX_CONTROL_BYTES or self.message_bytes < MAX_CONTROL_BYTES:
            raise ConfigurationError("a limit below 125 bytes forbids control frames: raise it")
        if self.fragments < 1:
            raise ConfigurationError("a message has at least one fragment: raise the limit")
