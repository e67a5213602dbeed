"""The rules of ``twistd porttunnel-broker`` with users: passwords, and topics for each.

A session belongs to a user: who knows another's client id does not get the other's session.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from porttunnel.errors import ConfigurationError
from porttunnel.keys.credentials import (
    MAX_PASSWORD_ITERATIONS,
    SALT_BYTES,
    hash_password,
    verify_password,
)
from porttunnel.mqtt.packet import Subscription
from porttunnel.mqtt.policy import (
    Admission,
    AllowAll,
    Attempt,
    Client,
    Decision,
    Refusal,
)
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.mqtt.topic_rule import TopicRules
from porttunnel.services.broker_config import BrokerSettings, RuleSettings
from porttunnel.session.limit import RateLimiter, prefix_of

__all__ = ["UserPolicy"]

# Of passwords that are looked at: 11 ms of CPU each.
MAX_LOOKED_AT = 500  # at a time, in all: five seconds of waiting
MAX_LOOKED_AT_PER_PREFIX = 50  # at a time, from one place
WRONG_PER_MINUTE = 20  # from one place: a few people who mistype, or one program that repeats it
WRONG_PER_HOUR = 200
# From all places together; beyond it, those wait that have had a wrong one. Others don't: else who
# guesses from many places would keep everybody out.
WRONG_PER_SECOND_OVERALL = 50

_HASH = re.compile(r"pbkdf2-sha256\$([1-9][0-9]{0,7})\$[0-9a-f]{32}\$[0-9a-f]{64}")


class UserPolicy(AllowAll):
    """See the module.

    :param settings: the broker's.
    :param run: calls a function off the reactor's thread.
    :ivar answer: set it to :meth:`MQTTBrokerFactory.answer` before anybody comes.
    :raises ConfigurationError: a rule or a password is none, or a user stands there twice.
    """

    _log = Logger()
    answer: Callable[[Attempt, Decision], None]

    def __init__(self, settings: BrokerSettings, run: Callable[..., Deferred[Any]]) -> None:
        super().__init__(settings.client, settings.limits)
        self._run = run
        common = settings.everybody or RuleSettings()
        self._anonymous = TopicRules(common.publish, common.subscribe)
        self._lets_in_anonymous = bool(settings.anonymous)
        self._rules: dict[str, TopicRules] = {}
        self._hashes: dict[str, str] = {}
        for user in settings.users:
            if user.name in self._rules:
                raise ConfigurationError(f"the user {user.name!r} stands twice in the file")
            self._rules[user.name] = TopicRules(
                (*common.publish, *user.publish), (*common.subscribe, *user.subscribe)
            )
            self._hashes[user.name] = user.password
            _check_hash(user.name, user.password)
        # For users that there are not: a guesser shall not know them by an answer that comes soon.
        self._no_hash = hash_password(secrets.token_bytes(16), secrets.token_bytes(SALT_BYTES))
        # What was right before is known again at once: after a restart of a proxy or a network
        # all clients come back together.
        self._proof_key = secrets.token_bytes(32)
        self._proofs: dict[str, bytes] = {}
        self._looked_at: Counter[str] = Counter()
        self._wrong = RateLimiter(
            per_minute=WRONG_PER_MINUTE,
            per_hour=WRONG_PER_HOUR,
            per_second_overall=WRONG_PER_SECOND_OVERALL,
        )

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        connect = attempt.connect
        if connect.properties.authentication_method is not None:
            return Refusal(reason=ReasonCode.BAD_AUTHENTICATION_METHOD)
        name = connect.user_name
        if name is None:
            if self._lets_in_anonymous:
                return self._admit(attempt)
            return Refusal(reason=ReasonCode.NOT_AUTHORIZED)
        prefix = prefix_of(attempt.peer)
        password = connect.password or b""
        proof = hmac.digest(self._proof_key, password, hashlib.sha256)
        if hmac.compare_digest(proof, self._proofs.get(name, b"")):
            return self._admit(attempt)
        if (
            self._looked_at.total() >= MAX_LOOKED_AT
            or self._looked_at[prefix] >= MAX_LOOKED_AT_PER_PREFIX
            or (self._wrong.knows(prefix, now) and not self._wrong.allows(prefix, now))
        ):
            return Refusal(reason=ReasonCode.SERVER_BUSY)
        self._looked_at[prefix] += 1
        looking = self._run(verify_password, password, self._hashes.get(name, self._no_hash))
        looking.addBoth(self._looked, attempt, prefix, proof, now)
        return None

    def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
        if topic.startswith("$") or not client.context.allow_publish(topic):
            return ReasonCode.NOT_AUTHORIZED
        return topic

    def authorise_subscribe(
        self, client: Client, subscription: Subscription
    ) -> Subscription | ReasonCode:
        if not client.context.allow_subscribe(subscription.filter):
            return ReasonCode.NOT_AUTHORIZED
        return subscription

    def _looked(
        self, result: bool | Failure, attempt: Attempt, prefix: str, proof: bytes, now: float
    ) -> None:
        self._looked_at[prefix] -= 1
        if not self._looked_at[prefix]:
            del self._looked_at[prefix]
        name = attempt.connect.user_name or ""
        if isinstance(result, Failure):
            self._log.failure("a password could not be looked at", result)
            self.answer(attempt, Refusal(reason=ReasonCode.SERVER_UNAVAILABLE))
        elif result and name in self._rules:
            self._proofs[name] = proof
            self.answer(attempt, self._admit(attempt))
        else:
            self._wrong.count(prefix, now)
            self.answer(attempt, Refusal(reason=ReasonCode.BAD_USER_NAME_OR_PASSWORD))

    def _admit(self, attempt: Attempt) -> Admission:
        name, client_id = attempt.connect.user_name, attempt.connect.client_id
        rules = self._anonymous if name is None else self._rules[name]
        return Admission(
            profile=self.profile,
            # No string of MQTT's has a null character: so no two are the same.
            session_name=f"{name or ''}\0{client_id}",
            context=rules.of_client(name, client_id),
        )


def _check_hash(name: str, text: str) -> None:
    found = _HASH.fullmatch(text)
    if found is None or int(found[1]) > MAX_PASSWORD_ITERATIONS:
        raise ConfigurationError(
            f"the password of {name!r} is no hash; make one with: "
            "python -m porttunnel.services.broker_password"
        )
