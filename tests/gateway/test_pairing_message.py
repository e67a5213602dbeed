"""porttunnel/gateway/pairing_message.py: each message about keys has one form."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.pairing_message import (
    CONFIRMED,
    Confirm,
    ExchangeAnswer,
    ExchangeRequest,
    decode_key_request,
    derive_commit,
)
from tests.gateway.pairings import ANSWERING, DRAWN, KEY, PAIRING, ROTATION, each, plaintext_of
from tests.independent.pairing import build


def test_the_vectors_are_what_the_independent_implementation_makes() -> None:
    from tests.gateway.pairings import VECTORS

    assert build(VECTORS["inputs"]) == VECTORS


@pytest.mark.parametrize("run", [PAIRING, ROTATION], ids=["pairing", "rotation"])
class TestVectors:
    """tests/vectors/pairing.json, made by tests/independent/pairing.py."""

    def test_request(self, run: Any) -> None:
        request = ExchangeRequest.make(run["generation"], KEY, DRAWN["nonce_d"])
        assert request.encode().hex() == run["request"]
        for form in (bytes, bytearray, memoryview):
            assert decode_key_request(form(bytes.fromhex(run["request"]))) == request
        opening = bytes.fromhex(run["request"])[:-32]
        assert derive_commit(DRAWN["nonce_d"], opening) == request.commit

    def test_answer(self, run: Any) -> None:
        encapsulation, nonce = ANSWERING
        answer = ExchangeAnswer.make(run["generation"], nonce, encapsulation)
        assert answer.encode().hex() == run["answer"]
        for form in (bytes, bytearray, memoryview):
            assert ExchangeAnswer.decode(form(bytes.fromhex(run["answer"]))) == answer

    def test_confirmation(self, run: Any) -> None:
        confirm = Confirm(DRAWN["nonce_d"])
        assert confirm.encode().hex() == run["confirm"]
        assert decode_key_request(confirm.encode()) == confirm
        assert CONFIRMED.hex() == run["confirmed"]

    def test_every_length_but_the_right_one(self, run: Any) -> None:
        for name, decode in (
            ("request", decode_key_request),
            ("confirm", decode_key_request),
            ("answer", ExchangeAnswer.decode),
        ):
            data = bytes.fromhex(run[name])
            for length in range(len(data)):
                with pytest.raises(RemoteProtocolError):
                    decode(data[:length])
            with pytest.raises(RemoteProtocolError):
                decode(data + b"\0")


@each("malformed_requests")
def test_malformed_requests(case: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_key_request(plaintext_of(case))


@each("malformed_answers")
def test_malformed_answers(case: Any) -> None:
    if case["name"] != "another generation":
        with pytest.raises(RemoteProtocolError):
            ExchangeAnswer.decode(plaintext_of(case))


def test_our_nonces_have_their_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ExchangeAnswer.make(1, bytes(31), ANSWERING.encapsulation)
