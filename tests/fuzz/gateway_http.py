"""Targets: what strangers ask of the gateway by HTTP."""

from __future__ import annotations

import base64
import re
from contextlib import closing
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource

from porttunnel.keys.credentials import (
    hash_client_nonce,
    hash_password,
    hash_setup_key,
)
from porttunnel.net.gateway import password_desk
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.resource import AccountResource
from porttunnel.net.gateway.site import GatewaySite
from tests.fuzz.consume import FuzzedDataProvider, cut
from tests.net.gateway.listening import UNIX_TIME, AccountsInMemory

__all__ = ["gateway_http"]

INSTANCE, DEVICE, INVITED = "1" * 32, "d" * 32, "e" * 32
PASSWORD, WRONG = "a" * 32, "b" * 32
KEY, NONCE = b"k" * 16, b"n" * 32
# What a password costs is not the question; at its full price there would be 16 runs a second.
cheap_hash = partial(hash_password, iterations=1)
password_desk.hash_password = cheap_hash
HASH = cheap_hash(PASSWORD.encode(), b"s" * 16)

METHODS = ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "BREW", "get", ""]
PATHS = [
    "/v1/instances",
    "/v1/instances/self",
    "/v1/instances/self/password",
    "/v1/devices",
    "/v1/devices/setup",
    f"/v1/devices/{DEVICE}",
    f"/v1/devices/{DEVICE}/confirm",
    f"/v1/devices/{INVITED}",
    "/openapi.json",
    "/healthz",
    "/pair",
    "/",
    "*",
    "/v1/%00?a=b",
]
BODIES = [
    b"",
    b"{}",
    b'{"expires_in": 60}',
    b'{"new_password": "%s"}' % WRONG.encode(),
    b'{"device_setup_key": "%s", "client_nonce": "%s"}' % (b"0" * 32, NONCE.hex().encode()),
    b"[" * 1_000,
    b" " * 5_000,
]
TYPES = [
    "application/json",
    "application/json; charset=utf-8",
    "text/plain",
    "multipart/form-data",
]
FRAMINGS = ["right", "right", "right", "none", "wrong", "chunked", "both"]

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
# 100 asks for the body; 500 and 503 would be the gateway's own fault.
EXPECTED = {100, 200, 201, 204, 400, 401, 403, 404, 405, 409, 411, 413, 415, 431}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


STRANGERS = ["", basic(INSTANCE, WRONG), basic("", ""), "Basic %", "Bearer sesam", "Digest a=b"]
MEMBERS = [basic(INSTANCE, PASSWORD), basic(DEVICE, PASSWORD), "Bearer sesame"]


def gateway_http(data: bytes) -> None:
    """Whatever is asked, and however it is cut, the answers are HTTP's and the same, none is that
    the gateway failed, and for who shows no password, token or setup key nothing changes.
    """
    source = FuzzedDataProvider(data)
    is_stranger = source.ConsumeBool()
    requests = bytearray(
        b"".join(
            consume_request(source, STRANGERS if is_stranger else MEMBERS)
            for _ in range(source.ConsumeIntInRange(1, 3))
        )
    )
    for _ in range(source.ConsumeIntInRange(0, 3)):
        at = source.ConsumeIntInRange(0, len(requests))
        requests[at : at + source.ConsumeIntInRange(0, 3)] = source.ConsumeBytes(4)
    sent = bytes(requests)
    pieces = list(cut(source, sent))
    statuses = answer([sent], is_stranger=is_stranger)
    assert statuses <= EXPECTED, statuses
    assert answer(pieces, is_stranger=is_stranger) == statuses


def consume_request(source: FuzzedDataProvider, logins: list[str]) -> bytes:
    method, path = source.PickValueInList(METHODS), source.PickValueInList(PATHS)
    body, framing = source.PickValueInList(BODIES), source.PickValueInList(FRAMINGS)
    fields = ["Host: gateway"]
    login = source.PickValueInList(logins)
    if login:
        fields.append(f"Authorization: {login}")
    if source.ConsumeIntInRange(0, 3):
        fields.append(f"Content-Type: {source.PickValueInList(TYPES)}")
    if not source.ConsumeIntInRange(0, 7):
        fields.append("Expect: 100-continue")
    if framing in ("right", "both"):
        fields.append(f"Content-Length: {len(body)}")
    if framing == "wrong":
        length = source.PickValueInList(["-1", "+1", "1, 2", "0x10", "", "100000", "9" * 30])
        fields.append(f"Content-Length: {length}")
    if framing in ("chunked", "both"):
        fields.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *fields, "", ""])
    return head.encode() + body


def answer(pieces: list[bytes], *, is_stranger: bool) -> set[int]:
    """The statuses of what is answered to these pieces of one connection."""
    with closing(AccountsInMemory(AccountSettings(registration_token="sesame"))) as scene:
        store: Any = scene.store
        store.add_instance(INSTANCE, HASH, 10)
        for number, device_id in enumerate((DEVICE, INVITED)):
            key_hash = hash_setup_key(bytes([number]) + KEY)
            store.add_device(device_id, INSTANCE, key_hash, UNIX_TIME + 600, 10)
        store.claim(hash_setup_key(b"\0" + KEY), hash_client_nonce(NONCE), HASH, UNIX_TIME)
        before = list(store._file._connection.iterdump())
        site = GatewaySite(
            scene.clock,
            accounts=AccountResource(scene.accounts),
            mqtt=Resource(),
            is_ready=lambda: True,
        )
        protocol: Any = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 4))
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 4))
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]  # it has none
        protocol.makeConnection(transport)
        for piece in pieces:
            if not transport.disconnecting:
                protocol.dataReceived(piece)
        answers = transport.value()
        assert not answers or answers.startswith(b"HTTP/1.1 "), answers
        assert b"Traceback" not in answers
        if is_stranger:
            assert list(store._file._connection.iterdump()) == before
        return {int(status) for status in _STATUS.findall(answers)}
