"""Telling devices something unasked.

Source: docs/gateway-protocol, section 3.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, DeferredList, succeed

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.push import MAX_PUSH_BYTES, seal_push
from porttunnel.gateway.topic import format_push_topic, is_name
from porttunnel.keys.envelope import PREFIX_BYTES, SALT_BYTES
from porttunnel.net.instance.device_book import DeviceBook
from porttunnel.net.instance.device_record import PushReport
from porttunnel.net.instance.served_device import ServedDevice
from porttunnel.net.instance.store import PushCounterKept
from porttunnel.net.instance.turns import MAX_SAID_OVERALL_BYTES, MESSAGE_BYTES, Turns

__all__ = ["PushDesk"]

BATCH_BYTES = MAX_SAID_OVERALL_BYTES // 4  # of pushes that wait at a time: answers have to, too


class PushDesk:
    """See the module.

    :param unix_time: seconds since 1970.
    """

    def __init__(self, book: DeviceBook, turns: Turns, unix_time: Callable[[], float]) -> None:
        self._book = book
        self._turns = turns
        self._unix_time = unix_time

    async def push(
        self, name: str, plaintext: bytes, devices: Sequence[ServedDevice]
    ) -> PushReport:
        """See :meth:`Instance.push`."""
        if not is_name(name):
            raise LocalProtocolError("A push's name has 1 to 64 of a to z, 0 to 9 and -.")
        if len(plaintext) > MAX_PUSH_BYTES:
            raise LocalProtocolError(f"A push has at most {MAX_PUSH_BYTES} bytes.")
        reachable = [device for device in devices if device.serving_keys is not None]
        # Not to all at once: a thousand would be more than may wait to be sent.
        count = BATCH_BYTES // (len(plaintext) + MESSAGE_BYTES)
        sent: set[str] = set()
        for first in range(0, len(reachable), count):
            sent |= await self._push_to(reachable[first : first + count], name, plaintext)
        ids = [device.row.device_id for device in devices]
        return PushReport(
            sent=tuple(one for one in ids if one in sent),
            offline=tuple(one for one in ids if one not in sent),
        )

    async def _push_to(
        self, devices: Sequence[ServedDevice], name: str, plaintext: bytes
    ) -> set[str]:
        """The ids of those that were reached."""
        now_ms = int(self._unix_time() * 1_000)
        numbers = [device.push.draw(now_ms) for device in devices]
        # Before any is sent: a device takes only higher ones, for ever.
        await self._book.keep(
            *(
                PushCounterKept(device.row.device_id, number)
                for device, number in zip(devices, numbers, strict=True)
            )
        )
        sending = [
            self._send(device, number, now_ms, name, plaintext)
            for device, number in zip(devices, numbers, strict=True)
        ]
        results = await DeferredList(sending, consumeErrors=True)
        sent = set()
        for device, (succeeded, reached) in zip(devices, results, strict=True):
            # What could not be sent says nothing about the device.
            if succeeded:
                device.is_online = reached
            if succeeded and reached:
                sent.add(device.row.device_id)
        return sent

    def _send(
        self, device: ServedDevice, number: int, now_ms: int, name: str, plaintext: bytes
    ) -> Deferred[bool]:
        serving = device.serving_keys
        if serving is None or device.is_erased:
            return succeed(False)
        generation, keys = serving
        payload = seal_push(
            device.ends,
            keys,
            MessageHead(generation, number, now_ms),
            name,
            plaintext,
            salt=secrets.token_bytes(SALT_BYTES),
            prefix=secrets.token_bytes(PREFIX_BYTES),
        )
        device_id = device.row.device_id
        return self._turns.say(device_id, format_push_topic(device_id, name), payload)
