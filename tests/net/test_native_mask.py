"""porttunnel.net.native_mask: the compiled maskers do what ours in Python does."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
from autobahn.websocket import HAS_NVX

from porttunnel.net.native_mask import unmask, unmasked_copy
from porttunnel.websocket.mask import unmask as unmask_by_python

SIZES = [0, 1, 2, 3, 4, 15, 16, 17, 31, 125, 126, 127, 1_000, 65_537]
SCRIPT = "from porttunnel.net.native_mask import unmask; print(unmask.__module__)"


@pytest.mark.parametrize("size", SIZES)
def test_any_size_at_any_place(size: int) -> None:
    chance = random.Random(size)
    for start in range(17):
        data = chance.randbytes(start + size + 3)
        mask = chance.randbytes(4)
        natively, by_python = bytearray(data), bytearray(data)
        unmask(memoryview(natively)[start : start + size], mask)
        unmask_by_python(memoryview(by_python)[start : start + size], mask)
        assert natively == by_python


@pytest.mark.parametrize(
    ("switch", "module"),
    [
        ("1", "porttunnel.net.native_mask"),
        ("0", "porttunnel.websocket.mask"),
    ],
)
def test_autobahn_s_switch_is_ours(switch: str, module: str) -> None:
    if not HAS_NVX:
        pytest.skip("this autobahn was built without its masker")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"AUTOBAHN_USE_NVX": switch},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == module


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_is_the_same(size: int) -> None:
    if unmasked_copy is None:
        pytest.skip("no websockets here: pip install websockets")
    chance = random.Random(size)
    payload, mask = chance.randbytes(size), chance.randbytes(4)
    changed = bytearray(payload)
    unmask_by_python(memoryview(changed), mask)
    assert unmasked_copy(payload, mask) == changed
