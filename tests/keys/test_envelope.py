"""porttunnel/keys/envelope.py: what was sealed as a stream opens as that stream or not at all."""

from __future__ import annotations

import copy
import json
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel import errors
from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.keys import envelope
from porttunnel.keys.envelope import HEADER_BYTES, SegmentOpener, SegmentSealer
from tests.independent.envelope import PLACE, build, pieces_of

VECTORS: Any = json.loads(PLACE.read_text(encoding="utf-8"))
IKM, SALT, PREFIX, ASSOCIATED = (bytes.fromhex(value) for value in VECTORS["inputs"].values())
FIRST, FULL = 65_480, 65_520


def make_sealer() -> SegmentSealer:
    return SegmentSealer(IKM, ASSOCIATED, salt=SALT, prefix=PREFIX)


def make_opener(header: bytes | None = None) -> SegmentOpener:
    return SegmentOpener(IKM, ASSOCIATED, make_sealer().header if header is None else header)


def sealed(pieces: list[bytes]) -> list[bytes]:
    sealer = make_sealer()
    return [
        bytes(sealer.seal(piece, last=at == len(pieces))) for at, piece in enumerate(pieces, 1)
    ]


class TestVectors:
    """tests/vectors/envelope.json, made by tests/independent/envelope.py."""

    def test_are_what_the_independent_implementation_makes(self) -> None:
        assert build(VECTORS["inputs"]) == VECTORS

    @pytest.mark.parametrize("stream", VECTORS["streams"], ids=lambda each: each["name"])
    def test_a_stream_seals_and_opens_as_expected(self, stream: Any) -> None:
        pieces = pieces_of(stream["lengths"])
        segments = sealed(pieces)
        assert make_sealer().header.hex() == VECTORS["header"]
        for segment, expected in zip(segments, stream["segments"], strict=True):
            assert expected in (segment.hex(), sha256(segment).hexdigest())
        opener = make_opener()
        for at, segment in enumerate(segments, 1):
            assert opener.open(segment, last_expected=at == len(pieces)) == pieces[at - 1]
            assert opener.finished == (at == len(pieces))
        opener.finish()

    @pytest.mark.parametrize("hint", [False, True])
    @pytest.mark.parametrize("case", VECTORS["failures"], ids=lambda each: each["name"])
    def test_each_failure(self, case: Any, hint: bool) -> None:
        opener = make_opener(bytes.fromhex(case["header"]))
        segments = [segment_of(text) for text in case["segments"]]
        for segment in segments[: case["opened"]]:
            opener.open(segment, last_expected=hint)
        rest = segments[case["opened"] :]
        with pytest.raises(getattr(errors, case["error"])):
            opener.open(rest[0], last_expected=hint) if rest else opener.finish()
        assert opener.index == case["opened"]

    @pytest.mark.parametrize("case", VECTORS["failed_headers"], ids=lambda each: each["name"])
    def test_each_header_that_is_none(self, case: Any) -> None:
        with pytest.raises(RemoteProtocolError, match="another header"):
            make_opener(bytes.fromhex(case["header"]))


def segment_of(text: str) -> bytes:
    count, is_length, _ = text.partition(" bytes")
    return bytes(int(count)) if is_length else bytes.fromhex(text)


class TestBesideTink:
    @pytest.mark.parametrize("length", [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + 2 * FULL])
    def test_each_opens_what_the_other_sealed(self, length: int) -> None:
        pytest.importorskip("tink", reason="no tink here: pip install tink")
        from tests.keys.tink_stream import tink_open, tink_seal

        (plaintext,) = pieces_of([length])
        pieces = [plaintext[:FIRST]]
        pieces += [plaintext[at : at + FULL] for at in range(FIRST, length, FULL)]
        ours = make_sealer().header + b"".join(sealed(pieces))
        assert tink_open(IKM, ASSOCIATED, ours) == plaintext

        theirs = tink_seal(IKM, ASSOCIATED, plaintext)
        opener = make_opener(theirs[:HEADER_BYTES])
        cuts = [HEADER_BYTES, *range(65_536, len(theirs), 65_536), len(theirs)]
        for piece, (start, end) in zip(pieces, pairwise(cuts), strict=True):
            assert opener.open(theirs[start:end]) == piece
        opener.finish()


class TestStreams:
    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.lists(st.booleans()))
    def test_what_was_sealed_opens_whatever_is_said_about_the_end(
        self, pieces: list[bytes], hints: list[bool]
    ) -> None:
        opener = make_opener()
        for at, segment in enumerate(sealed([*pieces, b""])):
            opened = opener.open(segment, last_expected=at < len(hints) and hints[at])
            assert opened == [*pieces, b""][at]
        opener.finish()

    @pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
    def test_any_kind_of_buffer_will_do(self, form: Any) -> None:
        segment = make_sealer().seal(form(b"hello"), last=True)
        opener = SegmentOpener(IKM, ASSOCIATED, form(make_sealer().header))
        assert opener.open(form(bytes(segment))) == b"hello"

    def test_seals_where_the_plaintext_lies(self) -> None:
        slot = memoryview(bytearray(b"hello" + bytes(16)))
        make_sealer().seal_into(slot[:5], slot, last=True)
        assert make_opener().open(slot, last_expected=True) == b"hello"

    @pytest.mark.parametrize("bit", range(8 * 21))
    def test_a_turned_bit_fails_and_leaves_the_stream_where_it_is(self, bit: int) -> None:
        (segment,) = sealed([b"hello"])
        changed = bytearray(segment)
        changed[bit // 8] ^= 1 << bit % 8
        opener = make_opener()
        with pytest.raises(AuthenticationFailed):
            opener.open(changed)
        assert opener.open(segment) == b"hello"

    def test_other_key_material_or_associated_data_fails(self) -> None:
        (segment,) = sealed([b"hello"])
        for ikm, associated in ((bytes(32), ASSOCIATED), (IKM, ASSOCIATED + b"x")):
            with pytest.raises(AuthenticationFailed):
                SegmentOpener(ikm, associated, make_sealer().header).open(segment)

    def test_nothing_is_sealed_after_the_end(self) -> None:
        sealer = make_sealer()
        sealer.seal(b"", last=True)
        assert sealer.finished
        with pytest.raises(LocalProtocolError, match="after its end"):
            sealer.seal(b"x")

    def test_what_is_too_long_or_empty_is_not_sealed(self) -> None:
        sealer = make_sealer()
        for plaintext, last in ((b"", False), (bytes(FIRST + 1), False), (bytes(FULL), True)):
            with pytest.raises(LocalProtocolError, match="too long, or empty"):
                sealer.seal(plaintext, last=last)
        assert sealer.index == 0
        sealer.seal(bytes(FIRST))
        with pytest.raises(LocalProtocolError, match="too long, or empty"):
            sealer.seal(bytes(FULL + 1))
        sealer.seal(bytes(FULL))
        assert sealer.index == 2

    def test_the_index_does_not_overflow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert envelope.MAX_SEGMENTS == 2**32
        monkeypatch.setattr(envelope, "MAX_SEGMENTS", 2)
        sealer = make_sealer()
        first = sealer.seal(b"a")
        with pytest.raises(LocalProtocolError, match="begin another"):
            sealer.seal(b"b")
        last = sealer.seal(b"b", last=True)
        opener = make_opener()
        assert (opener.open(first), opener.open(last)) == (b"a", b"b")
        opener = make_opener()
        opener.open(first)
        with pytest.raises(RemoteProtocolError, match="one too many"):
            opener.open(second_of_three(monkeypatch))

    @pytest.mark.parametrize(
        ("ikm", "salt", "prefix"),
        [(b"x" * 31, SALT, PREFIX), (IKM, SALT[1:], PREFIX), (IKM, SALT, PREFIX + b"x")],
    )
    def test_our_own_values_have_their_lengths(
        self, ikm: bytes, salt: bytes, prefix: bytes
    ) -> None:
        with pytest.raises(ValueError, match="has"):
            SegmentSealer(ikm, ASSOCIATED, salt=salt, prefix=prefix)


def second_of_three(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A second segment that is not the last, made without the limit."""
    with monkeypatch.context() as without:
        without.setattr(envelope, "MAX_SEGMENTS", 3)
        return sealed([b"a", b"b", b"c"])[1]


def test_secrets_stay_inside() -> None:
    for holder in (make_sealer(), make_opener()):
        assert repr(holder) == f"<{type(holder).__name__} (secret)>"
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            copy.copy(holder)
        holder.erase()
    sealer, opener = make_sealer(), make_opener()
    segment = sealer.seal(b"hello")
    sealer.erase()
    opener.erase()
    with pytest.raises(LocalProtocolError, match="erased"):
        sealer.seal(b"hello")
    with pytest.raises(LocalProtocolError, match="erased"):
        opener.open(segment)
