"""Targets: what cuts, checks and reads bytes, before anybody is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from porttunnel.errors import ErrorCode, MistypedCode, RemoteProtocolError
from porttunnel.session import record, request
from porttunnel.session.code import CodeKind, SessionCode, format_code, format_link, parse_code
from porttunnel.session.packet import HEADER_BYTES, SERVER, Header, PacketSplitter
from porttunnel.session.relay import (
    AnswerReady,
    ConnectionFailed,
    GoodbyeReceived,
    LinkState,
    RelayLink,
    RequestReceived,
    Run,
)
from tests.fuzz.consume import FuzzedDataProvider, consume_packet, cut

__all__ = ["codes", "control", "messages", "packets", "records", "relay"]

LIMITS = request.Limits(waiting_bytes=1, master_grace_s=1, client_grace_s=1)
MESSAGES = [
    b"",
    *map(
        request.encode,
        (
            request.Create(lifetime_s=60, max_clients=3, join_window_s=60),
            request.Join(number=48_213),
            request.Resume(session_id=bytes(16), member=2, token=bytes(32)),
            request.Kick(member=2),
            request.Created(session_id=bytes(16), number=48_213, token=bytes(32), limits=LIMITS),
            request.Joined(session_id=bytes(16), member=2, token=bytes(32)),
            request.Left(member=2, reason="left"),
            request.GoingAway(retry_after_s=1.5),
            request.ErrorReport(code=ErrorCode.LIMIT, text="too much"),
            request.Done(),
        ),
    ),
]
CONTROLS = [
    b"",
    *(
        record.encode_control(message)[record.RECORD_HEADER.size :]
        for message in (
            record.Hello(name="Anna", capabilities=["tcp"]),
            record.JoinAs(name="Ben", capabilities=[]),
            record.Refused(reason="no"),
            record.Bye(reason="closed"),
        )
    ),
]


def packets(data: bytes) -> None:
    """However a link's bytes are cut, the same packets come out, whole and in order, then the
    same error or none.
    """
    source = FuzzedDataProvider(data)
    link = b"".join(consume_packet(source) for _ in range(source.ConsumeIntInRange(0, 4)))
    pieces = list(cut(source, link + source.ConsumeBytes(100)))
    whole, failed = split([b"".join(pieces)], PacketSplitter.split)
    assert split(pieces, PacketSplitter.split) == (whole, failed)
    singles = [bytes([byte]) for piece in pieces for byte in piece]
    assert split(singles, PacketSplitter.split) == (whole, failed)
    runs, runs_failed = split(pieces, PacketSplitter.runs)
    assert runs_failed == failed
    assert b"".join(run for _, run in runs) == b"".join(packet for _, packet in whole)
    assert all(len(packet) == HEADER_BYTES + header.length for header, packet in whole)


def split(
    pieces: list[bytes],
    cutting: Callable[[PacketSplitter, memoryview], Iterator[tuple[Header, memoryview]]],
) -> tuple[list[tuple[Header, bytes]], bool]:
    """What comes out, and whether the link failed then."""
    splitter = PacketSplitter()
    found: list[tuple[Header, bytes]] = []
    try:
        for piece in pieces:
            for header, packet in cutting(splitter, memoryview(piece)):
                found.append((header, bytes(packet)))
    except RemoteProtocolError:
        return found, True
    return found, False


def relay(data: bytes) -> None:
    """Whatever a link sends, the server passes on only whole packets of the link's own member, to
    whom that member may talk, answers only itself, and after one failure looks at nothing more.
    """
    source = FuzzedDataProvider(data)
    link = RelayLink(now=0.0)
    seconds = 0.0
    ended = False
    while source.remaining_bytes():
        if source.ConsumeIntInRange(0, 3):
            piece = consume_packet(source, consume_request(source))
        else:
            piece = source.ConsumeBytes(source.ConsumeIntInRange(1, 100))
        for part in cut(source, piece):
            for item in link.receive_data(memoryview(part), seconds):
                assert not ended
                ended = isinstance(item, ConnectionFailed | GoodbyeReceived)
                receive_item(source, link, item, seconds)
        seconds += source.PickValueInList([0.0, 1.0, 30.0])
        late = link.handle_timeout(seconds)
        assert not (late and ended)
        ended |= late is not None
        assert ended == (link.state is LinkState.CLOSED)


def consume_request(source: FuzzedDataProvider) -> bytes | None:
    """The body of a request that the server understands, or None."""
    made: list[Any] = [
        None,
        request.Create(lifetime_s=60, max_clients=3, join_window_s=60),
        request.Join(number=48_213),
        request.Resume(session_id=bytes(16), member=2, token=bytes(32)),
        request.Kick(member=2),
        request.Leave(),
        request.Close(),
        request.Status(),
    ]
    message = source.PickValueInList(made)
    return None if message is None else request.encode(message)


def receive_item(source: FuzzedDataProvider, link: RelayLink, item: Any, now: float) -> None:
    """What the server does with it."""
    if isinstance(item, Run):
        assert item.target != SERVER
        checked = list(PacketSplitter().split(item.packets))
        assert sum(len(packet) for _, packet in checked) == len(item.packets) > 0
        for header, _ in checked:
            assert (header.sender, header.target) == (link.member, item.target)
            assert link.member == 1 or item.target == 1
    elif isinstance(item, AnswerReady):
        ((header, _),) = PacketSplitter().split(memoryview(item.packet))
        assert header.sender == SERVER
    elif isinstance(item, RequestReceived):
        link.request_answered()
        entries = request.Create | request.Join | request.Resume
        if isinstance(item.request, entries):
            if source.ConsumeBool():
                member = 1 if isinstance(item.request, request.Create) else 2
                link.admit(member, resumed=isinstance(item.request, request.Resume))
            else:
                link.refuse(now)


def messages(data: bytes) -> None:
    """A body is a message that encodes to the same meaning, or a RemoteProtocolError that does not
    carry the library's words, which can hold the peer's.
    """
    body = consume_body(FuzzedDataProvider(data), MESSAGES)
    for decode in (
        request.decode_request,
        request.decode_reply,
        request.decode_event,
        request.decode_error,
    ):
        message, error = attempt(decode, body)
        if error is None:
            assert decode(request.encode(message)) == message
            assert repr(message)
        else:
            assert error.__suppress_context__ or error.__context__ is None


def records(data: bytes) -> None:
    """A record's payload is what encodes to the same again, or a RemoteProtocolError."""
    view = memoryview(consume_body(FuzzedDataProvider(data), CONTROLS))
    decoders: list[tuple[Callable[[memoryview], Any], Callable[[Any], bytes]]] = [
        (record.decode_control, record.encode_control),
        (record.decode_open, lambda opened: record.encode_open(1, *opened)),
        (record.decode_refuse, lambda refused: record.encode_refuse(1, *refused)),
        (record.decode_reset, lambda code: record.encode_reset(1, code)),
        (record.decode_u32, lambda value: bytes(9) + record.encode_u32(value)),
    ]
    for decode, encode in decoders:
        message, error = attempt(decode, view)
        if error is None:
            again = encode(message)[record.RECORD_HEADER.size :]
            assert decode(memoryview(again)) == message


def attempt(decode: Callable[[Any], Any], data: Any) -> tuple[Any, RemoteProtocolError | None]:
    """What it decodes to, or the only error that it may raise."""
    try:
        return decode(data), None
    except RemoteProtocolError as error:
        return None, error


def consume_body(source: FuzzedDataProvider, samples: list[bytes]) -> bytes:
    """A message with some bytes changed, or bytes: the decoder is no code that a fuzzer sees."""
    body = bytearray(source.PickValueInList(samples))
    for _ in range(source.ConsumeIntInRange(0, 4)):
        start = source.ConsumeIntInRange(0, len(body))
        end = min(len(body), start + source.ConsumeIntInRange(0, 3))
        body[start:end] = source.ConsumeBytes(source.ConsumeIntInRange(0, 6))
    return bytes(body)


def codes(data: bytes) -> None:
    """What people type is a code that is written in one way, or a MistypedCode, and no other
    text than its own is ever taken for a code with a secret.
    """
    source = FuzzedDataProvider(data)
    if source.ConsumeBool():
        digits = f"{source.ConsumeIntInRange(0, 10**15)}"
        text = digits + source.ConsumeUnicode(3)
    else:
        text = source.PickValueInList(["", "porttunnel:48213#"]) + source.ConsumeUnicode(60)
    try:
        code = parse_code(text)
    except MistypedCode:
        return
    assert isinstance(code, SessionCode)
    written = format_link(code) if code.kind is CodeKind.LINK else format_code(code)
    assert parse_code(written) == code
    if code.pin is not None:
        # Digits of the number may happen to be those of the PIN.
        assert code.pin not in repr(code).replace(str(code.number), "")


def control(data: bytes) -> None:
    """No bytes are a packet: false, so that a test sees that what is false is found."""
    packet = consume_packet(FuzzedDataProvider(data))
    assert split([packet], PacketSplitter.split)[0] == []
