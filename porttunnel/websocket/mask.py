"""Taking the mask off a payload, where it lies.

Clients mask what they send, so that nothing between them and the server takes a payload for HTTP.
It hides nothing. Source: RFC 6455, section 5.3.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MASK_BYTES", "Unmask", "UnmaskedCopy", "unmask"]

MASK_BYTES = 4

Unmask = Callable[[memoryview, bytes], None]
"""Takes ``(payload, mask)`` and changes the payload in place; its first byte was masked with the
mask's first."""

UnmaskedCopy = Callable[[bytes, bytes], bytes]
"""Takes ``(payload, mask)`` and returns the payload without it. There is none in Python here: for
small payloads :mod:`porttunnel.websocket.frame` has a way that costs less than a call."""


def unmask(payload: memoryview, mask: bytes) -> None:
    """Take the mask off with nothing but Python: one exclusive-or of two large numbers.

    :param payload: writable; changed in place.
    :param mask: four bytes; the first is for the payload's first byte.
    """
    size = len(payload)
    repeated = (mask * (size // MASK_BYTES + 1))[:size]
    plain = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    payload[:] = plain.to_bytes(size, "big")
