"""The devices of one user: their secrets, on the disk before they are used, and how far they are.

Several programs may use it at a time: what one of them does to a secret the others find, and never
undo. Each change is on the disk when its method returns.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

from porttunnel.errors import ConfigurationError, LocalProtocolError, PairingError
from porttunnel.gateway.pairing_code import PairingCode
from porttunnel.gateway.pairing_device import DeviceConfirming
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.keys.credentials import derive_device_password
from porttunnel.net.device.record import DeviceRecord, PairingRecord, PairingStage
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.answer import ClaimedDevice
from porttunnel.net.store.sqlite_file import SQLiteFile

__all__ = ["FILE_NAME", "DeviceStore"]

FILE_NAME = "devices.sqlite"

_SCHEMA = (
    (
        """CREATE TABLE device (
            device_id TEXT PRIMARY KEY,
            instance_id TEXT NOT NULL,
            gateway TEXT NOT NULL,
            password TEXT NOT NULL,
            generation INTEGER NOT NULL,
            secret BLOB NOT NULL,
            pending_secret BLOB,
            pending_nonce BLOB,
            last_counter INTEGER NOT NULL DEFAULT 0,
            offset_ms INTEGER NOT NULL DEFAULT 0,
            push_highest INTEGER NOT NULL DEFAULT 0,
            paired REAL NOT NULL,
            rotated REAL NOT NULL,
            name TEXT NOT NULL DEFAULT ''
        ) STRICT""",
        """CREATE TABLE pairing (
            setup_key BLOB PRIMARY KEY,
            setup_secret BLOB NOT NULL,
            gateway TEXT NOT NULL,
            expires INTEGER NOT NULL,
            client_nonce BLOB NOT NULL,
            stage TEXT NOT NULL,
            device_id TEXT NOT NULL DEFAULT '',
            instance_id TEXT NOT NULL DEFAULT '',
            key BLOB NOT NULL DEFAULT x'',
            nonce BLOB NOT NULL DEFAULT x'',
            fallback BLOB NOT NULL DEFAULT x'',
            pending_secret BLOB,
            digits TEXT NOT NULL DEFAULT ''
        ) STRICT""",
    ),
)
_MAX_INTEGER = 2**63 - 1  # of SQLite's; no honest counter or clock comes near
_FIRST_GENERATION = 1

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _whole(
    method: Callable[Concatenate[DeviceStore, _P], _R],
) -> Callable[Concatenate[DeviceStore, _P], _R]:
    """One call at a time, whatever thread it comes from, and each a transaction."""

    def call(store: DeviceStore, /, *arguments: _P.args, **named: _P.kwargs) -> _R:
        with store._lock, store._file.transaction():
            return method(store, *arguments, **named)

    call.__doc__ = method.__doc__
    return call


def _erasing(
    method: Callable[Concatenate[DeviceStore, _P], _R],
) -> Callable[Concatenate[DeviceStore, _P], _R]:
    """As :func:`_whole`, and what was a secret before is in no file any more."""

    def call(store: DeviceStore, /, *arguments: _P.args, **named: _P.kwargs) -> _R:
        with store._lock:
            with store._file.transaction():
                result = method(store, *arguments, **named)
            # The journal still has the pages as they were. If another program reads just now they
            # go with the next change.
            store._file.checkpoint()
            return result

    call.__doc__ = method.__doc__
    return call


class DeviceStore:
    """See the module. Its methods wait for the disk: call them in a thread.

    :param data_dir: the user's data folder; the file in it is made if it is not there, and only
        its owner can read it.
    :raises ConfigurationError: from here and every method: the file can't be used.
    """

    def __init__(self, data_dir: Path) -> None:
        self._lock = Lock()
        self._file = SQLiteFile(data_dir / FILE_NAME, _SCHEMA)
        # What is removed is overwritten, not only forgotten.
        self._file.rows("PRAGMA secure_delete = ON")

    def close(self) -> None:
        """Let go of the file. Nothing waits to be written."""
        with self._lock:
            self._file.close()

    # Devices

    @_whole
    def list_devices(self) -> list[DeviceRecord]:
        """All that are paired, the latest last."""
        rows = self._file.rows("SELECT * FROM device ORDER BY paired, device_id")
        return [_make_device(row) for row in rows]

    @_whole
    def read_device(self, device_id: str) -> DeviceRecord:
        """One of them.

        :raises ConfigurationError: there is none.
        """
        rows = self._file.rows("SELECT * FROM device WHERE device_id = ?", device_id)
        if not rows:
            raise ConfigurationError(
                "This device isn't paired here, or no longer. Pair it with a new code."
            )
        return _make_device(rows[0])

    @_whole
    def name_device(self, device_id: str, name: str) -> None:
        """What its user calls it."""
        self._file.change("UPDATE device SET name = ? WHERE device_id = ?", name, device_id)

    @_erasing
    def remove_device(self, device_id: str) -> None:
        """Its secrets are gone."""
        self._file.change("DELETE FROM device WHERE device_id = ?", device_id)

    @_whole
    def keep_pending(
        self, device_id: str, confirming: DeviceConfirming, before: DeviceConfirming | None
    ) -> bool:
        """A rotation may have led to another secret; an older one that is pending is void by that.

        :param before: what was pending when the exchange began. What another program has got
            since may be the one that counts by now.
        :returns: whether that was still so, and it is about the generation after the one that
            counts.
        """
        pending = confirming.pending
        changed = self._file.change(
            "UPDATE device SET pending_secret = ?, pending_nonce = ? "
            "WHERE device_id = ? AND generation = ? AND pending_secret IS ?",
            *(pending.secret, confirming.nonce, device_id, pending.generation - 1),
            None if before is None else before.pending.secret,
        )
        return bool(changed)

    @_erasing
    def take_pending(self, device_id: str, secret: DeviceSecret, now: float) -> bool:
        """The pending secret is the one that counts, and the old one gone.

        :param now: seconds since 1970.
        :returns: whether it was this one that was pending.
        """
        changed = self._file.change(
            "UPDATE device SET generation = ?, secret = pending_secret, pending_secret = NULL, "
            "pending_nonce = NULL, rotated = ? WHERE device_id = ? AND pending_secret = ?",
            *(secret.generation, now, device_id, secret.secret),
        )
        return bool(changed)

    @_whole
    def keep_clock(self, device_id: str, last_counter: int, offset_ms: int) -> None:
        """Where the counter is, and how the clocks differ."""
        self._file.change(
            "UPDATE device SET last_counter = max(last_counter, ?), offset_ms = ? "
            "WHERE device_id = ?",
            min(last_counter, _MAX_INTEGER),
            max(-_MAX_INTEGER, min(offset_ms, _MAX_INTEGER)),
            device_id,
        )

    @_whole
    def take_push(self, device_id: str, counter: int) -> bool:
        """Whether a push is new; from now on it is not."""
        changed = self._file.change(
            "UPDATE device SET push_highest = ? WHERE device_id = ? AND push_highest < ?",
            *(min(counter, _MAX_INTEGER), device_id, min(counter, _MAX_INTEGER)),
        )
        return bool(changed)

    # Pairings

    @_whole
    def list_pairings(self) -> list[PairingRecord]:
        """Those that are under way."""
        rows = self._file.rows("SELECT * FROM pairing ORDER BY expires")
        return [_make_pairing(row) for row in rows]

    @_whole
    def begin_pairing(self, code: PairingCode, client_nonce: bytes) -> PairingRecord:
        """Begin with a code, or find how far it has come.

        :param client_nonce: 32 fresh random bytes.
        """
        address = GatewayAddress.from_pairing_code(code).format()
        self._file.change(
            "INSERT OR IGNORE INTO pairing (setup_key, setup_secret, gateway, expires, "
            "client_nonce, stage) VALUES (?, ?, ?, ?, ?, ?)",
            *(code.setup_key, code.setup_secret, address, code.expires, client_nonce),
            PairingStage.CLAIMING.value,
        )
        return self._pairing(code.setup_key)

    @_whole
    def begin_exchange(
        self, setup_key: bytes, claimed: ClaimedDevice, key: bytes, nonce: bytes, fallback: bytes
    ) -> PairingRecord:
        """The gateway has said who the device is; unless an exchange has begun, it begins.

        :param key: fresh; ``nonce`` and ``fallback`` likewise: see :class:`PairingRecord`.
        :raises PairingError: there is such a device: no gateway that works gives an id twice.
        """
        begun = self._pairing(setup_key).stage is not PairingStage.CLAIMING
        known = self._file.rows("SELECT 1 FROM device WHERE device_id = ?", claimed.device_id)
        if known and not begun:
            raise PairingError(
                "The gateway says that this is a device that is paired here already. Ask for a "
                "new code; if that does not help, ask who runs the gateway."
            )
        self._file.change(
            "UPDATE pairing SET stage = ?, device_id = ?, instance_id = ?, key = ?, nonce = ?, "
            "fallback = ? WHERE setup_key = ? AND stage = ?",
            *(PairingStage.EXCHANGING.value, claimed.device_id, claimed.instance_id),
            *(key, nonce, fallback, setup_key, PairingStage.CLAIMING.value),
        )
        return self._pairing(setup_key)

    @_whole
    def begin_confirming(self, setup_key: bytes, confirming: DeviceConfirming) -> PairingRecord:
        """The instance has answered; it is to confirm."""
        self._file.change(
            "UPDATE pairing SET stage = ?, pending_secret = ?, digits = ?, key = x'' "
            "WHERE setup_key = ? AND stage = ?",
            *(PairingStage.CONFIRMING.value, confirming.pending.secret, confirming.digits),
            *(setup_key, PairingStage.EXCHANGING.value),
        )
        return self._pairing(setup_key)

    @_erasing
    def finish_pairing(self, setup_key: bytes, now: float) -> DeviceRecord:
        """The instance has confirmed: the pairing becomes a device.

        :param now: seconds since 1970.
        """
        pairing = self._pairing(setup_key)
        if pairing.pending is None:
            raise LocalProtocolError("nothing was exchanged that could be confirmed")
        password = derive_device_password(pairing.client_nonce, setup_key).hex()
        secret = pairing.pending.pending
        self._file.change(
            "INSERT INTO device (device_id, instance_id, gateway, password, generation, secret, "
            "paired, rotated) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(pairing.device_id, pairing.instance_id, pairing.address.format(), password),
            *(secret.generation, secret.secret, now, now),
        )
        self._file.change("DELETE FROM pairing WHERE setup_key = ?", setup_key)
        rows = self._file.rows("SELECT * FROM device WHERE device_id = ?", pairing.device_id)
        return _make_device(rows[0])

    @_erasing
    def drop_pairing(self, setup_key: bytes) -> None:
        """It came to nothing."""
        self._file.change("DELETE FROM pairing WHERE setup_key = ?", setup_key)

    def _pairing(self, setup_key: bytes) -> PairingRecord:
        rows = self._file.rows("SELECT * FROM pairing WHERE setup_key = ?", setup_key)
        if not rows:
            raise ConfigurationError(
                "Another program has finished or dropped this pairing. Look at the list of "
                "devices."
            )
        return _make_pairing(rows[0])


def _make_device(row: Any) -> DeviceRecord:
    (device_id, instance_id, gateway, password, generation, secret, pending, nonce, *rest) = row
    last_counter, offset_ms, push_highest, paired, rotated, name = rest
    confirming = None
    if pending is not None:
        # The digits of a rotation are shown to nobody.
        confirming = DeviceConfirming(DeviceSecret(generation + 1, pending), "", nonce)
    return DeviceRecord(
        device_id=device_id,
        instance_id=instance_id,
        address=GatewayAddress.parse(gateway),
        password=password,
        secret=DeviceSecret(generation, secret),
        pending=confirming,
        last_counter=last_counter,
        offset_ms=offset_ms,
        push_highest=push_highest,
        paired=paired,
        rotated=rotated,
        name=name,
    )


def _make_pairing(row: Any) -> PairingRecord:
    (setup_key, setup_secret, gateway, expires, client_nonce, stage, *rest) = row
    device_id, instance_id, key, nonce, fallback, pending, digits = rest
    confirming = None
    if pending is not None:
        confirming = DeviceConfirming(DeviceSecret(_FIRST_GENERATION, pending), digits, nonce)
    return PairingRecord(
        setup_key=setup_key,
        setup_secret=setup_secret,
        address=GatewayAddress.parse(gateway),
        expires=expires,
        client_nonce=client_nonce,
        stage=PairingStage(stage),
        device_id=device_id,
        instance_id=instance_id,
        key=key,
        nonce=nonce,
        fallback=fallback,
        pending=confirming,
    )
