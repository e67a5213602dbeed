"""Targets: what a WebSocket client sends."""

from __future__ import annotations

from dataclasses import dataclass, field

from porttunnel.errors import WebSocketError
from porttunnel.websocket.connection import Limits, ServerConnection
from porttunnel.websocket.event import (
    BytesReceived,
    CloseReceived,
    ConnectionFailed,
    TextReceived,
)
from porttunnel.websocket.frame_limit import FrameLimits
from porttunnel.websocket.handshake import Accepted, Request, RequestReader, Terms, negotiate
from porttunnel.websocket.state import ConnectionState
from tests.fuzz.consume import FuzzedDataProvider, cut
from tests.websocket.client import frame, read_frames

__all__ = ["websocket"]

LIMITS = Limits(FrameLimits(frame_bytes=200, message_bytes=300, fragments=4))
TERMS = Terms(subprotocols=("mqtt",), origins=frozenset({"https://a"}), path="/mqtt")
LINES = [b"GET /mqtt HTTP/1.1", b"GET /mqtt HTTP/1.1", b"GET /x?y HTTP/1.0", b"POST / HTTP/1.1"]
FIELDS = [
    b"Host: a",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Protocol: mqtt",
    b"Origin: https://a",
]
CLOSES_OF_ERRORS = {1002, 1003, 1007, 1008, 1009}


@dataclass
class Outcome:
    """What became of a client's bytes.

    :ivar stream: the payloads of bytes, whether as a stream or as messages.
    :ivar happened: what else there was to tell, in order.
    :ivar answers: what the client was sent.
    """

    stream: bytes = b""
    happened: list[object] = field(default_factory=list)
    answers: bytes = b""


def websocket(data: bytes) -> None:
    """However a client's bytes are cut, they are answered alike: the request by one HTTP answer,
    frames by the same messages, or one stream of the same bytes, then by one end with a close code
    that may be sent, or none; and nothing but whole frames is sent.
    """
    source = FuzzedDataProvider(data)
    if not source.ConsumeIntInRange(0, 3):
        request(source)
        return
    sent = b"".join(consume_frame(source) for _ in range(source.ConsumeIntInRange(0, 6)))
    if not source.ConsumeIntInRange(0, 7):
        sent += source.ConsumeBytes(20)
    pieces = list(cut(source, sent))
    singles = [bytes([byte]) for byte in sent]
    for as_stream in (False, True):
        whole = receive([sent], as_stream=as_stream)
        assert receive(pieces, as_stream=as_stream) == whole
        assert receive(singles, as_stream=as_stream) == whole


def request(source: FuzzedDataProvider) -> None:
    """A request with a fault in it, perhaps."""
    lines = [source.PickValueInList(LINES)]
    lines += [line for line in FIELDS if source.ConsumeIntInRange(0, 15)]
    head = bytearray(b"\r\n".join([*lines, b"", b""]))
    for _ in range(source.ConsumeIntInRange(0, 3)):
        at = source.ConsumeIntInRange(0, len(head))
        head[at : at + source.ConsumeIntInRange(0, 3)] = source.ConsumeBytes(4)
    trailing = source.ConsumeBytes(10)
    sent = bytes(head) + trailing
    found = answer([sent])
    assert answer(list(cut(source, sent))) == found
    assert answer([bytes([byte]) for byte in sent]) == found
    if found is not None:
        status = found[0]
        assert status.startswith(b"HTTP/1.1 ")
        assert b"\r\n\r\n" in status


def answer(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    """The answer and what was not part of the request, or None if more has to come."""
    reader = RequestReader()
    for number, piece in enumerate(pieces, 1):
        read = reader.read(memoryview(piece))
        if isinstance(read, Request):
            negotiated = negotiate(read, TERMS)
            rest = reader.rest + b"".join(pieces[number:])
            assert isinstance(negotiated, Accepted) == (b" 101 " in negotiated.answer()[:13])
            return negotiated.answer(), rest
        if read is not None:
            return read.answer(), b""
    return None


def consume_frame(source: FuzzedDataProvider) -> bytes:
    """A frame that is mostly one."""
    opcode = source.PickValueInList([0, 0, 1, 2, 2, 2, 8, 9, 9, 10, 3, 11])
    made = frame(
        opcode,
        source.ConsumeBytes(source.PickValueInList([0, 1, 2, 3, 20, 125, 126, 201])),
        final=bool(source.ConsumeIntInRange(0, 3)),
        reserved=0 if source.ConsumeIntInRange(0, 31) else source.ConsumeIntInRange(1, 7),
        mask=(source.ConsumeBytes(4) + bytes(4))[:4] if source.ConsumeIntInRange(0, 31) else None,
    )
    if source.ConsumeIntInRange(0, 31):
        return made
    head = bytearray(made)
    head[source.ConsumeIntInRange(0, min(len(head), 14) - 1)] = source.ConsumeIntInRange(0, 255)
    return bytes(head)


def receive(pieces: list[bytes], *, as_stream: bool) -> Outcome:
    outcome = Outcome()

    def deliver(payload: memoryview) -> None:
        assert len(payload) > 0
        outcome.stream += payload

    connection = ServerConnection(0.0, limits=LIMITS, deliver=deliver if as_stream else None)
    for piece in pieces:
        connection.receive_data(memoryview(bytearray(piece)), 0.0)
        for event in connection.events():
            note(outcome, event)
        waiting = b"".join(connection.data_to_send())
        connection.data_sent(len(waiting))
        outcome.answers += waiting
    frames = read_frames(outcome.answers)
    assert all(sent.opcode == 10 for sent in frames[:-1])
    ended = bool(outcome.happened) and isinstance(outcome.happened[-1], tuple)
    assert ended == (connection.state is ConnectionState.CLOSED)
    assert ended == (bool(frames) and frames[-1].opcode == 8)
    return outcome


def note(outcome: Outcome, event: object) -> None:
    # Nothing comes after the end.
    assert not any(isinstance(former, tuple) for former in outcome.happened)
    match event:
        case TextReceived(text):
            outcome.happened.append(text)
        case BytesReceived(payload):
            outcome.stream += payload
            outcome.happened.append(len(payload))
        case CloseReceived(code, reason):
            outcome.happened.append((code, reason))
        case ConnectionFailed(error):
            assert isinstance(error, WebSocketError)
            assert error.close_code in CLOSES_OF_ERRORS
            outcome.happened.append((error.close_code, str(error)))
