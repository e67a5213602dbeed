"""The numbers by which acknowledgements name what they acknowledge.

Source: MQTT 5.0, section 2.2.1.
"""

from __future__ import annotations

__all__ = ["MAX_PACKET_ID", "PacketIds"]

MAX_PACKET_ID = 0xFFFF  # what the two bytes can say; 0 is no id


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
        number = self._last
        while True:
            number = number + 1 if number < MAX_PACKET_ID else 1
            if number not in used:
                break
        self._last = number
        used.add(number)
        return number

    def release(self, number: int) -> None:
        """What the id named is done with."""
        self._used.remove(number)
