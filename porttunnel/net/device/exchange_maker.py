"""Begins exchanges between a device and its instance: keys, counter, clock, salts.

Source: docs/gateway-protocol, section 3.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from porttunnel.gateway.device_exchange import DeviceExchange
from porttunnel.gateway.message_key import DeviceKeys, Ends
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.replay import RequestClock

__all__ = ["ExchangeMaker"]

SALT_BYTES = 32
PREFIX_BYTES = 7
MAX_KEPT_KEYS = 2  # of the secret that counts and a pending one


class ExchangeMaker:
    """What one device draws for each of its requests.

    :param last_counter: see :class:`~porttunnel.gateway.replay.RequestClock`.
    :param offset_ms: likewise.
    :param unix_seconds: what the device's own clock says.
    """

    def __init__(
        self,
        ends: Ends,
        last_counter: int = 0,
        offset_ms: int = 0,
        *,
        unix_seconds: Callable[[], float] = time.time,
    ) -> None:
        self.ends = ends
        self.clock = RequestClock(last_counter, offset_ms)
        self.unix_seconds = unix_seconds
        self._keys: dict[bytes, DeviceKeys] = {}

    @property
    def clock_ms(self) -> int:
        """What the device's own clock says, in milliseconds since 1970."""
        return int(self.unix_seconds() * 1_000)

    def keys_of(self, secret: DeviceSecret) -> DeviceKeys:
        """The keys of a secret; those that were used last are kept."""
        keys = self._keys.pop(secret.secret, None) or DeviceKeys(secret.secret)
        self._keys[secret.secret] = keys
        if len(self._keys) > MAX_KEPT_KEYS:
            del self._keys[next(iter(self._keys))]
        return keys

    def make(self, secret: DeviceSecret, *, about_keys: bool = False) -> DeviceExchange:
        """A new exchange under this secret."""
        head = self.clock.draw(secret.generation, self.clock_ms, about_keys=about_keys)
        return DeviceExchange(
            self.ends,
            self.keys_of(secret),
            head,
            salt=secrets.token_bytes(SALT_BYTES),
            prefix=secrets.token_bytes(PREFIX_BYTES),
        )
