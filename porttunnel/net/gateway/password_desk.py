"""Who has which password: looked up in the store, and known again for an hour.

Source: docs/gateway-protocol, section 5. To look at a password costs 11 ms of CPU on purpose.
So the limits come first, few wait, other threads do it, and what was right once is known again at
once: after a restart of a proxy or a network all instances and devices come back together.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from porttunnel.errors import GatewayBusy
from porttunnel.gateway.topic import is_id
from porttunnel.keys.credentials import SALT_BYTES, hash_password, verify_password
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.attempt_limit import AttemptLimit
from porttunnel.net.gateway.store import Credential, GatewayStore
from porttunnel.session.limit import RateLimiter

__all__ = ["PasswordDesk"]

MAX_WAITING = 64  # 0.7 s of CPU; who comes then is told to come again
MAX_WAITING_PER_PREFIX = 32  # so that an office that comes back doesn't fill all places
# With more of them under way no time is spent on users that there are not. Who knows an id can
# tell by it whether there is such a user; but nobody finds an id by trying, and a flood of them
# would keep others out.
MAX_QUIET = 16
WRONG_PER_MINUTE = 20  # from one place: somebody who repairs a setting, or a program that repeats
WRONG_PER_HOUR = 200
# Of one user whose place had more than that. Others of the place, its neighbours behind one
# address perhaps, are not to be kept out by it, and can't know whom to ask for.
WRONG_PER_MINUTE_OF_ONE = 5
WRONG_PER_HOUR_OF_ONE = 30
# From all places together; beyond it those wait that have had a wrong one.
WRONG_PER_SECOND_OVERALL = 50
KNOWN_SECONDS = 3_600.0  # who is in use costs 11 ms in that time, who isn't no memory after it
MAX_KNOWN = 100_000  # 40 MB at worst
MAX_PASSWORD_BYTES = 128  # ours have 32

Run = Callable[..., Deferred[Any]]


@dataclass(frozen=True, slots=True)
class _Proof:
    digest: bytes
    account: Account
    until: float


@dataclass(slots=True)
class _Look:
    """Somebody's password is being looked at.

    :ivar answers: for all who have shown the same meanwhile: it is paid for once.
    :ivar now: when the first of them came.
    :ivar wait_seconds: how long too much is wrong at his place; or 0.
    :ivar is_void: nothing was read from the store yet, or it is not so any more.
    """

    answers: list[Deferred[Account | None]]
    now: float
    wait_seconds: float
    is_void: bool = True


class PasswordDesk:
    """See the module. Used on the reactor's thread.

    :param store: of accounts.
    :param run_store: calls a function in the thread of the store.
    :param run_hash: calls a function in one of the threads that look at passwords.
    :param on_promoted: called with an instance's id when its new password has logged in.
    """

    def __init__(
        self,
        store: GatewayStore,
        run_store: Run,
        run_hash: Run,
        *,
        on_promoted: Callable[[str], None],
    ) -> None:
        self._store = store
        self._run_store = run_store
        self._run_hash = run_hash
        self._on_promoted = on_promoted
        self._limit = AttemptLimit(
            RateLimiter(
                per_minute=WRONG_PER_MINUTE,
                per_hour=WRONG_PER_HOUR,
                per_second_overall=WRONG_PER_SECOND_OVERALL,
            ),
            max_under_way=MAX_WAITING,
            max_under_way_per_prefix=MAX_WAITING_PER_PREFIX,
        )
        self._wrong_of_users = RateLimiter(
            per_minute=WRONG_PER_MINUTE_OF_ONE,
            per_hour=WRONG_PER_HOUR_OF_ONE,
            per_second_overall=WRONG_PER_SECOND_OVERALL,
        )
        # For users that there are not: a guesser shall not know them by an answer that comes soon.
        self._no_hash = hash_password(secrets.token_bytes(16), secrets.token_bytes(SALT_BYTES))
        self._proof_key = secrets.token_bytes(32)
        self._proofs: OrderedDict[str, _Proof] = OrderedDict()  # the oldest first
        self._looks: dict[tuple[str, bytes], _Look] = {}  # no more than may be under way

    def known(self, user_name: str, password: bytes, now: float) -> Account | None:
        """The account, if this password was right within the hour before; costs next to nothing.

        :param password: as it was sent: 32 hex digits.
        :param now: seconds of a clock that does not go back.
        """
        proof = self._proofs.get(user_name)
        if proof is None or now >= proof.until:
            return None
        return proof.account if hmac.compare_digest(proof.digest, self._digest(password)) else None

    def check(
        self, user_name: str, password: bytes, prefix: str, now: float
    ) -> Deferred[Account | None]:
        """The account, if the password is right.

        From a place where much was wrong only users that there are get their passwords looked at,
        and what is wrong is answered like what wasn't looked at.

        :param prefix: whose attempt it is: :func:`~porttunnel.session.limit.prefix_of`.
        :param now: seconds of a clock that does not go back.
        :raises GatewayBusy: nobody looked at it; come again in ``retry_seconds``.
        :raises ConfigurationError: the store can't be used.
        """
        account = self.known(user_name, password, now)
        if account is not None:
            return succeed(account)
        answer: Deferred[Account | None] = Deferred()
        key = (user_name, self._digest(password))
        look = self._looks.get(key)
        if look is not None:
            look.answers.append(answer)
            return answer
        try:
            self._limit.take_place(prefix)
        except GatewayBusy:
            return fail()
        look = self._looks[key] = _Look([answer], now, self._limit.wait_seconds(prefix, now))
        looking = Deferred.fromCoroutine(self._look_up(user_name, password, look))
        looking.addBoth(self._tell, key, prefix, now)
        return answer

    def forget(self, user_name: str) -> None:
        """What the store says of this user has changed: nothing is known of it any more.

        To be called when the store has it; then no password that is void is let in from now on.
        """
        self._proofs.pop(user_name, None)
        for (name, _), look in self._looks.items():
            if name == user_name:
                look.is_void = True

    async def hash(self, password: bytes) -> str:
        """What is to be stored of a password; it takes its turn among those that are looked at."""
        salt = secrets.token_bytes(SALT_BYTES)
        text: str = await self._run_hash(hash_password, password, salt)
        return text

    async def _look_up(self, user_name: str, password: bytes, look: _Look) -> Account | None:
        account: Account | None = None
        # Of anything else there is nothing to find out by the time it takes.
        if is_id(user_name) and len(password) <= MAX_PASSWORD_BYTES:
            while look.is_void:
                look.is_void = False
                account = await self._look(user_name, password, look)
        if account is None and look.wait_seconds:
            raise GatewayBusy(look.wait_seconds, too_many=True)
        return account

    async def _look(self, user_name: str, password: bytes, look: _Look) -> Account | None:
        credential: Credential | None = await self._run_store(self._store.credential, user_name)
        if look.wait_seconds and (
            credential is None or not self._wrong_of_users.allows(user_name, look.now)
        ):
            return None
        if credential is None:
            if len(self._looks) <= MAX_QUIET:
                await self._run_hash(verify_password, password, self._no_hash)
            return None
        account = Account(user_name, credential.instance_id)
        if await self._run_hash(verify_password, password, credential.password_hash):
            return account
        following = credential.next_password_hash
        if following is None or not await self._run_hash(verify_password, password, following):
            self._wrong_of_users.count(user_name, look.now)
            return None
        if await self._run_store(self._store.promote_password, user_name, following):
            self.forget(user_name)
            self._on_promoted(user_name)
        look.is_void = True  # what was read is not so any more: the same password, once more
        return account

    def _tell(
        self, result: Account | Failure | None, key: tuple[str, bytes], prefix: str, now: float
    ) -> None:
        """Let all know that wait for the same."""
        look = self._looks.pop(key)
        self._limit.leave(prefix, now, counts=result is None)
        if isinstance(result, Account):
            self._keep(_Proof(key[1], result, now + KNOWN_SECONDS), now)
        for answer in look.answers:
            answer.callback(result)

    def _keep(self, proof: _Proof, now: float) -> None:
        user_name = proof.account.user_name
        self._proofs[user_name] = proof
        self._proofs.move_to_end(user_name)
        while len(self._proofs) > MAX_KNOWN or next(iter(self._proofs.values())).until <= now:
            self._proofs.popitem(last=False)

    def _digest(self, password: bytes) -> bytes:
        return hmac.digest(self._proof_key, password, hashlib.sha256)
