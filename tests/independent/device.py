"""A device that blocks: docs/gateway-protocol, over paho-mqtt in WebSocket.

What it doesn't take from `cryptography` it computes itself; with ``by_tink`` Google's Tink seals
its requests, and opens the responses that have full segments.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import queue
import secrets
import ssl
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.independent import binary_http
from tests.independent.binary_http import Message
from tests.independent.device_keys import KeyExchange, PairingCode, device_password
from tests.independent.device_request import DeviceRequest, Ends, Secret, open_push
from tests.independent.message import CANCEL, part
from tests.keys.tink_stream import tink_open, tink_seal

__all__ = ["Answered", "Device", "HTTPFailed", "WrongPin"]

WAIT_SECONDS = 30.0  # a deadline, not a measure
CHUNK_BYTES = 60_000


class HTTPFailed(Exception):
    """The gateway's answer to an HTTP request."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body!r}")
        self.status = status
        self.body = body


class WrongPin(Exception):
    """Somebody else is where the gateway should be."""


class Answered:
    """A response whose body is still coming.

    :ivar pieces: how many came so far.
    """

    def __init__(self, pieces: Generator[bytes, None, None]) -> None:
        self._pieces = pieces
        self._data: list[bytes] = []
        self.pieces = 0

    def next_piece(self) -> bytes | None:
        """What the next part brings; None at the end."""
        piece = next(self._pieces, None)
        if piece is not None:
            self._data.append(piece)
            self.pieces += 1
        return piece

    @property
    def so_far(self) -> bytes:
        """What came, as binary HTTP."""
        return b"".join(self._data)

    def cancel(self) -> None:
        """Want no more."""
        self._pieces.close()

    def whole(self) -> Message:
        """All of it; waits for the rest."""
        while self.next_piece() is not None:
            continue
        return binary_http.read(self.so_far)


class Device:
    """A paired device, or one that is being paired.

    :param by_tink: who seals and opens where both can.
    :param source: an address of this machine's, to come from.
    """

    def __init__(self, code: str, *, by_tink: bool = False, source: str = "") -> None:
        self.code_text = code
        self.code = PairingCode.parse(code)
        self._by_tink = by_tink
        self._source = source
        self._nonce = secrets.token_bytes(32)
        self._messages: dict[str, queue.Queue[bytes]] = {}
        self.pushes: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._last_counter = 0
        self.secret = Secret(0, self.code.setup_secret)
        self.ends: Ends
        self._client: Client

    # With the gateway's HTTP

    def set_up(self) -> Self:
        """Show the setup key; may be repeated."""
        told = self.call(
            "POST",
            "/v1/devices/setup",
            {"device_setup_key": self.code.setup_key.hex(), "client_nonce": self._nonce.hex()},
        )
        self.ends = Ends(bytes.fromhex(told["instance_id"]), bytes.fromhex(told["device_id"]))
        return self

    @property
    def user_name(self) -> str:
        return self.ends.device.hex()

    @property
    def password(self) -> str:
        return device_password(self.code.setup_key, self._nonce).hex()

    def revoke(self) -> None:
        """Have the gateway forget it."""
        self.call("DELETE", f"/v1/devices/{self.user_name}", credentials=True)

    def call(
        self, method: str, path: str, body: Any = None, *, credentials: bool = False
    ) -> dict[str, Any]:
        """One of the gateway's own requests.

        :raises HTTPFailed: its status is no success.
        """
        fields = {"Content-Type": "application/json"}
        if credentials:
            joined = f"{self.user_name}:{self.password}".encode()
            fields["Authorization"] = "Basic " + base64.b64encode(joined).decode()
        with closing(self._connection()) as connection:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, fields)
            with connection.getresponse() as response:
                content = response.read()
                if not 200 <= response.status < 300:
                    raise HTTPFailed(response.status, content)
        return json.loads(content) if content else {}

    def _connection(self) -> http.client.HTTPConnection:
        address = urlsplit(self.code.gateway)
        assert address.hostname is not None
        if address.scheme == "http":
            source = (self._source, 0) if self._source else None
            return http.client.HTTPConnection(address.hostname, address.port, WAIT_SECONDS, source)
        return http.client.HTTPSConnection(
            address.hostname,
            address.port,
            timeout=WAIT_SECONDS,
            context=_pinned_context(self.code.pin),
        )

    # With the gateway's MQTT

    def connect(self, version: int = 5) -> Self:
        """And subscribe to what is its own."""
        address = urlsplit(self.code.gateway)
        client = self._client = Client(
            CallbackAPIVersion.VERSION2,
            protocol=MQTTProtocolVersion(version),
            transport="websockets",
            reconnect_on_failure=False,
        )
        if address.scheme == "https":
            client.tls_set_context(_pinned_context(self.code.pin))
        told: queue.Queue[tuple[str, Any]] = queue.Queue()
        client.on_connect = lambda *event: told.put(("connected", event[3].value))
        client.on_subscribe = lambda *event: told.put(("subscribed", [r.value for r in event[3]]))
        client.on_message = self._received
        client.username_pw_set(self.user_name, self.password)
        client.ws_set_options(path=address.path + "/mqtt")
        client.max_inflight_messages_set(100)
        place = (address.hostname or "", address.port or 443)
        client.connect(*place, bind_address=self._source)
        client.loop_start()
        assert told.get(timeout=WAIT_SECONDS) == ("connected", 0)
        own = f"device/{self.user_name}"
        client.subscribe([(f"{own}/response/+", 1), (f"{own}/push/+", 1)])
        assert told.get(timeout=WAIT_SECONDS) == ("subscribed", [1, 1])
        return self

    def close(self) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()

    def _received(self, client: Client, _: Any, message: MQTTMessage) -> None:
        kind, last = message.topic.split("/")[2:]
        if kind == "push":
            self.pushes.put((last, bytes(message.payload)))
        elif last in self._messages:
            self._messages[last].put(bytes(message.payload))

    def take_push(self) -> tuple[str, bytes]:
        """Name and plaintext of the next one."""
        name, data = self.pushes.get(timeout=WAIT_SECONDS)
        return name, open_push(self.ends, self.secret, name, data)[1]

    # With the instance

    def exchange_keys(self) -> str:
        """Pair, or rotate: the digits to show. :meth:`confirm` follows."""
        self._exchange = KeyExchange(self.ends, self.secret, self.secret.generation + 1)
        answer = self._ask(self._exchange.request, self.secret, about_keys=True)
        self._pending, digits = self._exchange.finish(b"".join(answer))
        return digits

    def confirm(self) -> None:
        """Come to the new secret.

        :raises Refused: reason 3, as long as the digits aren't typed.
        """
        answer = b"".join(self._ask(self._exchange.confirmation, self._pending, about_keys=True))
        assert answer == b"\x02"
        self.secret = self._pending

    def request(
        self,
        method: str,
        path: str,
        fields: list[tuple[str, str]] | None = None,
        body: bytes = b"",
    ) -> Answered:
        """An HTTP request."""
        message = Message([([method, "http", "", path], fields or [])], body)
        full, rest = divmod(len(body), CHUNK_BYTES)
        chunks = [CHUNK_BYTES] * full + ([rest] if rest else [])
        plaintext = binary_http.write(message, known=False, chunks=chunks)
        return Answered(self._ask(plaintext, self.secret))

    def begin(self, request: DeviceRequest) -> tuple[str, queue.Queue[bytes]]:
        """Send what may be sent of it; its id, and where what comes is put."""
        rid = secrets.token_hex(8)
        came = self._messages[rid] = queue.Queue()
        for each in request.parts():
            self._publish(rid, each)
        return rid, came

    def make_request(self, secret: Secret, *, about_keys: bool = False) -> DeviceRequest:
        """With the next counter; to be sealed."""
        now = time.time_ns() // 1_000_000
        self._last_counter = max(self._last_counter + 1, now)
        return DeviceRequest(
            self.ends, secret, counter=self._last_counter, unix_ms=now, about_keys=about_keys
        )

    def _ask(
        self, plaintext: bytes, secret: Secret, *, about_keys: bool = False
    ) -> Generator[bytes, None, None]:
        request = self.make_request(secret, about_keys=about_keys)
        if self._by_tink:
            request.use_sealed(tink_seal(*request.material(), plaintext))
        else:
            request.seal(plaintext)
        rid, came = self.begin(request)
        return self._answers(request, rid, came)

    def _answers(
        self, request: DeviceRequest, rid: str, came: queue.Queue[bytes]
    ) -> Generator[bytes, None, None]:
        opened: list[bytes] = []
        try:
            while not request.done:
                piece = request.receive(came.get(timeout=WAIT_SECONDS))
                for each in request.parts():
                    self._publish(rid, each)
                if piece or request.done:
                    opened.append(piece)
                    yield piece
                    credit = request.credit()
                    if credit is not None:
                        self._publish(rid, credit)
            if self._by_tink and len(opened) == 1:
                material = request.material(response=True)
                assert tink_open(*material, request.sealed_response) == opened[0]
        except GeneratorExit:
            self._publish(rid, part(0, CANCEL))
            raise
        finally:
            del self._messages[rid]

    def _publish(self, rid: str, data: bytes) -> None:
        self._client.publish(f"device/{self.user_name}/request/{rid}", data, qos=1)


def _pinned_context(pin: bytes) -> ssl.SSLContext:
    """The code says who the gateway is; no authority does."""

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            certificate = self.getpeercert(binary_form=True)
            assert certificate is not None
            key = x509.load_der_x509_certificate(certificate).public_key()
            spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            if hashlib.sha256(spki).digest()[:16] != pin:
                self.close()
                raise WrongPin

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = PinnedSocket
    return context
