"""porttunnel/keys/handshake_message.py: exact sizes, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from porttunnel.errors import RemoteProtocolError
from porttunnel.keys.handshake_message import C1, C3, M2, M4, HandshakeMode

MODES = list(HandshakeMode)


def make_c1(mode: HandshakeMode) -> C1:
    return C1(
        mode=mode,
        member=0x0102,
        former=0x0304 if mode is HandshakeMode.REJOIN else 0,
        session_id=b"s" * 16,
        share=b"" if mode is HandshakeMode.SAS else b"y" * 32,
        rsa_public=b"r" * 294,
        mlkem_public=b"k" * 1184,
        commit=b"c" * 32,
    )


def make_m2(mode: HandshakeMode) -> M2:
    return M2(
        member=0x0102,
        nonce=b"n" * 32,
        share=b"" if mode is HandshakeMode.SAS else b"y" * 32,
        rsa_ciphertext=b"r" * 256,
        mlkem_ciphertext=b"k" * 1088,
    )


# name, message, how it is decoded
CASES: list[tuple[str, Any, Callable[[Any], Any]]] = [
    *((f"C1 {mode.name}", make_c1(mode), C1.decode) for mode in MODES),
    *(
        (f"M2 {mode.name}", make_m2(mode), lambda body, mode=mode: M2.decode(body, mode))
        for mode in MODES
    ),
    ("C3", C3(b"n" * 32, b"m" * 32), C3.decode),
    ("M4", M4(b"m" * 32), M4.decode),
]
each_message = pytest.mark.parametrize(
    ("message", "decode"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)


@each_message
@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_decodes_what_it_encoded(
    message: Any, decode: Callable[[Any], Any], form: Callable[[bytes], Any]
) -> None:
    assert decode(form(message.encode())) == message


@each_message
def test_refuses_every_shorter_message(message: Any, decode: Callable[[Any], Any]) -> None:
    body = message.encode()
    for length in range(len(body)):
        with pytest.raises(RemoteProtocolError):
            decode(body[:length])


@each_message
@pytest.mark.parametrize("trailing", [b"\0", b"\0" * 32])
def test_refuses_what_follows(message: Any, decode: Callable[[Any], Any], trailing: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="after its end"):
        decode(message.encode() + trailing)


def test_sizes() -> None:
    assert {mode.name: len(make_c1(mode).encode()) for mode in MODES} == {
        "PIN": 1572,
        "SAS": 1540,
        "LINK": 1572,
        "REJOIN": 1572,
    }
    assert {mode.name: len(make_m2(mode).encode()) for mode in MODES} == {
        "PIN": 1419,
        "SAS": 1387,
        "LINK": 1419,
        "REJOIN": 1419,
    }
    assert len(C3(bytes(32), bytes(32)).encode()) == 64
    assert len(M4(bytes(32)).encode()) == 32


def test_the_fields_stand_where_the_specification_says() -> None:
    head = make_c1(HandshakeMode.REJOIN).encode()[:26]
    assert head == b"\x01\x00\x01\x04\x01\x02\x03\x04" + b"s" * 16 + b"\x00\x20"
    assert make_m2(HandshakeMode.PIN).encode()[:5] == b"\x01\x00\x01\x01\x02"


@pytest.mark.parametrize("change", [{"version": 0}, {"version": 2}, {"suite": 0}, {"suite": 2}])
def test_another_version_or_suite_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(RemoteProtocolError, match="another version"):
        C1.decode(replace(make_c1(HandshakeMode.PIN), **change).encode())  # type: ignore[arg-type]  # of replace
    with pytest.raises(RemoteProtocolError, match="another version"):
        M2.decode(
            replace(make_m2(HandshakeMode.PIN), **change).encode(),  # type: ignore[arg-type]  # of replace
            HandshakeMode.PIN,
        )


@pytest.mark.parametrize("mode", [0, 5, 255])
def test_an_unknown_mode_is_refused(mode: int) -> None:
    body = bytearray(make_c1(HandshakeMode.PIN).encode())
    body[3] = mode
    with pytest.raises(RemoteProtocolError, match="no such handshake mode"):
        C1.decode(body)


@pytest.mark.parametrize("member", [0, 1, 0xFFFE, 0xFFFF])
def test_only_clients_open(member: int) -> None:
    with pytest.raises(RemoteProtocolError, match="names no client"):
        C1.decode(replace(make_c1(HandshakeMode.PIN), member=member).encode())


@pytest.mark.parametrize(
    ("mode", "former"),
    [
        (HandshakeMode.PIN, 2),
        (HandshakeMode.SAS, 2),
        (HandshakeMode.LINK, 1),
        (HandshakeMode.REJOIN, 0),
        (HandshakeMode.REJOIN, 1),
        (HandshakeMode.REJOIN, 0xFFFE),
    ],
)
def test_a_former_member_goes_with_rejoin_only(mode: HandshakeMode, former: int) -> None:
    with pytest.raises(RemoteProtocolError, match="former member"):
        C1.decode(replace(make_c1(mode), former=former).encode())


@pytest.mark.parametrize("mode", [HandshakeMode.PIN, HandshakeMode.SAS])
def test_a_share_of_another_modes_length_is_refused(mode: HandshakeMode) -> None:
    wrong = b"y" * 32 if mode is HandshakeMode.SAS else b""
    with pytest.raises(RemoteProtocolError, match="a length that it can't have"):
        C1.decode(replace(make_c1(mode), share=wrong).encode())
    with pytest.raises(RemoteProtocolError, match="a length that it can't have"):
        M2.decode(replace(make_m2(mode), share=wrong).encode(), mode)
