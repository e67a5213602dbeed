"""A device that others could have written, at our gateway and our agent.

tests/independent was written from docs/gateway-protocol alone, with paho-mqtt as transport.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.independent.device import Device, HTTPFailed, WrongPin
from tests.independent.device_request import Failed, Refused
from tests.real.gateway_site import GatewaySite, kill
from tests.real.program import Start
from tests.real.upstream import Upstream
from tests.real.web_site import page_sha256

pytestmark = pytest.mark.real

WAITING = 3  # reason of a refusal: the digits aren't typed
SIZE_BYTES = 4 << 20


@pytest.fixture(scope="module")
def site(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> GatewaySite:
    return GatewaySite(start_for_module, tmp_path_factory.mktemp("site"), upstream.url)


@pytest.fixture(scope="module", params=["cryptography", "tink"])
def device(request: pytest.FixtureRequest, site: GatewaySite) -> Iterator[Device]:
    """Paired with the digits; who seals and opens is the parameter."""
    inviting = site.instance("invite", "--user", "ada", "--json")
    device = Device(inviting.event("invitation")["code"], by_tink=request.param == "tink")
    assert device.set_up().ends == device.set_up().ends
    with closing(device.connect()):
        digits = device.exchange_keys()
        with pytest.raises(Refused) as waiting:
            device.confirm()
        assert waiting.value.reason == WAITING
        inviting.event("digits-asked")
        inviting.send({"digits": digits})
        inviting.event("paired")
        device.confirm()
        assert inviting.wait() == 0
        yield device


def test_reads_a_page(device: Device) -> None:
    page = device.request("GET", "/page/1/1000").whole()
    assert page.heads[-1][0] == 200
    assert hashlib.sha256(page.content).hexdigest() == page_sha256(1, 1_000)


@pytest.mark.parametrize("size", [1, 65_441, 2_000_000])
def test_posts_a_body(device: Device, size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    told = json.loads(device.request("POST", "/echo?a=1", [("x-own", "b")], body).whole().content)
    assert (told["method"], told["path"]) == ("POST", "/echo?a=1")
    assert (told["length"], told["sha256"]) == (size, hashlib.sha256(body).hexdigest())
    assert ["x-own", "b"] in told["fields"]
    assert ["x-remote-user", "ada"] in told["fields"]


def test_downloads_while_it_is_made(device: Device, upstream: Upstream) -> None:
    name = f"independent-{id(device)}"
    answered = device.request("GET", f"/drip/{name}")
    upstream.drip(name, b"first")
    while not answered.pieces or b"first" not in answered.so_far:
        assert answered.next_piece() is not None
    upstream.drip(name, b"second")
    upstream.drip(name, b"")
    assert answered.whole().content == b"firstsecond"


def test_a_long_download_keeps_to_the_credit(device: Device) -> None:
    page = device.request("GET", f"/page/2/{SIZE_BYTES}").whole()
    assert hashlib.sha256(page.content).hexdigest() == page_sha256(2, SIZE_BYTES)


def test_cancels(device: Device, upstream: Upstream) -> None:
    name = f"cancelled-{id(device)}"
    answered = device.request("GET", f"/drip/{name}")
    upstream.drip(name, b"first")
    assert answered.next_piece() is not None
    answered.cancel()
    upstream.wait_for_break(f"/drip/{name}")


def test_rotates(device: Device) -> None:
    before = device.secret
    device.exchange_keys()
    device.confirm()
    assert device.secret.generation == before.generation + 1
    assert device.request("GET", "/page/3/10").whole().heads[-1][0] == 200


def test_is_pushed_to(site: GatewaySite, device: Device) -> None:
    assert site.push("page-changed", "start", device.user_name) == 200
    assert device.take_push() == ("page-changed", b"start")


def test_cannot_be_set_up_by_another(device: Device) -> None:
    other = Device(device.code_text)
    with pytest.raises(HTTPFailed) as refused:
        other.set_up()
    assert refused.value.status == 404
    assert device.request("GET", "/page/4/10").whole().heads[-1][0] == 200


def test_hears_at_once_that_nobody_is_there(site: GatewaySite, device: Device) -> None:
    kill(site.agent)
    with pytest.raises(Failed) as failed:
        device.request("GET", "/page/5/10").whole()
    assert (failed.value.code, failed.value.by_gateway) == ("instance-offline", True)
    site.run_agent()
    assert device.request("GET", "/page/5/10").whole().heads[-1][0] == 200


def test_revokes_itself(device: Device) -> None:
    device.revoke()
    with pytest.raises(HTTPFailed) as refused:
        device.revoke()
    assert refused.value.status == 401


def test_with_tls_and_the_pin_of_the_code(
    start: Start, tmp_path: Path, upstream: Upstream
) -> None:
    site = GatewaySite(start, tmp_path / "site", upstream.url, tls=True)
    _, code, unused = site.invite("ada", immediate=True)
    assert code.startswith("https:")
    deceived = Device(code)
    deceived.code = deceived.code._replace(pin=bytes(16))
    with pytest.raises(WrongPin):
        deceived.set_up()
    device = Device(code).set_up()
    with closing(device.connect()):
        device.exchange_keys()
        device.confirm()
        assert device.request("GET", "/page/6/10").whole().heads[-1][0] == 200
    assert device.user_name == unused.device_id
    ours = site.pair("ben", immediate=True)
    assert ours.get("/effect/by-tls") == (0, "done")
    assert upstream.effects["by-tls"] == 1
