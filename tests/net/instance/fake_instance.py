"""An instance as the agent's commands and pushes see it; the test says what happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from porttunnel.errors import PairingError
from porttunnel.gateway.pairing_code import WEB_PKI, PairingCode
from porttunnel.net.instance.device_record import (
    DeviceRecord,
    DeviceState,
    Invitation,
    PushReport,
)

__all__ = ["DEVICE", "EXPIRES", "INSTANCE", "FakeInstance", "make_code"]

INSTANCE = "1" * 32
DEVICE = "d" * 32
EXPIRES = 1_800_000_000


def make_code() -> PairingCode:
    return PairingCode("https://gateway.example", bytes(16), bytes(32), WEB_PKI, EXPIRES)


class FakeInstance:
    """:ivar asked: each call.
    :ivar answers: what the next calls give: values, errors, Deferreds.
    :ivar on_asked: called with each call.
    """

    def __init__(self) -> None:
        self.instance_id = INSTANCE
        self.is_connected = True
        self.asked: list[tuple[Any, ...]] = []
        self.answers: list[Any] = []
        self.records: list[DeviceRecord] = []
        self.on_asked: Callable[[], None] = lambda: None

    def add(self, state: DeviceState, device_id: str = DEVICE, user: str = "anna") -> None:
        paired = 1_700_000_100 if state is DeviceState.PAIRED else None
        record = DeviceRecord(device_id, user, state, 1_700_000_000, paired, paired, bool(paired))
        self.records = [r for r in self.records if r.device_id != device_id] + [record]

    def devices(self) -> list[DeviceRecord]:
        return self.records

    async def invite(
        self, user: str, *, immediate: bool = False, expires_seconds: int = 600
    ) -> Invitation:
        await self._answer("invite", user, immediate, expires_seconds)
        self.add(DeviceState.INVITED, DEVICE, user)
        return Invitation(DEVICE, make_code(), EXPIRES)

    async def enter_digits(self, device_id: str, text: str) -> Any:
        return await self._answer("digits", device_id, text)

    async def revoke(self, device_id: str) -> None:
        if all(record.device_id != device_id for record in self.records):
            raise PairingError("There is no such device.")
        await self._answer("revoke", device_id)

    async def mark_restored(self) -> None:
        await self._answer("restored")

    async def push(
        self,
        name: str,
        plaintext: bytes,
        devices: Any = None,
        user: str | None = None,
    ) -> PushReport:
        for device_id in devices or ():
            if all(record.device_id != device_id for record in self.records):
                raise PairingError("There is no such device.")
        answer = await self._answer("push", name, plaintext, devices, user)
        return answer if isinstance(answer, PushReport) else PushReport((DEVICE,), ())

    async def _answer(self, *asked: Any) -> Any:
        self.asked.append(asked)
        self.on_asked()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return await answer if isinstance(answer, Deferred) else answer
