"""porttunnel/gateway/pairing_schedule.py: from a transcript to the secret and the digits."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_schedule import (
    DeviceSecret,
    derive_device_secret,
    derive_digits,
    derive_transcript,
)
from tests.gateway.pairings import ANSWERING, DRAWN, ENDS, PAIRING, ROTATION, VECTORS, each

runs = pytest.mark.parametrize("run", [PAIRING, ROTATION], ids=["pairing", "rotation"])


def said(run: Any) -> tuple[bytes, bytes]:
    return bytes.fromhex(run["request"]), bytes.fromhex(run["answer"])


@runs
def test_vectors(run: Any) -> None:
    transcript = derive_transcript(ENDS, *said(run))
    assert transcript.hex() == run["transcript"]
    shared = ANSWERING.encapsulation.shared
    secret = derive_device_secret(transcript, bytes.fromhex(run["current"]), shared)
    assert secret.hex() == run["secret"]
    assert derive_digits(transcript, DRAWN["nonce_d"]) == run["digits"]


@each("opens_nothing")
def test_a_photograph_and_a_recording_are_not_enough(case: Any) -> None:
    assert case["secret"] != VECTORS["pairing"]["secret"]


def test_everything_counts() -> None:
    request, answer = said(PAIRING)
    swapped = Ends(ENDS.device_id, ENDS.instance_id)
    transcripts = {
        derive_transcript(ends, first, second)
        for ends in (ENDS, swapped)
        for first, second in ((request, answer), (answer, request), (request + b"\1", answer))
    }
    assert len(transcripts) == 6
    # The border between the two is counted in.
    assert derive_transcript(ENDS, b"ab", b"c") != derive_transcript(ENDS, b"a", b"bc")
    transcript = derive_transcript(ENDS, request, answer)
    shared = bytearray(ANSWERING.encapsulation.shared)
    secrets = {derive_device_secret(transcript, bytes(32), bytes(shared))}
    for at in (2, 33, 36, 67):
        changed = bytearray(shared)
        changed[at] ^= 1
        secrets.add(derive_device_secret(transcript, bytes(32), bytes(changed)))
    assert len(secrets) == 5
    assert derive_digits(transcript, bytes(32)) != derive_digits(transcript, b"\1" * 32)


def test_digits_keep_their_zeros() -> None:
    shown = {derive_digits(bytes([at]) * 32, bytes(32)) for at in range(200)}
    assert {len(digits) for digits in shown} == {6}
    assert any(digits.startswith("0") for digits in shown)
    assert all(digits.isdigit() for digits in shown)


def test_a_device_secret() -> None:
    assert DeviceSecret.from_setup(bytes(32)).generation == 0
    secret = DeviceSecret(3, bytes(32))
    assert repr(secret) == "<DeviceSecret (secret)>"
    secret.erase()
    assert secret.generation == 3
    with pytest.raises(LocalProtocolError, match="erased"):
        _ = secret.secret
    with pytest.raises(ValueError, match="32 bytes"):
        DeviceSecret(3, bytes(31))
