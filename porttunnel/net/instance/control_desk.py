"""Does what commands tell a running agent to, with its instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from porttunnel.errors import (
    ConfigurationError,
    GatewayError,
    GatewayRefused,
    LocalProtocolError,
    PairingError,
    PorttunnelError,
)
from porttunnel.gateway.pairing_instance import Waiting
from porttunnel.gateway.pairing_step import PairingEnded
from porttunnel.net.instance.control_message import (
    Answer,
    Command,
    DeviceEntry,
    DeviceList,
    DigitsChecked,
    Done,
    EnterDigits,
    Invitation,
    Invite,
    ListDevices,
    MarkRestored,
    Progress,
    Refused,
    Revoke,
)
from porttunnel.net.instance.device_record import DeviceRecord, DeviceState
from porttunnel.net.instance.event import (
    DevicePaired,
    DeviceRemoved,
    DigitsWanted,
    InstanceEvent,
    PairingFailed,
    SetupRaced,
)

__all__ = ["ControlDesk", "PairedInstance"]

_EXPIRED = "The code has expired."
_RACED = "Two devices used one code, so somebody else may have seen it."
_REMOVED = "The device was removed."
_UNKNOWN = "There is no such device."
_NEW_CODE = "{reason} Make a new code."

_WORDS: tuple[tuple[type[PorttunnelError], str], ...] = (
    (GatewayError, "not-reachable"),
    (PairingError, "pairing-failed"),
    (LocalProtocolError, "internal"),
    (ConfigurationError, "configuration"),
)


class PairedInstance(Protocol):
    """What is asked of an instance; :class:`~porttunnel.net.instance.instance.Instance` is one."""

    @property
    def instance_id(self) -> str: ...

    @property
    def is_connected(self) -> bool: ...

    async def invite(
        self, user: str, *, immediate: bool = False, expires_seconds: int = 600
    ) -> Any: ...

    async def enter_digits(self, device_id: str, text: str) -> Any: ...

    def devices(self) -> Sequence[DeviceRecord]: ...

    async def revoke(self, device_id: str) -> None: ...

    async def mark_restored(self) -> None: ...


class ControlDesk:
    """See :class:`porttunnel.net.instance.control.Desk`.

    :param instance: the agent's; its events are to be given to :meth:`receive_event`.
    """

    def __init__(self, instance: PairedInstance) -> None:
        self._instance = instance
        self._watchers: dict[str, list[Callable[[Progress], None]]] = {}

    async def answer(self, command: Command) -> Answer:
        """What comes of a command.

        :raises PorttunnelError: it was not done.
        """
        match command:
            case Invite(user=user, immediate=immediate, expires_seconds=expires_seconds):
                made = await self._instance.invite(
                    user, immediate=immediate, expires_seconds=expires_seconds
                )
                return Invitation(made.device_id, made.code.format(), made.expires)
            case EnterDigits(device_id=device_id, digits=digits):
                return _describe(await self._instance.enter_digits(device_id, digits))
            case ListDevices():
                return self._list()
            case Revoke(device_id=device_id):
                await self._instance.revoke(device_id)
                return Done()
            case MarkRestored():
                await self._instance.mark_restored()
                return Done()
            case _:
                raise LocalProtocolError("a command came to the desk that is none of its")

    def watch(self, device_id: str, tell: Callable[[Progress], None]) -> Callable[[], None]:
        """Tell how a pairing goes, at once and whenever it changes.

        :returns: ends it.
        """
        watchers = self._watchers.setdefault(device_id, [])
        watchers.append(tell)

        def stop() -> None:
            watchers.remove(tell)
            if not watchers and self._watchers.get(device_id) is watchers:
                del self._watchers[device_id]

        tell(self._progress_of(device_id))
        return stop

    def refuse(self, error: PorttunnelError) -> Refused:
        """How an error is told."""
        if isinstance(error, GatewayRefused):
            return Refused(error.code or "refused", str(error))
        words = (word for kind, word in _WORDS if isinstance(error, kind))
        return Refused(next(words, "failed"), str(error))

    def receive_event(self, happened: InstanceEvent) -> None:
        """What the instance tells."""
        match happened:
            case DigitsWanted(device_id=device_id, tries_left=tries_left):
                self._tell(device_id, Progress("waiting", tries_left))
            case DevicePaired(device_id=device_id):
                self._tell(device_id, Progress("paired"))
            case PairingFailed(device_id=device_id, reason=reason):
                words = _EXPIRED if reason is None else _sentence(reason.value)
                self._tell(device_id, _ended(words))
            case SetupRaced(device_id=device_id):
                self._tell(device_id, _ended(_RACED))
            case DeviceRemoved(device_id=device_id):
                self._tell(device_id, _ended(_REMOVED))

    def _list(self) -> DeviceList:
        instance = self._instance
        entries = (
            DeviceEntry(
                record.device_id,
                record.user,
                record.state.value,
                record.invited,
                record.paired,
                record.last_seen,
                record.is_online,
            )
            for record in instance.devices()
        )
        return DeviceList(instance.instance_id, instance.is_connected, tuple(entries))

    def _progress_of(self, device_id: str) -> Progress:
        for record in self._instance.devices():
            if record.device_id == device_id:
                return _PROGRESS[record.state]
        return Progress("ended", reason=_UNKNOWN)

    def _tell(self, device_id: str, progress: Progress) -> None:
        for tell in tuple(self._watchers.get(device_id, ())):
            tell(progress)


_PROGRESS = {
    DeviceState.INVITED: Progress("invited"),
    DeviceState.EXCHANGED: Progress("invited"),
    DeviceState.WAITING: Progress("waiting"),
    DeviceState.PAIRED: Progress("paired"),
    DeviceState.LEFT: Progress("ended", reason=_REMOVED),
}


def _describe(phase: Any) -> DigitsChecked:
    if isinstance(phase, PairingEnded):
        reason = _NEW_CODE.format(reason=_sentence(phase.reason.value))
        return DigitsChecked("ended", reason=reason)
    if isinstance(phase, Waiting):
        return DigitsChecked("wrong", phase.tries_left)
    return DigitsChecked("paired")


def _ended(reason: str) -> Progress:
    return Progress("ended", reason=_NEW_CODE.format(reason=reason))


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
