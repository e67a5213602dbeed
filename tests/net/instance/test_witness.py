"""porttunnel.net.instance.witness, and how the store uses it: an older state is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.net.instance.sqlite_store import IN_MEMORY, SQLiteInstanceStore
from porttunnel.net.instance.store import Identity, IdentityWritten
from porttunnel.net.instance.witness import Witness

IDENTITY = Identity("1" * 32, "2" * 32)


def is_restored(path: Path) -> bool:
    store = SQLiteInstanceStore(path)
    try:
        return store.load().is_restored
    finally:
        store.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "instance.sqlite"
    leave(path)
    return path


def leave(path: Path) -> None:
    store = SQLiteInstanceStore(path)
    store.apply([IdentityWritten(IDENTITY)])
    store.leave_witness()
    store.close()


def test_the_same_state(state: Path) -> None:
    assert not is_restored(state)
    leave(state)
    assert not is_restored(state)


def test_a_new_one(tmp_path: Path) -> None:
    assert not is_restored(tmp_path / "new.sqlite")


def test_one_that_keeps_nothing() -> None:
    store = SQLiteInstanceStore(IN_MEMORY)
    store.leave_witness()
    assert not store.load().is_restored
    store.close()


def test_a_backup_written_over_it(state: Path) -> None:
    backup = state.read_bytes()
    leave(state)
    state.write_bytes(backup)
    assert is_restored(state)


def test_a_backup_without_a_witness(state: Path) -> None:
    state.with_name(state.name + ".witness").unlink()
    assert is_restored(state)


def test_a_copy_of_the_whole_folder(state: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert is_restored(tmp_path / "copy" / state.name)


def test_cut_off_between_the_two_places(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    for _ in range(2):
        store = SQLiteInstanceStore(state)
        with monkeypatch.context() as patched:
            patched.setattr(Witness, "write", fail)
            with pytest.raises(RuntimeError):
                store.leave_witness()
        store.close()
        assert not is_restored(state)
    leave(state)
    assert not is_restored(state)


def test_a_witness_that_can_t_be_used_is_an_error_in_words(state: Path) -> None:
    witness = state.with_name(state.name + ".witness")
    witness.unlink()
    witness.mkdir()
    store = SQLiteInstanceStore(state)
    with pytest.raises(ConfigurationError, match="right to read"):
        store.load()
    with pytest.raises(ConfigurationError, match="right to read"):
        store.leave_witness()
    store.close()


def test_a_witness_is_its_owner_s_alone(state: Path) -> None:
    assert state.with_name(state.name + ".witness").stat().st_mode & 0o777 == 0o600
