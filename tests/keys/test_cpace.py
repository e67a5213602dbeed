"""porttunnel/keys/cpace.py against the draft's vectors and an independent implementation."""

from __future__ import annotations

import pytest
from cpace import CPace, CPaceRole
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import AuthenticationFailed
from porttunnel.keys.cpace import SHARE_BYTES, derive_isk, generator, public_share
from tests.keys import reference
from tests.keys.published import draft_vectors

SCALAR = b"\x23" * 32

# Long enough for lengths of two bytes, and for passwords beyond the hash's block.
strings = st.binary(max_size=300)
scalars = st.binary(min_size=32, max_size=32)


@pytest.fixture(scope="module")
def draft() -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in draft_vectors()["G_25519"].items()}


@pytest.fixture(scope="module")
def low_order_points() -> dict[str, bytes]:
    points = draft_vectors()["X25519_points"]
    return {
        name: bytes.fromhex(value) for name, value in points.items() if name.startswith("Invalid")
    }


def test_the_drafts_generator_and_shares(draft: dict[str, bytes]) -> None:
    point = generator(draft["PRS"], draft["CI"], draft["sid"])
    assert point == draft["g"]
    assert public_share(draft["ya"], point) == draft["Ya"]
    assert public_share(draft["yb"], point) == draft["Yb"]


def test_the_drafts_session_key_on_both_sides(draft: dict[str, bytes]) -> None:
    transcript = {
        "ya": draft["Ya"],
        "ada": draft["ADa"],
        "yb": draft["Yb"],
        "adb": draft["ADb"],
    }
    assert derive_isk(draft["ya"], draft["Yb"], draft["sid"], **transcript) == draft["ISK_IR"]
    assert derive_isk(draft["yb"], draft["Ya"], draft["sid"], **transcript) == draft["ISK_IR"]


def test_the_drafts_low_order_points_abort(low_order_points: dict[str, bytes]) -> None:
    # The others are of low order only to one who forgets to ignore bit 255 (RFC 7748, 5).
    expected = {f"Invalid Y{index}" for index in (0, 1, 2, 3, 4, 5, 7)}
    aborting = set()
    for name, point in low_order_points.items():
        try:
            derive_isk(SCALAR, point, b"sid", ya=b"", ada=b"", yb=point, adb=b"")
        except AuthenticationFailed:
            aborting.add(name)
    assert aborting == expected


def test_low_order_points_abort_without_the_drafts_file() -> None:
    for encoded in (0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18):
        point = encoded.to_bytes(32, "little")
        with pytest.raises(AuthenticationFailed):
            derive_isk(SCALAR, point, b"sid", ya=b"", ada=b"", yb=point, adb=b"")


@pytest.mark.parametrize("length", [0, 1, 117, 118, 119, 127, 128, 129, 16_383, 16_384])
def test_lengths_at_the_borders_of_padding_and_prefix(length: int) -> None:
    prs, ci, sid = bytes(length), b"c" * length, b"s"
    assert generator(prs, ci, sid) == reference.cpace_generator(prs, ci, sid)


@given(strings, strings, strings)
def test_the_generator_is_the_references(prs: bytes, ci: bytes, sid: bytes) -> None:
    assert generator(prs, ci, sid) == reference.cpace_generator(prs, ci, sid)


@given(strings, strings, strings, st.tuples(strings, strings), scalars)
def test_as_initiator_with_an_independent_responder(
    prs: bytes, ci: bytes, sid: bytes, associated: tuple[bytes, bytes], scalar: bytes
) -> None:
    ada, adb = associated
    peer = CPace.start(role=CPaceRole.RESPONDER, prs=prs, sid=sid, ci=ci, ad=adb)
    ya, yb = public_share(scalar, generator(prs, ci, sid)), peer.public_share
    peer.derive(ya, ada)
    assert derive_isk(scalar, yb, sid, ya=ya, ada=ada, yb=yb, adb=adb) == peer.isk


@given(strings, strings, strings, st.tuples(strings, strings), scalars)
def test_as_responder_with_an_independent_initiator(
    prs: bytes, ci: bytes, sid: bytes, associated: tuple[bytes, bytes], scalar: bytes
) -> None:
    ada, adb = associated
    peer = CPace.start(role=CPaceRole.INITIATOR, prs=prs, sid=sid, ci=ci, ad=ada)
    ya, yb = peer.public_share, public_share(scalar, generator(prs, ci, sid))
    peer.derive(yb, adb)
    assert derive_isk(scalar, ya, sid, ya=ya, ada=ada, yb=yb, adb=adb) == peer.isk


def run_once(prs: bytes, ci: bytes, sid: bytes, scalar: bytes) -> tuple[bytes, bytes]:
    """One initiator with these values against a responder with fixed ones."""
    ya = public_share(scalar, generator(prs, ci, sid))
    yb = public_share(b"\x77" * 32, generator(b"604219", b"ci", b"sid"))
    initiator = derive_isk(scalar, yb, sid, ya=ya, ada=b"C", yb=yb, adb=b"M")
    responder = derive_isk(b"\x77" * 32, ya, b"sid", ya=ya, ada=b"C", yb=yb, adb=b"M")
    return initiator, responder


def test_one_password_one_key() -> None:
    initiator, responder = run_once(b"604219", b"ci", b"sid", SCALAR)
    assert initiator == responder
    assert len(initiator) == 64
    assert len(generator(b"604219", b"ci", b"sid")) == SHARE_BYTES


@pytest.mark.parametrize(
    ("prs", "ci", "sid"),
    [(b"604218", b"ci", b"sid"), (b"604219", b"cj", b"sid"), (b"604219", b"ci", b"sie")],
)
def test_another_password_channel_or_session_another_key(
    prs: bytes, ci: bytes, sid: bytes
) -> None:
    initiator, responder = run_once(prs, ci, sid, SCALAR)
    assert initiator != responder
