"""Cutting what is sent into the payloads of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["MAX_SENT_FRAME_BYTES", "cut_payload"]

# What waits shares a frame up to here. A client that looks at whole frames only waits no longer
# for a larger one's end, and of a frame that the network took in part the rest has to be kept.
MAX_SENT_FRAME_BYTES = 65_536


def cut_payload(
    views: Sequence[memoryview], size: int = MAX_SENT_FRAME_BYTES
) -> Iterator[list[memoryview]]:
    """The bytes of ``views`` in parts for one frame each, of ``size`` bytes but for the last."""
    part: list[memoryview] = []
    room = size
    for view in views:
        while len(view) > room:
            yield [*part, view[:room]]
            part, view, room = [], view[room:], size
        part.append(view)
        room -= len(view)
    yield part
