"""Cutting what is sent into the payloads of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["cut_payload"]


def cut_payload(views: Sequence[memoryview], size: int) -> Iterator[list[memoryview]]:
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
