"""How much may wait in memory for all devices together, and who has to give up what."""

from __future__ import annotations

from collections import Counter

__all__ = ["ByteBudget", "ByteShare"]

MAX_OF_DEVICE_BYTES = 64 << 20  # as much as one response may be that is written at once
# What a device may have though all is taken: some that stand still stop nobody else's click.
SURE_OF_DEVICE_BYTES = 512 * 1_024


class ByteBudget:
    """Counts bytes.

    :param maximum: how many may be taken, beside what each device may have in any case.
    :ivar taken: how many are.
    """

    __slots__ = ("_maximum", "_of_devices", "taken")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self.taken = 0
        self._of_devices: Counter[str] = Counter()

    def share_of(self, device_id: str) -> ByteShare:
        """What is counted for one device."""
        return ByteShare(self, device_id)

    def take(self, device_id: str, count: int) -> bool:
        """See :meth:`ByteShare.take`."""
        self.taken += count
        self._of_devices[device_id] += count
        own = self._of_devices[device_id]
        return own <= SURE_OF_DEVICE_BYTES or (
            own <= MAX_OF_DEVICE_BYTES and self.taken <= self._maximum
        )

    def give_back(self, device_id: str, count: int) -> None:
        """See :meth:`ByteShare.give_back`."""
        self.taken -= count
        self._of_devices[device_id] -= count
        if not self._of_devices[device_id]:
            del self._of_devices[device_id]


class ByteShare:
    """A device's part in a budget."""

    __slots__ = ("_budget", "_device_id")

    def __init__(self, budget: ByteBudget, device_id: str) -> None:
        self._budget = budget
        self._device_id = device_id

    def take(self, count: int) -> bool:
        """Count them in any case; whether there was room. If there wasn't, whoever they are for
        has to give them up.
        """
        return self._budget.take(self._device_id, count)

    def give_back(self, count: int) -> None:
        """They are gone."""
        self._budget.give_back(self._device_id, count)
