"""Commands and answers as lines."""

from __future__ import annotations

import pytest

from porttunnel.errors import RemoteProtocolError
from porttunnel.net.instance.control import PortFile
from porttunnel.net.instance.control_message import (
    MAX_COMMAND_BYTES,
    Answer,
    Command,
    DeviceEntry,
    DeviceList,
    DigitsChecked,
    Done,
    EnterDigits,
    Invitation,
    Invite,
    ListDevices,
    Login,
    MarkRestored,
    Progress,
    Refused,
    Revoke,
    Watch,
    decode_answer,
    decode_command,
    encode_line,
)

ID = "0123456789abcdef" * 2

COMMANDS: list[Command] = [
    Login("t0ken"),
    Invite("anna", True, 60),
    Invite("Anna von Ärzen"),
    Invite("a"),
    EnterDigits(ID, "123 456"),
    ListDevices(),
    Revoke(ID),
    MarkRestored(),
    Watch(ID),
]
ANSWERS: list[Answer] = [
    Invitation(ID, "https://x/pair#y", 1),
    DigitsChecked("wrong", 2),
    DeviceList("", False, (DeviceEntry(ID, "anna", "paired", 1, 2, None, True),)),
    Done(),
    Progress("waiting", 3),
    Refused("busy", "Try again."),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_travel(command: Command) -> None:
    line = encode_line(command)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_command(line) == command


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_travel(answer: Answer) -> None:
    assert decode_answer(encode_line(answer)) == answer


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"POST /push HTTP/1.1\r",
        b"{}",
        b'{"command":"explode"}',
        b'{"command":"devices","more":1}',
        b'{"command":"revoke","device_id":"../x"}',
        b'{"command":"revoke","device_id":"' + ID.encode() + b'\\n"}',
        b'{"command":"invite","user":""}',
        b'{"command":"invite","user":" anna"}',
        b'{"command":"invite","user":"anna\\nX-Admin: yes"}',
        b'{"command":"invite","user":"anna","expires_seconds":86401}',
        b'{"command":"invite","user":"anna","expires_seconds":0}',
        b'{"answer":"done"}',
        b"\xff",
        b'{"command":"login","token":"\xff"}',
        b'{"more":' + b"[" * MAX_COMMAND_BYTES,
    ],
)
def test_what_is_no_command(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="knows no such command"):
        decode_command(line)


@pytest.mark.parametrize(
    "line", [b'{"answer":"poem"}', b'{"answer":"error","code":"\xff"}', b'{"x":' + b"[" * 10_000]
)
def test_what_is_no_answer(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="of the same version"):
        decode_answer(line)


def test_a_pairing_is_over_once() -> None:
    states = [Progress("invited"), Progress("waiting"), Progress("paired"), Progress("ended")]
    assert [progress.final for progress in states] == [False, False, True, True]


def test_nothing_shows_a_secret() -> None:
    secrets = [
        Login("canary"),
        EnterDigits(ID, "canary"),
        Invitation(ID, "canary", 1),
        PortFile(1, "canary"),
    ]
    assert "canary" not in repr(secrets)
    assert ID in repr(secrets)
