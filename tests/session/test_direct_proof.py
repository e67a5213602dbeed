"""porttunnel/session/direct_proof.py: on a direct path nobody gets in without the pair's keys."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.session.direct_proof import (
    D1,
    D1_BYTES,
    D2_BYTES,
    D3_BYTES,
    PREFACE,
    DirectClient,
    DirectMaster,
    decode_d1,
)
from tests.independent.direct import PLACE, build

VECTORS: Any = json.loads(PLACE.read_text(encoding="utf-8"))
SESSION_ID, DIRECT_CLIENT, DIRECT_MASTER, CLIENT_NONCE, MASTER_NONCE, OTHER_KEY, OTHER_NONCE = (
    bytes.fromhex(value) for value in VECTORS["inputs"].values()
)
MEMBER = VECTORS["run"]["member"]
GOOD_D1, GOOD_D2, GOOD_D3 = (bytes.fromhex(VECTORS["run"][name]) for name in ("d1", "d2", "d3"))

each_form = pytest.mark.parametrize("form", [bytes, bytearray, memoryview])


def each(group: str) -> pytest.MarkDecorator:
    """One test for each vector of a group of messages."""
    cases = [
        pytest.param(bytes.fromhex(case["message"]), id=case["name"]) for case in VECTORS[group]
    ]
    return pytest.mark.parametrize("message", cases)


def make_client(member: int = MEMBER, **changed: bytes) -> DirectClient:
    values = {
        "session_id": SESSION_ID,
        "direct_client": DIRECT_CLIENT,
        "direct_master": DIRECT_MASTER,
        "nonce": CLIENT_NONCE,
    }
    return DirectClient(member=member, **(values | changed))


def make_master(d1: Any = GOOD_D1, **changed: bytes) -> DirectMaster:
    values = {
        "direct_client": DIRECT_CLIENT,
        "direct_master": DIRECT_MASTER,
        "nonce": MASTER_NONCE,
    }
    return DirectMaster(d1, **(values | changed))


def with_each_bit_turned(message: bytes) -> list[bytes]:
    number, length = int.from_bytes(message), len(message)
    return [(number ^ 1 << bit).to_bytes(length) for bit in range(8 * length)]


class TestVectors:
    def test_the_file_is_what_the_script_makes(self) -> None:
        assert build(VECTORS["inputs"]) == VECTORS

    @pytest.mark.parametrize("run", VECTORS["runs"], ids=lambda run: f"member {run['member']}")
    def test_a_run(self, run: dict[str, Any]) -> None:
        client = make_client(run["member"])
        assert client.d1.hex() == run["d1"]
        assert decode_d1(client.d1).member == run["member"]
        master = make_master(client.d1)
        assert master.d2.hex() == run["d2"]
        d3 = client.receive_d2(master.d2)
        assert d3.hex() == run["d3"]
        master.receive_d3(d3)
        assert (len(client.d1), len(master.d2), len(d3)) == (D1_BYTES, D2_BYTES, D3_BYTES)

    @each("malformed_d1")
    def test_a_malformed_d1(self, message: bytes) -> None:
        with pytest.raises(RemoteProtocolError):
            decode_d1(message)
        with pytest.raises(RemoteProtocolError):
            make_master(message)

    @each("failed_d1")
    def test_a_d1_of_somebody_else(self, message: bytes) -> None:
        assert decode_d1(message)
        with pytest.raises(AuthenticationFailed):
            make_master(message)

    @each("failed_d2")
    def test_a_d2_of_somebody_else(self, message: bytes) -> None:
        with pytest.raises(AuthenticationFailed):
            make_client().receive_d2(message)

    @each("failed_d3")
    def test_a_d3_of_somebody_else(self, message: bytes) -> None:
        with pytest.raises(AuthenticationFailed):
            make_master().receive_d3(message)


class TestBytes:
    def test_the_lengths_are_those_of_the_specification(self) -> None:
        assert (D1_BYTES, D2_BYTES, D3_BYTES, PREFACE) == (54, 32, 16, b"PTD1")

    @each_form
    def test_a_d1_is_read_whole(self, form: Callable[[bytes], Any]) -> None:
        assert decode_d1(form(GOOD_D1)) == D1(
            session_id=SESSION_ID, member=MEMBER, nonce=CLIENT_NONCE, mac=GOOD_D1[-16:]
        )

    @each_form
    def test_messages_may_be_views(self, form: Callable[[bytes], Any]) -> None:
        master = make_master(form(GOOD_D1))
        assert make_client().receive_d2(form(master.d2)) == GOOD_D3
        master.receive_d3(form(GOOD_D3))
        assert master.d2 == GOOD_D2

    @pytest.mark.parametrize("length", range(D1_BYTES))
    def test_a_d1_that_comes_byte_by_byte_is_none_before_its_end(self, length: int) -> None:
        with pytest.raises(RemoteProtocolError):
            decode_d1(GOOD_D1[:length])

    @pytest.mark.parametrize("length", range(D2_BYTES))
    def test_a_d2_that_comes_byte_by_byte_is_none_before_its_end(self, length: int) -> None:
        with pytest.raises(AuthenticationFailed):
            make_client().receive_d2(GOOD_D2[:length])

    @pytest.mark.parametrize("length", range(D3_BYTES))
    def test_a_d3_that_comes_byte_by_byte_is_none_before_its_end(self, length: int) -> None:
        with pytest.raises(AuthenticationFailed):
            make_master().receive_d3(GOOD_D3[:length])

    @pytest.mark.parametrize("trailing", [b"\0", b"PT\x01", GOOD_D1])
    def test_nothing_may_trail(self, trailing: bytes) -> None:
        with pytest.raises(RemoteProtocolError, match="after its end"):
            decode_d1(GOOD_D1 + trailing)
        with pytest.raises(AuthenticationFailed):
            make_client().receive_d2(GOOD_D2 + trailing)
        with pytest.raises(AuthenticationFailed):
            make_master().receive_d3(GOOD_D3 + trailing)


class TestSecurity:
    def test_no_bit_of_d1_can_be_turned(self) -> None:
        for message in with_each_bit_turned(GOOD_D1):
            with pytest.raises((RemoteProtocolError, AuthenticationFailed)):
                make_master(message)

    def test_no_bit_of_d2_can_be_turned(self) -> None:
        for message in with_each_bit_turned(GOOD_D2):
            with pytest.raises(AuthenticationFailed):
                make_client().receive_d2(message)

    def test_no_bit_of_d3_can_be_turned(self) -> None:
        for message in with_each_bit_turned(GOOD_D3):
            with pytest.raises(AuthenticationFailed):
                make_master().receive_d3(message)

    def test_a_replayed_run_ends_without_its_d3(self) -> None:
        master = make_master(GOOD_D1, nonce=OTHER_NONCE)
        assert master.d2 != GOOD_D2
        with pytest.raises(AuthenticationFailed):
            master.receive_d3(GOOD_D3)

    def test_a_client_does_not_take_the_d2_of_an_earlier_connection(self) -> None:
        with pytest.raises(AuthenticationFailed):
            make_client(nonce=OTHER_NONCE).receive_d2(GOOD_D2)

    @pytest.mark.parametrize("key", ["direct_client", "direct_master"])
    def test_both_keys_must_be_the_same_on_both_sides(self, key: str) -> None:
        client = make_client(**{key: OTHER_KEY})
        with pytest.raises(AuthenticationFailed):
            client.receive_d2(make_master(client.d1).d2)

    def test_a_master_with_the_clients_key_alone_is_none(self) -> None:
        master = make_master(direct_master=DIRECT_CLIENT)
        with pytest.raises(AuthenticationFailed):
            make_client().receive_d2(master.d2)

    @pytest.mark.parametrize("d2", [GOOD_D2, bytes(D2_BYTES)], ids=["right", "wrong"])
    def test_the_client_takes_one_d2(self, d2: bytes) -> None:
        client = make_client()
        try:
            client.receive_d2(d2)
        except AuthenticationFailed:
            assert d2 != GOOD_D2
        with pytest.raises(LocalProtocolError):
            client.receive_d2(GOOD_D2)
        assert client.d1 == GOOD_D1

    @pytest.mark.parametrize("d3", [GOOD_D3, bytes(D3_BYTES)], ids=["right", "wrong"])
    def test_the_master_takes_one_d3(self, d3: bytes) -> None:
        master = make_master()
        try:
            master.receive_d3(d3)
        except AuthenticationFailed:
            assert d3 != GOOD_D3
        with pytest.raises(LocalProtocolError):
            master.receive_d3(GOOD_D3)

    def test_a_kicked_member_can_be_forgotten_in_the_middle(self) -> None:
        master = make_master()
        master.erase()
        with pytest.raises(LocalProtocolError):
            master.receive_d3(GOOD_D3)

    @pytest.mark.parametrize("make", [make_client, make_master])
    def test_shows_and_lends_no_secret(self, make: Callable[[], Any]) -> None:
        holder = make()
        assert repr(holder) == f"<{type(holder).__name__} (secret)>"
        for take_out in (copy.copy, pickle.dumps):
            with pytest.raises(TypeError, match="neither pickled nor copied"):
                take_out(holder)


class TestOwnMistakes:
    @pytest.mark.parametrize("member", [0, 1, 0xFFFE, 0xFFFF])
    def test_only_clients_connect(self, member: int) -> None:
        with pytest.raises(ValueError, match="a client a number from 2 on"):
            make_client(member)

    @pytest.mark.parametrize("name", ["session_id", "direct_client", "direct_master", "nonce"])
    def test_a_client_with_values_of_other_lengths(self, name: str) -> None:
        with pytest.raises(ValueError, match="bytes"):
            make_client(**{name: b"short"})

    @pytest.mark.parametrize("name", ["direct_client", "direct_master", "nonce"])
    def test_a_master_with_values_of_other_lengths(self, name: str) -> None:
        with pytest.raises(ValueError, match="bytes"):
            make_master(**{name: b"short"})
