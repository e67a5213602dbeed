"""`porttunnel device` as people and programs use it: each command, through a real gateway."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.real.gateway_site import GatewaySite, PairedDevice
from tests.real.http_asker import ask
from tests.real.program import PORTTUNNEL, Program, Start
from tests.real.upstream import Upstream
from tests.real.web_site import page_chunks

pytestmark = pytest.mark.real

SIZE = 5 << 20


@pytest.fixture(scope="module")
def site(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> GatewaySite:
    return GatewaySite(start_for_module, tmp_path_factory.mktemp("site"), upstream.url)


@pytest.fixture(scope="module")
def device(site: GatewaySite) -> PairedDevice:
    return site.pair("ada", immediate=True)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(b"".join(map(bytes, page_chunks(1, SIZE))))
    return path


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def echoed(program: Program) -> dict[str, Any]:
    told: dict[str, Any] = json.loads("\n".join(program.rest()))
    assert program.wait() == 0
    return told


def test_a_file_is_fetched(device: PairedDevice, tmp_path: Path, large: Path) -> None:
    fetched = tmp_path / "fetched"
    program = device.run("get", f"/page/1/{SIZE}", "--json", "--output", str(fetched))
    events = program.events()
    assert program.wait() == 0
    assert (events[0]["event"], events[0]["status"]) == ("response", 200)
    assert events[-1]["event"] == "done"
    assert digest_of(fetched) == digest_of(large)


@pytest.mark.parametrize("size", [10, SIZE])
def test_what_is_fetched_and_not_written_is_a_failure(
    start: Start, device: PairedDevice, size: int
) -> None:
    command = (*PORTTUNNEL, "device", "get", f"/page/1/{size}")
    program = start(
        *("sh", "-c", 'exec "$@" >/dev/full', "sh", *command),
        environment={"PORTTUNNEL_DATA": str(device.folder)},
    )
    assert program.wait() == 1
    assert "The output can't be written" in program.errors


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_lines_that_are_not_written_are_a_failure(
    start: Start, tmp_path: Path, options: tuple[str, ...]
) -> None:
    command = (*PORTTUNNEL, "device", "list", *options)
    program = start(
        *("sh", "-c", 'exec "$@" >/dev/full', "sh", *command),
        environment={"PORTTUNNEL_DATA": str(tmp_path)},
    )
    assert program.wait() == 1
    assert "The output can't be written" in program.errors


def test_a_status_that_is_no_success_fails(device: PairedDevice) -> None:
    program = device.run("get", "/nothing")
    assert (program.rest(), program.wait()) == (["nothing here"], 1)
    assert "answers 404 Not Found" in program.errors


def test_a_file_is_sent(device: PairedDevice, large: Path) -> None:
    told = echoed(device.run("request", "PUT", "/echo", "--data", f"@{large}"))
    assert (told["method"], told["length"], told["sha256"]) == ("PUT", SIZE, digest_of(large))
    assert ["content-length", str(SIZE)] in told["fields"]


def test_standard_input_is_sent_to_its_end(device: PairedDevice) -> None:
    program = device.run("request", "POST", "/echo", "--data", "@-", "--field", "x-a: 1")
    for number in range(1_000):
        program.send(f"line {number}")
    program.end_input()
    told = echoed(program)
    expected = "".join(f"line {number}\n" for number in range(1_000)).encode()
    assert told["sha256"] == hashlib.sha256(expected).hexdigest()
    assert ["x-a", "1"] in told["fields"]


def test_the_head_is_shown_beside_the_content(device: PairedDevice) -> None:
    program = device.run("request", "POST", "/effect/shown", "--include", "--data", "a=b")
    assert (program.rest(), program.wait()) == (["done"], 0)
    assert program.errors.startswith("200 OK\n")


def test_ctrl_c_cancels_at_the_web_system(
    device: PairedDevice, upstream: Upstream, tmp_path: Path
) -> None:
    program = device.run("get", "/drip/cancelled", "--output", str(tmp_path / "never"))
    upstream.drip("cancelled", b"a beginning")
    upstream.wait_for_request("/drip/cancelled")
    program.interrupt()
    upstream.wait_for_break("/drip/cancelled")
    assert program.wait() == 1
    assert list(tmp_path.iterdir()) == []


def test_two_systems_side_by_side_and_one_that_is_revoked(
    site: GatewaySite, upstream: Upstream
) -> None:
    first = site.pair("ben", "both", immediate=True)
    second = site.pair("cleo", "both", immediate=True)
    serving = first.run("serve", "--json")
    ports = {
        told["device_id"]: int(told["address"].rpartition(":")[2])
        for told in (serving.event("listening"), serving.event("listening"))
    }
    assert set(ports) == {first.device_id, second.device_id}
    for device, user in ((first, "ben"), (second, "cleo")):
        fields = json.loads(ask(ports[device.device_id], "GET", "/echo").body)["fields"]
        assert ["x-remote-user", user] in fields

    unclear = first.run("serve", "--port", "1")
    assert unclear.wait() == 2
    assert first.device_id[:8] in "\n".join(unclear.rest())
    unclear = first.run("revoke", "--yes")
    assert unclear.wait() == 2
    assert "Choose one with --device" in "\n".join(unclear.rest())
    revoking = first.run("revoke", "--yes", "--json", "--device", first.device_id)
    assert revoking.event("revoked")["device_id"] == first.device_id
    assert revoking.wait() == 0
    assert serving.event("error")["code"] == "revoked"
    assert ask(ports[second.device_id], "POST", "/effect/still-there").status == 200
    assert ask(ports[first.device_id], "POST", "/effect/gone").status == 403
    assert upstream.effects["gone"] == 0
    listed = first.run("list", "--json").event("devices")["devices"]
    assert [each["device_id"] for each in listed] == [second.device_id]
    forgetting = first.run("revoke", "--offline", "--yes", "--json")
    assert forgetting.wait() == 0
    assert first.run("list", "--json").event("devices")["devices"] == []
    listed = json.loads("\n".join(site.instance("devices", "--json").rest()).splitlines()[0])
    assert second.device_id in [each["device_id"] for each in listed["devices"]]
    serving.terminate()
    assert serving.wait() == 0
