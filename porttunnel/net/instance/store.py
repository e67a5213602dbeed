"""What an instance keeps, and the interface of where it keeps it.

All that is written is a list of changes, of which all are made or none. They are the same objects
that the instance changes its memory by, so that neither is ahead of the other for longer than a
write takes. Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from porttunnel.gateway.pairing_step import InstancePhase

__all__ = [
    "CounterKept",
    "DeviceErased",
    "DeviceRow",
    "DeviceSeen",
    "DeviceWritten",
    "Identity",
    "IdentityWritten",
    "InstanceStore",
    "PushCounterKept",
    "RemovalFinished",
    "StoreChange",
    "StoredDevice",
    "StoredInstance",
]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are at the gateway.

    :ivar instance_id: 32 hex digits.
    :ivar password: 32 hex digits.
    """

    instance_id: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device. The phase is never shown: it holds secrets.

    :ivar device_id: 32 hex digits.
    :ivar phase: of its pairing, with its secrets.
    :ivar expires: of its code.
    :ivar paired: since when it may ask.
    :ivar is_confirmed: the gateway was told that the pairing is done.
    :ivar has_left: the gateway says that it is none any more.
    :ivar stale_generation: under this one nothing is served: its secret has to be changed first.
    """

    device_id: str
    user: str
    phase: InstancePhase
    invited: int
    expires: int
    paired: int | None = None
    is_confirmed: bool = False
    has_left: bool = False
    stale_generation: int | None = None


@dataclass(frozen=True, slots=True)
class StoredDevice:
    """What is found of a device.

    :ivar seen: when something of it was opened the last time.
    :ivar push_counter: the last of its pushes; or 0.
    :ivar counters: of accepted requests, for each generation.
    """

    row: DeviceRow
    seen: int | None
    push_counter: int
    counters: Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """What is found at the start.

    :ivar identity: None: we were never registered.
    :ivar removals: ids of devices that the gateway has to be told to remove.
    :ivar is_restored: this is not what was written last: a backup, or a copy.
    """

    identity: Identity | None
    devices: Sequence[StoredDevice]
    removals: Sequence[str]
    is_restored: bool


@dataclass(frozen=True, slots=True)
class IdentityWritten:
    """We are this one; all that was of another is erased."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class DeviceWritten:
    """The device is so from now on. Counters of generations that its phase does not have any more
    are erased.
    """

    row: DeviceRow


@dataclass(frozen=True, slots=True)
class DeviceErased:
    """Nothing is left of a device but that the gateway has to remove it."""

    device_id: str


@dataclass(frozen=True, slots=True)
class RemovalFinished:
    """The gateway has removed it."""

    device_id: str


@dataclass(frozen=True, slots=True)
class CounterKept:
    """A request was accepted.

    :ivar forgotten: a counter that need not be kept any more, if any.
    """

    device_id: str
    generation: int
    counter: int
    forgotten: int | None


@dataclass(frozen=True, slots=True)
class PushCounterKept:
    """A push has this number."""

    device_id: str
    counter: int


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """Something of a device was opened."""

    device_id: str
    seen: int


StoreChange = (
    IdentityWritten
    | DeviceWritten
    | DeviceErased
    | RemovalFinished
    | CounterKept
    | PushCounterKept
    | DeviceSeen
)


class InstanceStore(Protocol):
    """Where it is kept. Called in one thread; each call may wait for the disk.

    :raises ConfigurationError: from each method: it can't be read or written, and what to do.
    """

    def load(self) -> StoredInstance:
        """What was written; once, at the start."""

    def apply(self, changes: Sequence[StoreChange]) -> None:
        """Make all of these changes, or none. They outlive a power cut once this returns."""

    def leave_witness(self) -> None:
        """Make it noticed if an older state than this one is found at the next start; now and
        then.
        """

    def close(self) -> None:
        """Let go of it. Nothing waits to be written."""
