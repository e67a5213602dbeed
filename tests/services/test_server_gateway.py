"""The gateway in the server as people run it: a process of its own, real sockets, raw clients."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from porttunnel.gateway.event import ALL_REQUESTS
from porttunnel.gateway.part import Failure, decode_part
from porttunnel.mqtt.packet import Disconnect, Publish, Version
from porttunnel.mqtt.property import Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.certificate import load_or_create_identity
from tests.services.gateway_peer import Account, MQTTPeer, Rest, SocketLine, WebSocketLine
from tests.services.running import TWISTD, RunningService
from tests.services.test_server import RunningServer

REQUEST = "0123456789abcdef"
OFFLINE = Failure("instance-offline", from_gateway=True)
REVOKED = Failure("revoked", from_gateway=True)

Lines = dict[str, Callable[[int], Any]]
LINES: Lines = {
    "tcp": SocketLine,
    "tls": lambda port: SocketLine(port, tls=True),
    "websocket": WebSocketLine,
    "websocket in tls": lambda port: WebSocketLine(port, tls=True),
}


class Gateway:
    """A running one, and its clients.

    :ivar rest: asks it by HTTP.
    """

    def __init__(self, running: RunningServer, port: int) -> None:
        self.running = running
        self.port = port
        self.rest = Rest(port)
        self.peers: list[MQTTPeer] = []

    def peer(self, line: str = "tcp", version: Version = Version.V5) -> MQTTPeer:
        peer = MQTTPeer(LINES[line](self.port), version)
        self.peers.append(peer)
        return peer

    def log_in(self, account: Account, line: str = "tcp", **fields: Any) -> MQTTPeer:
        """One that was let in and listens."""
        peer = self.peer(line)
        connack = peer.log_in(account, **fields)
        assert connack.reason is ReasonCode.SUCCESS, connack
        peer.listen(account)
        return peer


def start(folder: Path, config: str = "", program: str = TWISTD) -> Gateway:
    path = folder / "server.toml"
    path.write_text(config, encoding="utf-8")
    arguments = ("--listen", "tcp:0:interface=127.0.0.1", "--config", str(path))
    running = RunningServer(folder, *arguments, program=program)
    port = int(running.wait_for(r"listening tcp:(\d+):interface=127\.0\.0\.1$")[1])
    return Gateway(running, port)


def stop(gateway: Gateway) -> None:
    for peer in gateway.peers:
        peer.close()
    if gateway.running.process.poll() is None:
        gateway.running.stop()
    assert "Traceback" not in "".join(gateway.running.lines)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    running = start(tmp_path)
    yield running
    stop(running)


def event(name: str, instance: Account, device: Account) -> tuple[str, dict[str, str]]:
    return f"instance/{instance.name}/event/{name}", {"device_id": device.name}


def heard(peer: MQTTPeer) -> tuple[str, Any]:
    topic, payload = peer.message()
    return topic, json.loads(payload)


@pytest.mark.parametrize("line", LINES)
def test_a_request_and_its_answer(gateway: Gateway, line: str) -> None:
    owner = gateway.rest.register()
    account = gateway.rest.add_device(owner)
    instance = gateway.log_in(owner, line)
    device = gateway.log_in(account, line)
    assert heard(instance) == event("device-online", owner, account)
    assert device.publish(f"device/{account.name}/request/{REQUEST}", b"sealed") == 0
    routed = f"instance/{owner.name}/request/{account.name}/{REQUEST}"
    assert instance.message() == (routed, b"sealed")
    response = f"device/{account.name}/response/{REQUEST}"
    assert instance.publish(response, bytes(65_566)) == 0
    assert device.message() == (response, bytes(65_566))
    push = f"device/{account.name}/push/news"
    assert instance.publish(push, b"sealed too") == 0
    assert device.message() == (push, b"sealed too")


def test_ends_are_told_at_once(gateway: Gateway) -> None:
    owner = gateway.rest.register()
    account = gateway.rest.add_device(owner)
    device = gateway.log_in(account)
    request = f"device/{account.name}/request/{REQUEST}"
    assert device.publish(request, b"x") == ReasonCode.NO_MATCHING_SUBSCRIBERS
    topic, payload = device.message()
    assert topic == f"device/{account.name}/response/{REQUEST}"
    assert decode_part(payload) == OFFLINE

    instance = gateway.log_in(owner, "websocket")
    assert heard(instance) == event("device-online", owner, account)
    other = gateway.log_in(account, client_id="other")
    other.close()
    device.close()
    assert heard(instance) == event("device-offline", owner, account)
    assert instance.publish(f"device/{account.name}/push/news", b"x") == 0x10

    device = gateway.log_in(account)
    assert heard(instance) == event("device-online", owner, account)
    instance.close()
    topic, payload = device.message()
    assert topic == f"device/{account.name}/response/{ALL_REQUESTS}"
    assert decode_part(payload) == OFFLINE


def test_an_instance_has_one_session_and_a_user_his_own(gateway: Gateway) -> None:
    owner, stranger = gateway.rest.register(), gateway.rest.register()
    account = gateway.rest.add_device(owner)
    device = gateway.log_in(account, client_id="same")
    first = gateway.log_in(owner, client_id="same")
    gateway.log_in(stranger, client_id="same")
    second = gateway.log_in(owner, "websocket", client_id="another")
    assert first.ends()[-1] == Disconnect(ReasonCode.SESSION_TAKEN_OVER)
    topic, payload = device.message()
    assert topic == f"device/{account.name}/response/{ALL_REQUESTS}"
    assert decode_part(payload) == OFFLINE
    assert heard(second) == event("device-online", owner, account)
    again = gateway.log_in(account, client_id="same")
    assert device.ends() == [Disconnect(ReasonCode.SESSION_TAKEN_OVER)]
    assert heard(second) == event("device-offline", owner, account)
    assert heard(second) == event("device-online", owner, account)
    assert again.publish(f"device/{account.name}/request/{REQUEST}", b"x") == 0


def test_nobody_gets_beyond_his_table(gateway: Gateway) -> None:
    owner, stranger = gateway.rest.register(), gateway.rest.register()
    account = gateway.rest.add_device(owner)
    foreign = gateway.rest.add_device(stranger)
    device, instance = gateway.log_in(account), gateway.log_in(owner)
    assert heard(instance) == event("device-online", owner, account)
    no = ReasonCode.NOT_AUTHORIZED
    for topic in (
        f"device/{foreign.name}/request/{REQUEST}",
        f"device/{account.name}/response/{REQUEST}",
        f"instance/{owner.name}/event/device-online",
        f"device/{account.name}/request/short",
        "$SYS/x",
    ):
        assert device.publish(topic, b"x") is no
    for topic in (
        f"device/{foreign.name}/response/{REQUEST}",
        f"device/{foreign.name}/push/news",
        f"instance/{owner.name}/event/device-online",
    ):
        assert instance.publish(topic, b"x") is no
    filters = ("#", "+/#", f"device/{foreign.name}/response/+", f"instance/{owner.name}/event/+")
    assert device.subscribe(*filters) == (no,) * 4
    filters = ("#", f"instance/{stranger.name}/request/+/+", f"device/{account.name}/response/+")
    assert instance.subscribe(*filters) == (no,) * 3
    shared = f"$share/g/instance/{owner.name}/event/+"
    assert instance.subscribe(shared) == (ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,)
    # An answer to somebody else, by way of the instance.
    properties = Properties(response_topic=f"device/{foreign.name}/response/{REQUEST}")
    request = f"device/{account.name}/request/{REQUEST}"
    assert device.publish(request, b"x", properties=properties) is no
    device.say(Publish(request, b"x", 1, retain=True, packet_id=9))
    assert device.ends() == [Disconnect(ReasonCode.RETAIN_NOT_SUPPORTED)]


def test_nothing_is_kept_for_who_is_away(gateway: Gateway) -> None:
    owner = gateway.rest.register()
    account = gateway.rest.add_device(owner)
    kept = Properties(session_expiry_interval=3_600)
    peer = gateway.peer()
    connack = peer.log_in(account, properties=kept)
    assert connack.properties.session_expiry_interval == 0
    assert connack.properties.retain_available is False
    assert connack.properties.shared_subscription_available is False
    peer.listen(account)
    peer.close()
    instance = gateway.log_in(owner)
    assert instance.publish(f"device/{account.name}/push/news", b"x") == 0x10
    for version in (Version.V5, Version.V3_1_1):
        peer = gateway.peer(version=version)
        assert not peer.log_in(account, clean_start=False).session_present


def test_a_wrong_password(gateway: Gateway) -> None:
    owner = gateway.rest.register()
    wrong = Account(owner.name, "0" * 32, owner.name)
    nobody = Account("f" * 32, owner.password, owner.name)
    for account in (wrong, nobody):
        peer = gateway.peer("websocket")
        assert peer.log_in(account).reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
        assert peer.ends() == []
    assert gateway.rest.ask("GET", "/v1/devices", None, wrong)[0] == 401
    reasons = {gateway.peer().log_in(wrong).reason for _ in range(18)}
    assert reasons == {ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.SERVER_BUSY}


def test_who_is_revoked_at_another_process_is_cut_off(gateway: Gateway, tmp_path: Path) -> None:
    """An old process and a new one have the same file for a while."""
    newer = start(tmp_path)
    try:
        owner = newer.rest.register()
        account = newer.rest.add_device(owner)
        instance, device = gateway.log_in(owner), gateway.log_in(account)
        assert heard(instance) == event("device-online", owner, account)
        assert newer.rest.ask("DELETE", f"/v1/devices/{account.name}", None, owner)[0] == 204
        assert decode_part(device.message()[1]) == REVOKED
        assert device.ends() == [Disconnect(ReasonCode.ADMINISTRATIVE_ACTION)]
        assert heard(instance) == event("device-removed", owner, account)
        assert gateway.peer().log_in(account).reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    finally:
        stop(newer)


@pytest.mark.parametrize("by", ["its instance", "itself"])
def test_a_revoked_device_is_cut_off(gateway: Gateway, by: str) -> None:
    owner = gateway.rest.register()
    account, other = (gateway.rest.add_device(owner) for _ in range(2))
    instance = gateway.log_in(owner)
    device = gateway.log_in(account)
    second = gateway.log_in(account, "websocket", client_id="second")
    bystander = gateway.log_in(other)
    assert heard(instance) == event("device-online", owner, account)
    assert heard(instance) == event("device-online", owner, other)
    push = f"device/{account.name}/push/news"
    assert instance.publish(push, b"before") == 0
    for peer in (device, second):
        assert peer.message() == (push, b"before")
    revoker = owner if by == "its instance" else account
    assert gateway.rest.ask("DELETE", f"/v1/devices/{account.name}", None, revoker)[0] == 204
    for peer in (device, second):
        topic, payload = peer.message()
        assert topic == f"device/{account.name}/response/{ALL_REQUESTS}"
        assert decode_part(payload) == REVOKED
        assert peer.ends() == [Disconnect(ReasonCode.ADMINISTRATIVE_ACTION)]
    assert heard(instance) == event("device-removed", owner, account)
    assert heard(instance) == event("device-offline", owner, account)
    assert instance.publish(push, b"after") is ReasonCode.NOT_AUTHORIZED
    assert gateway.peer().log_in(account).reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    path = f"/v1/devices/{account.name}"
    assert gateway.rest.ask("GET", path, None, account)[0] == 401
    assert bystander.publish(f"device/{other.name}/request/{REQUEST}", b"x") == 0


def test_a_removed_instance_is_gone_with_its_devices(gateway: Gateway) -> None:
    owner = gateway.rest.register()
    account = gateway.rest.add_device(owner)
    instance, device = gateway.log_in(owner), gateway.log_in(account)
    assert gateway.rest.ask("DELETE", "/v1/instances/self", None, owner)[0] == 204
    gone = Disconnect(ReasonCode.ADMINISTRATIVE_ACTION)
    assert instance.ends()[-1] == gone
    assert device.ends()[-1] == gone
    for user in (owner, account):
        assert gateway.peer().log_in(user).reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD


def test_a_void_password_is_cut_off(gateway: Gateway) -> None:
    owner = gateway.rest.register()
    instance = gateway.log_in(owner)
    new = Account(owner.name, "ab" * 16, owner.name)
    path, body = "/v1/instances/self/password", {"new_password": new.password}
    assert gateway.rest.ask("POST", path, body, owner)[0] in (200, 204)
    gateway.log_in(new)
    assert instance.ends() == [Disconnect(ReasonCode.ADMINISTRATIVE_ACTION)]
    assert gateway.peer().log_in(owner).reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD


def test_at_the_end_all_are_sent_away(gateway: Gateway) -> None:
    owner = gateway.rest.register()
    account = gateway.rest.add_device(owner)
    instance, device = gateway.log_in(owner, "websocket"), gateway.log_in(account)
    old = gateway.peer("websocket", Version.V3_1_1)
    assert old.log_in(account, client_id="old").reason == 0
    gateway.running.process.send_signal(signal.SIGTERM)
    away = Disconnect(ReasonCode.USE_ANOTHER_SERVER)
    assert instance.ends()[-1] == away
    assert device.ends()[-1] == away
    assert old.ends() == []
    for peer in (instance, old):
        line: Any = peer.line
        assert line.close_code == 1_012
    assert "Server Shut Down" in gateway.running.rest()


PROXY = '[proxy]\ntrusted = ["127.0.0.1"]\n[limits]\nconnections_per_prefix = 3\n'


def named(client: str) -> bytes:
    return f"PROXY TCP4 {client} 192.0.2.254 40000 4663\r\n".encode()


def test_behind_a_proxy(tmp_path: Path) -> None:
    gateway = start(tmp_path, PROXY)
    rest = Rest(gateway.port, named("198.51.100.7"))
    owner = rest.register()

    def came(client: str, **options: Any) -> ReasonCode | None:
        peer = MQTTPeer(SocketLine(gateway.port, first=named(client), **options))
        gateway.peers.append(peer)
        return peer.log_in(owner).reason

    # What a client says in the clear, a proxy passes on in the clear.
    assert came("198.51.100.7") is ReasonCode.NOT_AUTHORIZED
    assert came("198.51.100.7", tls=True) is ReasonCode.SUCCESS
    wrong = Account(owner.name, "0" * 32, owner.name)
    for _ in range(20):
        assert rest.ask("GET", "/v1/devices", None, wrong)[0] == 401
    assert rest.ask("GET", "/v1/devices", None, wrong)[0] == 429
    other = Rest(gateway.port, named("198.51.100.8"))
    assert other.ask("GET", "/v1/devices", None, wrong)[0] == 401
    stop(gateway)


def test_with_a_certificate_of_the_operators(tmp_path: Path) -> None:
    load_or_create_identity(tmp_path)
    pem = tmp_path / "server-identity.pem"
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
    running: Any = RunningService(
        tmp_path,
        "porttunnel-server",
        *("--data-dir", str(tmp_path / "data"), "--listen", endpoint),
        warnings="ignore",  # the endpoint's own
    )
    port = int(running.wait_for("listening ssl:(\\d+):")[1])
    assert running.wait_for(r"gateway (\S+)$")[1] == f"https://127.0.0.1:{port}"
    gateway = Gateway(running, port)
    rest = Rest(port, tls=True)
    owner = rest.register()
    account = rest.add_device(owner)
    instance = gateway.log_in(owner, "websocket in tls")
    device = gateway.log_in(account, "tls")
    assert heard(instance) == event("device-online", owner, account)
    assert device.publish(f"device/{account.name}/request/{REQUEST}", b"sealed") == 0
    stop(gateway)


def test_who_registers_may_have_to_show_a_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("open-sesame\n", encoding="ascii")
    audit = tmp_path / "audit"
    gateway = start(
        tmp_path,
        f'[gateway]\nregistration_token_file = "{token}"\naudit_dir = "{audit}"\n',
    )
    assert gateway.rest.ask("POST", "/v1/instances", {})[0] == 401
    stop(gateway)
    assert {path.name for path in audit.iterdir()} == {"audit.log", "audit.key", "audit.lock"}
    assert "open-sesame" not in "".join(gateway.running.lines)


def test_without_an_audit_log(tmp_path: Path) -> None:
    gateway = start(tmp_path, "[gateway]\naudit = false\n")
    gateway.log_in(gateway.rest.register())
    stop(gateway)
    assert not (gateway.running.data_dir / "audit.log").exists()


def test_a_token_that_is_not_there_stops_the_server(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('[gateway]\nregistration_token_file = "/nowhere/token"\n', encoding="utf-8")
    running = RunningServer(tmp_path, "--listen", "tcp:0", "--config", str(path))
    output = running.rest()
    assert running.process.returncode == 1
    assert "The registration token can't be read from /nowhere/token" in output
    assert "listening" not in output
