"""One device as its instance has it in memory: keys, counters, what runs for it."""

from __future__ import annotations

from twisted.internet.defer import DeferredLock

from porttunnel.gateway.message_key import DeviceKeys, Ends
from porttunnel.gateway.pairing_instance import Exchanged, Invited, Waiting
from porttunnel.gateway.replay import WINDOW_COUNTERS, ReplayWindow, RisingCounter
from porttunnel.keys.credentials import parse_id
from porttunnel.net.instance.device_record import DeviceRecord, DeviceState
from porttunnel.net.instance.running_request import RunningRequest
from porttunnel.net.instance.store import DeviceRow, StoredDevice

__all__ = ["ServedDevice"]

SEEN_STEP_SECONDS = 60  # how exactly "last seen" is kept: not a write more for each request


class ServedDevice:
    """See the module.

    :param instance_id: 32 hex digits.
    :param stored: what was kept of it.
    :ivar row: as it is written down.
    :ivar push: numbers for its pushes.
    :ivar seen: when something of it was opened the last time, in seconds since 1970.
    :ivar is_online: whether the gateway says so.
    :ivar running: its requests, by their ids.
    :ivar line: whoever changes its phase has this, so that each step begins where the last ended.
    :ivar key_requests: how many about keys wait or run.
    :ivar is_erased: nothing of it is valid any more.
    """

    def __init__(self, instance_id: str, stored: StoredDevice) -> None:
        self.row = stored.row
        self.ends = Ends(parse_id(instance_id), parse_id(stored.row.device_id))
        self.push = RisingCounter(stored.push_counter)
        self.seen = stored.seen
        self.is_online = False
        self.running: dict[str, RunningRequest] = {}
        self.line = DeferredLock()
        self.key_requests = 0
        self.is_erased = False
        self._windows = {
            generation: ReplayWindow(sorted(counters)[-WINDOW_COUNTERS:])
            for generation, counters in stored.counters.items()
        }
        self._keys: dict[int, DeviceKeys] = {}

    def keys_of(self, generation: int) -> DeviceKeys | None:
        """What it seals with under a generation; None: it has no such secret."""
        keys = self._keys.get(generation)
        if keys is None:
            for secret in self.row.phase.secrets:
                if secret.generation == generation:
                    keys = self._keys[generation] = DeviceKeys(secret.secret)
        return keys

    def window_of(self, generation: int) -> ReplayWindow:
        """The counters that were accepted under a generation."""
        return self._windows.setdefault(generation, ReplayWindow())

    def replace(self, row: DeviceRow) -> None:
        """It was written down so. What belongs to a secret that it hasn't any more is dropped."""
        self.row = row
        left = {secret.generation for secret in row.phase.secrets}
        for generation in [*self._keys]:
            # Its number alone doesn't tell a pending secret from one that took its place.
            keys = self._keys.pop(generation)
            if generation not in left:
                keys.erase()
        for generation in [*self._windows]:
            if generation not in left:
                del self._windows[generation]

    def notice(self, now: float) -> int | None:
        """Something of it was opened; the time to be kept, if that is worth it."""
        self.is_online = True
        # One from the future is of a clock that was wrong.
        if self.seen is not None and 0 <= now - self.seen < SEEN_STEP_SECONDS:
            return None
        self.seen = int(now)
        return self.seen

    def cancel_all(self, why: str) -> None:
        """Cancel what runs for it."""
        for running in [*self.running.values()]:
            running.cancel(why)

    @property
    def serving_keys(self) -> tuple[int, DeviceKeys] | None:
        """What is sealed for it unasked, with its generation; None: nothing is."""
        generation = self.row.phase.serving_generation
        if generation is None or generation == self.row.stale_generation:
            return None
        keys = self.keys_of(generation)
        return None if keys is None else (generation, keys)

    def record(self) -> DeviceRecord:
        """What is shown of it."""
        row = self.row
        return DeviceRecord(
            device_id=row.device_id,
            user=row.user,
            state=_state(row),
            invited=row.invited,
            paired=row.paired,
            last_seen=self.seen,
            is_online=self.is_online,
        )


def _state(row: DeviceRow) -> DeviceState:
    if row.has_left:
        return DeviceState.LEFT
    if isinstance(row.phase, Invited):
        return DeviceState.INVITED
    if isinstance(row.phase, Exchanged):
        return DeviceState.EXCHANGED
    return DeviceState.WAITING if isinstance(row.phase, Waiting) else DeviceState.PAIRED
