"""porttunnel/gateway/refusal.py: ten bytes that say why nothing was carried out."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.refusal import Refusal, RefusalReason
from tests.gateway.messages import VECTORS, each


@each("refusals")
def test_vectors(case: Any) -> None:
    refusal = Refusal(RefusalReason(case["reason"]), case["value"])
    data = bytes.fromhex(case["plaintext"])
    assert refusal.encode() == data
    for form in (bytes, bytearray, memoryview):
        assert Refusal.decode(form(data)) == refusal
    for other in (data[:-1], data + b"\0", b""):
        with pytest.raises(RemoteProtocolError, match="too short or too long"):
            Refusal.decode(other)


@pytest.mark.parametrize(("at", "value"), [(0, 3), (0, 0x3E), (1, 5), (1, 255)])
def test_other_marks_and_reasons(at: int, value: int) -> None:
    changed = bytearray.fromhex(VECTORS["refusals"][0]["plaintext"])
    changed[at] = value
    with pytest.raises(RemoteProtocolError, match="not one"):
        Refusal.decode(changed)


def test_all_reasons_have_a_vector() -> None:
    assert {case["reason"] for case in VECTORS["refusals"]} == set(RefusalReason)
