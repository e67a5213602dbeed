"""porttunnel/gateway/message_head.py: 25 bytes, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.message_head import MessageHead
from tests.gateway.messages import VECTORS, each

heads = st.builds(
    MessageHead,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
)


@each("exchanges")
def test_vectors(case: dict[str, dict[str, str | int]]) -> None:
    request = case["request"]
    numbers = [int(request[name]) for name in ("generation", "counter", "unix_ms")]
    head = MessageHead(*numbers, about_keys=bool(case["about_keys"]))
    assert head.encode().hex() == request["head"]
    assert MessageHead.decode(bytes.fromhex(str(request["head"]))) == head


@given(heads)
def test_what_is_encoded_decodes(head: MessageHead) -> None:
    for form in (bytes, bytearray, memoryview):
        assert MessageHead.decode(form(head.encode())) == head


@pytest.mark.parametrize("length", [0, 1, 24, 26])
def test_every_other_length_is_refused(length: int) -> None:
    whole = bytes.fromhex(VECTORS["exchanges"][0]["request"]["head"]) + b"\0"
    with pytest.raises(RemoteProtocolError, match="no whole head"):
        MessageHead.decode(whole[:length])


@pytest.mark.parametrize(("at", "value"), [(0, 0), (0, 2), (24, 2), (24, 3), (21, 1)])
def test_other_versions_and_flags_are_refused(at: int, value: int) -> None:
    changed = bytearray.fromhex(VECTORS["exchanges"][0]["request"]["head"])
    changed[at] = value
    with pytest.raises(RemoteProtocolError, match="not known"):
        MessageHead.decode(changed)
