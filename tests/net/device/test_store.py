"""porttunnel.net.device.store: what is on the disk when, who can read it, and who shares it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from porttunnel.errors import ConfigurationError, LocalProtocolError, PairingError
from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_code import WEB_PKI, PairingCode
from porttunnel.gateway.pairing_device import DeviceConfirming
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.keys.credentials import derive_device_password
from porttunnel.net.device.record import DeviceRecord, PairingStage
from porttunnel.net.device.store import FILE_NAME, DeviceStore
from porttunnel.net.gateway_client.answer import ClaimedDevice
from porttunnel.net.gateway_client.rest import Login

KEY, SETUP_SECRET, NONCE = (
    b"k" * 16,
    b"setup secret of 32 bytes, really",
    b"client nonce of 32 bytes, indeed",
)
CODE = PairingCode("https://gateway.example", KEY, SETUP_SECRET, WEB_PKI, 1_000)
CLAIMED = ClaimedDevice("1a" * 16, "2b" * 16)
FIRST = b"the first secret, of 32 bytes, a"
SECOND = b"the second secret, of 32 bytes b"
NOW = 1_790_000_000.5


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DeviceStore]:
    store = DeviceStore(tmp_path)
    yield store
    store.close()


def confirming(generation: int, secret: bytes, digits: str = "") -> DeviceConfirming:
    return DeviceConfirming(DeviceSecret(generation, secret), digits, b"n" * 32)


def paired(store: DeviceStore) -> DeviceRecord:
    store.begin_pairing(CODE, NONCE)
    store.begin_exchange(KEY, CLAIMED, b"a private key", b"n" * 32, b"f" * 32)
    store.begin_confirming(KEY, confirming(1, FIRST, "123456"))
    return store.finish_pairing(KEY, NOW)


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_a_pairing_step_by_step(store: DeviceStore) -> None:
    begun = store.begin_pairing(CODE, NONCE)
    assert begun.stage is PairingStage.CLAIMING
    assert (begun.setup_key, begun.setup_secret, begun.expires) == (KEY, SETUP_SECRET, 1_000)
    assert store.begin_pairing(CODE, b"o" * 32).client_nonce == NONCE, "the one that was sent"
    exchanging = store.begin_exchange(KEY, CLAIMED, b"a private key", b"n" * 32, b"f" * 32)
    assert exchanging.stage is PairingStage.EXCHANGING
    assert exchanging.ends == Ends(b"\x2b" * 16, b"\x1a" * 16)
    again = store.begin_exchange(KEY, CLAIMED, b"another key", b"m" * 32, b"g" * 32)
    assert (again.key, again.nonce, again.fallback) == (b"a private key", b"n" * 32, b"f" * 32)
    store.begin_confirming(KEY, confirming(1, FIRST, "123456"))
    store.begin_confirming(KEY, confirming(1, SECOND, "654321"))
    (kept,) = store.list_pairings()
    assert (kept.stage, kept.key) == (PairingStage.CONFIRMING, b"")
    assert kept.pending is not None
    assert (kept.pending.pending.secret, kept.pending.digits) == (FIRST, "123456")
    device = store.finish_pairing(KEY, NOW)
    assert store.list_pairings() == []
    assert device.ends == exchanging.ends
    password = derive_device_password(NONCE, KEY).hex()
    assert device.login == Login(CLAIMED.device_id, password)
    assert (device.secret.generation, device.secret.secret) == (1, FIRST)
    assert (device.paired, device.rotated, device.pending) == (NOW, NOW, None)
    assert device.address.url == "https://gateway.example"


def test_a_gateway_that_gives_an_id_twice(store: DeviceStore) -> None:
    device = paired(store)
    other = PairingCode(CODE.gateway, b"o" * 16, SETUP_SECRET, WEB_PKI, 1_000)
    store.begin_pairing(other, NONCE)
    with pytest.raises(PairingError, match="already"):
        store.begin_exchange(other.setup_key, CLAIMED, b"a private key", b"n" * 32, b"f" * 32)
    assert store.read_device(device.device_id).secret.secret == device.secret.secret == FIRST


def test_only_its_owner_can_read_it(store: DeviceStore, tmp_path: Path) -> None:
    paired(store)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    text = f"{store.list_devices()}{store.begin_pairing(CODE, NONCE)}"
    for secret in (FIRST.decode(), SETUP_SECRET.decode(), store.list_devices()[0].password):
        assert secret not in text


def test_what_is_erased_is_in_no_file(store: DeviceStore, tmp_path: Path) -> None:
    paired(store)
    assert FIRST in on_disk(tmp_path)
    assert SETUP_SECRET not in on_disk(tmp_path)
    store.keep_pending(CLAIMED.device_id, confirming(2, SECOND), None)
    assert FIRST in on_disk(tmp_path)
    assert store.take_pending(CLAIMED.device_id, DeviceSecret(2, SECOND), NOW)
    assert FIRST not in on_disk(tmp_path)
    store.remove_device(CLAIMED.device_id)
    assert SECOND not in on_disk(tmp_path)


def test_a_rotation(store: DeviceStore) -> None:
    device_id = paired(store).device_id
    earlier, later = confirming(2, b"o" * 32), confirming(2, SECOND)
    assert store.keep_pending(device_id, earlier, None)
    assert not store.keep_pending(device_id, later, None), "another program's came meanwhile"
    assert store.keep_pending(device_id, later, earlier), "a later exchange"
    assert not store.keep_pending(device_id, confirming(3, FIRST), later), "it is not next"
    pending = store.read_device(device_id).pending
    assert pending is not None
    assert (pending.pending.generation, pending.pending.secret) == (2, SECOND)
    assert not store.take_pending(device_id, DeviceSecret(2, b"o" * 32), NOW)
    assert store.take_pending(device_id, DeviceSecret(2, SECOND), NOW + 1)
    assert not store.take_pending(device_id, DeviceSecret(2, SECOND), NOW + 2)
    device = store.read_device(device_id)
    assert (device.secret.generation, device.secret.secret, device.rotated) == (2, SECOND, NOW + 1)
    assert device.pending is None


def test_counters_only_rise(store: DeviceStore) -> None:
    device_id = paired(store).device_id
    store.keep_clock(device_id, 10, -5)
    store.keep_clock(device_id, 9, 7)
    device = store.read_device(device_id)
    assert (device.last_counter, device.offset_ms) == (10, 7)
    assert store.take_push(device_id, 3)
    assert not store.take_push(device_id, 3)
    assert not store.take_push(device_id, 2)
    assert store.take_push(device_id, 4)
    store.keep_clock(device_id, 2**64 - 1, 2**64)
    assert store.take_push(device_id, 2**64 - 1)
    assert not store.take_push(device_id, 2**64 - 1)


def test_names(store: DeviceStore) -> None:
    device_id = paired(store).device_id
    assert store.read_device(device_id).name == ""
    store.name_device(device_id, "wiki")
    assert store.list_devices()[0].name == "wiki"


def test_what_is_not_there(store: DeviceStore) -> None:
    with pytest.raises(ConfigurationError, match="Pair it with a new code"):
        store.read_device(CLAIMED.device_id)
    store.remove_device(CLAIMED.device_id)
    store.drop_pairing(KEY)
    with pytest.raises(ConfigurationError, match="Another program"):
        store.finish_pairing(KEY, NOW)
    store.begin_pairing(CODE, NONCE)
    with pytest.raises(LocalProtocolError):
        store.finish_pairing(KEY, NOW)
    store.drop_pairing(KEY)
    assert store.list_pairings() == []


def test_threads_and_programs_share_it(store: DeviceStore, tmp_path: Path) -> None:
    device_id = paired(store).device_id
    other = DeviceStore(tmp_path)
    taken: list[bool] = []

    def take(place: DeviceStore) -> None:
        taken.extend(place.take_push(device_id, counter) for counter in range(1, 26))

    threads = [Thread(target=take, args=(place,)) for place in (store, store, other, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) <= 25
    assert store.read_device(device_id).push_highest == 25
    other.close()


def test_a_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("not a database, and long enough to be seen as such" * 20)
    with pytest.raises(ConfigurationError, match="not a SQLite file"):
        DeviceStore(tmp_path)
