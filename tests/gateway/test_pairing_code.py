"""porttunnel/gateway/pairing_code.py: what a QR says, and nothing that resembles it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import ConfigurationError, LocalProtocolError, PairingError
from porttunnel.gateway.pairing_code import WEB_PKI, PairingCode
from tests.gateway.pairings import DRAWN, VECTORS, each


@each("codes")
def test_vectors(case: Any) -> None:
    code = PairingCode.parse(case["text"])
    assert code.gateway == case["gateway"]
    assert code.setup_key == DRAWN["setup_key"]
    assert code.setup_secret == DRAWN["setup_secret"]
    assert code.spki_pin.hex() == case["pin"]
    assert code.expires == VECTORS["expires"]
    assert code.format() == case["text"].strip()
    assert code.spki_pin in (sha256(DRAWN["spki"]).digest()[:16], WEB_PKI)


@each("failed_codes")
def test_what_is_none(case: Any) -> None:
    with pytest.raises(PairingError, match=r"^This") as caught:
        PairingCode.parse(case["text"])
    assert "secret" not in str(caught.value)


def test_a_later_version_is_called_so() -> None:
    (later,) = (case for case in VECTORS["failed_codes"] if case["name"] == "another version")
    with pytest.raises(PairingError, match="Update this program"):
        PairingCode.parse(later["text"])


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**32 - 1),
)
def test_what_is_formatted_parses(key: bytes, secret: bytes, pin: bytes, expires: int) -> None:
    code = PairingCode.parse(PairingCode("https://a", key, secret, pin, expires).format())
    assert (code.setup_key, code.setup_secret) == (key, secret)
    assert (code.spki_pin, code.expires) == (pin, expires)


def test_it_expires() -> None:
    code = PairingCode.parse(VECTORS["codes"][0]["text"])
    code.check_fresh(VECTORS["expires"] - 0.001)
    with pytest.raises(PairingError, match="Ask for a new one"):
        code.check_fresh(VECTORS["expires"])


@pytest.mark.parametrize("lengths", [(15, 32, 16), (16, 31, 16), (16, 32, 17)])
def test_lengths(lengths: tuple[int, int, int]) -> None:
    key, secret, pin = map(bytes, lengths)
    with pytest.raises(ValueError, match="has 16 bytes"):
        PairingCode("https://a", key, secret, pin, 0)


@pytest.mark.parametrize(
    "gateway", ["https://a/", "https://A", "http://a", "https://a//b", "a", "", "https://a?b"]
)
def test_an_address_that_nobody_could_read_back(gateway: str) -> None:
    with pytest.raises(ConfigurationError, match="Write https"):
        PairingCode(gateway, bytes(16), bytes(32), bytes(16), 0)


def test_the_secrets_stay_inside() -> None:
    code = PairingCode.parse(VECTORS["codes"][0]["text"])
    assert repr(code) == "<PairingCode (secret)>"
    code.erase()
    assert code.gateway == VECTORS["codes"][0]["gateway"]
    with pytest.raises(LocalProtocolError, match="erased"):
        code.format()
