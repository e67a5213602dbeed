"""porttunnel/keys/key_schedule.py: every label and key against the second implementation."""

from __future__ import annotations

import hashlib

import pytest

from porttunnel.errors import AuthenticationFailed
from porttunnel.keys import key_schedule
from porttunnel.keys.handshake_message import HandshakeMode
from porttunnel.keys.key_schedule import (
    BoundSecret,
    HandshakeSecret,
    derive_commit,
    derive_isk,
    derive_share,
    format_sid,
)
from tests.keys import reference
from tests.keys.reference import Inputs

LABELS = {
    "LABEL_COMMIT": b"ptun1 commit",
    "LABEL_CHANNEL": b"ptun1 tunnel|client|master|",
    "LABEL_CLIENT": b"C",
    "LABEL_MASTER": b"M",
    "LABEL_T2": b"ptun1 t2",
    "LABEL_T3": b"ptun1 t3",
    "LABEL_CONFIRM_CLIENT": b"ptun1 confirm c",
    "LABEL_CONFIRM_MASTER": b"ptun1 confirm m",
    "LABEL_SAS": b"ptun1 sas",
    "LABEL_CLIENT_TO_MASTER": b"ptun1 c>m",
    "LABEL_MASTER_TO_CLIENT": b"ptun1 m>c",
    "LABEL_DIRECT_CLIENT": b"ptun1 direct c",
    "LABEL_DIRECT_MASTER": b"ptun1 direct m",
    "LABEL_REJOIN": b"ptun1 rejoin",
}
SHARED = b"\0\x20" + b"R" * 32 + b"\0\x20" + b"K" * 32


def make_inputs(mode: HandshakeMode) -> Inputs:
    return Inputs(
        number=10000,
        session_id=b"s" * 16,
        member=9,
        former=3 if mode is HandshakeMode.REJOIN else 0,
        mode=mode.name,
        prs=b"" if mode is HandshakeMode.SAS else b"000000",
        rsa_public=b"r" * 294,
        mlkem_public=b"k" * 1184,
        rsa_secret=b"R" * 32,
        rsa_ciphertext=b"x" * 256,
        mlkem_secret=b"K" * 32,
        mlkem_ciphertext=b"z" * 1088,
        client_scalar=b"a" * 32,
        client_nonce=b"c" * 32,
        master_scalar=b"b" * 32,
        master_nonce=b"m" * 32,
    )


def test_the_labels_are_the_specifications() -> None:
    assert {
        name: getattr(key_schedule, name)
        for name in vars(key_schedule)
        if name.startswith("LABEL_")
    } == LABELS


@pytest.mark.parametrize("mode", list(HandshakeMode))
def test_like_the_reference(mode: HandshakeMode) -> None:
    inputs = make_inputs(mode)
    expected = reference.run_handshake(inputs)
    sid = format_sid(inputs.session_id, inputs.member)
    ya, yb = (
        derive_share(mode, inputs.prs, inputs.number, sid, scalar)
        for scalar in (inputs.client_scalar, inputs.master_scalar)
    )
    isk = derive_isk(mode, inputs.client_scalar, yb, sid=sid, ya=ya, yb=yb)
    assert isk == derive_isk(mode, inputs.master_scalar, ya, sid=sid, ya=ya, yb=yb)
    c1, m2 = expected["c1"], expected["m2"]
    assert isinstance(c1, bytes)
    assert isinstance(m2, bytes)
    assert derive_commit(inputs.client_nonce, c1[:-32]) == c1[-32:]
    bound = HandshakeSecret(mode, inputs.number, c1=c1, m2=m2, isk=isk, shared=SHARED).bind(
        inputs.client_nonce
    )
    mac_c = bound.confirm_client()
    assert inputs.client_nonce + mac_c == expected["c3"]
    assert bound.confirm_master(mac_c) == expected["m4"]
    established = bound.establish()
    assert {name: getattr(established, name) for name in established.__slots__} == {
        name: value for name, value in expected.items() if name not in {"c1", "m2", "c3", "m4"}
    }


def test_the_sid_is_session_and_member() -> None:
    assert format_sid(b"s" * 16, 0xABCD) == b"s" * 16 + b"\xab\xcd"


def test_without_a_password_there_is_no_cpace() -> None:
    assert derive_share(HandshakeMode.SAS, b"", 10000, b"sid", b"a" * 32) == b""
    assert derive_isk(HandshakeMode.SAS, b"a" * 32, b"", sid=b"sid", ya=b"", yb=b"") == b""


def test_a_low_order_share_fails() -> None:
    with pytest.raises(AuthenticationFailed):
        derive_isk(HandshakeMode.PIN, b"a" * 32, bytes(32), sid=b"sid", ya=b"y" * 32, yb=bytes(32))


def test_digits_of_any_size_have_six_places() -> None:
    """Whatever the transcript, the digits are two different numbers with leading zeros."""
    shown = []
    for index in range(300):
        t3 = hashlib.sha256(bytes([index & 0xFF, index >> 8])).digest()
        established = BoundSecret(HandshakeMode.SAS, bytes(32), t3).establish()
        shown += [established.sas_client_shows, established.sas_master_shows]
    assert {len(digits) for digits in shown} == {6}
    assert "".join(shown).isdigit()
    assert any(digits.startswith("0") for digits in shown)
    assert len(set(shown)) > 590


def test_every_secret_serves_one_purpose() -> None:
    established = BoundSecret(HandshakeMode.SAS, bytes(32), bytes(32)).establish()
    values = [getattr(established, name) for name in established.__slots__]
    assert len(set(values)) == len(values) == 7


def test_nothing_shows_itself() -> None:
    secret = HandshakeSecret(HandshakeMode.PIN, 1, c1=b"", m2=b"", isk=b"", shared=b"")
    assert repr(secret) == "<HandshakeSecret (secret)>"
    assert repr(secret.bind(bytes(32))) == "<BoundSecret (secret)>"
    assert repr(secret.bind(bytes(32)).establish()) == "<Established (secret)>"
