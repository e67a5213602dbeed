"""porttunnel.net.instance.sqlite_store: all of a list of changes, or none, and back again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_instance import Invited, PairingPolicy
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.net.instance.sqlite_store import SQLiteInstanceStore
from porttunnel.net.instance.store import (
    CounterKept,
    DeviceErased,
    DeviceRow,
    DeviceSeen,
    DeviceWritten,
    Identity,
    IdentityWritten,
    PushCounterKept,
    RemovalFinished,
    StoredDevice,
)
from porttunnel.net.store import sqlite_file

IDENTITY = Identity("1" * 32, "2" * 32)
DEVICE, OTHER = "a" * 32, "b" * 32
ENDS = Ends(bytes.fromhex(IDENTITY.instance_id), bytes.fromhex(DEVICE))


def row_of(device_id: str, generation: int = 1) -> DeviceRow:
    phase = Paired(ENDS, DeviceSecret(generation, bytes(32)))
    return DeviceRow(device_id, "anna", phase, invited=1, expires=2, paired=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteInstanceStore]:
    opened = SQLiteInstanceStore(tmp_path / "instance.sqlite")
    opened.apply([IdentityWritten(IDENTITY)])
    yield opened
    opened.close()


def only(store: SQLiteInstanceStore) -> StoredDevice:
    (device,) = store.load().devices
    return device


def test_at_first_there_is_nothing(tmp_path: Path) -> None:
    store = SQLiteInstanceStore(tmp_path / "new.sqlite")
    found = store.load()
    assert (found.identity, found.devices, found.removals) == (None, (), ())
    store.close()


def test_who_we_are(store: SQLiteInstanceStore) -> None:
    assert store.load().identity == IDENTITY
    assert IDENTITY.password not in repr(IDENTITY)
    store.apply([DeviceWritten(row_of(DEVICE)), DeviceErased(OTHER)])
    another = Identity("3" * 32, "4" * 32)
    store.apply([IdentityWritten(another)])
    found = store.load()
    assert (found.identity, found.devices, found.removals) == (another, [], ())


def test_a_device(store: SQLiteInstanceStore) -> None:
    row = row_of(DEVICE)
    store.apply([DeviceWritten(row)])
    found = only(store)
    assert replace(found.row, phase=row.phase) == row
    assert (found.seen, found.push_counter, dict(found.counters)) == (None, 0, {})
    later = replace(row, is_confirmed=True, has_left=True, stale_generation=1, paired=None)
    store.apply([DeviceSeen(DEVICE, 7), PushCounterKept(DEVICE, 2**64 - 1), DeviceWritten(later)])
    found = only(store)
    assert replace(found.row, phase=row.phase) == later
    assert (found.seen, found.push_counter) == (7, 2**64 - 1)


def test_counters(store: SQLiteInstanceStore) -> None:
    store.apply([DeviceWritten(row_of(DEVICE)), DeviceWritten(row_of(OTHER))])
    store.apply([CounterKept(DEVICE, 1, number, None) for number in (0, 5, 2**64 - 1)])
    store.apply([CounterKept(DEVICE, 1, 6, 0), CounterKept(OTHER, 1, 5, None)])
    counters = {found.row.device_id: dict(found.counters) for found in store.load().devices}
    assert {
        name: {key: sorted(kept) for key, kept in each.items()} for name, each in counters.items()
    } == {DEVICE: {1: [5, 6, 2**64 - 1]}, OTHER: {1: [5]}}


def test_counters_go_with_their_secret(store: SQLiteInstanceStore) -> None:
    store.apply([DeviceWritten(row_of(DEVICE, 3)), CounterKept(DEVICE, 3, 1, None)])
    store.apply([DeviceWritten(row_of(DEVICE, 4)), CounterKept(DEVICE, 4, 2, None)])
    assert dict(only(store).counters) == {4: [2]}


def test_of_an_erased_device_nothing_comes_back(store: SQLiteInstanceStore) -> None:
    store.apply([DeviceWritten(row_of(DEVICE)), CounterKept(DEVICE, 1, 1, None)])
    store.apply([DeviceErased(DEVICE)])
    store.apply([CounterKept(DEVICE, 1, 2, None), DeviceSeen(DEVICE, 1)])
    found = store.load()
    assert (found.devices, found.removals) == ([], (DEVICE,))
    store.apply([RemovalFinished(DEVICE)])
    assert store.load().removals == ()


def test_all_or_none(store: SQLiteInstanceStore) -> None:
    store.apply([DeviceWritten(row_of(DEVICE)), CounterKept(DEVICE, 1, 1, None)])
    with pytest.raises(Exception, match="UNIQUE"):
        store.apply([DeviceSeen(DEVICE, 9), CounterKept(DEVICE, 1, 1, None)])
    assert only(store).seen is None


def test_an_invitation(store: SQLiteInstanceStore) -> None:
    phase = Invited(ENDS, PairingPolicy.IMMEDIATE, DeviceSecret.from_setup(b"s" * 32))
    store.apply([DeviceWritten(replace(row_of(DEVICE), phase=phase, paired=None))])
    found = only(store).row.phase
    assert isinstance(found, Invited)
    assert (found.policy, found.setup.secret) == (PairingPolicy.IMMEDIATE, b"s" * 32)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(ConfigurationError, match="not a SQLite file"):
        SQLiteInstanceStore(tmp_path / "x.sqlite")


def test_two_instances_with_one_state(
    tmp_path: Path, store: SQLiteInstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.01)
    store.load()
    with pytest.raises(ConfigurationError, match="another program keeps it locked"):
        SQLiteInstanceStore(tmp_path / "instance.sqlite").load()
