"""porttunnel/gateway/setup_claim.py: one setup key, one device."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porttunnel.gateway.setup_claim import ClaimOutcome, SetupOffer, judge_claim

OFFER = SetupOffer(expires=1_000.0)
TAKEN = replace(OFFER, nonce_hash=b"n" * 32)
CONFIRMED = replace(TAKEN, confirmed=True)


@pytest.mark.parametrize(
    ("offer", "nonce_hash", "outcome"),
    [
        (OFFER, b"n" * 32, ClaimOutcome.TAKEN),
        (TAKEN, b"n" * 32, ClaimOutcome.REPEATED),
        (TAKEN, b"o" * 32, ClaimOutcome.RACE),
        (CONFIRMED, b"n" * 32, ClaimOutcome.REPEATED),
        (CONFIRMED, b"o" * 32, ClaimOutcome.LATE),
    ],
)
def test_until_it_expires(offer: SetupOffer, nonce_hash: bytes, outcome: ClaimOutcome) -> None:
    assert judge_claim(offer, nonce_hash, 999.9) is outcome
    assert judge_claim(offer, nonce_hash, 1_000.0) is ClaimOutcome.EXPIRED
