"""Device or agent killed at each message of a pairing and of a rotation, which is lost with it:
afterwards the device works.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.real.gateway_site import GatewaySite, PairedDevice
from tests.real.http_asker import Answer, ask
from tests.real.liar import Liar, Sent, honestly
from tests.real.meeting import Background
from tests.real.program import PYTHON, Program, Start
from tests.real.upstream import Upstream
from tests.real.web_site import page_sha256

pytestmark = pytest.mark.real

KEY_FLAG_AT = 5 + 24  # the last byte of a message's head, behind the part's
PLACES = {"the request": 0, "the answer": 1, "the confirmation": 2, "its answer": 3}
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    running = Upstream()
    running.run()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def site(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> GatewaySite:
    twistd = (*PYTHON, "-m", "tests.real.lying_gateway")
    folder = tmp_path_factory.mktemp("site")
    return GatewaySite(start_for_module, folder, upstream.url, twistd=twistd)


@pytest.fixture(scope="module")
def the_liar(site: GatewaySite) -> Iterator[Liar]:
    liar = Liar(site.port)
    yield liar
    liar.close()


@pytest.fixture
def liar(the_liar: Liar) -> Iterator[Liar]:
    yield the_liar
    the_liar.rule = honestly


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


def works(device: PairedDevice) -> bool:
    answer = ask(device.serve().port, "GET", "/page/1/1000")
    return (answer.status, answer.sha256) == (200, page_sha256(1, 1_000))


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
    assert works(device)


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
    assert works(device)


@pytest.mark.parametrize("who", ["device", "agent"])
@each_place
def test_who_dies_in_a_rotation_goes_on_with_it(
    site: GatewaySite, liar: Liar, who: str, place: int
) -> None:
    device = site.pair("ada", f"rotation-{who}-{place}", immediate=True)
    site.restore_from_backup()  # from now on a device has to rotate before anything else
    serving = device.serve()
    killing = Killing(place)
    killing.program = lambda: site.agent if who == "agent" else serving.program
    liar.rule = killing
    killed = killing.program()
    asking = Background(lambda: ask(serving.port, "GET", "/page/1/1000"))
    assert killed.wait() == -signal.SIGKILL
    liar.rule = honestly
    if who == "agent":
        site.run_agent()
        answer: Answer = asking.result()
        assert (answer.status, answer.sha256) == (200, page_sha256(1, 1_000))
    assert works(device)
