"""Inviting devices, and answering what they ask about keys.

Source: docs/gateway-protocol, section 2. What comes of a step is written down before anybody hears
of it, one step of a device after the other.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

from porttunnel.errors import PairingError, RemoteProtocolError
from porttunnel.gateway.instance_exchange import InstanceExchange
from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_code import PairingCode
from porttunnel.gateway.pairing_instance import Invited, PairingPolicy, Waiting
from porttunnel.gateway.pairing_message import NONCE_BYTES, ExchangeRequest, decode_key_request
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import (
    Answering,
    EndReason,
    InstancePhase,
    PairingEnded,
    Step,
)
from porttunnel.gateway.refusal import Refusal
from porttunnel.keys.credentials import parse_id
from porttunnel.keys.hybrid import encapsulate
from porttunnel.keys.primitives import KEY_BYTES
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.answer import OfferedDevice
from porttunnel.net.instance.device_book import DeviceBook
from porttunnel.net.instance.device_record import Invitation
from porttunnel.net.instance.event import (
    DevicePaired,
    DeviceRemoved,
    DigitsWanted,
    PairingFailed,
    SetupRaced,
)
from porttunnel.net.instance.served_device import ServedDevice
from porttunnel.net.instance.store import DeviceRow

__all__ = ["PairingDesk"]

LATE_SECONDS = 60  # after a code's end: the clocks of gateway and instance differ
DIGITS_SECONDS = 900  # after a code's end: somebody has to find and type the digits
IDLE_SECONDS = 90 * 86_400  # a device that nobody uses any more is a key that nobody watches


class PairingDesk:
    """See the module.

    :param book: the devices.
    :param unix_time: seconds since 1970.
    :param on_changed: called when the gateway has to be told of a device.
    """

    def __init__(
        self, book: DeviceBook, unix_time: Callable[[], float], on_changed: Callable[[], None]
    ) -> None:
        self._book = book
        self._unix_time = unix_time
        self._on_changed = on_changed

    async def invite(
        self,
        address: GatewayAddress,
        offered: OfferedDevice,
        user: str,
        policy: PairingPolicy,
        expires_seconds: int,
    ) -> Invitation:
        """Make a code for what the gateway offers.

        :raises ConfigurationError: it can't be written down.
        :raises GatewayError: it is the device of another code.
        """
        now = int(self._unix_time())
        expires = min(offered.expires, now + expires_seconds)
        secret = secrets.token_bytes(KEY_BYTES)
        code = PairingCode(
            address.url, bytes.fromhex(offered.device_setup_key), secret, address.code_pin, expires
        )
        ends = Ends(parse_id(self._book.instance_id), parse_id(offered.device_id))
        phase = Invited(ends, policy, DeviceSecret.from_setup(secret))
        await self._book.add(
            DeviceRow(
                device_id=offered.device_id, user=user, phase=phase, invited=now, expires=expires
            )
        )
        return Invitation(offered.device_id, code, expires)

    async def answer(self, device: ServedDevice, exchange: InstanceExchange) -> bytearray:
        """See :class:`~porttunnel.net.instance.entrance.KeyDesk`."""
        asked = exchange.accept()[0]
        if not asked.last:
            raise RemoteProtocolError("a request about keys is longer than one part")
        async with _Turn(device):
            head = exchange.head
            step = self._take_step(device, head.generation, head.counter, asked.data)
            if isinstance(step.phase, PairingEnded):
                await self._end(device, step.phase.reason)
            elif step.phase is not device.row.phase:
                await self._advance(device, step.phase)
        reply = step.reply
        return exchange.send(reply.encode() if isinstance(reply, Refusal) else reply, last=True)

    async def enter_digits(self, device_id: str, text: str) -> Paired | Waiting | PairingEnded:
        """See :meth:`Instance.enter_digits`."""
        device = self._book.demand(device_id)
        async with _Turn(device):
            phase = device.row.phase
            if not isinstance(phase, Waiting):
                raise PairingError(
                    "No digits are wanted for this device. Wait until it shows some, or ask for a "
                    "new code."
                )
            entered = phase.enter_digits(text)
            if isinstance(entered, PairingEnded):
                await self._end(device, entered.reason)
            else:
                await self._advance(device, entered)
        return entered

    async def note_race(self, device_id: str) -> None:
        """The gateway says that somebody else used the same code."""
        device = self._book.find(device_id)
        if device is None:
            return
        async with _Turn(device):
            self._book.tell(SetupRaced(device_id, device.row.user))
            if device.row.paired is None:
                await self._end(device, EndReason.RACE)

    async def note_left(self, device_id: str) -> None:
        """The gateway says that a device is none any more. Only its user's word erases one that is
        paired; of another the next :meth:`forget_late` tells that it came to nothing, unless the
        gateway says before that somebody else has used the same code.
        """
        device = self._book.find(device_id)
        if device is None or device.row.has_left:
            return
        device.is_online = False
        device.cancel_all("The device was removed at the gateway.")
        async with _Turn(device):
            await self._book.write(device, replace(device.row, has_left=True))
        if device.row.paired is not None:
            self._book.tell(DeviceRemoved(device_id, device.row.user, revoked=False))

    async def revoke(self, device: ServedDevice) -> None:
        """Erase a device, then let the gateway remove it."""
        # Not in its turn: what waits there is about a device that is none any more.
        try:
            await self._book.erase(device, "The device was revoked.")
        finally:
            self._book.tell(DeviceRemoved(device.row.device_id, device.row.user, revoked=True))
            self._on_changed()

    async def demand_rotation(self) -> None:
        """Serve no device until it has another secret."""
        for device in self._book:
            async with _Turn(device, erased=True):
                serving = device.row.phase.serving_generation
                if serving is not None and not device.is_erased:
                    await self._book.write(device, replace(device.row, stale_generation=serving))

    async def forget_late(self, *, trusts_clock: bool) -> None:
        """Erase codes that expired, and devices that nobody uses any more.

        :param trusts_clock: whether the time can be believed so far that devices are erased for
            it.
        """
        now = self._unix_time()
        for device in self._book:
            row = device.row
            if device.is_erased or device.line.locked:
                continue  # Gone meanwhile; or in the middle of a step: the next time.
            if row.paired is not None:
                idle_seconds = now - max(row.paired, device.seen or 0)
                if trusts_clock and idle_seconds > IDLE_SECONDS:
                    await self.revoke(device)
            elif row.has_left or now - row.expires > (
                LATE_SECONDS if isinstance(row.phase, Invited) else DIGITS_SECONDS
            ):
                await self._end(device, None)

    def _take_step(
        self, device: ServedDevice, generation: int, counter: int, data: memoryview
    ) -> Step:
        message = decode_key_request(data)
        phase = device.row.phase
        if not isinstance(message, ExchangeRequest):
            return phase.receive_confirm(generation, message)
        answering = Answering(
            encapsulate(message.rsa_public, message.mlkem_public),
            secrets.token_bytes(NONCE_BYTES),
        )
        return phase.receive_exchange(generation, counter, message, answering)

    async def _advance(self, device: ServedDevice, phase: InstancePhase) -> None:
        row = replace(device.row, phase=phase)
        is_new = isinstance(phase, Paired) and row.paired is None
        if is_new:
            row = replace(row, paired=int(self._unix_time()))
        await self._book.write(device, row)
        if is_new:
            self._book.tell(DevicePaired(row.device_id, row.user))
            self._on_changed()
        elif isinstance(phase, Waiting):
            self._book.tell(DigitsWanted(row.device_id, row.user, phase.tries_left))

    async def _end(self, device: ServedDevice, reason: EndReason | None) -> None:
        row = device.row
        await self._book.erase(device, "The pairing has ended.")
        self._book.tell(PairingFailed(row.device_id, row.user, reason))
        self._on_changed()


class _Turn:
    """The device's line, for one step.

    :param erased: whether an erased device is no mistake.
    """

    def __init__(self, device: ServedDevice, *, erased: bool = False) -> None:
        self._device = device
        self._erased = erased

    async def __aenter__(self) -> None:
        await self._device.line.acquire()
        if self._device.is_erased and not self._erased:
            self._device.line.release()
            raise PairingError("The device was revoked, or its pairing has ended meanwhile.")

    async def __aexit__(self, *_: object) -> None:
        self._device.line.release()
