"""Targets: what comes through a gateway."""

from __future__ import annotations

from contextlib import suppress

from porttunnel.errors import AuthenticationFailed, PairingError, RemoteProtocolError
from porttunnel.gateway.binary_http import Framing, MessageWriter
from porttunnel.gateway.message_event import RequestReceived, ResponseReceived
from porttunnel.gateway.pairing_code import PairingCode
from porttunnel.gateway.pairing_message import ExchangeAnswer, decode_key_request
from porttunnel.gateway.pairing_rotation import Paired
from tests.fuzz.consume import FuzzedDataProvider, cut
from tests.gateway.http_messages import Outcome, known_length, read
from tests.gateway.messages import make_device, make_instance
from tests.gateway.pairings import PAIRING, VECTORS
from tests.gateway.test_pairing_instance import make_waiting

__all__ = ["binary_http", "pairing", "parts"]

NAMES = [b"a", b"cookie", b":protocol", b"content-type", b"A", b""]
PLAINTEXTS = [bytes.fromhex(PAIRING[name]) for name in ("request", "answer", "confirm")]
CODES = [case["text"].encode() for case in VECTORS["codes"]]
PARTS = [b"GET", b"OPTIONS", b"https", b"", b"wiki.example", b"/", b"/a?b", b"*"]


def binary_http(data: bytes) -> None:
    """However a message is cut, its reader tells the same and fails alike; and what it took for
    whole reads the same after it was written again, in pieces or at once.
    """
    source = FuzzedDataProvider(data)
    request = source.ConsumeBool()
    message = consume_message(source, request)
    whole = read([message], request=request)
    assert read(list(cut(source, message)), request=request) == whole
    assert read([bytes([byte]) for byte in message], request=request) == whole
    assert (whole.trailers is None) == (whole.error is not None)
    if whole.error is None:
        assert read(write(whole, request), request=request) == whole
        known = known_length(whole.heads, whole.content, whole.trailers or ())
        assert read([known], request=request) == whole


def parts(data: bytes) -> None:
    """Whatever comes for a request, at the device or the instance, in any order and changed: what
    is told is a beginning of what was sent, and the last of it is told as the last.
    """
    source = FuzzedDataProvider(data)
    device, instance = make_device(), None
    pieces = [bytes([at]) * source.ConsumeIntInRange(1, 9) for at in range(4)] + [b""]
    asked = [bytes(device.send(piece, last=not piece)) for piece in pieces]
    with suppress(RemoteProtocolError, AuthenticationFailed):
        instance = make_instance(consume_part(source, asked[:1]))
    answered = make_instance(asked[0])
    answered.accept()
    answers = [bytes(answered.send(piece, last=not piece)) for piece in pieces]
    told = instance.accept() if instance is not None else []
    answer: list[ResponseReceived] = []
    while source.remaining_bytes():
        if source.ConsumeBool():
            event = device.receive(consume_part(source, answers))
            answer += [event] if isinstance(event, ResponseReceived) else []
        elif instance is not None:
            received = instance.receive(consume_part(source, asked))
            told += [received] if isinstance(received, RequestReceived) else []
    for events in (told, answer):
        assert [event.data for event in events] == pieces[: len(events)]
        assert [event.last for event in events] == [not piece for piece in pieces[: len(events)]]


def pairing(data: bytes) -> None:
    """A message about keys, or the text of a QR, is read and then written the same, or refused by
    an error that says so; and a user's digits pair only if they are the right ones.
    """
    source = FuzzedDataProvider(data)
    plaintext = consume_part(source, PLAINTEXTS)
    for decode in (decode_key_request, ExchangeAnswer.decode):
        with suppress(RemoteProtocolError):
            assert decode(plaintext).encode() == plaintext
    text = consume_part(source, CODES).decode("latin-1")
    with suppress(PairingError):
        assert PairingCode.parse(text).format() == text.strip()
    digits = source.ConsumeUnicode(8)
    with suppress(PairingError):
        phase = make_waiting().enter_digits(digits)
        typed = digits.replace(" ", "").replace("-", "")
        assert isinstance(phase, Paired) == (typed == PAIRING["digits"])


def consume_part(source: FuzzedDataProvider, sent: list[bytes]) -> bytes:
    """Mostly one of these."""
    part = bytearray(source.PickValueInList(sent))
    for _ in range(source.PickValueInList([0, 0, 0, 0, 1, 2])):
        at = source.ConsumeIntInRange(0, len(part))
        part[at : at + source.ConsumeIntInRange(0, 2)] = source.ConsumeBytes(2)
    if not source.ConsumeIntInRange(0, 7):
        del part[source.PickValueInList([0, 5, 6, 21]) :]
    return bytes(part)


def write(whole: Outcome, request: bool) -> list[bytes]:
    writer = MessageWriter(Framing.REQUEST if request else Framing.RESPONSE)
    heads = list(map(writer.write_head, whole.heads))
    return [*heads, writer.write_content(whole.content), writer.end(whole.trailers or ())]


def consume_message(source: FuzzedDataProvider, request: bool) -> bytes:
    """A message that is mostly one."""
    known = source.ConsumeBool()
    message = bytearray([(0 if known else 2) + (not request)])
    if request:
        for _ in range(4):
            message += prefixed(source.PickValueInList(PARTS))
        message += consume_section(source, known)
    else:
        for status in [103] * source.ConsumeIntInRange(0, 2) + [source.ConsumeIntInRange(90, 610)]:
            message += (0x4000 | status).to_bytes(2, "big") + consume_section(source, known)
    for _ in range(1 if known else source.ConsumeIntInRange(0, 3)):
        message += prefixed(source.ConsumeBytes(source.ConsumeIntInRange(1, 70)))
    message += b"" if known else b"\0"
    message += consume_section(source, known) + bytes(source.ConsumeIntInRange(0, 3))
    for _ in range(source.PickValueInList([0, 0, 0, 1, 2])):
        at = source.ConsumeIntInRange(0, len(message))
        message[at : at + source.ConsumeIntInRange(0, 2)] = source.ConsumeBytes(2)
    if not source.ConsumeIntInRange(0, 7):
        del message[source.ConsumeIntInRange(0, len(message)) :]
    return bytes(message)


def consume_section(source: FuzzedDataProvider, known: bool) -> bytes:
    lines = b"".join(
        prefixed(source.PickValueInList(NAMES)) + prefixed(source.ConsumeBytes(5))
        for _ in range(source.PickValueInList([0, 0, 1, 1, 2]))
    )
    return prefixed(lines) if known else lines + b"\0"


def prefixed(part: bytes) -> bytes:
    return (bytes([len(part)]) if len(part) < 64 else (0x4000 | len(part)).to_bytes(2)) + part
