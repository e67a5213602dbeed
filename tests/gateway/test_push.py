"""porttunnel/gateway/push.py: a push opens for one device, under one name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.part import Cancel
from porttunnel.gateway.push import MAX_PUSH_BYTES, decode_push, open_push, seal_push
from tests.gateway.messages import DRAWN, ENDS, KEYS, VECTORS, each, make_device, parts_of

PUSH = VECTORS["push"]
HEAD = MessageHead(PUSH["generation"], PUSH["counter"], PUSH["unix_ms"])
NAME: str = PUSH["name"]


def seal(plaintext: bytes, head: MessageHead = HEAD) -> bytes:
    drawn = {"salt": DRAWN["push_salt"], "prefix": DRAWN["push_prefix"]}
    return bytes(seal_push(ENDS, KEYS, head, NAME, plaintext, **drawn))


def test_vector() -> None:
    plaintext, payload = bytes.fromhex(PUSH["plaintext"]), bytes.fromhex(PUSH["payload"])
    assert seal(plaintext) == payload
    for form in (bytes, bytearray, memoryview):
        opening = decode_push(form(payload))
        assert opening.head == HEAD
        assert open_push(ENDS, KEYS, opening, NAME) == plaintext


@each("failed_pushes")
def test_each_push_that_is_none(case: Any) -> None:
    opening = decode_push(parts_of(case)[0])
    with pytest.raises(AuthenticationFailed):
        open_push(ENDS, KEYS, opening, NAME)


def test_cut_or_longer() -> None:
    payload = bytes.fromhex(PUSH["payload"])
    for length in range(len(payload)):
        with pytest.raises((RemoteProtocolError, AuthenticationFailed)):
            open_push(ENDS, KEYS, decode_push(payload[:length]), NAME)
    with pytest.raises(AuthenticationFailed):
        open_push(ENDS, KEYS, decode_push(payload + b"\0"), NAME)


def test_the_longest() -> None:
    longest = seal(bytes(MAX_PUSH_BYTES))
    assert open_push(ENDS, KEYS, decode_push(longest), NAME) == bytes(MAX_PUSH_BYTES)
    with pytest.raises(LocalProtocolError, match="too long"):
        seal(bytes(MAX_PUSH_BYTES + 1))


def test_it_is_not_about_keys() -> None:
    about_keys = replace(HEAD, about_keys=True)
    with pytest.raises(ValueError, match="no push"):
        seal(b"x", about_keys)
    with pytest.raises(RemoteProtocolError, match="a flag"):
        decode_push(make_device(about_keys).send(b"x"))


def test_it_is_a_whole_segment() -> None:
    with pytest.raises(RemoteProtocolError, match="does not begin"):
        decode_push(Cancel().encode())


def test_it_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from porttunnel.gateway import push

    class Unfinished(push.PartSender):
        def send(self, plaintext: Any, *, last: bool = False) -> bytearray:
            return super().send(plaintext, last=not last)

    monkeypatch.setattr(push, "PartSender", Unfinished)
    payload = seal(b"x")
    with pytest.raises(RemoteProtocolError, match="cut off"):
        open_push(ENDS, KEYS, decode_push(payload), NAME)
