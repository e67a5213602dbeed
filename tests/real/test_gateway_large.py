"""Large and slow bodies by way of the gateway: memory stays flat, and nobody waits for others."""

from __future__ import annotations

import hashlib
import http.client
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.benchmarks.bulk import MIB
from tests.benchmarks.processes import peak_resident_bytes, resident_bytes
from tests.real.gateway_site import GatewaySite, Serving
from tests.real.http_asker import ask
from tests.real.program import Program, Start
from tests.real.upstream import Upstream
from tests.real.web_site import page_chunks, page_sha256

pytestmark = pytest.mark.real

SIZES = [
    pytest.param(256 * MIB, id="256 MiB"),
    pytest.param(1024 * MIB, id="1 GiB", marks=pytest.mark.long),
]
UPLOAD_BYTES = 128 * MIB
# A window of a MiB for each direction, what waits in sockets, and what Python's allocator takes.
MAX_GROWTH_BYTES = 24 * MIB
RECEIVE_BYTES = 1 << 18
WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def site(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> GatewaySite:
    folder: Path = tmp_path_factory.mktemp("site")
    return GatewaySite(start_for_module, folder, upstream.url)


@pytest.fixture(scope="module")
def serving(site: GatewaySite) -> list[Serving]:
    found = [site.pair(user, immediate=True).serve() for user in ("ada", "ben")]
    for each in found:  # whatever is needed once is there
        assert ask(each.port, "GET", f"/page/1/{MIB}").sha256 == page_sha256(1, MIB)
        assert ask(each.port, "POST", "/echo", bytes(MIB)).status == 200
    return found


class Growth:
    """How much more memory the programs on the way have ever had than now."""

    def __init__(self, site: GatewaySite, *serving: Serving) -> None:
        self._programs: dict[str, Program] = {"gateway": site.gateway, "agent": site.agent}
        self._programs |= {f"device {n}": each.program for n, each in enumerate(serving)}
        self._before = {name: resident_bytes(each.pid) for name, each in self._programs.items()}

    def measured(self) -> dict[str, int]:
        return {
            name: peak_resident_bytes(each.pid) - self._before[name]
            for name, each in self._programs.items()
        }


@pytest.mark.parametrize("size", SIZES)
def test_a_download_takes_no_memory(site: GatewaySite, serving: list[Serving], size: int) -> None:
    growth, digest = Growth(site, serving[0]), hashlib.sha256()
    with closing(http.client.HTTPConnection("127.0.0.1", serving[0].port, WAIT_SECONDS)) as asking:
        asking.request("GET", f"/page/7/{size}")
        with asking.getresponse() as response:
            while data := response.read(RECEIVE_BYTES):
                digest.update(data)
    assert digest.hexdigest() == page_sha256(7, size)
    assert max(growth.measured().values()) < MAX_GROWTH_BYTES, growth.measured()


def test_an_upload_takes_no_memory(site: GatewaySite, serving: list[Serving]) -> None:
    growth = Growth(site, serving[0])
    with closing(http.client.HTTPConnection("127.0.0.1", serving[0].port, WAIT_SECONDS)) as asking:
        chunks = map(bytes, page_chunks(8, UPLOAD_BYTES))
        fields = {"Content-Length": str(UPLOAD_BYTES)}
        asking.request("POST", "/echo", chunks, fields)
        with asking.getresponse() as response:
            assert page_sha256(8, UPLOAD_BYTES) in response.read().decode()
    assert max(growth.measured().values()) < MAX_GROWTH_BYTES, growth.measured()


def test_who_does_not_read_costs_nobody_anything(
    site: GatewaySite, serving: list[Serving], upstream: Upstream
) -> None:
    growth = Growth(site, *serving)
    path = f"/page/9/{64 * MIB}"
    stalled = [socket.create_connection(("127.0.0.1", serving[0].port)) for _ in range(4)]
    try:
        host = f"127.0.0.1:{serving[0].port}"
        for each in stalled:
            each.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        upstream.wait_for_request(path)
        # The same device's other requests and the other device's are as fast as they are.
        for device in serving:
            for _ in range(20):
                assert ask(device.port, "GET", f"/page/1/{MIB}").sha256 == page_sha256(1, MIB)
    finally:
        for each in stalled:
            each.close()
    upstream.wait_for_break(path)
    assert max(growth.measured().values()) < MAX_GROWTH_BYTES, growth.measured()
