"""What instances may ask about themselves. Source: docs/gateway-protocol, section 5."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

from porttunnel.errors import ConfigurationError
from porttunnel.keys.credentials import ID_BYTES
from porttunnel.net.gateway.account_book import AccountBook
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.attempt_limit import AttemptLimit
from porttunnel.net.gateway.audit_log import AuditEvent
from porttunnel.net.gateway.document import RegisteredInstance
from porttunnel.net.gateway.problem import ProblemKind, RequestRefused
from porttunnel.net.gateway.store import Addition
from porttunnel.session.limit import RateLimiter

__all__ = ["InstanceDesk"]

PASSWORD_BYTES = 16
# A rotation is due every few days; more is a program that repeats.
CHANGES_PER_MINUTE = 10
CHANGES_PER_HOUR = 60
CHANGES_PER_SECOND_OVERALL = 50
MAX_UNDER_WAY = 16  # of each kind; each costs some 11 ms of CPU and a write
MAX_UNDER_WAY_OF_ONE = 4


class InstanceDesk:
    """See the module. Used on the reactor's thread.

    :param now: seconds of a clock that does not go back.

    Every method raises:

    :raises RequestRefused: it was not done.
    :raises GatewayBusy: it was not looked at.
    :raises ConfigurationError: the store can't be used.
    """

    def __init__(
        self, book: AccountBook, settings: AccountSettings, now: Callable[[], float]
    ) -> None:
        self._book = book
        self._now = now
        self._max_instances = settings.max_instances
        token = settings.registration_token
        self._token = None if token is None else token.encode("utf-8")
        self._registrations = AttemptLimit(
            RateLimiter(
                per_minute=settings.registrations_per_minute,
                per_hour=settings.registrations_per_hour,
                per_second_overall=settings.registrations_per_second_overall,
            ),
            max_under_way=MAX_UNDER_WAY,
            max_under_way_per_prefix=MAX_UNDER_WAY_OF_ONE,
            waits_for_all=True,
        )
        self._changes = AttemptLimit(
            RateLimiter(
                per_minute=CHANGES_PER_MINUTE,
                per_hour=CHANGES_PER_HOUR,
                per_second_overall=CHANGES_PER_SECOND_OVERALL,
            ),
            max_under_way=MAX_UNDER_WAY,
            max_under_way_per_prefix=MAX_UNDER_WAY_OF_ONE,
        )

    async def register(self, token: bytes | None, prefix: str) -> RegisteredInstance:
        """A new instance.

        :param token: what was shown, if anything.
        :param prefix: who asks: :func:`~porttunnel.session.limit.prefix_of`.
        """
        with self._registrations.counted(prefix, self._now()):
            if self._token is not None and not hmac.compare_digest(self._token, token or b""):
                raise RequestRefused(ProblemKind.WRONG_CREDENTIALS, {"WWW-Authenticate": "Bearer"})
            return await self._register()

    async def remove(self, instance_id: str) -> None:
        """The instance and its devices are no more."""
        try:
            device_ids = await self._book.run(self._book.store.remove_instance, instance_id)
        except ConfigurationError as error:
            self._book.instance_barred(instance_id)
            raise RequestRefused(ProblemKind.NOT_RECORDED) from error
        if device_ids is None:
            raise RequestRefused(ProblemKind.NOT_FOUND)
        self._book.instance_removed(instance_id, device_ids)

    async def change_password(self, instance_id: str, new_password: str) -> None:
        """This password is good too, and the only one as soon as it logs in. May be repeated."""
        with self._changes.counted(instance_id, self._now()):
            text = await self._book.desk.hash(new_password.encode("ascii"))
            if not await self._book.run(self._book.store.set_next_password, instance_id, text):
                raise RequestRefused(ProblemKind.NOT_FOUND)
        self._book.desk.forget(instance_id)
        self._book.record(AuditEvent.PASSWORD_OFFERED, instance_id)

    async def _register(self) -> RegisteredInstance:
        instance_id = secrets.token_hex(ID_BYTES)
        password = secrets.token_hex(PASSWORD_BYTES)
        text = await self._book.desk.hash(password.encode("ascii"))
        added = await self._book.run(
            self._book.store.add_instance, instance_id, text, self._max_instances
        )
        if added is not Addition.ADDED:
            raise RequestRefused(ProblemKind.FULL)
        self._book.record(AuditEvent.INSTANCE_REGISTERED, instance_id)
        return RegisteredInstance(instance_id, password)
