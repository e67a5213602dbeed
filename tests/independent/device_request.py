"""One request of a device and its response, as parts: docs/gateway-protocol, sections 3 and 4.

No transport: parts go out, parts come in.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.independent.envelope import hkdf, seal_stream
from tests.independent.message import CREDIT, ERROR, GATEWAY, LABELS, LAST, derive, make_head, part

__all__ = ["Broken", "DeviceRequest", "Ends", "Failed", "Refused", "Secret", "open_push"]

HEAD_BYTES, HEADER_BYTES = 25, 40
SEGMENT_BYTES = 65_536
TAG_BYTES = 16
WINDOW = 16
STEP = 8  # credit is given for so many parts at a time
REFUSAL = 0x3F


class Broken(Exception):
    """What came is not the answer to this request, or not all of it."""


class Refused(Exception):
    """The instance did not carry it out.

    :ivar reason: see the table in section 3.
    """

    def __init__(self, reason: int, value: int) -> None:
        super().__init__(f"reason {reason}, {value}")
        self.reason = reason
        self.value = value


class Failed(Exception):
    """Somebody says that it does not go on; a hint.

    :ivar by_gateway: whether the gateway says so.
    """

    def __init__(self, code: str, *, by_gateway: bool) -> None:
        super().__init__(code)
        self.code = code
        self.by_gateway = by_gateway


class Ends(NamedTuple):
    """Who speaks with whom, 16 bytes each."""

    instance: bytes
    device: bytes


class Secret(NamedTuple):
    """What both know."""

    generation: int
    value: bytes


class DeviceRequest:
    """See the module.

    :param plaintext: all of the request.
    :param sealed: the whole sealed stream, if somebody else (Tink) sealed it with
        :meth:`material`; it then has full segments.
    """

    def __init__(
        self, ends: Ends, secret: Secret, *, counter: int, unix_ms: int, about_keys: bool = False
    ) -> None:
        self._ends = b"".join(ends)
        self._secret = secret
        self._about_keys = about_keys
        self.head = make_head(secret.generation, counter, unix_ms, int(about_keys))
        self._counter = counter
        self._header = b""
        self._to_send: list[bytes] = []
        self._sent = 0
        self._allowed = WINDOW
        self._received = 0
        self._response: tuple[AESGCM, bytes] | None = None
        self.sealed_response = b""
        self.response_head = b""
        self.done = False

    def material(self, *, response: bool = False) -> tuple[bytes, bytes]:
        """Key material and associated data; of the response once its head is known."""
        label = ("pair_" if self._about_keys else "") + ("response" if response else "request")
        associated = b"ptgw1 " + LABELS[label] + self._ends
        if response:
            bound = hashlib.sha256(self.head + self._header).digest()
            associated += self.response_head + bound
        else:
            associated += self.head
        return derive(self._secret.value, LABELS[label]), associated

    def seal(self, plaintext: bytes, sizes: list[int] | None = None) -> None:
        """With a salt and prefix of its own.

        :param sizes: of the plaintext in each segment; full ones if not given.
        """
        ikm, associated = self.material()
        salt, prefix = secrets.token_bytes(32), secrets.token_bytes(7)
        pieces = []
        if sizes is None:
            first = SEGMENT_BYTES - HEADER_BYTES - TAG_BYTES
            pieces.append(plaintext[:first])
            size = SEGMENT_BYTES - TAG_BYTES
            pieces += [plaintext[at : at + size] for at in range(first, len(plaintext), size)]
        else:
            at = 0
            for size in sizes:
                pieces.append(plaintext[at : at + size])
                at += size
        header = bytes([HEADER_BYTES]) + salt + prefix
        self._use(header, seal_stream(hkdf(salt, ikm, associated), prefix, pieces))

    def use_sealed(self, stream: bytes) -> None:
        """What Tink has sealed: a header and full segments."""
        header, segments = stream[:HEADER_BYTES], []
        cuts = [HEADER_BYTES, *range(SEGMENT_BYTES, len(stream), SEGMENT_BYTES), len(stream)]
        for begin, end in pairwise(cuts):
            segments.append(stream[begin:end])
        self._use(header, segments)

    def _use(self, header: bytes, segments: list[bytes]) -> None:
        self._header = header
        for at, segment in enumerate(segments):
            before = self.head + header if at == 0 else b""
            flags = LAST if at == len(segments) - 1 else 0
            self._to_send.append(part(at, flags, before + segment))

    def parts(self) -> Iterator[bytes]:
        """What may be sent now."""
        while self._sent < min(self._allowed, len(self._to_send)):
            self._sent += 1
            yield self._to_send[self._sent - 1]

    def credit(self) -> bytes | None:
        """A part that allows more, now and then."""
        if self.done or not self._received or self._received % STEP:
            return None
        return part(self._received + WINDOW, CREDIT)

    def receive(self, data: bytes) -> bytes:
        """What a part brings of the response; nothing for hints.

        :raises Refused: it was not carried out.
        :raises Failed: somebody says that it does not go on.
        :raises Broken: it is not what it should be.
        """
        number, flags = struct.unpack_from(">IB", data)
        body = data[5:]
        if flags == CREDIT:
            self._allowed = max(self._allowed, number)
            return b""
        if flags == ERROR:
            raise Failed(json.loads(body)["error"], by_gateway=number == GATEWAY)
        if flags not in (0, LAST) or number != self._received or self.done:
            raise Broken(f"part {number} with flags {flags}")
        if number == 0:
            body = self._begin(body)
        assert self._response is not None
        cipher, prefix = self._response
        for last in (flags == LAST, flags != LAST):
            nonce = prefix + struct.pack(">IB", number, last)
            try:
                opened = cipher.decrypt(nonce, body, None)
            except InvalidTag:
                continue
            break
        else:
            raise Broken(f"part {number} does not open")
        self._received += 1
        self.done = last
        self.sealed_response += body
        if number == 0 and opened[:1] == bytes([REFUSAL]):
            if len(opened) != 10 or not last:
                raise Broken("a refusal of another length")
            raise Refused(*struct.unpack(">BQ", opened[1:]))
        return opened

    def _begin(self, body: bytes) -> bytes:
        self.response_head = body[:HEAD_BYTES]
        _, generation, counter, _, flags = struct.unpack(">BIQQI", self.response_head)
        wanted = (self._secret.generation, self._counter, int(self._about_keys))
        if (generation, counter, flags) != wanted:
            raise Broken("the head of another request's response")
        header = body[HEAD_BYTES : HEAD_BYTES + HEADER_BYTES]
        ikm, associated = self.material(response=True)
        self._response = AESGCM(hkdf(header[1:33], ikm, associated)), header[33:]
        self.sealed_response = header
        return body[HEAD_BYTES + HEADER_BYTES :]


def open_push(ends: Ends, secret: Secret, name: str, data: bytes) -> tuple[int, bytes]:
    """Counter and plaintext of a push.

    :raises Broken: it is none.
    """
    number, flags = struct.unpack_from(">IB", data)
    head, header = data[5 : 5 + HEAD_BYTES], data[5 + HEAD_BYTES :][:HEADER_BYTES]
    _, generation, counter, _, _ = struct.unpack(">BIQQI", head)
    if (number, flags, generation) != (0, LAST, secret.generation):
        raise Broken("not a push under this secret")
    raw = name.encode()
    associated = b"ptgw1 " + LABELS["push"] + b"".join(ends) + head
    associated += struct.pack(">H", len(raw)) + raw
    key = hkdf(header[1:33], derive(secret.value, LABELS["push"]), associated)
    nonce = header[33:] + struct.pack(">IB", 0, 1)
    try:
        return counter, AESGCM(key).decrypt(nonce, data[5 + HEAD_BYTES + HEADER_BYTES :], None)
    except InvalidTag:
        raise Broken("the push does not open") from None
