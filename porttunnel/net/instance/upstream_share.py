"""Who may have one more of what there are only so many of: connections to the web system.

A device that holds many may have as many as it leaves free, and the last one is for a device that
has none. So one that stands still stops nobody, nor do several.
"""

from __future__ import annotations

from collections import Counter

__all__ = ["UpstreamShares"]


class UpstreamShares:
    """Counts what each device has.

    :param maximum: how many there are.
    :ivar taken: how many all have.
    """

    __slots__ = ("_maximum", "_of_devices", "taken")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self.taken = 0
        self._of_devices: Counter[str] = Counter()

    def may_take(self, device_id: str) -> bool:
        """Whether there is one more for this device."""
        free = self._maximum - self.taken
        has = self._of_devices[device_id]  # asking a Counter keeps nothing
        return free > 0 if not has else 1 < free >= has

    def take(self, device_id: str) -> None:
        """It has one more."""
        self.taken += 1
        self._of_devices[device_id] += 1

    def give_back(self, device_id: str) -> None:
        """It has one less."""
        self.taken -= 1
        self._of_devices[device_id] -= 1
        if not self._of_devices[device_id]:
            del self._of_devices[device_id]
