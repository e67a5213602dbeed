"""What the Autobahn testsuite says of a server's frames: its sections 1 to 5 and 10.

Each test has a case's number, and says it in our own words. A case's end, where the client closes
normally after all went well, is checked by :func:`ended_well`.
"""

from __future__ import annotations

import itertools

import pytest

from tests.websocket.client import Frame, frame
from tests.websocket.echo import CLOSE_NORMALLY, EchoServer, fragments

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
PROTOCOL_ERROR = 1002

SIZES = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536]
CHOPS = [None] * 7 + [997]  # the last case of each sends it in pieces of so many bytes


def ended_well(server: EchoServer) -> bool:
    """The client closes normally, and is answered in kind."""
    answer = server.send(CLOSE_NORMALLY)
    return server.code == 1_000 and answer == [Frame(0x88, b"\x03\xe8")]


def failed(server: EchoServer, got: list[Frame], *before: Frame) -> bool:
    """The server sent what it should have, then failed the connection for a broken protocol."""
    *others, last = got
    return (
        tuple(others) == before
        and (last.first, last.payload[:2]) == (0x88, b"\x03\xea")
        and server.failed_with == PROTOCOL_ERROR
    )


def text(payload: bytes) -> Frame:
    return Frame(0x81, payload)


def pong(payload: bytes) -> Frame:
    return Frame(0x8A, payload)


@pytest.mark.parametrize(
    ("opcode", "size", "chop"),
    [
        pytest.param(opcode, size, chop, id=f"1.{opcode}.{number}")
        for opcode in (TEXT, BINARY)
        for number, (size, chop) in enumerate(zip(SIZES, CHOPS, strict=True), 1)
    ],
)
def test_section_1_a_message_of_any_size_comes_back(
    opcode: int, size: int, chop: int | None
) -> None:
    server = EchoServer()
    payload = (b"*" if opcode == TEXT else b"\xfe") * size
    sent = frame(opcode, payload)
    assert server.chop(sent, chop or len(sent)) == [Frame(0x80 | opcode, payload)]
    assert ended_well(server)


class TestSection2Pings:
    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"", id="2.1"),
            pytest.param(b"Hello, world!", id="2.2"),
            pytest.param(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", id="2.3"),
            pytest.param(b"\xfe" * 125, id="2.4"),
        ],
    )
    def test_case_2_1_to_2_4_a_ping_comes_back_as_a_pong(self, payload: bytes) -> None:
        server = EchoServer()
        assert server.send(frame(PING, payload)) == [pong(payload)]
        assert ended_well(server)

    def test_case_2_5_a_ping_that_is_too_long(self) -> None:
        server = EchoServer()
        assert failed(server, server.send(frame(PING, b"\xfe" * 126)))

    def test_case_2_6_a_ping_in_chops_of_one_octet(self) -> None:
        server = EchoServer()
        assert server.chop(frame(PING, b"\xfe" * 125)) == [pong(b"\xfe" * 125)]
        assert ended_well(server)

    @pytest.mark.parametrize(
        "payload",
        [pytest.param(b"", id="2.7"), pytest.param(b"unsolicited pong payload", id="2.8")],
    )
    def test_case_2_7_and_2_8_a_pong_that_nobody_asked_for(self, payload: bytes) -> None:
        server = EchoServer()
        assert server.send(frame(PONG, payload)) == []
        assert ended_well(server)

    def test_case_2_9_such_a_pong_and_a_ping(self) -> None:
        server = EchoServer()
        sent = frame(PONG, b"unsolicited pong payload") + frame(PING, b"ping payload")
        assert server.send(sent) == [pong(b"ping payload")]
        assert ended_well(server)

    @pytest.mark.parametrize("chop", [pytest.param(None, id="2.10"), pytest.param(1, id="2.11")])
    def test_case_2_10_and_2_11_ten_pings_come_back_in_order(self, chop: int | None) -> None:
        server = EchoServer()
        payloads = [b"payload-%d" % number for number in range(10)]
        sent = b"".join(frame(PING, payload) for payload in payloads)
        assert server.chop(sent, chop or len(sent)) == [pong(payload) for payload in payloads]
        assert ended_well(server)


class TestSection3ReservedBits:
    def test_case_3_1_in_a_small_text(self) -> None:
        server = EchoServer()
        assert failed(server, server.send(frame(TEXT, b"Hello, world!", reserved=1)))

    @pytest.mark.parametrize(
        ("reserved", "way"),
        [
            pytest.param(2, "at once", id="3.2"),
            pytest.param(3, "by frame", id="3.3"),
            pytest.param(4, "by octet", id="3.4"),
        ],
    )
    def test_case_3_2_to_3_4_after_a_text_and_before_a_ping(self, reserved: int, way: str) -> None:
        server = EchoServer()
        payload = b"Hello, world!"
        frames = [
            frame(TEXT, payload),
            frame(TEXT, payload, reserved=reserved),
            frame(PING),
        ]
        whole = b"".join(frames)
        if way == "by octet":
            got = server.chop(whole)
        else:
            got = server.send(*(frames if way == "by frame" else [whole]))
        assert failed(server, got, text(payload))

    @pytest.mark.parametrize(
        ("reserved", "opcode", "payload"),
        [
            pytest.param(5, BINARY, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", id="3.5"),
            pytest.param(6, PING, b"Hello, world!", id="3.6"),
            pytest.param(7, CLOSE, b"\x03\xe8", id="3.7"),
        ],
    )
    def test_case_3_5_to_3_7_in_other_frames(
        self, reserved: int, opcode: int, payload: bytes
    ) -> None:
        server = EchoServer()
        assert failed(server, server.send(frame(opcode, payload, reserved=reserved)))


@pytest.mark.parametrize(
    ("opcode", "payload", "after_text", "chop"),
    [
        pytest.param(first + offset, payload, offset >= 2, chop, id=f"4.{section}.{offset + 1}")
        for section, first in ((1, 3), (2, 11))
        for offset, payload, chop in (
            (0, b"", None),
            (1, b"reserved opcode payload", None),
            (2, b"", None),
            (3, b"reserved opcode payload", None),
            (4, b"reserved opcode payload", 1),
        )
    ],
)
def test_section_4_opcodes_that_there_are_not(
    opcode: int, payload: bytes, after_text: bool, chop: int | None
) -> None:
    server = EchoServer()
    sent = frame(opcode, payload)
    before: tuple[Frame, ...] = ()
    if after_text:
        sent = frame(TEXT, b"Hello, world!") + sent + frame(PING)
        before = (text(b"Hello, world!"),)
    assert failed(server, server.chop(sent, chop or len(sent)), *before)


F1, F2 = b"fragment1", b"fragment2"
HALVES = fragments(TEXT, [F1, F2])
PINGED = frame(TEXT, F1, final=False) + frame(PING, b"ping payload") + frame(CONTINUATION, F2)


class TestSection5Fragments:
    @pytest.mark.parametrize(
        "opcode", [pytest.param(PING, id="5.1"), pytest.param(PONG, id="5.2")]
    )
    def test_case_5_1_and_5_2_a_control_frame_in_fragments(self, opcode: int) -> None:
        server = EchoServer()
        assert failed(server, server.send(fragments(opcode, [F1, F2])))

    @pytest.mark.parametrize(
        "chops",
        [
            pytest.param([HALVES], id="5.3"),
            pytest.param([frame(TEXT, F1, final=False), frame(CONTINUATION, F2)], id="5.4"),
            pytest.param([HALVES[at : at + 1] for at in range(len(HALVES))], id="5.5"),
        ],
    )
    def test_case_5_3_to_5_5_a_text_in_two_fragments(self, chops: list[bytes]) -> None:
        server = EchoServer()
        assert server.send(*chops) == [text(F1 + F2)]
        assert ended_well(server)

    @pytest.mark.parametrize(
        "chops",
        [
            pytest.param([PINGED], id="5.6"),
            pytest.param(
                [
                    frame(TEXT, F1, final=False),
                    frame(PING, b"ping payload"),
                    frame(CONTINUATION, F2),
                ],
                id="5.7",
            ),
            pytest.param([PINGED[at : at + 1] for at in range(len(PINGED))], id="5.8"),
        ],
    )
    def test_case_5_6_to_5_8_with_a_ping_between(self, chops: list[bytes]) -> None:
        server = EchoServer()
        assert server.send(*chops) == [pong(b"ping payload"), text(F1 + F2)]
        assert ended_well(server)

    @pytest.mark.parametrize(
        ("final", "way"),
        [
            pytest.param(final, way, id=f"5.{number}")
            for number, (final, way) in enumerate(
                itertools.product((True, False), ("at once", "by frame", "by octet")), 9
            )
        ],
    )
    def test_case_5_9_to_5_14_a_continuation_of_nothing(self, final: bool, way: str) -> None:
        server = EchoServer()
        sent = [
            frame(CONTINUATION, b"non-continuation payload", final=final),
            frame(TEXT, b"Hello, world!"),
        ]
        whole = b"".join(sent)
        if way == "by octet":
            got = server.chop(whole)
        else:
            got = server.send(*(sent if way == "by frame" else [whole]))
        assert failed(server, got)

    def test_case_5_15_the_same_after_a_text_in_fragments(self) -> None:
        server = EchoServer()
        sent = HALVES + frame(CONTINUATION, b"fragment3", final=False) + frame(TEXT, b"fragment4")
        assert failed(server, server.send(sent), text(F1 + F2))

    @pytest.mark.parametrize(
        "final", [pytest.param(False, id="5.16"), pytest.param(True, id="5.17")]
    )
    def test_case_5_16_and_5_17_the_same_twice_before_such_texts(self, final: bool) -> None:
        server = EchoServer()
        once = frame(CONTINUATION, F1, final=final) + fragments(TEXT, [F2, b"fragment3"])
        assert failed(server, server.send(once * 2))

    def test_case_5_18_two_beginnings_of_a_text(self) -> None:
        server = EchoServer()
        sent = frame(TEXT, F1, final=False) + frame(TEXT, F2)
        assert failed(server, server.send(sent))

    @pytest.mark.parametrize(
        "by_frame", [pytest.param(False, id="5.19"), pytest.param(True, id="5.20")]
    )
    def test_case_5_19_and_5_20_pings_are_answered_before_the_text_ends(
        self, by_frame: bool
    ) -> None:
        server = EchoServer()
        first = [
            frame(TEXT, b"fragment1", final=False),
            frame(CONTINUATION, b"fragment2", final=False),
            frame(PING, b"pongme 1!"),
        ]
        second = [
            frame(CONTINUATION, b"fragment3", final=False),
            frame(CONTINUATION, b"fragment4", final=False),
            frame(PING, b"pongme 2!"),
            frame(CONTINUATION, b"fragment5"),
        ]
        if not by_frame:
            first, second = [b"".join(first)], [b"".join(second)]
        assert server.send(*first) == [pong(b"pongme 1!")]
        whole = text(b"fragment1fragment2fragment3fragment4fragment5")
        assert server.send(*second) == [pong(b"pongme 2!"), whole]
        assert ended_well(server)


def test_case_10_1_1_a_text_that_its_sender_fragments_by_itself() -> None:
    server = EchoServer()
    payload = b"*" * 65_536
    parts = [payload[at : at + 1_300] for at in range(0, len(payload), 1_300)]
    assert len(parts) == 51
    assert server.send(fragments(TEXT, parts)) == [text(payload)]
    assert ended_well(server)
