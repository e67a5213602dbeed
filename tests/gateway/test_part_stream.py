"""porttunnel/gateway/part_stream.py: parts come in order, within the credit, or not at all."""

from __future__ import annotations

import pytest

from porttunnel.errors import (
    AuthenticationFailed,
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)
from porttunnel.gateway import part_stream
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.part import (
    MAX_PART_BYTES,
    Cancel,
    Credit,
    SegmentPart,
    decode_part,
    encode_segment_head,
)
from porttunnel.gateway.part_stream import (
    CREDIT_STEP_PARTS,
    WINDOW_PARTS,
    PartReceiver,
    PartSender,
    decode_opening,
)
from porttunnel.keys.envelope import SegmentOpener, SegmentSealer

IKM, SALT, PREFIX = bytes(32), b"s" * 32, b"p" * 7
HEAD = MessageHead(1, 2, 3)


def make_sender() -> PartSender:
    return PartSender(HEAD, SegmentSealer(IKM, b"", salt=SALT, prefix=PREFIX))


def make_receiver(first: bytearray) -> tuple[PartReceiver, bytes]:
    opening = decode_opening(first)
    receiver = PartReceiver(SegmentOpener(IKM, b"", opening.header))
    return receiver, bytes(receiver.open_first(opening))


def segment_of(data: bytearray) -> SegmentPart:
    part = decode_part(data)
    assert isinstance(part, SegmentPart)
    return part


def test_a_stream_goes_through() -> None:
    sender = make_sender()
    assert (sender.finished, sender.room_bytes) == (False, 65_480)
    first = sender.send(b"hello")
    assert (sender.finished, sender.room_bytes) == (False, 65_520)
    receiver, plaintext = make_receiver(first)
    assert plaintext == b"hello"
    assert receiver.receive(segment_of(sender.send(b"world"))) == b"world"
    assert not receiver.finished
    assert receiver.receive(segment_of(sender.send(b"", last=True))) == b""
    assert (receiver.finished, sender.finished, sender.sendable_parts) == (True, True, 0)
    with pytest.raises(LocalProtocolError, match="after the last"):
        sender.send(b"")
    with pytest.raises(RemoteProtocolError, match="after its end"):
        receiver.receive(SegmentPart(3, memoryview(bytes(16)), last=True))


def test_the_largest_parts_are_allowed() -> None:
    sender = make_sender()
    first = sender.send(bytes(sender.room_bytes))
    assert len(first) == MAX_PART_BYTES
    receiver, plaintext = make_receiver(first)
    assert plaintext == bytes(65_480)
    second = sender.send(bytes(sender.room_bytes), last=True)
    assert receiver.receive(segment_of(second)) == bytes(65_520)


def test_a_hint_about_the_end_may_be_wrong() -> None:
    sender = make_sender()
    first, last = sender.send(b"a"), sender.send(b"b", last=True)
    first[:5], last[:5] = encode_segment_head(0, last=True), encode_segment_head(1, last=False)
    receiver, _ = make_receiver(first)
    assert not receiver.finished
    assert receiver.receive(segment_of(last)) == b"b"
    assert receiver.finished


class TestOrder:
    def test_only_the_next_part_is_taken(self) -> None:
        sender = make_sender()
        first, second, third = (sender.send(b"x") for _ in range(3))
        receiver, _ = make_receiver(first)
        for wrong in (first, third):
            with pytest.raises(RemoteProtocolError, match="another order"):
                receiver.receive(segment_of(wrong))
        assert receiver.receive(segment_of(second)) == b"x"
        with pytest.raises(RemoteProtocolError, match="another order"):
            receiver.receive(segment_of(second))

    def test_renumbered_parts_do_not_open(self) -> None:
        sender = make_sender()
        first, _, third = (sender.send(b"x") for _ in range(3))
        third[:5] = encode_segment_head(1, last=False)
        receiver, _ = make_receiver(first)
        with pytest.raises(AuthenticationFailed):
            receiver.receive(segment_of(third))

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            (encode_segment_head(1, last=False) + bytes(200), "begin with its head"),
            (encode_segment_head(0, last=False) + bytes(64), "begin with its head"),
            (encode_segment_head(0, last=False) + bytes(200), "not known"),
            (Cancel().encode(), "begin with a segment"),
        ],
    )
    def test_what_does_not_begin_a_stream(self, data: bytes, fault: str) -> None:
        with pytest.raises(RemoteProtocolError, match=fault):
            decode_opening(data)

    def test_what_is_left_of_an_opening_is_told(self) -> None:
        opening = decode_opening(make_sender().send(b"x", last=True))
        assert (opening.head, opening.last) == (HEAD, True)
        assert opening.header == bytes([40]) + SALT + PREFIX
        assert len(opening.segment) == 17


class TestCredit:
    def test_no_more_is_sent_than_allowed(self) -> None:
        sender = make_sender()
        for left in range(WINDOW_PARTS, 0, -1):
            assert sender.sendable_parts == left
            sender.send(b"x")
        with pytest.raises(LocalProtocolError, match="without credit"):
            sender.send(b"x")
        assert sender.take_credit(Credit(WINDOW_PARTS + 2))
        assert not sender.take_credit(Credit(WINDOW_PARTS + 2))
        assert not sender.take_credit(Credit(0))
        assert sender.sendable_parts == 2

    def test_no_more_is_received_than_allowed(self) -> None:
        sender = make_sender()
        sender.take_credit(Credit(1_000))
        receiver, _ = make_receiver(sender.send(b"x"))
        for _ in range(WINDOW_PARTS - 1):
            receiver.receive(segment_of(sender.send(b"x")))
        with pytest.raises(LimitExceeded, match="more parts"):
            receiver.receive(segment_of(sender.send(b"x")))

    def test_what_is_consumed_is_given_again_in_steps(self) -> None:
        sender = make_sender()
        receiver, _ = make_receiver(sender.send(b"x"))
        given = []
        for _ in range(100):
            credit = receiver.consume()
            if credit is not None:
                given.append(credit.limit)
                assert receiver.credit == credit
                assert sender.take_credit(credit)
            receiver.receive(segment_of(sender.send(b"x")))
        steps = range(WINDOW_PARTS + CREDIT_STEP_PARTS, 117, CREDIT_STEP_PARTS)
        assert given == list(steps)

    def test_nothing_is_given_for_what_never_came(self) -> None:
        receiver, _ = make_receiver(make_sender().send(b"x"))
        receiver.consume()
        with pytest.raises(LocalProtocolError, match="more parts were consumed"):
            receiver.consume()

    def test_nothing_is_given_after_the_end(self) -> None:
        sender = make_sender()
        receiver, _ = make_receiver(sender.send(b"x"))
        for _ in range(14):
            receiver.receive(segment_of(sender.send(b"x")))
        receiver.receive(segment_of(sender.send(b"", last=True)))
        assert receiver.consume(16) is None

    def test_credit_ends_with_the_numbers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(part_stream, "MAX_SEGMENTS", 27)
        sender = make_sender()
        receiver, _ = make_receiver(sender.send(b"x"))
        for _ in range(14):
            receiver.receive(segment_of(sender.send(b"x")))
        assert receiver.consume(15) == Credit(26)
