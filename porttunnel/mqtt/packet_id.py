"""The numbers by which acknowledgements name what they acknowledge.

Source: MQTT 5.0, section 2.2.1.
"""

from __future__ import annotations

from collections.abc import Container

__all__ = ["MAX_PACKET_ID", "PacketIds", "next_id"]

MAX_PACKET_ID = 0xFFFF  # what the two bytes can say; 0 is no id


def next_id(last: int, used: Container[int]) -> int:
    """The id after ``last`` that is not in use; there has to be one."""
    while True:
        last = last + 1 if last < MAX_PACKET_ID else 1
        if last not in used:
            return last


class PacketIds:
    """Which ids one side of a session has in use.

    They are taken in turn, so that an acknowledgement that comes late meets no new packet.
    """

    __slots__ = ("_last", "_used")

    def __init__(self) -> None:
        self._last = 0
        self._used: set[int] = set()

    def allocate(self) -> int | None:
        """The next free id, or None if all are in use."""
        used = self._used
        if len(used) >= MAX_PACKET_ID:
            return None
        self._last = next_id(self._last, used)
        used.add(self._last)
        return self._last

    def release(self, number: int) -> None:
        """What the id named is done with."""
        self._used.remove(number)
