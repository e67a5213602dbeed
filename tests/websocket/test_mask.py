"""The mask comes off in place, whatever the payload's size."""

from __future__ import annotations

import pytest

from porttunnel.websocket.mask import unmask
from tests.websocket.client import MASK, masked


def test_the_example_of_the_standard() -> None:
    payload = bytearray(b"\x7f\x9f\x4d\x51\x58")
    unmask(memoryview(payload), MASK)
    assert payload == b"Hello"


@pytest.mark.parametrize("size", [*range(10), 125, 126, 65_537])
def test_every_size(size: int) -> None:
    plain = bytes(number % 251 for number in range(size))
    around = bytearray(b"<" + masked(plain) + b">")
    unmask(memoryview(around)[1:-1], MASK)
    assert around == b"<" + plain + b">"
