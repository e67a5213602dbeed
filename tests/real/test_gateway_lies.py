"""A gateway that lies: whatever it makes of the parts, no wrong answer is believed, and nothing is
carried out twice or for somebody else.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.real.gateway_site import GatewaySite, PairedDevice, Serving
from tests.real.http_asker import Answer, ask
from tests.real.liar import Liar, Sent, honestly
from tests.real.meeting import Background
from tests.real.program import PYTHON, Start
from tests.real.upstream import Upstream
from tests.real.web_site import page_sha256

pytestmark = pytest.mark.real

SIZES = (10, 60_000, 300_000)
ROUNDS = 2
PERHAPS = "may have been carried out"
LAST, CREDIT, ERROR = 1, 4, 8
NUMBERS = count(1)
Lie = Callable[[random.Random], Callable[[Sent], Iterable[Sent]]]


def numbered(sent: Sent, number: int, flags: int) -> Sent:
    return sent._replace(part=struct.pack(">IB", number, flags) + sent.part[5:])


# Lies about responses; each makes a rule that remembers what it needs.


def flips_a_bit(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request or not sent.is_segment:
            return (sent,)
        part = bytearray(sent.part)
        part[chance.randrange(5, len(part))] ^= 1 << chance.randrange(8)
        return (sent._replace(part=bytes(part)),)

    return rule


def shortens(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request or not sent.is_segment:
            return (sent,)
        return (sent._replace(part=sent.part[: chance.randrange(5, len(sent.part))]),)

    return rule


def says_that_the_wrong_one_is_the_last(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request or not sent.is_segment:
            return (sent,)
        return (numbered(sent, sent.number, sent.part[4] ^ LAST),)

    return rule


def says_each_twice(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    return lambda sent: (sent,) if sent.is_request else (sent, sent)


def reorders(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    held: dict[str, Sent] = {}

    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request or not sent.is_segment or sent.number > 1:
            return (sent,)
        if sent.number == 0 and not sent.part[4] & LAST:
            held[sent.rid] = sent
            return ()
        return (sent, held.pop(sent.rid)) if sent.rid in held else (sent,)

    return rule


def renumbers(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    """Two parts take each other's place, numbers and all."""
    held: dict[str, Sent] = {}

    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request or not sent.is_segment or sent.number not in (1, 2):
            return (sent,)
        if sent.number == 1 and not sent.part[4] & LAST:
            held[sent.rid] = sent
            return ()
        if sent.rid not in held:
            return (sent,)
        first = held.pop(sent.rid)
        return numbered(sent, 1, 0), numbered(first, 2, 0)

    return rule


def swaps_answers(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    """Between requests, also those of different devices; of the first few, or one would wait."""
    waiting: list[Sent] = []
    left = count(2 * len(SIZES), -1)

    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request or not sent.is_segment or sent.number or next(left) <= 0:
            return (sent,)
        if not waiting:
            waiting.append(sent)
            return ()
        other = waiting.pop()
        return (
            sent.to(device=other.device, rid=other.rid),
            other.to(device=sent.device, rid=sent.rid),
        )

    return rule


def answers_with_an_old_one(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    old: dict[str, Sent] = {}

    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request or not sent.is_segment or sent.number:
            return (sent,)
        before = old.setdefault(sent.device, sent)
        return (before.to(rid=sent.rid),)

    return rule


def gives_too_much_credit(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request and sent.part[4] == CREDIT:
            return (numbered(sent, sent.number + 1_000, CREDIT),)
        return (sent,)

    return rule


def says_that_it_failed(chance: random.Random) -> Callable[[Sent], Iterable[Sent]]:
    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request or sent.number:
            return (sent,)
        body = json.dumps({"error": chance.choice(("broken", "busy", "revoked"))}).encode()
        return (sent._replace(part=struct.pack(">IB", 0, ERROR) + body),)

    return rule


LIES: list[Lie] = [
    flips_a_bit,
    shortens,
    says_that_the_wrong_one_is_the_last,
    says_each_twice,
    reorders,
    renumbers,
    swaps_answers,
    answers_with_an_old_one,
    gives_too_much_credit,
    says_that_it_failed,
]


@pytest.fixture(scope="module")
def site(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> GatewaySite:
    folder: Path = tmp_path_factory.mktemp("site")
    twistd = (*PYTHON, "-m", "tests.real.lying_gateway")
    return GatewaySite(start_for_module, folder, upstream.url, twistd=twistd)


@pytest.fixture(scope="module")
def devices(site: GatewaySite, the_liar: Liar) -> list[PairedDevice]:
    return [site.pair(user, immediate=True) for user in ("ada", "ben")]


@pytest.fixture(scope="module")
def serving(devices: list[PairedDevice]) -> list[Serving]:
    return [device.serve() for device in devices]


def take(serving: Serving, number: int, size: int) -> bool | None:
    """Whether the right page came; None if it is said that none did."""
    answer = ask(serving.port, "GET", f"/page/{number}/{size}")
    if answer.status == 200 and answer.is_whole:
        return answer.sha256 == page_sha256(number, size)
    return None


def about_some(lie: Callable[[Sent], Iterable[Sent]]) -> Callable[[Sent], Iterable[Sent]]:
    """Half of the requests get through, so that who asks again has an answer in the end."""
    chosen: dict[str, bool] = {}
    chance = random.Random(3)

    def rule(sent: Sent) -> Iterable[Sent]:
        lied_about = chosen.setdefault(sent.rid, chance.random() < 0.5)
        return lie(sent) if lied_about else (sent,)

    return rule


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__.replace("_", " "))
def test_no_wrong_answer_is_believed(liar: Liar, serving: list[Serving], lie: Lie) -> None:
    rule = lie(random.Random(1))
    liar.rule = rule if lie is swaps_answers else about_some(rule)
    for _ in range(ROUNDS):
        taking = []
        for device in serving:
            for size in SIZES:
                taking.append(Background(partial(take, device, next(NUMBERS), size)))
        assert False not in [each.result() for each in taking]
    liar.rule = honestly
    for device in serving:
        assert take(device, next(NUMBERS), SIZES[-1]) is True


def test_what_was_asked_before_is_not_carried_out_again(
    liar: Liar, site: GatewaySite, serving: list[Serving], upstream: Upstream
) -> None:
    names = [f"replayed-{number}" for number in range(3)]
    begun = len(liar.seen)
    for name in names:
        assert ask(serving[0].port, "POST", f"/effect/{name}", b"x").status == 200
    requests = [each for each in liar.seen[begun:] if each.is_request]
    other = next(each.device for each in liar.seen if each.device != requests[0].device)
    for each in requests:
        liar.say(each)
        liar.say(each.to(rid="0" * 15 + "1"))
        liar.say(each.to(device=other))
    assert take(serving[0], next(NUMBERS), 10) is True
    site.agent.terminate()
    site.agent.wait()
    site.run_agent()
    for each in requests:
        liar.say(each.to(rid="0" * 15 + "2"))
    assert take(serving[0], next(NUMBERS), 10) is True
    assert [upstream.effects[name] for name in names] == [1, 1, 1]


def test_a_copy_that_is_refused_does_not_make_the_device_ask_again(
    liar: Liar, serving: list[Serving], upstream: Upstream
) -> None:
    """The refusal is true, sealed and bound to this very request, which meanwhile runs."""
    copied: dict[str, str] = {}

    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request and sent.is_segment and sent.number == 0:
            copy = sent.to(rid=f"{next(NUMBERS):016}")
            copied[copy.rid] = sent.rid
            return sent, copy
        if not sent.is_request and sent.rid in copied:
            return (sent.to(rid=copied[sent.rid]),)
        return () if sent.rid in copied.values() and not sent.is_request else (sent,)

    liar.rule = rule
    answer = ask(serving[0].port, "POST", "/effect/copied", b"x")
    assert answer.status >= 500
    assert PERHAPS in answer.body.decode()
    liar.rule = honestly
    assert take(serving[0], next(NUMBERS), 10) is True
    assert upstream.effects["copied"] == 1


@pytest.mark.long
def test_the_lost_end_of_an_answer_is_noticed(liar: Liar, serving: list[Serving]) -> None:
    liar.rule = lambda sent: () if not sent.is_request and sent.number > 1 else (sent,)
    assert take(serving[0], next(NUMBERS), SIZES[-1]) is None


@pytest.mark.parametrize("code", ["instance-offline", "busy", "broken"])
def test_what_only_the_gateway_says_does_not_make_the_device_post_again(
    liar: Liar, serving: list[Serving], upstream: Upstream, code: str
) -> None:
    name = f"said-{code}"
    failure = struct.pack(">IB", 0xFFFFFFFF, ERROR) + json.dumps({"error": code}).encode()

    def rule(sent: Sent) -> Iterable[Sent]:
        if sent.is_request:
            return (sent,)
        return (sent._replace(part=failure),)

    liar.rule = rule
    answer = ask(serving[0].port, "POST", f"/effect/{name}", b"x")
    assert answer.status >= 500
    assert PERHAPS in answer.body.decode()
    liar.rule = honestly
    assert take(serving[0], next(NUMBERS), 10) is True
    assert upstream.effects[name] == 1


@pytest.mark.parametrize("event", ["device-offline", "device-removed", "setup-race"])
def test_nothing_is_forgotten_because_the_gateway_tells_an_instance_something(
    liar: Liar,
    site: GatewaySite,
    serving: list[Serving],
    devices: list[PairedDevice],
    event: str,
) -> None:
    told = json.dumps({"device_id": devices[0].device_id}).encode()
    liar.say(Sent(f"instance/{site.instance_id}/event/{event}", told))
    assert take(serving[0], next(NUMBERS), 10) is True


@pytest.mark.parametrize("code", ["instance-offline", "revoked", "broken"])
def test_nothing_is_forgotten_because_the_gateway_tells_a_device_something(
    liar: Liar, devices: list[PairedDevice], code: str
) -> None:
    own = devices[1].serve()
    assert take(own, next(NUMBERS), 10) is True
    failure = struct.pack(">IB", 0xFFFFFFFF, ERROR) + json.dumps({"error": code}).encode()
    liar.say(Sent(f"device/{devices[1].device_id}/response/00000000", failure))
    # Whatever this program makes of it, the next one finds the device as it was.
    assert take(devices[1].serve(), next(NUMBERS), 10) is True


def test_a_request_in_another_devices_name_is_not_carried_out(
    liar: Liar, serving: list[Serving], devices: list[PairedDevice], upstream: Upstream
) -> None:
    here, there = (device.device_id for device in devices)
    # Its answer comes back, too, or the device would wait for it.
    liar.rule = lambda sent: (sent.to(device=there if sent.is_request else here),)
    begun = len(liar.seen)
    posted = Background(lambda: ask(serving[0].port, "POST", "/effect/other", b"x"))
    liar.wait_for(lambda sent: not sent.is_request, begun)
    liar.rule = honestly
    answer: Answer = posted.result()
    assert answer.status >= 500
    assert upstream.effects["other"] == 0


def test_parts_of_an_upload_that_are_changed_never_become_an_effect(
    liar: Liar, serving: list[Serving], upstream: Upstream
) -> None:
    chance = random.Random(2)
    for number in range(6):

        def rule(sent: Sent, way: int = number) -> Iterable[Sent]:
            if not (sent.is_request and sent.is_segment):
                return (sent,)
            match way % 3:
                case 0 if sent.number:
                    return (sent._replace(part=sent.part[:-1]),)
                case 1 if sent.number == 1:
                    return ()
                case 2 if sent.number == 2:
                    return (numbered(sent, sent.number, LAST), sent)
            return (sent,)

        liar.rule = rule
        answer = ask(
            serving[0].port, "POST", f"/effect/changed-{number}", chance.randbytes(400_000)
        )
        assert answer.status >= 500
        assert upstream.effects[f"changed-{number}"] == 0
