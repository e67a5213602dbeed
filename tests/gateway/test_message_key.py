"""porttunnel/gateway/message_key.py: a key for each direction and purpose, bound to its place."""

from __future__ import annotations

import copy
import itertools

import pytest

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.message_key import (
    DeviceKeys,
    Ends,
    bind_push,
    bind_request,
    bind_response,
)
from tests.gateway.messages import ENDS, HEAD, SECRET, VECTORS
from tests.independent.message import build

ABOUT_KEYS = MessageHead(HEAD.generation, HEAD.counter, HEAD.unix_ms, about_keys=True)


def test_the_vectors_are_what_the_independent_implementation_makes() -> None:
    assert build(VECTORS["inputs"]) == VECTORS


def test_each_purpose_has_its_key() -> None:
    keys = DeviceKeys(SECRET)
    derived = {name: getattr(keys, name).hex() for name in VECTORS["keys"]}
    assert derived == VECTORS["keys"]
    assert len(set(derived.values())) == 5
    assert keys.of_request(HEAD) == keys.request
    assert keys.of_response(HEAD) == keys.response
    assert keys.of_request(ABOUT_KEYS) == keys.pair_request
    assert keys.of_response(ABOUT_KEYS) == keys.pair_response


def test_keys_stay_inside() -> None:
    keys = DeviceKeys(SECRET)
    assert repr(keys) == "<DeviceKeys (secret)>"
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        copy.copy(keys)
    keys.erase()
    with pytest.raises(LocalProtocolError, match="erased"):
        keys.of_request(HEAD)


def test_a_secret_has_its_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DeviceKeys(SECRET[1:])


@pytest.mark.parametrize("ends", [Ends(b"", bytes(16)), Ends(bytes(16), bytes(17))])
def test_ids_have_their_length(ends: Ends) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        bind_request(ends, HEAD)


def test_every_place_is_another() -> None:
    header, later = bytes(40), MessageHead(HEAD.generation, HEAD.counter + 1, HEAD.unix_ms)
    other = Ends(ENDS.device_id, ENDS.instance_id)
    bound = [
        bind(ends, head)
        for ends, head in itertools.product((ENDS, other), (HEAD, later, ABOUT_KEYS))
        for bind in (
            bind_request,
            lambda e, h: bind_response(e, h, HEAD, header),
            lambda e, h: bind_response(e, h, later, header),
            lambda e, h: bind_response(e, h, HEAD, b"\1" * 40),
            lambda e, h: bind_push(e, h, ""),
            lambda e, h: bind_push(e, h, "a"),
            lambda e, h: bind_push(e, h, "ab"),
        )
    ]
    assert len(set(bound)) == len(bound) == 42
