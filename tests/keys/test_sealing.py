"""porttunnel/keys/sealing.py: what was sealed opens once, in order of generations, unchanged."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel import errors
from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.keys import sealing
from porttunnel.keys.sealing import GroupOpener, GroupSealer, Opener, Sealer
from tests.keys.reference import VECTORS

SECRET = b"s" * 32
HEADER = bytes(range(36))
LARGEST = 65_536


def packet_of(plaintext: bytes, header: bytes = HEADER) -> memoryview:
    return memoryview(bytearray(header + plaintext + bytes(16)))


def sealed_data(sealer: Sealer, plaintext: bytes, number: int) -> memoryview:
    packet = packet_of(plaintext)
    sealer.seal_data(packet, len(plaintext), number)
    return packet


def sealed_ack(sealer: Sealer, number: int) -> memoryview:
    packet = packet_of(b"")
    sealer.seal_ack(packet, number)
    return packet


def sealer_of(generation: int) -> Sealer:
    sealer = Sealer(SECRET)
    for _ in range(generation):
        sealer.advance()
    return sealer


def turned(packet: memoryview, bit: int) -> memoryview:
    changed = bytearray(packet)
    changed[bit // 8] ^= 1 << bit % 8
    return memoryview(changed)


def load_vectors() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / "sealing.json").read_text(encoding="utf-8"))
    return loaded


class TestVectors:
    """tests/vectors/sealing.json, made by tests/keys/reference.py."""

    def test_each_generation_seals_and_opens_as_expected(self) -> None:
        vectors = load_vectors()
        secret = bytes.fromhex(vectors["secret"])
        sealer, opener = Sealer(secret), Opener(secret)
        for index, generation in enumerate(vectors["generations"]):
            if index:
                sealer.advance()
            header, plaintext, data, ack = (
                bytes.fromhex(generation[name]) for name in ("header", "plaintext", "data", "ack")
            )
            number = generation["number"]
            packet = packet_of(plaintext, header)
            sealer.seal_data(packet, len(plaintext), number)
            assert packet.hex() == data.hex()
            assert bytes(opener.open_data(packet, index, number)) == plaintext
            packet = packet_of(b"", header)
            sealer.seal_ack(packet, number)
            assert packet.hex() == ack.hex()
            opener.open_ack(packet, index, number)
            assert sealer.generation == opener.generation == index

    def test_a_group_packet(self) -> None:
        group = load_vectors()["group"]
        values = bytes.fromhex(group["session_id"]), group["epoch"], bytes.fromhex(group["key"])
        header, plaintext = bytes.fromhex(group["header"]), bytes.fromhex(group["plaintext"])
        packet = packet_of(plaintext, header)
        GroupSealer(*values).seal_group(packet, len(plaintext), group["number"])
        assert packet.hex() == group["packet"]
        assert GroupOpener(*values).open_group(packet, group["number"]) == plaintext

    @pytest.mark.parametrize("failure", load_vectors()["failures"], ids=str)
    def test_each_failure(self, failure: dict[str, Any]) -> None:
        vectors = load_vectors()
        packet = bytearray.fromhex(vectors["generations"][0]["data"])
        packet[failure["offset"]] ^= 1
        with pytest.raises(getattr(errors, failure["error"])):
            Opener(bytes.fromhex(vectors["secret"])).open_data(memoryview(packet), 0, 0)


class TestData:
    @given(st.binary(max_size=600), st.binary(min_size=36, max_size=36), st.integers(0, 2**64 - 1))
    def test_what_was_sealed_opens(self, plaintext: bytes, header: bytes, number: int) -> None:
        packet = packet_of(plaintext, header)
        Sealer(SECRET).seal_data(packet, len(plaintext), number)
        assert packet[:36] == header
        assert Opener(SECRET).open_data(packet, 0, number) == plaintext

    @pytest.mark.parametrize("length", [0, 1, LARGEST])
    def test_opens_in_place_when_it_may(self, length: int) -> None:
        packet = sealed_data(Sealer(SECRET), b"x" * length, 0)
        plaintext = Opener(SECRET).open_data(packet, 0, 0)
        assert plaintext == b"x" * length
        assert packet[36 : 36 + length] == plaintext
        if length:
            plaintext[0] = 0
            assert packet[36] == 0

    @pytest.mark.parametrize("length", [0, 1, LARGEST])
    def test_opens_elsewhere_when_it_may_not_write(self, length: int) -> None:
        packet = bytes(sealed_data(Sealer(SECRET), b"x" * length, 0))
        before = bytes(packet)
        assert Opener(SECRET).open_data(memoryview(packet), 0, 0) == b"x" * length
        assert packet == before

    def test_seals_in_a_slot_that_is_larger(self) -> None:
        slot = memoryview(bytearray(36 + 100 + 16 + 50))
        slot[36:41] = b"hello"
        Sealer(SECRET).seal_data(slot, 5, 0)
        assert bytes(Opener(SECRET).open_data(slot[: 36 + 5 + 16], 0, 0)) == b"hello"
        assert not any(slot[36 + 5 + 16 :])

    @pytest.mark.parametrize("bit", range(0, 8 * (36 + 5 + 16), 3))
    def test_a_turned_bit_in_header_body_or_tag_fails(self, bit: int) -> None:
        packet = sealed_data(Sealer(SECRET), b"hello", 0)
        with pytest.raises(AuthenticationFailed):
            Opener(SECRET).open_data(turned(packet, bit), 0, 0)

    def test_another_number_or_secret_fails(self) -> None:
        packet = bytes(sealed_data(Sealer(SECRET), b"hello", 1))
        with pytest.raises(AuthenticationFailed):
            Opener(SECRET).open_data(memoryview(packet), 0, 2)
        with pytest.raises(AuthenticationFailed):
            Opener(b"S" * 32).open_data(memoryview(packet), 0, 1)

    @pytest.mark.parametrize("length", [0, 35, 36, 51])
    def test_what_is_too_short_for_a_tag_is_malformed(self, length: int) -> None:
        for packet in (memoryview(bytes(length)), memoryview(bytearray(length))):
            with pytest.raises(RemoteProtocolError, match="too short"):
                Opener(SECRET).open_data(packet, 0, 0)

    def test_no_number_is_sealed_twice(self) -> None:
        sealer = Sealer(SECRET)
        sealed_data(sealer, b"a", 5)
        for number in (5, 4, 0):
            packet = packet_of(b"b")
            with pytest.raises(LocalProtocolError, match="sealed twice"):
                sealer.seal_data(packet, 1, number)
            assert packet == packet_of(b"b")
        sealed_data(sealer, b"b", 6)

    def test_nor_in_a_later_generation(self) -> None:
        sealer = Sealer(SECRET)
        sealed_data(sealer, b"a", 5)
        sealer.advance()
        with pytest.raises(LocalProtocolError, match="sealed twice"):
            sealed_data(sealer, b"a", 5)


class TestAcknowledgements:
    def test_have_a_key_and_numbers_of_their_own(self) -> None:
        sealer, opener = Sealer(SECRET), Opener(SECRET)
        data, ack = sealed_data(sealer, b"", 0), sealed_ack(sealer, 0)
        assert data != ack
        opener.open_ack(memoryview(bytes(ack)), 0, 0)
        with pytest.raises(AuthenticationFailed):
            opener.open_ack(memoryview(bytes(data)), 0, 0)
        with pytest.raises(AuthenticationFailed):
            opener.open_data(memoryview(bytes(ack)), 0, 0)
        assert bytes(opener.open_data(data, 0, 0)) == b""

    def test_leave_the_packet_as_it_was(self) -> None:
        ack = sealed_ack(Sealer(SECRET), 0)
        before = bytes(ack)
        Opener(SECRET).open_ack(ack, 0, 0)
        assert bytes(ack) == before

    @pytest.mark.parametrize("length", [0, 51, 53])
    def test_have_no_body(self, length: int) -> None:
        with pytest.raises(RemoteProtocolError, match="has a body"):
            Opener(SECRET).open_ack(memoryview(bytes(length)), 0, 0)

    @pytest.mark.parametrize("bit", range(8 * 52))
    def test_a_turned_bit_fails(self, bit: int) -> None:
        with pytest.raises(AuthenticationFailed):
            Opener(SECRET).open_ack(turned(sealed_ack(Sealer(SECRET), 0), bit), 0, 0)

    def test_no_number_is_sealed_twice(self) -> None:
        sealer = Sealer(SECRET)
        sealed_ack(sealer, 3)
        with pytest.raises(LocalProtocolError, match="sealed twice"):
            sealed_ack(sealer, 3)
        sealed_ack(sealer, 4)


class TestGenerations:
    def test_data_of_the_next_one_moves_on_and_there_is_no_way_back(self) -> None:
        sealer, opener = Sealer(SECRET), Opener(SECRET)
        first, late = sealed_data(sealer, b"0", 0), sealed_data(sealer, b"late", 1)
        sealer.advance()
        second = sealed_data(sealer, b"1", 2)
        assert bytes(opener.open_data(first, 0, 0)) == b"0"
        assert bytes(opener.open_data(second, 1, 2)) == b"1"
        assert sealer.generation == opener.generation == 1
        with pytest.raises(RemoteProtocolError, match="generation"):
            opener.open_data(late, 0, 1)
        with pytest.raises(RemoteProtocolError, match="generation"):
            opener.open_ack(sealed_ack(Sealer(SECRET), 0), 0, 0)

    def test_many_in_a_row(self) -> None:
        sealer, opener = Sealer(SECRET), Opener(SECRET)
        for generation in range(20):
            text = str(generation).encode()
            packet = sealed_data(sealer, text, generation)
            assert bytes(opener.open_data(packet, generation, generation)) == text
            assert opener.generation == generation
            sealer.advance()

    def test_a_forged_packet_of_the_next_one_changes_nothing(self) -> None:
        sealer, opener = Sealer(SECRET), Opener(SECRET)
        for _ in range(2):
            with pytest.raises(AuthenticationFailed):
                opener.open_data(packet_of(b"forged"), 1, 0)
        with pytest.raises(RemoteProtocolError, match="too short"):
            opener.open_data(memoryview(bytes(40)), 1, 0)
        assert opener.generation == 0
        assert bytes(opener.open_data(sealed_data(sealer, b"right", 0), 0, 0)) == b"right"

    @pytest.mark.parametrize("generation", [2, 3, 2**32 - 1])
    def test_none_is_skipped(self, generation: int) -> None:
        packet = sealed_data(sealer_of(2), b"x", 0)
        with pytest.raises(RemoteProtocolError, match="generation"):
            Opener(SECRET).open_data(packet, generation, 0)
        with pytest.raises(RemoteProtocolError, match="generation"):
            Opener(SECRET).open_ack(sealed_ack(sealer_of(2), 0), generation, 0)

    def test_an_acknowledgement_of_the_next_one_opens_and_moves_nothing(self) -> None:
        sealer, opener = Sealer(SECRET), Opener(SECRET)
        resent = sealed_data(sealer, b"resent", 0)
        sealer.advance()
        opener.open_ack(sealed_ack(sealer, 0), 1, 0)
        opener.open_ack(sealed_ack(sealer, 1), 1, 1)
        assert opener.generation == 0
        assert bytes(opener.open_data(resent, 0, 0)) == b"resent"
        with pytest.raises(AuthenticationFailed):
            opener.open_ack(packet_of(b""), 1, 2)

    def test_every_generation_has_other_keys(self) -> None:
        packets = {bytes(sealed_data(sealer_of(g), b"same", 0)) for g in range(5)}
        acks = {bytes(sealed_ack(sealer_of(g), 0)) for g in range(5)}
        assert len(packets) == len(acks) == 5

    def test_ends_after_so_many_packets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_PACKETS", 3)
        sealer = Sealer(SECRET)
        sealed_data(sealer, b"", 0)
        sealed_ack(sealer, 0)
        before = sealer.must_advance
        sealed_ack(sealer, 1)
        at_the_limit = sealer.must_advance
        sealer.advance()
        assert (before, at_the_limit, sealer.must_advance) == (False, True, False)
        assert sealer.generation == 1

    def test_ends_after_so_many_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sealing, "MAX_GENERATION_BYTES", 10)
        sealer = Sealer(SECRET)
        sealed_data(sealer, b"123456789", 0)
        before = sealer.must_advance
        sealed_data(sealer, b"0", 1)
        at_the_limit = sealer.must_advance
        sealer.advance()
        assert (before, at_the_limit, sealer.must_advance) == (False, True, False)

    def test_the_limits_are_the_specifications(self) -> None:
        assert sealing.MAX_GENERATION_PACKETS == 2**24
        assert sealing.MAX_GENERATION_BYTES == 2**36


class TestGroup:
    SESSION = b"0123456789abcdef"

    def test_what_was_sealed_opens_for_each_member(self) -> None:
        packet = packet_of(b"to all")
        GroupSealer(self.SESSION, 1, SECRET).seal_group(packet, 6, 0)
        for _ in range(2):
            opener = GroupOpener(self.SESSION, 1, SECRET)
            assert bytes(opener.open_group(memoryview(bytes(packet)), 0)) == b"to all"
            assert opener.epoch == 1

    @pytest.mark.parametrize(
        ("session_id", "epoch", "key", "number"),
        [
            (b"X" * 16, 1, SECRET, 0),
            (SESSION, 2, SECRET, 0),
            (SESSION, 1, b"X" * 32, 0),
            (SESSION, 1, SECRET, 1),
        ],
    )
    def test_another_session_epoch_key_or_number_fails(
        self, session_id: bytes, epoch: int, key: bytes, number: int
    ) -> None:
        packet = packet_of(b"to all")
        GroupSealer(self.SESSION, 1, SECRET).seal_group(packet, 6, 0)
        with pytest.raises(AuthenticationFailed):
            GroupOpener(session_id, epoch, key).open_group(packet, number)

    def test_what_is_too_short_is_malformed(self) -> None:
        with pytest.raises(RemoteProtocolError, match="too short"):
            GroupOpener(self.SESSION, 1, SECRET).open_group(memoryview(bytes(51)), 0)

    def test_no_number_is_sealed_twice(self) -> None:
        sealer = GroupSealer(self.SESSION, 7, SECRET)
        assert sealer.epoch == 7
        sealer.seal_group(packet_of(b""), 0, 0)
        with pytest.raises(LocalProtocolError, match="sealed twice"):
            sealer.seal_group(packet_of(b""), 0, 0)
        sealer.seal_group(packet_of(b""), 0, 1)


def holders() -> list[Any]:
    return [
        Sealer(SECRET),
        Opener(SECRET),
        GroupSealer(bytes(16), 0, SECRET),
        GroupOpener(bytes(16), 0, SECRET),
    ]


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, pickle.dumps])
def test_nothing_is_pickled_or_copied(make_copy: Callable[[Any], Any]) -> None:
    for holder in holders():
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            make_copy(holder)


def test_nothing_shows_itself() -> None:
    assert [repr(holder) for holder in holders()] == [
        "<Sealer (secret)>",
        "<Opener (secret)>",
        "<GroupSealer (secret)>",
        "<GroupOpener (secret)>",
    ]


def test_what_was_erased_seals_and_opens_nothing() -> None:
    sealer, opener = Sealer(SECRET), Opener(SECRET)
    packet = sealed_data(sealer, b"hello", 0)
    sealer.erase()
    opener.erase()
    with pytest.raises(LocalProtocolError, match="erased"):
        sealed_data(sealer, b"hello", 1)
    with pytest.raises(LocalProtocolError, match="erased"):
        opener.open_data(packet, 0, 0)
