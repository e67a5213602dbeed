"""What members and the tunnel server say in the clear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import ErrorCode, RemoteProtocolError
from porttunnel.session import request
from porttunnel.session.request import (
    decode_error,
    decode_event,
    decode_reply,
    decode_request,
    encode,
)

Decoder = Callable[[bytes], Any]

TOKEN = b"the token that nobody may see..."
MESSAGES: list[tuple[Decoder, list[Any]]] = [
    (
        decode_request,
        [
            request.Create(lifetime_s=60, max_clients=1, join_window_s=0),
            request.Join(number=10_000),
            request.Resume(session_id=bytes(16), member=1, token=TOKEN),
            request.Leave(),
            request.Kick(member=0xFFFD),
            request.Lock(locked=True),
            request.Close(),
            request.Status(),
        ],
    ),
    (
        decode_reply,
        [
            request.Created(
                session_id=bytes(16),
                number=99_999_999,
                token=TOKEN,
                limits=request.Limits(waiting_bytes=1, master_grace_s=2, client_grace_s=3),
            ),
            request.Joined(session_id=bytes(16), member=2, token=TOKEN),
            request.Resumed(token=TOKEN),
            request.Redirect(x=100),
            request.Done(),
            request.StatusReport(members=[1, 2], linked=[1], locked=False, ends_in_s=5),
        ],
    ),
    (
        decode_event,
        [
            request.Joining(member=2),
            request.Left(member=2, reason="left"),
            request.Link(member=2, up=False),
            request.Closed(reason=""),
            request.GoingAway(retry_after_s=1.5),
        ],
    ),
    (decode_error, [request.ErrorReport(code=ErrorCode.LIMIT, text="too much")]),
]
EACH = [(decode, message) for decode, messages in MESSAGES for message in messages]
DECODERS = [decode for decode, _ in MESSAGES]


@pytest.mark.parametrize(("decode", "message"), EACH)
def test_comes_back_as_it_went(decode: Decoder, message: Any) -> None:
    assert decode(encode(message)) == message
    assert decode(memoryview(encode(message))) == message


@pytest.mark.parametrize(("decode", "message"), EACH)
def test_every_beginning_and_every_longer_message_is_refused(
    decode: Decoder, message: Any
) -> None:
    body = encode(message)
    for count in range(len(body)):
        with pytest.raises(RemoteProtocolError):
            decode(body[:count])
    for rest in (b"\x00", b"\xc0", body):
        with pytest.raises(RemoteProtocolError):
            decode(body + rest)


@pytest.mark.parametrize(("decode", "message"), EACH)
def test_other_kinds_of_messages_are_refused(decode: Decoder, message: Any) -> None:
    for other in DECODERS:
        # STATUS is the name of a request and of its answer: their fields tell them apart.
        if other is not decode:
            with pytest.raises(RemoteProtocolError):
                other(encode(message))


@pytest.mark.parametrize(
    ("decode", "fields"),
    [
        (decode_request, {"type": "join", "number": 9_999}),
        (decode_request, {"type": "join", "number": 100_000_000}),
        (decode_request, {"type": "join", "number": "48213"}),
        (decode_request, {"type": "join", "number": 48213, "pin": "604219"}),
        (decode_request, {"type": "join"}),
        (decode_request, {"number": 48213}),
        (decode_request, {"type": "conquer"}),
        (decode_request, {"type": "kick", "member": 0}),
        (decode_request, {"type": "kick", "member": 0xFFFE}),
        (decode_request, {"type": "resume", "session_id": b"", "member": 2, "token": bytes(32)}),
        (decode_request, {"type": "create", "lifetime_s": 59, "max_clients": 1}),
        (decode_reply, {"type": "redirect", "x": 101}),
        (decode_reply, {"type": "resumed", "token": bytes(31)}),
        (decode_event, {"type": "going-away", "retry_after_s": -1}),
        (decode_event, {"type": "closed", "reason": "x" * 201}),
        (decode_error, {"type": "error", "code": "whatever", "text": ""}),
    ],
)
def test_fields_have_their_bounds(decode: Decoder, fields: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("nest", [b"\x91", b"\x81\xa1x", b"\x81\xa4type"])
def test_depth_is_refused_not_followed(decode: Decoder, nest: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(nest * 100_000)


def test_no_token_is_shown() -> None:
    for _, message in EACH:
        assert "nobody may see" not in repr(message)
    shown = repr(request.Resumed(token=TOKEN))
    assert shown == "Resumed(token=<secret>)"
    assert repr(request.Kick(member=3)) == "Kick(member=3)"


def test_no_complaint_repeats_what_was_sent() -> None:
    body = msgspec.msgpack.encode({"type": "resumed", "token": "nobody may see"})
    with pytest.raises(RemoteProtocolError) as caught:
        decode_reply(body)
    assert "nobody may see" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    for decode in DECODERS:
        try:
            message = decode(body)
        except RemoteProtocolError:
            continue
        assert decode(encode(message)) == message


@given(st.sampled_from(EACH), st.data())
def test_mutated_messages_are_messages_or_refused(
    each: tuple[Decoder, Any], data: st.DataObject
) -> None:
    decode, message = each
    body = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        if data.draw(st.booleans()):
            body[place] = data.draw(st.integers(0, 255))
        else:
            body[place:place] = data.draw(st.binary(max_size=4))
    try:
        decoded = decode(bytes(body))
    except RemoteProtocolError:
        return
    assert decode(encode(decoded)) == decoded
