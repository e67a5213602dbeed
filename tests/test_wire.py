"""porttunnel/wire.py: fields are read whole, never beyond the end, and nothing may be left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import ErrorCode, RemoteProtocolError
from porttunnel.wire import (
    MAX_VEC_BYTES,
    Reader,
    encode_u16,
    encode_u32,
    encode_u64,
    encode_vec,
)

MESSAGE = bytes.fromhex("01 0203 04050607 0003 616263 ffff")


def read_message(data: bytes | bytearray | memoryview) -> tuple[int, int, int, bytes, bytes]:
    reader = Reader(data)
    fields = (
        reader.u8(),
        reader.u16(),
        reader.u32(),
        reader.vec(3),
        reader.take(2),
    )
    reader.finish()
    return fields


FIELDS = (1, 0x0203, 0x04050607, b"abc", b"\xff\xff")


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_reads_a_whole_message(form: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    assert read_message(form(MESSAGE)) == FIELDS


@pytest.mark.parametrize("length", range(len(MESSAGE)))
def test_a_message_cut_anywhere_ends_too_early(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match="ended too early") as caught:
        read_message(MESSAGE[:length])
    assert caught.value.code is ErrorCode.MALFORMED


@pytest.mark.parametrize("trailing", [b"\0", MESSAGE])
def test_nothing_may_follow(trailing: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="after its end"):
        read_message(MESSAGE + trailing)


@pytest.mark.parametrize("length", [0, 2, 4, MAX_VEC_BYTES])
def test_a_vec_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match="a length that it can't have"):
        Reader(encode_vec(b"abc")).vec(length)


def test_what_was_read_is_a_copy() -> None:
    data = bytearray(MESSAGE)
    fields = read_message(data)
    data[:] = bytes(len(data))
    assert fields == FIELDS


def test_reading_past_the_end_consumes_nothing() -> None:
    reader = Reader(b"ab")
    with pytest.raises(RemoteProtocolError):
        reader.take(3)
    assert reader.take(2) == b"ab"


def test_an_empty_message_is_finished() -> None:
    reader = Reader(b"")
    assert reader.take(0) == b""
    reader.finish()


def test_encodes_big_endian() -> None:
    assert encode_u16(0x0102) == b"\1\2"
    assert encode_u32(0x01020304) == b"\1\2\3\4"
    assert encode_u64(0x0102030405060708) == b"\1\2\3\4\5\6\7\x08"
    assert encode_vec(b"") == b"\0\0"


def test_a_vec_has_a_limit() -> None:
    assert len(encode_vec(bytes(MAX_VEC_BYTES))) == MAX_VEC_BYTES + 2
    with pytest.raises(ValueError, match="at most 65535 bytes"):
        encode_vec(bytes(MAX_VEC_BYTES + 1))


@given(
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=300),
)
def test_what_was_encoded_is_read(u16: int, u32: int, u64: int, vec: bytes) -> None:
    reader = Reader(encode_u16(u16) + encode_u32(u32) + encode_u64(u64) + encode_vec(vec))
    assert (reader.u16(), reader.u32(), reader.take(8), reader.vec(len(vec))) == (
        u16,
        u32,
        u64.to_bytes(8),
        vec,
    )
    reader.finish()
