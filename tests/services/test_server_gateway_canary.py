"""The gateway keeps and tells nothing of what passes through it, nor of whom."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from porttunnel.mqtt.packet import Puback, Publish, Version
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.services.server_gateway import GATEWAY_DATABASE_NAME
from tests.services.gateway_peer import Account, MQTTPeer, Rest, SocketLine
from tests.services.running import PATIENCE_SECONDS
from tests.services.test_server_gateway import Gateway, named, start, stop

REQUESTS = 10_000
AT_A_TIME = 250
CONTENT = b"canary-of-a-request-3141592653589793"
ANSWER = b"canary-of-an-answer-2718281828459045"
PERSON = "canary.person"
ADDRESSES = ("203.0.113.77", "2001:db8:cafe:77::1")

# Runs twistd so that who is slow is sent away soon: that is when Twisted names addresses.
IMPATIENT_TWISTD = """
import porttunnel.net.gateway.site as site
site.REQUEST_SECONDS = site.ABORT_SECONDS = 0.2
from twisted.scripts.twistd import run
run()
"""
CONFIG = '[proxy]\ntrusted = ["127.0.0.1"]\n'


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    running = start(tmp_path, CONFIG, IMPATIENT_TWISTD)
    yield running
    stop(running)


def header(address: str) -> bytes:
    if ":" in address:
        return f"PROXY TCP6 {address} 2001:db8::1 40000 4663\r\n".encode()
    return named(address)


def requests(device: MQTTPeer, instance: MQTTPeer, account: Account) -> int:
    """Many, a few hundred at a time; how many were answered."""
    answered = 0
    for first in range(0, REQUESTS, AT_A_TIME):
        numbers = range(first, first + AT_A_TIME)
        device.say(
            *(
                Publish(
                    f"device/{account.name}/request/{number:08}",
                    CONTENT,
                    1,
                    packet_id=number % AT_A_TIME + 1,
                )
                for number in numbers
            )
        )
        for number in numbers:
            topic, payload = instance.message()
            assert payload == CONTENT
            instance.say(
                Publish(
                    f"device/{account.name}/response/{topic.rpartition('/')[2]}",
                    ANSWER,
                    1,
                    packet_id=number % AT_A_TIME + 1,
                )
            )
        waits = 2 * AT_A_TIME
        while waits:
            packet = device.next()
            waits -= 1
            if isinstance(packet, Publish):
                assert packet.payload == ANSWER
                assert packet.packet_id is not None
                device.say(Puback(packet.packet_id))
                answered += 1
        for _ in numbers:
            assert isinstance(instance.next(), Puback)
    return answered


def misbehave(gateway: Gateway, owner: Account) -> None:
    """All that makes servers write down who it was."""
    for address in ADDRESSES:
        first = header(address)
        for nonsense in (
            b"\x10\x02ab",
            b"\x16\x03\x01\x00\x05hello",
            b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9.9 canary\r\n\r\n",
            b"POST /v1/devices HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
            b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: slow\r\n",
            b"\xff",
            b"",
        ):
            with socket.create_connection(("127.0.0.1", gateway.port), PATIENCE_SECONDS) as one:
                one.sendall(first + nonsense)
                if nonsense:
                    with contextlib.suppress(OSError):
                        while one.recv(4_096):
                            pass
        wrong = Account(owner.name, "0" * 32, owner.name)
        assert Rest(gateway.port, first).ask("GET", "/v1/devices", None, wrong)[0] == 401
        line = SocketLine(gateway.port, tls=True, first=first)
        assert MQTTPeer(line).log_in(wrong).reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
        line.close()


def spellings(text: bytes) -> set[bytes]:
    return {text, text.hex().encode(), base64.b64encode(text)[:-4], text[::-1]}


def test_nothing_of_it_is_kept_or_told(gateway: Gateway) -> None:
    rest = Rest(gateway.port, header(ADDRESSES[0]))
    owner = rest.register()
    account = rest.add_device(owner)
    revoked = rest.add_device(owner)
    peers = []
    for user, address in zip((owner, account, revoked), (*ADDRESSES, ADDRESSES[0]), strict=True):
        line = SocketLine(gateway.port, tls=True, first=header(address))
        peers.append(MQTTPeer(line, Version.V5))
        assert peers[-1].log_in(user, client_id=PERSON).reason is ReasonCode.SUCCESS
        peers[-1].listen(user)
    gateway.peers += peers
    instance, device, other = peers
    for _ in range(2):
        instance.message()  # who is online
    assert requests(device, instance, account) == REQUESTS
    other.say(Publish(f"device/{revoked.name}/request/{0:08}", CONTENT, 1, packet_id=1))
    instance.message()
    assert rest.ask("DELETE", f"/v1/devices/{revoked.name}", None, owner)[0] == 204
    misbehave(gateway, owner)
    told = admin(gateway)
    for peer in peers:
        peer.close()
    log = gateway.running.stop().encode()

    folder = gateway.running.data_dir
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert GATEWAY_DATABASE_NAME in files
    assert "audit.log" in files
    events = [json.loads(line)["event"] for line in files["audit.log"].splitlines()]
    assert {"connected", "disconnected", "cut-off", "device-removed"} <= set(events)
    places = files | {"log": log, "admin pages": told}
    words = [CONTENT, ANSWER, PERSON.encode(), *(address.encode() for address in ADDRESSES)]
    words += [socket.inet_aton(ADDRESSES[0]), socket.inet_pton(socket.AF_INET6, ADDRESSES[1])]
    words += [bytes.fromhex(user.password) for user in (owner, account, revoked)]
    for word in words:
        for spelling in spellings(word):
            assert [place for place, content in places.items() if spelling in content] == []
    # Ids are random, and stand in the accounts alone; which shows that this does find them.
    accounts = {name for name in files if name.startswith(GATEWAY_DATABASE_NAME)}
    for user in (owner, account, revoked):
        found = {
            place
            for spelling in spellings(user.name.encode()) | spellings(bytes.fromhex(user.name))
            for place, content in places.items()
            if spelling in content
        }
        assert found <= accounts
        assert found or user is revoked


def admin(gateway: Gateway) -> bytes:
    """All that the operator's pages say."""
    address = gateway.running.wait_for(r"admin tcp:(\d+):")[1]
    pages = []
    for path in ("", "metrics", "readyz"):
        url = f"http://127.0.0.1:{address}/{path}"
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            pages.append(answer.read())
    metrics = pages[1].decode()
    assert "porttunnel_gateway_instances 1.0\n" in metrics
    assert "porttunnel_gateway_devices 1.0\n" in metrics
    assert f'porttunnel_gateway_logins_total{{outcome="wrong"}} {len(ADDRESSES)}.0\n' in metrics
    assert f"porttunnel_mqtt_received_messages_total {2 * REQUESTS + 1}.0\n" in metrics
    return b"".join(pages)
