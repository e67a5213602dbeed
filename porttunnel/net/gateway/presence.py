"""Who is connected to the gateway, and whom that interests.

A device's requests end with its last connection and with its instance's: each is told of the
other's end at once. Source: docs/gateway-protocol, section 1.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from porttunnel.gateway.event import EventName, make_end_of_requests, make_event
from porttunnel.gateway.part import FailureCode
from porttunnel.gateway.policy import GatewayAnswer
from porttunnel.net.gateway.account import Account

__all__ = ["Presence"]

_NOBODY: AbstractSet[str] = frozenset()


class Presence:
    """See the module.

    :param publish: tells somebody something.
    """

    def __init__(self, publish: Callable[[GatewayAnswer], None]) -> None:
        self._publish = publish
        # Most users have one session: a tuple takes less memory than a set.
        self._sessions: dict[str, tuple[str, ...]] = {}
        self._devices: dict[str, set[str]] = {}  # by their instance

    @property
    def instance_count(self) -> int:
        """Instances that are connected."""
        return len(self._sessions) - self.device_count

    @property
    def device_count(self) -> int:
        """Devices that are connected."""
        return sum(map(len, self._devices.values()))

    def sessions(self, user_name: str) -> tuple[str, ...]:
        """The names of a user's sessions."""
        return self._sessions.get(user_name, ())

    def devices(self, instance_id: str) -> AbstractSet[str]:
        """An instance's devices that are connected."""
        return self._devices.get(instance_id, _NOBODY)

    def arrived(self, account: Account, session_name: str) -> None:
        """A session has begun."""
        user_name = account.user_name
        before = self.sessions(user_name)
        self._sessions[user_name] = (*before, session_name)
        if account.is_device and not before:
            self._devices.setdefault(account.instance_id, set()).add(user_name)
            self._tell(account.instance_id, EventName.DEVICE_ONLINE, user_name)

    def left(self, account: Account, session_name: str) -> None:
        """A session has ended, perhaps because another one takes its place."""
        user_name = account.user_name
        rest = tuple(name for name in self.sessions(user_name) if name != session_name)
        if rest:
            self._sessions[user_name] = rest
            return
        del self._sessions[user_name]
        if not account.is_device:
            for device_id in tuple(self.devices(user_name)):
                self._publish(make_end_of_requests(device_id, FailureCode.INSTANCE_OFFLINE))
            return
        devices = self._devices[account.instance_id]
        devices.remove(user_name)
        if not devices:
            del self._devices[account.instance_id]
        self._tell(account.instance_id, EventName.DEVICE_OFFLINE, user_name)

    def introduce(self, instance_id: str) -> None:
        """Tell an instance that has just subscribed to its events who is there."""
        for device_id in tuple(self.devices(instance_id)):
            self._tell(instance_id, EventName.DEVICE_ONLINE, device_id)

    def device_removed(self, instance_id: str, device_id: str) -> None:
        """Tell both of them; its connections are still to be cut."""
        self._tell(instance_id, EventName.DEVICE_REMOVED, device_id)
        if device_id in self._sessions:
            self._publish(make_end_of_requests(device_id, FailureCode.REVOKED))

    def setup_raced(self, instance_id: str, device_id: str) -> None:
        """Tell the instance."""
        self._tell(instance_id, EventName.SETUP_RACE, device_id)

    def _tell(self, instance_id: str, name: EventName, device_id: str) -> None:
        if instance_id in self._sessions:
            self._publish(make_event(instance_id, name, device_id))
