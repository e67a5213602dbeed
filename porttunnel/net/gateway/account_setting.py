"""How many accounts a gateway has, and how fast they come."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["AccountSettings"]


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """What an operator may set.

    :ivar registration_token: who wants to register an instance has to show it; None: everybody
        may.
    :ivar max_instances: 20 MB of store for a hundred thousand.
    :ivar max_devices_per_instance: those that are only invited included.
    :ivar registrations_per_minute: of one address prefix, wrong tokens included; each costs the
        gateway a row for ever.
    :ivar registrations_per_second_overall: of all together.
    :ivar invitations_per_minute: of one instance.
    :ivar requests_per_minute: of one account, whatever it asks; a list of many devices costs as
        much as a look at a password.
    """

    registration_token: str | None = field(default=None, repr=False)
    max_instances: int = 100_000
    max_devices_per_instance: int = 10_000
    registrations_per_minute: int = 10
    registrations_per_hour: int = 60
    registrations_per_second_overall: int = 20
    invitations_per_minute: int = 60
    invitations_per_hour: int = 600
    requests_per_minute: int = 600
    requests_per_hour: int = 6_000
