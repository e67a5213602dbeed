"""Device or agent killed at each message of a pairing and of a rotation, which is lost with it:
afterwards the device works.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable

import pytest

from tests.real.gateway_site import GatewaySite, PairedDevice
from tests.real.http_asker import ask
from tests.real.liar import Liar, Sent, honestly
from tests.real.meeting import Background
from tests.real.program import PYTHON, Program, Start
from tests.real.upstream import Upstream
from tests.real.web_site import page_sha256

pytestmark = pytest.mark.real

KEY_FLAG_AT = 5 + 24  # the last byte of a message's head, behind the part's
AWAY = (502, 503)  # and it is said why
WAIT_SECONDS = 60.0
PLACES = {"the request": 0, "the answer": 1, "the confirmation": 2, "its answer": 3}
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


@pytest.fixture(scope="module")
def site(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> GatewaySite:
    twistd = (*PYTHON, "-m", "tests.real.lying_gateway")
    folder = tmp_path_factory.mktemp("site")
    return GatewaySite(start_for_module, folder, upstream.url, twistd=twistd)


def is_about_keys(sent: Sent) -> bool:
    return sent.is_segment and sent.number == 0 and bool(sent.part[KEY_FLAG_AT])


class Killing:
    """Loses one message about keys, and kills a program at that moment.

    :param place: how many such messages go before.
    """

    def __init__(self, place: int) -> None:
        self._left = place
        self.program: Callable[[], Program]
        self.killed = False

    def __call__(self, sent: Sent) -> Iterable[Sent]:
        if self.killed or not is_about_keys(sent):
            return () if self.killed and is_about_keys(sent) else (sent,)
        if self._left:
            self._left -= 1
            return (sent,)
        os.kill(self.program().pid, signal.SIGKILL)
        self.killed = True
        return ()


def works(port: int) -> bool:
    """Whether a page comes, at once or as soon as everybody has found each other again."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        answer = ask(port, "GET", "/page/1/1000")
        if answer.status not in AWAY or time.monotonic() > deadline:
            return (answer.status, answer.sha256) == (200, page_sha256(1, 1_000))


@pytest.fixture(scope="module")
def device(site: GatewaySite, the_liar: Liar) -> PairedDevice:
    """One that rotates again and again."""
    return site.pair("ada", "rotating", immediate=True)


@each_place
def test_a_device_that_dies_in_a_pairing_goes_on_with_the_same_code(
    site: GatewaySite, liar: Liar, place: int
) -> None:
    inviting, code, device = site.invite("ada", f"pairing-device-{place}", immediate=True)
    killing = liar.rule = Killing(place)
    pairing = device.begin_pairing(code)
    killing.program = lambda: pairing
    assert pairing.wait() == -signal.SIGKILL
    liar.rule = honestly
    again = device.begin_pairing(code)
    again.event("paired")
    assert again.wait() == 0
    inviting.event("paired")
    assert works(device.serve().port)


@each_place
def test_an_agent_that_dies_in_a_pairing_goes_on_with_it(
    site: GatewaySite, liar: Liar, place: int
) -> None:
    _, code, device = site.invite("ada", f"pairing-agent-{place}", immediate=True)
    killing = Killing(place)
    killing.program = lambda: site.agent
    liar.rule = killing
    pairing = device.begin_pairing(code)
    assert site.agent.wait() == -signal.SIGKILL
    liar.rule = honestly
    site.run_agent()
    pairing.event("paired")
    assert pairing.wait() == 0
    assert works(device.serve().port)


@each_place
def test_a_device_that_dies_in_a_rotation_goes_on_with_it(
    site: GatewaySite, device: PairedDevice, liar: Liar, place: int
) -> None:
    site.restore_from_backup()  # from now on a device has to rotate before anything else
    serving = device.serve()
    killing = Killing(place)
    killing.program = lambda: serving.program
    liar.rule = killing
    Background(lambda: ask(serving.port, "GET", "/page/1/1000"))
    assert serving.program.wait() == -signal.SIGKILL
    liar.rule = honestly
    assert works(device.serve().port)


@each_place
def test_an_agent_that_dies_in_a_rotation_goes_on_with_it(
    site: GatewaySite, device: PairedDevice, liar: Liar, place: int
) -> None:
    site.restore_from_backup()
    serving = device.serve()
    killing = Killing(place)
    killing.program = lambda: site.agent
    liar.rule = killing
    Background(lambda: ask(serving.port, "GET", "/page/1/1000"))
    assert site.agent.wait() == -signal.SIGKILL
    liar.rule = honestly
    site.run_agent()
    assert works(serving.port)
