"""Frames: whole, byte by byte, cut anywhere and with bytes trailing the same comes out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import WebSocketError
from porttunnel.websocket.frame import (
    LONG_BYTES,
    MAX_EMPTY_FRAGMENTS,
    WINDOW_BYTES,
    FrameReader,
)
from porttunnel.websocket.frame_head import Opcode
from porttunnel.websocket.frame_limit import FrameLimits
from porttunnel.websocket.mask import unmask
from tests.websocket.client import cuts, frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
SIZES = [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 65_535, 65_536, 65_537]

Piece = tuple[int, bool, bytes]


def body(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


def pieces_of(reader: FrameReader, data: bytes, *, copied: bool = False) -> list[Piece]:
    view = memoryview(data if copied else bytearray(data))
    return [(opcode, ended, bytes(part)) for opcode, ended, part in reader.pieces(view)]


def runs_of(reader: FrameReader, data: bytes, *, copied: bool = False) -> list[tuple[int, bytes]]:
    view = memoryview(data if copied else bytearray(data))
    # Read at the end of all: a run must not be changed by what comes after it.
    return [(opcode, bytes(run)) for opcode, run in list(reader.runs(view))]


def text_reader(**limits: int) -> FrameReader:
    return FrameReader(FrameLimits(**limits), text=True)


def byte_reader(**limits: int) -> FrameReader:
    return FrameReader(FrameLimits(**limits), text=False)


def unmasked(payload: bytes, mask: bytes) -> bytes:
    """As a compiled masker does it."""
    changed = bytearray(payload)
    unmask(memoryview(changed), mask)
    return bytes(changed)


def joined(pieces: list[Piece]) -> list[tuple[int, bytes]]:
    """Pieces to messages."""
    messages: list[tuple[int, bytes]] = []
    begun: dict[int, bytes] = {}
    for opcode, ended, part in pieces:
        begun[opcode] = begun.get(opcode, b"") + part
        if ended:
            messages.append((opcode, begun.pop(opcode)))
    assert not begun
    return messages


def merged(runs: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Runs, however they were cut, with those that follow each other together."""
    found: list[tuple[int, bytes]] = []
    for opcode, run in runs:
        assert run or opcode != BINARY
        if found and found[-1][0] == opcode == BINARY:
            found[-1] = opcode, found[-1][1] + run
        else:
            found.append((opcode, run))
    return found


class TestWhatComesOut:
    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    @pytest.mark.parametrize("size", SIZES)
    def test_a_frame_of_any_size(self, opcode: Opcode, size: int) -> None:
        sent = frame(opcode, body(size))
        assert pieces_of(text_reader(), sent) == [(opcode, True, body(size))]
        assert pieces_of(text_reader(), sent, copied=True) == [(opcode, True, body(size))]

    @pytest.mark.parametrize("size", SIZES)
    def test_a_frame_of_any_size_in_a_stream(self, size: int) -> None:
        sent = frame(BINARY, body(size))
        expected = [(BINARY, body(size))] if size else []
        assert runs_of(byte_reader(), sent) == expected
        assert runs_of(byte_reader(), sent, copied=True) == expected

    @pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
    @pytest.mark.parametrize("size", [0, 1, 124, 125])
    def test_a_control_frame(self, opcode: Opcode, size: int) -> None:
        sent = frame(opcode, body(size))
        for cut in cuts(sent):
            reader = byte_reader()
            found = [run for piece in cut for run in runs_of(reader, piece)]
            assert found == [(opcode, body(size))]
            reader = text_reader()
            found_pieces = [part for piece in cut for part in pieces_of(reader, piece)]
            assert found_pieces == [(opcode, True, body(size))]

    def test_a_message_in_fragments_with_control_frames_between(self) -> None:
        sent = (
            frame(TEXT, b"He", final=False)
            + frame(PING, b"1")
            + frame(CONTINUATION, b"", final=False)
            + frame(CONTINUATION, b"llo", final=False)
            + frame(PONG)
            + frame(CONTINUATION, b"")
            + frame(BINARY, b"next")
        )
        expected = [(PING, b"1"), (PONG, b""), (TEXT, b"Hello"), (BINARY, b"next")]
        for cut in cuts(sent):
            reader = text_reader()
            assert joined([part for data in cut for part in pieces_of(reader, data)]) == expected

    def test_a_stream_knows_no_borders_but_those_of_control_frames(self) -> None:
        sent = (
            frame(BINARY, b"a")
            + frame(BINARY, body(126), final=False)
            + frame(CONTINUATION, b"bc", final=False)
            + frame(PING, b"1")
            + frame(CONTINUATION, b"")
            + frame(BINARY, b"")
            + frame(BINARY, body(125))
            + frame(CLOSE)
        )
        expected = [
            (BINARY, b"a" + body(126) + b"bc"),
            (PING, b"1"),
            (BINARY, body(125)),
            (CLOSE, b""),
        ]
        for cut in [[sent], *cuts(sent)]:
            reader = byte_reader()
            assert merged([run for data in cut for run in runs_of(reader, data)]) == expected

    def test_what_is_large_is_not_copied(self) -> None:
        large = body(LONG_BYTES)
        sent = frame(BINARY, b"a") * 2 + frame(BINARY, large) * 2 + frame(BINARY, b"b") * 2
        expected = [(BINARY, b"aa"), (BINARY, large), (BINARY, large), (BINARY, b"bb")]
        assert runs_of(byte_reader(), sent) == expected

    def test_much_is_looked_at_in_pieces(self) -> None:
        count = WINDOW_BYTES // 50
        sent = frame(BINARY, body(50)) * count
        whole, used = byte_reader().take_whole(memoryview(bytearray(sent)))
        assert WINDOW_BYTES - 56 < used <= WINDOW_BYTES < len(sent)
        assert whole == body(50) * (used // 56)
        assert merged(runs_of(byte_reader(), sent)) == [(BINARY, body(50) * count)]

    def test_what_stands_between_others_is_not_looked_at_often(self) -> None:
        lengths: list[int] = []

        class Looked(FrameReader):
            def take_whole(
                self, data: memoryview, offset: int = 0, window: int = WINDOW_BYTES
            ) -> tuple[bytearray, int]:
                lengths.append(window)
                return super().take_whole(data, offset, window)

        reader = Looked(FrameLimits(), text=False)
        sent = (frame(BINARY, b"a") + frame(PONG)) * 1_000
        assert len(runs_of(reader, sent)) == 2_000
        assert max(lengths) < 3 * LONG_BYTES
        lengths.clear()
        reader = Looked(FrameLimits(), text=False)
        assert merged(runs_of(reader, frame(BINARY, body(50)) * 5_000))
        assert max(lengths) == WINDOW_BYTES

    def test_a_copy_without_the_mask_may_be_made_by_another(self) -> None:
        taken: list[int] = []

        def unmasked_copy(payload: bytes, mask: bytes) -> bytes:
            taken.append(len(payload))
            return unmasked(payload, mask)

        reader = FrameReader(FrameLimits(), text=False, unmasked_copy=unmasked_copy)
        sizes = [0, 1, 125, 126, LONG_BYTES - 1, LONG_BYTES]
        sent = b"".join(frame(BINARY, body(size)) for size in sizes)
        whole = b"".join(map(body, sizes))
        assert merged(runs_of(reader, sent)) == [(BINARY, whole)]
        assert taken == sizes[:-1]
        for size in (0, 125, 126):
            expected = [(BINARY, body(size))] if size else []
            assert runs_of(reader, frame(BINARY, body(size))) == expected
        assert runs_of(reader, frame(PING, b"1")) == [(PING, b"1")]

    @pytest.mark.parametrize("size", [0, 1, 125, 126, 300])
    def test_frames_of_one_size_come_in_rows(self, size: int) -> None:
        sent = b"".join(frame(BINARY, body(size), mask=bytes([n] * 4)) for n in range(3))
        sent += frame(BINARY, body(size + 1)) + frame(PING, body(9)) + frame(BINARY, body(size))
        before, behind = body(size) * 3 + body(size + 1), body(size)
        expected = [(BINARY, before), (PING, body(9))] + ([(BINARY, behind)] if size else [])
        for stop in range(len(sent) + 1):
            reader = FrameReader(FrameLimits(), text=False, unmasked_copy=unmasked)
            assert merged(runs_of(reader, sent[:stop]) + runs_of(reader, sent[stop:])) == expected

    def test_payloads_are_views_of_what_came(self) -> None:
        data = bytearray(frame(BINARY, body(LONG_BYTES)))
        ((_, run),) = byte_reader().runs(memoryview(data))
        assert run.obj is data
        data = bytearray(frame(BINARY, b"abc"))
        ((_, _, piece),) = text_reader().pieces(memoryview(data))
        assert piece.obj is data

    def test_what_is_readonly_is_not_written_to(self) -> None:
        sent = frame(BINARY, b"abc") + frame(BINARY, body(126))
        before = bytes(bytearray(sent))
        runs_of(byte_reader(), sent, copied=True)
        pieces_of(text_reader(), sent, copied=True)
        assert sent == before

    def test_the_mask_is_taken_off_by_what_is_given_for_it(self) -> None:
        taken: list[tuple[bytes, bytes]] = []

        def unmask_and_note(payload: memoryview, mask: bytes) -> None:
            unmask(payload, mask)
            taken.append((bytes(payload), mask))

        reader = FrameReader(FrameLimits(), text=False, unmask=unmask_and_note)
        sent = frame(BINARY, body(126))
        assert merged(runs_of(reader, sent[:10]) + runs_of(reader, sent[10:])) == [
            (BINARY, body(126))
        ]
        assert taken == [(body(2), b"\x37\xfa\x21\x3d"), (body(126)[2:], b"\x21\x3d\x37\xfa")]


@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from(["message", "fragment", "control"]),
            st.sampled_from([0, 1, 2, 3, 7, 125, 126, 300, LONG_BYTES]),
            st.binary(min_size=4, max_size=4),
        ),
        max_size=6,
    ),
    at=st.lists(st.integers(0, 30_000), max_size=5),
)
def test_any_frames_cut_anywhere(frames: list[tuple[str, int, bytes]], at: list[int]) -> None:
    sent = b""
    messages: list[tuple[int, bytes]] = []
    begun: bytes | None = None
    for kind, size, mask in frames:
        if kind == "control":
            sent += frame(PING, body(size % 126), mask=mask)
            messages.append((PING, body(size % 126)))
            continue
        final = kind == "message"
        opcode = BINARY if begun is None else CONTINUATION
        sent += frame(opcode, body(size), final=final, mask=mask)
        begun = (begun or b"") + body(size)
        if final:
            messages.append((BINARY, begun))
            begun = None
    if begun is not None:
        sent += frame(CONTINUATION)
        messages.append((BINARY, begun))
    places = sorted({0, len(sent), *(place for place in at if place < len(sent))})
    parts = [sent[start:end] for start, end in pairwise(places)]
    reader = text_reader()
    assert joined([piece for part in parts for piece in pieces_of(reader, part)]) == messages
    for copy in (None, unmasked):
        reader = FrameReader(FrameLimits(), text=False, unmasked_copy=copy)
        runs = [run for part in parts for run in runs_of(reader, part)]
        everything = b"".join(run for opcode, run in runs if opcode == BINARY)
        assert everything == b"".join(text for opcode, text in messages if opcode == BINARY)
        assert [run for run in runs if run[0] == PING] == [
            message for message in messages if message[0] == PING
        ]


PROTOCOL_ERROR, UNSUPPORTED, POLICY_VIOLATION, TOO_BIG = 1002, 1003, 1008, 1009
FAULTS = {
    **{f"reserved bit {bits}": (frame(BINARY, reserved=bits), 1) for bits in range(1, 8)},
    **{f"opcode {code}": (frame(code), 1) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "without a mask": (frame(BINARY, b"a", mask=None), 2),
    "a control frame in fragments": (frame(PING, final=False), 1),
    "a long control frame": (frame(PING, body(126)), 2),
    "a control frame of long length": (frame(PING, length_bytes=8), 2),
    "a continuation of nothing": (frame(CONTINUATION), 1),
    "a last continuation of nothing": (frame(CONTINUATION, final=False), 1),
    "a length of 16 bits too many": (frame(BINARY, body(125), length_bytes=2), 4),
    "a length of 64 bits too many": (frame(BINARY, body(125), length_bytes=8), 10),
    "a length of 64 bits for 16": (frame(BINARY, body(65_535), length_bytes=8), 10),
}


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", FAULTS)
    def test_breaks_the_protocol(self, name: str) -> None:
        wrong, seen = FAULTS[name]
        self.refuse(wrong, max(seen, 2), PROTOCOL_ERROR)

    def refuse(self, wrong: bytes, seen: int, code: int, before: bytes = b"") -> None:
        """Refused as soon as it can be seen, by either way of reading, and after what was good."""
        good = frame(BINARY, b"good")
        for count in (seen, len(wrong)):
            reader = byte_reader()
            views = reader.runs(memoryview(bytearray(good + wrong[:count])))
            opcode, run = next(views)
            assert (opcode, bytes(run)) == (BINARY, b"good")
            with pytest.raises(WebSocketError) as raised:
                next(views)
            assert raised.value.close_code == code
            reader = byte_reader()
            parts = reader.pieces(memoryview(bytearray(good + wrong[:count])))
            assert bytes(next(parts)[2]) == b"good"
            with pytest.raises(WebSocketError) as raised:
                next(parts)
            assert raised.value.close_code == code
        reader = byte_reader()
        for byte in wrong[: seen - 1]:
            assert runs_of(reader, bytes([byte])) == []
        with pytest.raises(WebSocketError):
            runs_of(reader, wrong[seen - 1 : seen])

    def test_nothing_before_the_fault_is_lost_nor_invented(self) -> None:
        reader = byte_reader()
        with pytest.raises(WebSocketError, match="opcode"):
            runs_of(reader, frame(3))

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    def test_a_message_within_another(self, opcode: Opcode) -> None:
        reader = text_reader()
        assert pieces_of(reader, frame(BINARY, b"a", final=False)) == [(BINARY, False, b"a")]
        with pytest.raises(WebSocketError, match="within another") as raised:
            pieces_of(reader, frame(opcode))
        assert raised.value.close_code == PROTOCOL_ERROR

    @pytest.mark.parametrize("final", [False, True])
    def test_text_where_only_bytes_may_come(self, final: bool) -> None:
        self.refuse(frame(TEXT, b"a", final=final), 2, UNSUPPORTED)

    def test_a_message_on_its_own_after_one_in_fragments(self) -> None:
        reader = byte_reader()
        sent = frame(BINARY, b"a", final=False) + frame(CONTINUATION, b"b")
        assert merged(runs_of(reader, sent)) == [(BINARY, b"ab")]
        assert runs_of(reader, frame(BINARY, b"c")) == [(BINARY, b"c")]


class TestLimits:
    def test_a_frame(self) -> None:
        sent = frame(BINARY, body(200))
        assert runs_of(byte_reader(frame_bytes=200), sent) == [(BINARY, body(200))]
        reader = byte_reader(frame_bytes=199)
        # Its length says so; nobody waits for the rest of it.
        with pytest.raises(WebSocketError, match="longer") as raised:
            runs_of(reader, sent[:4])
        assert raised.value.close_code == TOO_BIG

    def test_a_length_that_nobody_has(self) -> None:
        with pytest.raises(WebSocketError, match="longer"):
            runs_of(byte_reader(), b"\x82\xff" + b"\xff" * 8)

    def test_a_message(self) -> None:
        first, last = frame(BINARY, body(150), final=False), frame(CONTINUATION, body(51))
        reader = byte_reader(message_bytes=201)
        assert merged(runs_of(reader, (first + last) * 2)) == [
            (BINARY, (body(150) + body(51)) * 2)
        ]
        reader = byte_reader(message_bytes=200)
        assert runs_of(reader, first) == [(BINARY, body(150))]
        with pytest.raises(WebSocketError, match="longer") as raised:
            runs_of(reader, last)
        assert raised.value.close_code == TOO_BIG
        with pytest.raises(WebSocketError, match="longer"):
            runs_of(byte_reader(message_bytes=200), frame(BINARY, body(201)))

    def test_fragments(self) -> None:
        begin, more, end = (
            frame(BINARY, b"a", final=False),
            frame(CONTINUATION, b"b", final=False),
            frame(CONTINUATION, b"c"),
        )
        reader = byte_reader(fragments=3)
        assert merged(runs_of(reader, (begin + more + end) * 2)) == [(BINARY, b"abcabc")]
        with pytest.raises(WebSocketError, match="fragments") as raised:
            runs_of(reader, begin + more + more + end)
        assert raised.value.close_code == TOO_BIG

    def test_empty_fragments_in_a_row(self) -> None:
        begin, more, end = (
            frame(BINARY, final=False),
            frame(CONTINUATION, final=False),
            frame(CONTINUATION),
        )
        for fragments in (begin + more * (MAX_EMPTY_FRAGMENTS - 1) + end, (begin + end) * 100):
            reader = byte_reader()
            assert runs_of(reader, fragments) == []
            with pytest.raises(WebSocketError, match="empty") as raised:
                runs_of(reader, begin)
            assert raised.value.close_code == POLICY_VIOLATION
        filled = begin + frame(CONTINUATION, b"a")
        assert merged(runs_of(byte_reader(), filled * 200)) == [(BINARY, b"a" * 200)]
