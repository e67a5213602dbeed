"""All devices of an instance, and how what changes of them is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from porttunnel.errors import ConfigurationError, GatewayError, PairingError
from porttunnel.net.instance.event import InstanceEvent, StoreFailed
from porttunnel.net.instance.group_commit import GroupCommit
from porttunnel.net.instance.served_device import ServedDevice
from porttunnel.net.instance.store import (
    DeviceErased,
    DeviceRow,
    DeviceWritten,
    StoreChange,
    StoredDevice,
)

__all__ = ["DeviceBook"]


class DeviceBook:
    """See the module.

    :param instance_id: 32 hex digits.
    :param stored: the devices that were found.
    :param commit: writes.
    :param tell: tells the owner.
    :param on_erased: told the id of each device that is none any more.
    :ivar removals: ids of devices that the gateway has to be told to remove.
    """

    def __init__(
        self,
        instance_id: str,
        stored: Iterable[StoredDevice],
        commit: GroupCommit,
        tell: Callable[[InstanceEvent], None],
        on_erased: Callable[[str], None],
    ) -> None:
        self.instance_id = instance_id
        self.tell = tell
        self.removals: set[str] = set()
        self._commit = commit
        self._on_erased = on_erased
        self._devices = {one.row.device_id: ServedDevice(instance_id, one) for one in stored}
        self._has_failed = False

    def __iter__(self) -> Iterator[ServedDevice]:
        return iter([*self._devices.values()])

    def find(self, device_id: str) -> ServedDevice | None:
        """A device; None: it is none of ours."""
        return self._devices.get(device_id)

    def demand(self, device_id: str) -> ServedDevice:
        """A device.

        :raises PairingError: it is none of ours.
        """
        device = self._devices.get(device_id)
        if device is None:
            raise PairingError(
                f"There is no device {device_id}. Look at the list of devices: it may have been "
                "revoked, or its code may have expired."
            )
        return device

    async def keep(self, *changes: StoreChange) -> None:
        """Write these down.

        :raises ConfigurationError: the store can't be written; the owner was told.
        """
        try:
            await self._commit.keep(*changes)
        except ConfigurationError as error:
            # Told once, not with each request.
            if not self._has_failed:
                self._has_failed = True
                self.tell(StoreFailed(error))
            raise
        self._has_failed = False

    @property
    def is_behind(self) -> bool:
        """Whether the disk is so slow that nothing should begin that has to be written down."""
        return self._commit.is_behind

    async def add(self, row: DeviceRow) -> ServedDevice:
        """Another device.

        :raises GatewayError: there is one with this id: a gateway that lies would have it erased.
        """
        if row.device_id in self._devices or row.device_id in self.removals:
            raise GatewayError(
                "The gateway has offered a device that there is already, and nothing was changed. "
                "It doesn't work as it should; ask who runs it."
            )
        await self.keep(DeviceWritten(row))
        device = ServedDevice(self.instance_id, StoredDevice(row, None, 0, {}))
        self._devices[row.device_id] = device
        return device

    async def write(self, device: ServedDevice, row: DeviceRow) -> None:
        """A device is so from now on."""
        await self.keep(DeviceWritten(row))
        device.replace(row)

    async def erase(self, device: ServedDevice, why: str) -> None:
        """Forget a device. Nothing of it is served from the call on, whether or not it could be
        written.

        :param why: for its running requests, in a sentence.
        """
        device_id = device.row.device_id
        device.is_erased = True
        self._devices.pop(device_id, None)
        device.cancel_all(why)
        self._on_erased(device_id)
        self.removals.add(device_id)
        await self.keep(DeviceErased(device_id))
