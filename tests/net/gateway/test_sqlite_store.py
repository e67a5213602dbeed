"""porttunnel.net.gateway.sqlite_store"""

from __future__ import annotations

import os
import resource
import secrets
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.setup_claim import ClaimOutcome, SetupOffer
from porttunnel.net.gateway.sqlite_store import _SELECT_LATE, CONFIRM_SECONDS, SQLiteGatewayStore
from porttunnel.net.gateway.store import (
    Addition,
    Claim,
    Counts,
    Credential,
    DeviceRow,
    DeviceState,
    OfferRow,
    Revocation,
)
from porttunnel.net.store.sqlite_file import IN_MEMORY

INSTANCE, OTHER_INSTANCE = "1" * 32, "2" * 32
DEVICE, OTHER_DEVICE = "a" * 32, "b" * 32
KEY, OTHER_KEY = b"k" * 32, b"l" * 32
NONCE, OTHER_NONCE = b"n" * 32, b"m" * 32
EXPIRES = 600.0

# What another process of the gateway does; it prints an id only when it has it.
ADD = """
import sys
from porttunnel.net.gateway.sqlite_store import SQLiteGatewayStore
store = SQLiteGatewayStore(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    instance_id = sys.argv[2] + format(number, "031x")
    store.add_instance(instance_id, "hash", 10**9)
    print(instance_id, flush=True)
"""


@pytest.fixture
def store() -> Iterator[SQLiteGatewayStore]:
    with closing(SQLiteGatewayStore(IN_MEMORY)) as opened:
        opened.add_instance(INSTANCE, "hash i", 10)
        opened.add_instance(OTHER_INSTANCE, "hash j", 10)
        yield opened


def add_device(store: SQLiteGatewayStore, device: str = DEVICE, key: bytes = KEY) -> None:
    assert store.add_device(device, INSTANCE, key, EXPIRES, 10) is Addition.ADDED


def claim(store: SQLiteGatewayStore, nonce: bytes = NONCE, now: float = 1.0) -> Claim | None:
    return store.claim(KEY, nonce, "hash d", now)


# Instances


def test_an_instance_has_a_password(store: SQLiteGatewayStore) -> None:
    assert store.credential(INSTANCE) == Credential(INSTANCE, INSTANCE, "hash i")
    assert store.credential(DEVICE) is None
    assert "hash" not in repr(store.credential(INSTANCE))


def test_there_are_only_so_many_instances(store: SQLiteGatewayStore) -> None:
    assert store.add_instance("3" * 32, "hash", 2) is Addition.FULL
    assert store.add_instance("3" * 32, "hash", 3) is Addition.ADDED
    assert store.counts() == Counts(instances=3, devices=0, offers=0)


def test_the_next_password_takes_over_once(store: SQLiteGatewayStore) -> None:
    assert store.set_next_password(INSTANCE, "hash 2")
    assert store.credential(INSTANCE) == Credential(INSTANCE, INSTANCE, "hash i", "hash 2")
    assert store.set_next_password(INSTANCE, "hash 3")
    assert not store.promote_password(INSTANCE, "hash 2")
    assert store.credential(INSTANCE) == Credential(INSTANCE, INSTANCE, "hash i", "hash 3")
    assert store.promote_password(INSTANCE, "hash 3")
    assert store.credential(INSTANCE) == Credential(INSTANCE, INSTANCE, "hash 3")
    assert not store.promote_password(INSTANCE, "hash 3")
    assert store.credential(OTHER_INSTANCE) == Credential(OTHER_INSTANCE, OTHER_INSTANCE, "hash j")


def test_who_is_gone_gets_no_password(store: SQLiteGatewayStore) -> None:
    assert not store.set_next_password(DEVICE, "hash")
    assert not store.promote_password(DEVICE, "hash")
    assert store.credential(DEVICE) is None


def test_with_an_instance_goes_all_that_is_its(store: SQLiteGatewayStore) -> None:
    add_device(store)
    add_device(store, OTHER_DEVICE, OTHER_KEY)
    claim(store)
    assert store.remove_instance(INSTANCE) == [DEVICE, OTHER_DEVICE]
    assert store.remove_instance(INSTANCE) is None
    assert store.device(DEVICE) is None
    assert store.offer(KEY) is None
    assert store.credential(DEVICE) is None
    assert store.credential(INSTANCE) is None
    assert store.counts() == Counts(instances=1, devices=0, offers=0)


# Devices


def test_a_device_is_invited_claimed_and_confirmed(store: SQLiteGatewayStore) -> None:
    add_device(store)
    assert store.device(DEVICE) == DeviceRow(DEVICE, INSTANCE, DeviceState.INVITED)
    assert store.confirm_device(DEVICE, INSTANCE) is DeviceState.INVITED
    assert store.credential(DEVICE) is None
    assert store.counts() == Counts(instances=2, devices=0, offers=1)

    assert claim(store) == Claim(ClaimOutcome.TAKEN, DEVICE, INSTANCE)
    assert store.device(DEVICE) == DeviceRow(DEVICE, INSTANCE, DeviceState.CLAIMED)
    assert store.credential(DEVICE) == Credential(DEVICE, INSTANCE, "hash d")
    assert store.counts() == Counts(instances=2, devices=1, offers=0)

    assert store.confirm_device(DEVICE, OTHER_INSTANCE) is None
    assert store.device(DEVICE) == DeviceRow(DEVICE, INSTANCE, DeviceState.CLAIMED)
    assert store.confirm_device(DEVICE, INSTANCE) is DeviceState.CONFIRMED
    assert store.confirm_device(DEVICE, INSTANCE) is DeviceState.CONFIRMED
    assert store.confirm_device(OTHER_DEVICE, INSTANCE) is None


def test_each_instance_has_its_own_devices(store: SQLiteGatewayStore) -> None:
    add_device(store, OTHER_DEVICE, OTHER_KEY)
    add_device(store)
    assert [row.device_id for row in store.devices(INSTANCE)] == [DEVICE, OTHER_DEVICE]
    assert store.devices(OTHER_INSTANCE) == []
    assert not store.remove_device(DEVICE, OTHER_INSTANCE)
    assert store.remove_device(DEVICE, INSTANCE)
    assert not store.remove_device(DEVICE, INSTANCE)
    assert [row.device_id for row in store.devices(INSTANCE)] == [OTHER_DEVICE]
    assert store.offer(KEY) is None


def test_there_are_only_so_many_devices(store: SQLiteGatewayStore) -> None:
    add_device(store)
    assert store.add_device(OTHER_DEVICE, INSTANCE, OTHER_KEY, EXPIRES, 1) is Addition.FULL
    assert store.add_device(OTHER_DEVICE, OTHER_INSTANCE, OTHER_KEY, EXPIRES, 1) is Addition.ADDED
    assert store.add_device("c" * 32, "3" * 32, b"3" * 32, EXPIRES, 1) is Addition.NO_INSTANCE


# Setup keys


def test_an_offer_is_what_it_was(store: SQLiteGatewayStore) -> None:
    add_device(store)
    assert store.offer(KEY) == OfferRow(DEVICE, INSTANCE, SetupOffer(EXPIRES))
    claim(store)
    assert store.offer(KEY) == OfferRow(DEVICE, INSTANCE, SetupOffer(EXPIRES, NONCE))
    store.confirm_device(DEVICE, INSTANCE)
    assert store.offer(KEY) == OfferRow(
        DEVICE, INSTANCE, SetupOffer(EXPIRES, NONCE, confirmed=True)
    )
    assert store.offer(OTHER_KEY) is None


def test_the_same_nonce_changes_nothing(store: SQLiteGatewayStore) -> None:
    add_device(store)
    claim(store)
    assert store.claim(KEY, NONCE, "another", 2.0) == Claim(
        ClaimOutcome.REPEATED, DEVICE, INSTANCE
    )
    assert store.credential(DEVICE) == Credential(DEVICE, INSTANCE, "hash d")


def test_another_nonce_ends_both(store: SQLiteGatewayStore) -> None:
    add_device(store)
    claim(store)
    assert claim(store, OTHER_NONCE) == Claim(ClaimOutcome.RACE, DEVICE, INSTANCE)
    assert store.device(DEVICE) is None
    assert store.offer(KEY) is None
    assert claim(store) is None
    assert claim(store, OTHER_NONCE) is None


def test_another_nonce_comes_late_for_one_that_is_confirmed(store: SQLiteGatewayStore) -> None:
    add_device(store)
    claim(store)
    store.confirm_device(DEVICE, INSTANCE)
    assert claim(store, OTHER_NONCE) == Claim(ClaimOutcome.LATE, DEVICE, INSTANCE)
    assert store.credential(DEVICE) == Credential(DEVICE, INSTANCE, "hash d")


def test_a_key_ends(store: SQLiteGatewayStore) -> None:
    add_device(store)
    assert claim(store, now=EXPIRES) == Claim(ClaimOutcome.EXPIRED, DEVICE, INSTANCE)
    assert store.credential(DEVICE) is None


def test_what_nobody_claimed_is_swept(store: SQLiteGatewayStore) -> None:
    add_device(store)
    assert store.sweep(EXPIRES - 1, 10) == []
    assert store.sweep(EXPIRES, 10) == [(INSTANCE, DEVICE)]
    assert store.sweep(EXPIRES, 10) == []
    assert store.device(DEVICE) is None
    assert store.offer(KEY) is None


def test_of_who_came_only_the_key_is_swept(store: SQLiteGatewayStore) -> None:
    add_device(store)
    claim(store)
    assert store.sweep(EXPIRES, 10) == []
    assert store.offer(KEY) is None
    assert store.device(DEVICE) == DeviceRow(DEVICE, INSTANCE, DeviceState.CLAIMED)


def test_what_nobody_confirmed_is_swept_a_day_later(store: SQLiteGatewayStore) -> None:
    add_device(store)
    add_device(store, OTHER_DEVICE, OTHER_KEY)
    claim(store)
    store.claim(OTHER_KEY, NONCE, "hash e", 1.0)
    store.confirm_device(OTHER_DEVICE, INSTANCE)
    assert store.sweep(EXPIRES + CONFIRM_SECONDS - 1, 10) == []
    assert store.sweep(EXPIRES + CONFIRM_SECONDS, 10) == [(INSTANCE, DEVICE)]
    assert [row.device_id for row in store.devices(INSTANCE)] == [OTHER_DEVICE]


def test_a_sweep_removes_only_so_much(store: SQLiteGatewayStore) -> None:
    for number in range(5):
        add_device(store, f"{number:032x}", bytes([number] * 32))
    assert len(store.sweep(EXPIRES, 2)) == 2
    assert len(store.sweep(EXPIRES, 2)) == 2
    assert len(store.sweep(EXPIRES, 2)) == 1


@pytest.mark.parametrize("statement", _SELECT_LATE)
def test_a_sweep_finds_by_indices(store: SQLiteGatewayStore, statement: str) -> None:
    plan = store._file.rows("EXPLAIN QUERY PLAN " + statement, 1.0, 10)
    steps = [detail for *_, detail in plan]
    assert steps
    assert [step for step in steps if "USING" not in step] == []
    assert [step for step in steps if step.startswith("SCAN")] == []


# The file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "gateway.sqlite"


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start_adding(
    processes: list[subprocess.Popen[str]], path: Path, first_digit: str, count: int
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", ADD, str(path), first_digit, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    processes.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_the_file_is_its_owners_alone(path: Path) -> None:
    with closing(SQLiteGatewayStore(path)) as store:
        store.add_instance(INSTANCE, "hash", 10)
        modes = {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {0o600}


def test_two_processes_share_a_file(path: Path, processes: list[subprocess.Popen[str]]) -> None:
    adding = [start_adding(processes, path, digit, 40) for digit in "ab"]
    for process in adding:
        go(process)
    told = {line for process in adding for line in process.communicate()[0].split()}
    assert len(told) == 80
    with closing(SQLiteGatewayStore(path)) as store:
        assert store.counts().instances == 80
        assert all(store.credential(instance_id) for instance_id in told)


def test_who_was_told_is_there_after_a_kill(
    path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    for digit in "abc":
        process = start_adding(processes, path, digit, 10_000)
        go(process)
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        told += process.communicate()[0].splitlines()
        with closing(SQLiteGatewayStore(path)) as store:
            # The last line may have been cut in the middle.
            assert all(store.credential(each) for each in told if len(each) == 32)
            assert store.add_instance(secrets.token_hex(16), "hash", 10**9) is Addition.ADDED


def test_of_what_was_removed_nothing_is_left(path: Path) -> None:
    secrets_of_old = (KEY, NONCE, b"hash d", b"hash i", DEVICE.encode())

    def left() -> set[bytes]:
        content = b"".join(each.read_bytes() for each in path.parent.iterdir())
        return {secret for secret in secrets_of_old if secret in content}

    with closing(SQLiteGatewayStore(path)) as store:
        store.add_instance(INSTANCE, "hash i", 10)
        add_device(store)
        claim(store)
        store.sweep(1.0, 10)
        store.erase()
        assert left() == set(secrets_of_old)
        store.set_next_password(INSTANCE, "hash 2")
        store.promote_password(INSTANCE, "hash 2")
        store.sweep(EXPIRES, 10)
        store.erase()
        assert left() == {b"hash d", DEVICE.encode()}
        store.remove_device(DEVICE, INSTANCE)
        store.sweep(EXPIRES, 10)
        store.erase()
        assert left() == {DEVICE.encode()}  # for other processes to hear of
        store.sweep(EXPIRES, 10)
        store.erase()
        assert left() == set()
        assert store.credential(INSTANCE) == Credential(INSTANCE, INSTANCE, "hash 2")


# What other processes revoke


@pytest.fixture
def both(path: Path) -> Iterator[tuple[SQLiteGatewayStore, SQLiteGatewayStore]]:
    """One process, and another that has opened the file later."""
    with closing(SQLiteGatewayStore(path)) as one, closing(SQLiteGatewayStore(path)) as other:
        one.add_instance(INSTANCE, "hash i", 10)
        add_device(one)
        add_device(one, OTHER_DEVICE, OTHER_KEY)
        yield one, other


def race(store: SQLiteGatewayStore) -> None:
    claim(store)
    claim(store, OTHER_NONCE)


def change_password(store: SQLiteGatewayStore) -> None:
    store.set_next_password(INSTANCE, "hash 2")
    store.promote_password(INSTANCE, "hash 2")


DEVICE_GONE, OTHER_DEVICE_GONE = (
    Revocation(each, INSTANCE, True) for each in (DEVICE, OTHER_DEVICE)
)


@pytest.mark.parametrize(
    ("revoke", "expected"),
    [
        (lambda store: store.remove_device(DEVICE, INSTANCE), [DEVICE_GONE]),
        (race, [DEVICE_GONE]),
        (lambda store: store.sweep(EXPIRES, 10), [DEVICE_GONE, OTHER_DEVICE_GONE]),
        (change_password, [Revocation(INSTANCE, INSTANCE, True)]),
        (
            lambda store: store.remove_instance(INSTANCE),
            [Revocation(each, INSTANCE, False) for each in (DEVICE, OTHER_DEVICE, INSTANCE)],
        ),
        (claim, []),
        (lambda store: store.set_next_password(INSTANCE, "hash 2"), []),
        (lambda store: store.remove_device("c" * 32, INSTANCE), []),
    ],
)
def test_what_one_process_revokes_the_other_hears_once(
    both: tuple[SQLiteGatewayStore, SQLiteGatewayStore],
    revoke: Callable[[SQLiteGatewayStore], object],
    expected: list[Revocation],
) -> None:
    one, other = both
    revoke(one)
    assert sorted(other.revocations(), key=lambda each: each.user_name) == sorted(
        expected, key=lambda each: each.user_name
    )
    assert other.revocations() == []
    assert one.revocations() == []


def test_what_both_revoke_is_heard_by_both(
    both: tuple[SQLiteGatewayStore, SQLiteGatewayStore],
) -> None:
    one, other = both
    one.remove_device(DEVICE, INSTANCE)
    other.remove_device(OTHER_DEVICE, INSTANCE)
    assert other.revocations() == [DEVICE_GONE]
    assert one.revocations() == [OTHER_DEVICE_GONE]


def test_what_somebody_removes_by_hand_is_heard(
    both: tuple[SQLiteGatewayStore, SQLiteGatewayStore], path: Path
) -> None:
    with closing(sqlite3.connect(path)) as hand, hand:
        hand.execute("DELETE FROM devices WHERE device_id = ?", (DEVICE,))
    assert [store.revocations() for store in both] == [[DEVICE_GONE], [DEVICE_GONE]]


def test_what_was_revoked_is_forgotten_but_not_at_once(
    both: tuple[SQLiteGatewayStore, SQLiteGatewayStore],
) -> None:
    one, other = both
    one.remove_device(DEVICE, INSTANCE)
    one.sweep(0.0, 10)
    assert other.revocations() == [DEVICE_GONE]
    one.sweep(0.0, 10)
    assert one._file.read("SELECT * FROM revocations") == []
    # Its number is not given away again.
    one.remove_device(OTHER_DEVICE, INSTANCE)
    assert other.revocations() == [OTHER_DEVICE_GONE]
    assert one.revocations() == []


def test_who_comes_later_has_heard_of_it(path: Path) -> None:
    with closing(SQLiteGatewayStore(path)) as store:
        store.add_instance(INSTANCE, "hash i", 10)
        store.remove_instance(INSTANCE)
    with closing(SQLiteGatewayStore(path)) as store:
        assert store.revocations() == []


# Others at the file


def test_who_logs_in_waits_for_nobody_who_writes(path: Path) -> None:
    """Another program may have the file for longer than anybody waits."""
    with closing(SQLiteGatewayStore(path)) as store, closing(sqlite3.connect(path)) as other:
        store.add_instance(INSTANCE, "hash i", 10)
        add_device(store)
        other.execute("BEGIN IMMEDIATE")
        store._file.rows("PRAGMA busy_timeout = 0")
        assert store.credential(INSTANCE) is not None
        assert store.devices(INSTANCE) == [store.device(DEVICE)]
        assert store.offer(KEY) is not None
        with pytest.raises(ConfigurationError, match="stop that program"):
            store.remove_device(DEVICE, INSTANCE)


def test_a_full_disk_is_noticed_without_an_account(path: Path) -> None:
    with closing(SQLiteGatewayStore(path)) as store:
        store.probe()
        store.erase()
        # The next page of the journal finds no room.
        taken = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, taken[1]))
        try:
            with pytest.raises(ConfigurationError):
                store.probe()
            assert store.credential(INSTANCE) is None
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, taken)
        store.probe()


def test_a_file_that_is_none_is_said(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(ConfigurationError, match="not a SQLite file"):
        SQLiteGatewayStore(path)
