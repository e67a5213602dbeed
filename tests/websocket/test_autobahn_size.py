"""What the Autobahn testsuite says of long messages and many: its section 9.

Sizes are a sixteenth of that testsuite's, and rounds a tenth: the cases differ by their ratios,
which are kept. Fragments and chops keep their sizes where they are no longer than the message.
"""

from __future__ import annotations

import pytest

from tests.websocket.client import Frame, frame
from tests.websocket.echo import EchoServer, fragments

TEXT, BINARY = 1, 2
SCALE = 16
KIBIBYTE = 1 << 10
ROUNDS = 100


def body(size: int) -> bytes:
    """The same as text and as bytes."""
    return (b"BAsd7&jh23" * (size // 10 + 1))[:size]


@pytest.mark.parametrize(
    ("opcode", "size"),
    [
        pytest.param(opcode, size * KIBIBYTE // SCALE, id=f"9.{opcode}.{number}")
        for opcode in (TEXT, BINARY)
        for number, size in enumerate((64, 256, 1_024, 4_096, 8_192, 16_384), 1)
    ],
)
def test_cases_9_1_and_9_2_messages_of_growing_size(opcode: int, size: int) -> None:
    assert EchoServer().send(frame(opcode, body(size))) == [Frame(0x80 | opcode, body(size))]


@pytest.mark.parametrize(
    ("opcode", "part"),
    [
        pytest.param(opcode, min(part, 4_096 * KIBIBYTE // SCALE), id=f"9.{opcode + 2}.{number}")
        for opcode in (TEXT, BINARY)
        for number, part in enumerate((64 * 4**power for power in range(9)), 1)
    ],
)
def test_cases_9_3_and_9_4_fragments_of_growing_size(opcode: int, part: int) -> None:
    message = body(4_096 * KIBIBYTE // SCALE)
    parts = [message[at : at + part] for at in range(0, len(message), part)]
    assert EchoServer().send(fragments(opcode, parts)) == [Frame(0x80 | opcode, message)]


@pytest.mark.parametrize(
    ("opcode", "chop"),
    [
        pytest.param(opcode, 64 << power, id=f"9.{opcode + 4}.{power + 1}")
        for opcode in (TEXT, BINARY)
        for power in range(6)
    ],
)
def test_cases_9_5_and_9_6_chops_of_growing_size(opcode: int, chop: int) -> None:
    message = body(1_024 * KIBIBYTE // SCALE)
    assert EchoServer().chop(frame(opcode, message), chop) == [Frame(0x80 | opcode, message)]


@pytest.mark.parametrize(
    ("opcode", "size"),
    [
        pytest.param(opcode, size, id=f"9.{opcode + 6}.{number}")
        for opcode in (TEXT, BINARY)
        for number, size in enumerate((0, 16, 64, 256, 1_024, 4_096), 1)
    ],
)
def test_cases_9_7_and_9_8_one_message_after_the_other(opcode: int, size: int) -> None:
    server = EchoServer()
    sent, expected = frame(opcode, body(size)), [Frame(0x80 | opcode, body(size))]
    assert all(server.send(sent) == expected for _ in range(ROUNDS))
    assert server.open
