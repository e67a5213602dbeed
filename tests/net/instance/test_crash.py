"""An instance that is killed anywhere: nothing is carried out twice, and pairings and rotations go
on or end cleanly.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.net.instance.device_record import DeviceState
from porttunnel.net.instance.store import StoreChange
from tests.net.instance.around import Crash, Phone, Surroundings
from tests.net.instance.test_instance import answer_page

# More than there are writings in what is told below; that each tells its end is checked.
WRITINGS = 12


class Killer:
    """Kills at one writing, before or after it.

    :ivar count: writings until then.
    """

    def __init__(self, around: Surroundings, at: int, when: str) -> None:
        self.count = 0
        self.has_killed = False
        self._at: int | None = at
        setattr(around.thread, when, self._see)

    def leave(self) -> None:
        """Kill nobody any more."""
        self._at = None

    def _see(self, changes: Sequence[StoreChange]) -> None:
        self.count += 1
        if self.count == self._at:
            self.has_killed = True
            raise Crash


def restart(around: Surroundings) -> None:
    around.kill()
    # What was asked before is from before the start.
    around.turn(1)
    around.start()


def finish_pairing(around: Surroundings, phone: Phone) -> bool:
    """As a device and its user would go on, whatever has happened; whether it is paired."""
    for _ in range(6):
        if phone.confirming is None and phone.secret.generation == 0:
            asked = phone.exchange()
        elif phone.confirming is not None:
            asked = phone.confirm()
            states = {one.device_id: one.state for one in around.instance.devices()}
            if states.get(phone.device_id) is DeviceState.WAITING:
                digits = phone.confirming.digits if phone.confirming else ""
                around.run(around.instance.enter_digits(phone.device_id, digits))
        else:
            return phone.ask().status == 200
        if asked.end == "revoked":
            return False
    raise AssertionError("neither paired nor ended")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, WRITINGS))
def test_pairing(tmp_path: Path, when: str, at: int) -> None:
    around = Surroundings(tmp_path)
    around.application = answer_page
    around.start()
    phone = around.invite()
    killer = Killer(around, at, when)
    phone.exchange()
    if not around.thread.is_dead:
        phone.confirm()
    if not around.thread.is_dead and phone.confirming is not None:
        entering = around.instance.enter_digits(phone.device_id, phone.confirming.digits)
        if killer.count < at - 1:
            assert isinstance(around.run(entering), Paired)
        else:
            around.begin(entering)
    if not around.thread.is_dead:
        phone.confirm()
        phone.ask()
    assert killer.has_killed == (at <= killer.count)
    killer.leave()
    if killer.has_killed:
        restart(around)
    assert finish_pairing(around, phone)
    assert around.rest.devices == {phone.device_id: "confirmed"}
    around.end()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, 7))
def test_rotation(tmp_path: Path, when: str, at: int) -> None:
    around = Surroundings(tmp_path)
    around.application = answer_page
    around.start()
    phone = around.pair()
    around.turn()
    killer = Killer(around, at, when)
    phone.exchange()
    if not around.thread.is_dead:
        phone.confirm()
    if not around.thread.is_dead:
        phone.ask()
    killer.leave()
    if killer.has_killed:
        restart(around)
    if phone.confirming is not None and phone.ask().status != 200:
        # The old secret is gone: then the new one is there.
        phone.confirm()
        assert phone.confirming is None
    assert phone.ask().status == 200
    phone.exchange()
    phone.confirm()
    assert phone.ask().status == 200
    assert around.instance.devices()[0].state is DeviceState.PAIRED
    around.end()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_request_is_never_carried_out_twice(tmp_path: Path, when: str) -> None:
    around = Surroundings(tmp_path)
    around.start()
    phone = around.pair()
    around.turn(1)
    killer = Killer(around, 1, when)
    asked = phone.begin()
    part = asked.send(b"\x02\x03GET\x05https\x00\x02/a\x00\x00\x00", last=True)
    around.turn()
    assert killer.has_killed
    assert around.requests == [], "what isn't written is not passed on"
    restart(around)
    for number in range(3):
        phone.send_part(f"copy000{number}", part)
        around.turn()
    assert around.requests == [], "it is from before the start"
    phone.ask()
    assert len(around.requests) == 1
    around.end()


@pytest.mark.parametrize("when", ["before", "after"])
def test_revoking(tmp_path: Path, when: str) -> None:
    around = Surroundings(tmp_path)
    around.start()
    phone = around.pair()
    Killer(around, 1, when)
    around.begin(around.instance.revoke(phone.device_id))
    around.turn()
    restart(around)
    if when == "before":
        assert phone.ask().end is None, "it was never revoked, and nobody was told so"
    else:
        assert phone.ask().end == "revoked"
        assert around.rest.devices == {}
    around.end()


def test_old_secrets_are_gone_from_the_disk(tmp_path: Path) -> None:
    around = Surroundings(tmp_path)
    around.start()
    phone = around.pair()
    old = phone.secret.secret
    assert old in read_all(tmp_path)
    phone.exchange()
    assert old in read_all(tmp_path)
    phone.confirm()
    assert old not in read_all(tmp_path)
    assert phone.secret.secret in read_all(tmp_path)
    around.run(around.instance.revoke(phone.device_id))
    assert phone.secret.secret not in read_all(tmp_path)
    around.end()


def test_counters_of_old_secrets_are_gone_too(tmp_path: Path) -> None:
    around = Surroundings(tmp_path)
    around.start()
    phone = around.pair()
    for _ in range(5):
        phone.ask()
    phone.exchange()
    phone.confirm()
    around.stop()
    with closing(sqlite3.connect(tmp_path / "instance.sqlite")) as connection:
        generations = connection.execute("SELECT DISTINCT generation FROM counters").fetchall()
    assert generations == [(2,)]


def test_the_state_is_its_owner_s_alone(tmp_path: Path) -> None:
    around = Surroundings(tmp_path)
    around.start()
    around.pair()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    around.end()


def test_wrong_digits_count_over_a_restart(tmp_path: Path) -> None:
    around = Surroundings(tmp_path)
    around.start()
    phone = around.invite()
    phone.exchange()
    assert phone.confirm().end == Refusal(RefusalReason.WAITING)
    assert phone.confirming is not None
    wrong = f"{(int(phone.confirming.digits) + 1) % 1_000_000:06}"
    for _ in range(2):
        around.run(around.instance.enter_digits(phone.device_id, wrong))
        restart(around)
    around.run(around.instance.enter_digits(phone.device_id, wrong))
    assert around.instance.devices() == []
    around.end()


def read_all(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
