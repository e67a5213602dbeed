"""Who has an account at the gateway, and who wants to know what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Account", "AccountListener"]


@dataclass(frozen=True, slots=True)
class Account:
    """Who has shown the right password. Ids have 32 lower-case hex digits.

    :ivar user_name: the id of a device or of an instance.
    :ivar instance_id: to which the device belongs; of an instance the user name itself.
    """

    user_name: str
    instance_id: str

    @property
    def is_device(self) -> bool:
        """A device's; otherwise an instance's."""
        return self.user_name != self.instance_id


class AccountListener(Protocol):
    """Is told of what has happened, on the reactor's thread, once it is in the store for ever.

    By then no password that has become void is known any more. Only who is barred is not in the
    store as one who is gone: it can't be written, and whoever asked for it repeats that.
    """

    def device_added(self, instance_id: str, device_id: str) -> None:
        """A device has used its setup key: it can log in from now on."""

    def device_removed(self, instance_id: str, device_id: str) -> None:
        """Revoked, never claimed, never confirmed, or claimed twice: it can't log in any more.

        What it has open is to be cut. Perhaps it never was :meth:`device_added`.
        """

    def device_barred(self, instance_id: str, device_id: str) -> None:
        """It is to be removed. It is cut, and has to stay away, also if its password is right;
        :meth:`device_removed` may follow.
        """

    def instance_barred(self, instance_id: str) -> None:
        """It is to be removed with all of its devices, likewise."""

    def instance_removed(self, instance_id: str) -> None:
        """It and all of its devices are gone; of these nothing is told one by one."""

    def password_changed(self, user_name: str) -> None:
        """Its new password has logged in; from now on the one before is void."""

    def setup_race(self, instance_id: str, device_id: str) -> None:
        """Two devices have shown one setup key.

        If the device wasn't confirmed yet it was removed, which was told before.
        """
