"""Whatever breaks between a browser and the web system: an answer that says what is known, or it
goes on by itself. Never a hang, and nothing is carried out twice.
"""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.real.gateway_site import GatewaySite, PairedDevice, Serving, kill
from tests.real.http_asker import Answer, ask
from tests.real.meeting import Background
from tests.real.program import Start
from tests.real.upstream import Upstream
from tests.real.web_site import page_sha256

pytestmark = pytest.mark.real

PERHAPS = "may have been carried out"
LARGE_BYTES = 64 << 20  # much more than is under way at any time
AWAY = (502, 503)  # and it is said why
WAIT_SECONDS = 60.0
SETTINGS = "head_seconds = 2.0\nidle_seconds = 2.0\n"
NAMES = (f"fault-{number}" for number in count())


@pytest.fixture(scope="module")
def site(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> GatewaySite:
    folder: Path = tmp_path_factory.mktemp("site")
    return GatewaySite(start_for_module, folder, upstream.url, settings=SETTINGS)


@pytest.fixture(scope="module")
def device(site: GatewaySite) -> PairedDevice:
    return site.pair("ada", immediate=True)


@pytest.fixture(scope="module")
def serving(device: PairedDevice) -> Serving:
    return device.serve()


@pytest.fixture(autouse=True)
def all_is_well(site: GatewaySite) -> Iterator[None]:
    """Also after a test that has failed."""
    yield
    site.revive()


def begin(port: int, method: str, path: str, body: bytes | None = None) -> Background:
    return Background(lambda: ask(port, method, path, body))


@contextmanager
def download(port: int, path: str) -> Iterator[http.client.HTTPResponse]:
    """What is read piece by piece."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)) as asking:
        asking.request("GET", path)
        with asking.getresponse() as response:
            yield response


def works(serving: Serving) -> bool:
    """Whether a page comes, at once or as soon as everybody has found each other again."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        answer = ask(serving.port, "GET", "/page/1/1000")
        if answer.status not in AWAY or time.monotonic() > deadline:
            return (answer.status, answer.sha256) == (200, page_sha256(1, 1_000))


class TestTheGatewayDies:
    def test_what_is_posted_is_answered_and_not_posted_again(
        self, site: GatewaySite, serving: Serving, upstream: Upstream
    ) -> None:
        name = next(NAMES)
        posted = begin(serving.port, "POST", f"/held/{name}", b"x")
        upstream.wait_for_effect(name)
        kill(site.gateway)
        answer: Answer = posted.result()
        assert answer.status == 502
        assert PERHAPS in answer.body.decode()
        upstream.wait_for_break(f"/held/{name}")
        upstream.release(name)
        site.restart_gateway()
        assert works(serving)
        assert upstream.effects[name] == 1

    def test_what_is_only_read_is_asked_for_again(
        self, site: GatewaySite, serving: Serving, upstream: Upstream
    ) -> None:
        name = next(NAMES)
        asked = begin(serving.port, "GET", f"/held/{name}")
        upstream.wait_for_effect(name)
        kill(site.gateway)
        upstream.wait_for_break(f"/held/{name}")
        upstream.release(name)
        site.restart_gateway()
        answer: Answer = asked.result()
        assert (answer.status, answer.body, answer.is_whole) == (200, b"done at last", True)

    def test_a_download_is_broken_off_and_never_looks_whole(
        self, site: GatewaySite, serving: Serving, upstream: Upstream
    ) -> None:
        name = next(NAMES)
        upstream.drip(name, b"the beginning")
        with download(serving.port, f"/drip/{name}") as taken:
            assert taken.read(13) == b"the beginning"
            kill(site.gateway)
            upstream.wait_for_break(f"/drip/{name}")
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                taken.read()
        site.restart_gateway()
        assert works(serving)

    def test_one_that_is_stopped_in_order_is_no_worse(
        self, site: GatewaySite, serving: Serving
    ) -> None:
        site.gateway.terminate()
        assert site.gateway.wait() == -signal.SIGTERM
        site.restart_gateway()
        assert works(serving)


class TestTheAgentDies:
    def test_what_was_posted_is_answered_at_once_and_not_posted_again(
        self, site: GatewaySite, serving: Serving, upstream: Upstream
    ) -> None:
        name = next(NAMES)
        posted = begin(serving.port, "POST", f"/held/{name}", b"x")
        upstream.wait_for_effect(name)
        kill(site.agent)
        answer: Answer = posted.result()
        assert answer.status == 502
        assert PERHAPS in answer.body.decode()
        offline = ask(serving.port, "POST", f"/effect/{name}", b"y")
        assert offline.status in AWAY
        site.run_agent()
        assert works(serving)
        assert upstream.effects[name] == 1

    def test_an_upload_that_was_broken_off_is_never_taken_for_whole(
        self, site: GatewaySite, serving: Serving, upstream: Upstream
    ) -> None:
        name = next(NAMES)
        uploading = begin(serving.port, "POST", f"/slow-effect/{name}", bytes(LARGE_BYTES))
        upstream.wait_for_body(f"/slow-effect/{name}")
        kill(site.agent)
        answer: Answer = uploading.result()
        assert answer.status in (0, 502)
        upstream.wait_for_break(f"/slow-effect/{name}")
        site.run_agent()
        assert works(serving)
        assert upstream.effects[name] == 0


class TestTheWebSystem:
    def test_is_down_for_a_while(self, serving: Serving, upstream: Upstream) -> None:
        name = next(NAMES)
        upstream.stop()
        try:
            answer = ask(serving.port, "POST", f"/effect/{name}", b"x")
            assert answer.status in AWAY
        finally:
            upstream.run()
        assert works(serving)
        assert ask(serving.port, "POST", f"/effect/{name}", b"x").status == 200
        assert upstream.effects[name] == 1

    def test_is_too_slow(self, serving: Serving, upstream: Upstream) -> None:
        name = next(NAMES)
        answer = ask(serving.port, "POST", f"/held/{name}", b"x")
        assert answer.status == 504
        upstream.wait_for_break(f"/held/{name}")
        assert upstream.effects[name] == 1
        assert works(serving)

    def test_stands_still_in_the_middle(self, serving: Serving, upstream: Upstream) -> None:
        name = next(NAMES)
        upstream.drip(name, b"the beginning")
        answer = ask(serving.port, "GET", f"/drip/{name}")
        assert (answer.status, answer.is_whole) == (200, False)
        assert works(serving)

    @pytest.mark.parametrize("sent", [0, 10, 200_000])
    def test_cuts_its_answer(self, serving: Serving, sent: int) -> None:
        answer = ask(serving.port, "GET", f"/cut/300000/{sent}")
        assert not answer.is_whole
        assert works(serving)


class TestTheDevice:
    def test_goes_while_it_downloads(self, device: PairedDevice, upstream: Upstream) -> None:
        name, serving = next(NAMES), device.serve()
        begin(serving.port, "GET", f"/drip/{name}")
        upstream.drip(name, b"x")
        upstream.wait_for_request(f"/drip/{name}")
        kill(serving.program)
        upstream.wait_for_break(f"/drip/{name}")
        assert works(device.serve())

    def test_goes_while_it_posts(self, device: PairedDevice, upstream: Upstream) -> None:
        name, serving = next(NAMES), device.serve()
        begin(serving.port, "POST", f"/held/{name}", b"x")
        upstream.wait_for_effect(name)
        kill(serving.program)
        upstream.wait_for_break(f"/held/{name}")
        assert works(device.serve())
        assert upstream.effects[name] == 1

    def test_reads_nothing_and_harms_only_itself(
        self, serving: Serving, device: PairedDevice
    ) -> None:
        stalled = device.serve()
        os.kill(stalled.program.pid, signal.SIGSTOP)
        try:
            assert works(serving)
        finally:
            os.kill(stalled.program.pid, signal.SIGCONT)
        assert works(stalled)

    @pytest.mark.parametrize("by", ["the instance", "the device"])
    def test_is_revoked_while_it_asks(
        self, site: GatewaySite, upstream: Upstream, serving: Serving, by: str
    ) -> None:
        name = next(NAMES)
        device = site.pair("ben", f"revoked-by-{by.split()[1]}", immediate=True)
        revoked = device.serve()
        posted = begin(revoked.port, "POST", f"/held/{name}", b"x")
        upstream.wait_for_effect(name)
        if by == "the instance":
            assert site.instance("revoke", device.device_id, "--json").wait() == 0
        else:
            assert device.run("revoke", "--yes", "--json").wait() == 0
        answer: Answer = posted.result()
        assert answer.status in (403, 502)
        upstream.wait_for_break(f"/held/{name}")
        assert ask(revoked.port, "POST", f"/effect/{name}", b"x").status in (0, 403)
        assert upstream.effects[name] == 1
        assert works(serving)
        states = {each["device_id"]: each["state"] for each in site.devices()}
        assert states.get(device.device_id) in (None, "left")
