"""Cutting what is sent into the payloads of frames."""

from __future__ import annotations

import pytest

from porttunnel.websocket.cut import cut_payload


@pytest.mark.parametrize("sizes", [(0,), (5,), (2, 3, 0), (6,), (4, 4, 4), (1, 15)])
def test_each_is_full_but_for_the_last(sizes: tuple[int, ...]) -> None:
    views = [memoryview(bytes(range(size))) for size in sizes]
    parts = [b"".join(part) for part in cut_payload(views, 5)]
    assert b"".join(parts) == b"".join(views)
    assert all(len(part) == 5 for part in parts[:-1])
    assert len(parts[-1]) <= 5
