"""Records: control messages and what stands in the records of streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import RemoteProtocolError, StreamCode
from porttunnel.session import record
from porttunnel.session.packet import MAX_PLAINTEXT_BYTES, RECORD_HEADER_BYTES
from porttunnel.session.record import RECORD_HEADER, RecordKind

MEMBERS = [record.MemberName(member=1, name="Anna"), record.MemberName(member=2, name="Ben")]
MESSAGES: list[record.Control] = [
    record.Hello(name="Anna", capabilities=["files"]),
    record.JoinAs(name="", capabilities=[]),
    record.Refused(reason="no"),
    record.Welcome(
        name="Anna",
        members=MEMBERS,
        services=[record.Service(name="web", kind="tcp")],
        epoch=1,
        group_key=b"a key that nobody may see.......",
        signing_key=bytes(32),
    ),
    record.Members(members=MEMBERS),
    record.Bye(reason="closed"),
    record.Epoch(epoch=2, key=b"another key that nobody may see.", previous_end=5),
    record.Direct(addresses=[record.DirectAddress(host="192.168.1.5", port=4663)]),
    record.Direct(addresses=[]),
    record.GroupAck(epoch=1, next=2**63 - 1, missing=True),
    record.GroupEnd(epoch=0xFFFFFFFF, next=0),
    record.Resent(packet=b"the packet as it was first sent"),
    record.GroupDropped(reason="too slow"),
]


def payload_of(made: bytes) -> memoryview:
    return memoryview(made)[RECORD_HEADER_BYTES:]


def address(host: str, port: int) -> dict[str, Any]:
    return {"type": "address", "host": host, "port": port}


def decode(body: bytes) -> record.Control:
    return record.decode_control(memoryview(body))


class TestRecord:
    def test_is_laid_out_as_specified(self) -> None:
        made = record.encode_record(RecordKind.CREDIT, 0x01020304, record.encode_u32(5))
        assert made.hex(" ") == "05 01 02 03 04 00 00 00 04 00 00 00 05"
        assert RECORD_HEADER.size == RECORD_HEADER_BYTES

    def test_may_be_empty(self) -> None:
        assert record.encode_record(RecordKind.END, 3).hex() == "060000000300000000"


class TestControl:
    @pytest.mark.parametrize("message", MESSAGES)
    def test_comes_back_as_it_went(self, message: Any) -> None:
        made = record.encode_control(message)
        kind, stream, length = RECORD_HEADER.unpack_from(made)
        assert (kind, stream) == (RecordKind.CONTROL, record.CONTROL_STREAM)
        assert length == len(made) - RECORD_HEADER_BYTES
        assert record.decode_control(payload_of(made)) == message

    @pytest.mark.parametrize("message", MESSAGES)
    def test_every_beginning_and_every_longer_message_is_refused(self, message: Any) -> None:
        body = bytes(payload_of(record.encode_control(message)))
        for wrong in [body[:count] for count in range(len(body))] + [body + b"\x00", body + body]:
            with pytest.raises(RemoteProtocolError, match="malformed"):
                decode(wrong)

    @pytest.mark.parametrize(
        "fields",
        [
            {"type": "conquer"},
            {"type": "bye"},
            {"type": "bye", "reason": "x" * 201},
            {"type": "bye", "reason": "", "more": 1},
            {"type": "hello", "name": "x" * 65, "capabilities": []},
            {"type": "hello", "name": "", "capabilities": ["x"] * 17},
            {"type": "hello", "name": "", "capabilities": [""]},
            {"type": "members", "members": [{"type": "member", "member": 0, "name": ""}]},
            {"type": "members", "members": [{"type": "member", "member": 2, "name": ""}] * 513},
            {"type": "epoch", "epoch": 0, "key": bytes(32), "previous_end": 0},
            {"type": "epoch", "epoch": 2**32, "key": bytes(32), "previous_end": 0},
            {"type": "epoch", "epoch": 1, "key": bytes(31), "previous_end": 0},
            {"type": "epoch", "epoch": 1, "key": bytes(33), "previous_end": 0},
            {"type": "epoch", "epoch": 1, "key": bytes(32), "previous_end": -1},
            {"type": "epoch", "epoch": 1, "key": bytes(32), "previous_end": 2**63},
            {"type": "direct", "addresses": [address("::1", 0)]},
            {"type": "direct", "addresses": [address("::1", 65_536)]},
            {"type": "direct", "addresses": [address("1", 4_663)]},
            {"type": "direct", "addresses": [address("1" * 46, 4_663)]},
            {"type": "direct", "addresses": [address("::1", 4_663)] * 9},
            {"type": "group-ack", "epoch": 1, "next": 0},
            {"type": "group-ack", "epoch": 1, "next": 0, "missing": 1},
            {"type": "group-end", "epoch": 0, "next": 0},
            {"type": "group-end", "epoch": 1, "next": -1},
            {"type": "resent", "packet": bytes(record.MAX_GROUP_PACKET_BYTES + 1)},
            {"type": "group-dropped", "reason": "x" * 201},
        ],
    )
    def test_fields_have_their_bounds(self, fields: dict[str, Any]) -> None:
        with pytest.raises(RemoteProtocolError, match="malformed"):
            decode(msgspec.msgpack.encode(fields))

    def test_depth_is_refused_not_followed(self) -> None:
        for nest in (b"\x91", b"\x81\xa1x", b"\x81\xa4type"):
            with pytest.raises(RemoteProtocolError):
                decode(nest * 100_000)

    def test_a_resent_group_packet_fits_into_one_packet(self) -> None:
        made = record.encode_control(record.Resent(packet=bytes(record.MAX_GROUP_PACKET_BYTES)))
        assert len(made) <= MAX_PLAINTEXT_BYTES

    def test_no_message_shows_a_key(self) -> None:
        assert "nobody" not in "".join(map(repr, MESSAGES))
        assert "web" in repr(MESSAGES[3])
        assert repr(MESSAGES[6]) == "Epoch(epoch=2, previous_end=5)"
        assert repr(record.Resent(packet=bytes(100))) == "Resent(100 bytes)"


class TestOpen:
    def test_comes_back_as_it_went(self) -> None:
        made = record.encode_open(7, "web", 32_768)
        assert record.decode_open(payload_of(made)) == ("web", 32_768)

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\0\0\0",
            b"\0\0\0\1",
            b"\0\0\0\1\xff",
            b"\0\0\0\1" + b"x" * 65,
            b"\0\0\0\1" + "ß".encode()[:1],
        ],
    )
    def test_what_is_malformed_is_refused(self, payload: bytes) -> None:
        with pytest.raises(RemoteProtocolError):
            record.decode_open(memoryview(payload))


class TestU32:
    def test_comes_back_as_it_went(self) -> None:
        assert record.decode_u32(memoryview(record.encode_u32(0xFFFFFFFF))) == 0xFFFFFFFF

    @pytest.mark.parametrize("count", [0, 1, 3, 5, 8])
    def test_has_four_bytes(self, count: int) -> None:
        with pytest.raises(RemoteProtocolError, match="length"):
            record.decode_u32(memoryview(bytes(count)))


class TestStreamCode:
    @pytest.mark.parametrize("code", StreamCode)
    def test_comes_back_as_it_went(self, code: StreamCode) -> None:
        refused = record.encode_refuse(1, code, "it is closed")
        assert record.decode_refuse(payload_of(refused)) == (code, "it is closed")
        assert record.decode_reset(payload_of(record.encode_reset(1, code))) is code

    def test_a_long_text_is_shortened(self) -> None:
        made = record.encode_refuse(1, StreamCode.INTERNAL, "ü" * 500)
        assert record.decode_refuse(payload_of(made)) == (StreamCode.INTERNAL, "ü" * 200)

    @pytest.mark.parametrize("payload", [b"", b"\0", b"\xff", b"\x01\xff", b"\x01" + b"x" * 201])
    def test_a_malformed_refusal_is_refused(self, payload: bytes) -> None:
        with pytest.raises(RemoteProtocolError):
            record.decode_refuse(memoryview(payload))

    @pytest.mark.parametrize("payload", [b"", b"\0", b"\xff", b"\x01\x01"])
    def test_a_malformed_reset_is_refused(self, payload: bytes) -> None:
        with pytest.raises(RemoteProtocolError):
            record.decode_reset(memoryview(payload))


DECODERS: list[Callable[[memoryview], Any]] = [
    record.decode_control,
    record.decode_open,
    record.decode_u32,
    record.decode_refuse,
    record.decode_reset,
]


@given(st.binary(max_size=100))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    for decoder in DECODERS:
        try:
            decoded = decoder(memoryview(body))
        except RemoteProtocolError:
            continue
        assert decoder(memoryview(body)) == decoded


@given(st.sampled_from(MESSAGES), st.data())
def test_mutated_messages_are_messages_or_refused(message: Any, data: st.DataObject) -> None:
    body = bytearray(payload_of(record.encode_control(message)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        if data.draw(st.booleans()):
            body[place] = data.draw(st.integers(0, 255))
        else:
            body[place:place] = data.draw(st.binary(max_size=4))
    try:
        decoded = decode(bytes(body))
    except RemoteProtocolError:
        return
    assert record.decode_control(payload_of(record.encode_control(decoded))) == decoded
