"""Users, passwords and topics of a broker, asked as the broker asks."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import ConfigurationError
from porttunnel.keys.credentials import hash_password
from porttunnel.mqtt.packet import Connect, Subscription, Version, Will
from porttunnel.mqtt.policy import Admission, Attempt, Client, Refusal
from porttunnel.mqtt.property import EMPTY, Properties
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.services import broker_policy
from porttunnel.services.broker_config import BrokerSettings, RuleSettings, UserSettings
from porttunnel.services.broker_policy import UserPolicy

DENIED = ReasonCode.NOT_AUTHORIZED
HASH = hash_password(b"right", bytes(16), iterations=1)
ANNA = UserSettings("anna", HASH, publish=("users/%u/%c",), subscribe=("users/%u/#",))
EVERYBODY = RuleSettings(publish=("all",), subscribe=("all", "$SYS/#"))


class PolicyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.answers: list[tuple[Attempt, Any]] = []
        self.waiting: list[Deferred[Any]] = []
        self.looked = 0
        self.waits = False
        self.now = 1_000.0

    def run_now(self, function: Any, *arguments: Any) -> Deferred[Any]:
        self.looked += 1
        if self.waits:
            self.waiting.append(Deferred())
            self.waiting[-1].addCallback(lambda _: function(*arguments))
            return self.waiting[-1]
        return maybeDeferred(function, *arguments)

    def policy(self, **settings: Any) -> UserPolicy:
        settings.setdefault("users", (ANNA,))
        policy = UserPolicy(BrokerSettings(**settings), self.run_now)
        policy.answer = lambda attempt, decision: self.answers.append((attempt, decision))
        return policy

    def attempt(
        self,
        policy: UserPolicy,
        name: str | None = "anna",
        password: bytes | None = b"right",
        *,
        client_id: str = "phone",
        peer: str = "192.0.2.1",
        properties: Properties = EMPTY,
    ) -> Any:
        """What is answered, at once or later; None if not yet."""
        connect = Connect(
            Version.V5, client_id, user_name=name, password=password, properties=properties
        )
        attempt = Attempt(connect, peer, lambda *_: None)
        decision = policy.authenticate(attempt, self.now)
        if decision is None and self.answers:
            answered, decision = self.answers.pop()
            self.assertIs(answered, attempt)
        return decision

    def client(self, policy: UserPolicy, name: str | None = "anna", **options: Any) -> Client:
        admission = self.attempt(policy, name, **options)
        assert isinstance(admission, Admission)
        return Client(
            "phone", admission.session_name or "", name, Version.V5, "", admission.context
        )

    def test_the_right_password_lets_in(self) -> None:
        self.assertIsInstance(self.attempt(self.policy()), Admission)

    def test_what_was_right_before_is_known_again_at_once(self) -> None:
        policy = self.policy()
        for _ in range(3):
            self.assertIsInstance(self.attempt(policy), Admission)
        self.assertEqual(self.looked, 1)
        self.assertIsInstance(self.attempt(policy, password=b"wrong"), Refusal)
        self.assertEqual(self.looked, 2)

    def test_a_wrong_password_and_an_unknown_user_are_answered_alike(self) -> None:
        policy = self.policy()
        wrong = self.attempt(policy, password=b"wrong")
        self.assertEqual(wrong.reason, ReasonCode.BAD_USER_NAME_OR_PASSWORD)
        self.assertEqual(self.attempt(policy, password=None), wrong)
        self.assertEqual(self.attempt(policy, "nobody"), wrong)
        self.assertEqual(self.looked, 3)

    def test_an_unknown_user_is_not_let_in_by_a_password_of_chance(self) -> None:
        policy = self.policy()
        policy._no_hash = HASH
        self.assertIsInstance(self.attempt(policy, "nobody"), Refusal)

    def test_who_guesses_is_slowed_down(self) -> None:
        policy = self.policy()
        for _ in range(broker_policy.WRONG_PER_MINUTE):
            self.attempt(policy, password=b"wrong")
            self.now += 0.1
        self.assertEqual(self.attempt(policy).reason, ReasonCode.SERVER_BUSY)
        self.assertIsInstance(self.attempt(policy, peer="192.0.2.2"), Admission)
        self.now += 60
        self.assertIsInstance(self.attempt(policy), Admission)

    def test_who_guesses_from_many_places_keeps_nobody_else_out(self) -> None:
        policy = self.policy()
        places = [f"198.51.100.{number}" for number in range(100)]
        for place in places:
            self.attempt(policy, password=b"wrong", peer=place)
        for name in ("anna", "nobody"):
            again = self.attempt(policy, name, password=b"wrong", peer=places[0])
            self.assertEqual(again.reason, ReasonCode.SERVER_BUSY)
        self.assertIsInstance(self.attempt(policy), Admission)
        self.now += 1
        again = self.attempt(policy, password=b"wrong", peer=places[0])
        self.assertEqual(again.reason, ReasonCode.BAD_USER_NAME_OR_PASSWORD)

    def test_passwords_that_are_being_looked_at_are_bounded(self) -> None:
        policy = self.policy()
        self.waits = True
        for _ in range(broker_policy.MAX_LOOKED_AT_PER_PREFIX):
            self.assertIsNone(self.attempt(policy))
        self.assertEqual(self.attempt(policy).reason, ReasonCode.SERVER_BUSY)
        self.assertIsNone(self.attempt(policy, peer="192.0.2.2"))
        self.patch(broker_policy, "MAX_LOOKED_AT", 51)
        other = self.attempt(policy, peer="192.0.2.3")
        self.assertEqual(other.reason, ReasonCode.SERVER_BUSY)
        for waiting in self.waiting:
            waiting.callback(None)
        self.assertEqual(len(self.answers), 51)
        self.assertEqual(policy._looked_at.total(), 0)

    def test_what_fails_is_no_wrong_password(self) -> None:
        policy = self.policy()
        self.waits = True
        self.assertIsNone(self.attempt(policy))
        logged = EventLoggingObserver()
        globalLogPublisher.addObserver(logged)
        self.addCleanup(globalLogPublisher.removeObserver, logged)
        self.waiting[0].errback(OSError("no thread"))
        ((_, decision),) = self.answers
        self.assertEqual(decision.reason, ReasonCode.SERVER_UNAVAILABLE)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertNotIn("right", repr(list(logged)))

    def test_who_has_no_name_comes_in_if_that_is_allowed(self) -> None:
        self.assertEqual(self.attempt(self.policy(), None).reason, DENIED)
        self.assertIsInstance(self.attempt(self.policy(anonymous=True), None), Admission)

    def test_there_are_no_other_ways_to_prove_it(self) -> None:
        properties = Properties(authentication_method="SCRAM")
        decision = self.attempt(self.policy(), properties=properties)
        self.assertEqual(decision.reason, ReasonCode.BAD_AUTHENTICATION_METHOD)

    def test_each_user_has_sessions_of_its_own(self) -> None:
        other = UserSettings("bert", HASH)
        policy = self.policy(users=(ANNA, other), anonymous=True)
        names = [
            self.attempt(policy, name, client_id=client_id).session_name
            for name in ("anna", "bert", None)
            for client_id in ("phone", "tablet")
        ]
        self.assertEqual(len(set(names)), 6)

    def test_topics_of_a_user(self) -> None:
        policy = self.policy(everybody=EVERYBODY)
        client = self.client(policy)
        self.assertEqual(policy.authorise_publish(client, "users/anna/phone"), "users/anna/phone")
        self.assertEqual(policy.authorise_publish(client, "all"), "all")
        self.assertEqual(policy.authorise_publish(client, "users/anna/x"), DENIED)
        self.assertEqual(policy.authorise_will(client, Will("all", b"")), "all")
        self.assertEqual(policy.authorise_will(client, Will("x", b"")), DENIED)
        for text in ("users/anna/#", "$share/g/users/anna/+", "all", "$SYS/broker/#"):
            wanted = Subscription(text)
            self.assertIs(policy.authorise_subscribe(client, wanted), wanted)
        for text in ("#", "users/#", "x"):
            self.assertEqual(policy.authorise_subscribe(client, Subscription(text)), DENIED)

    def test_topics_of_those_without_a_name(self) -> None:
        policy = self.policy(everybody=EVERYBODY, anonymous=True)
        client = self.client(policy, None)
        self.assertEqual(policy.authorise_publish(client, "all"), "all")
        self.assertEqual(policy.authorise_publish(client, "users/anna/phone"), DENIED)

    def test_nobody_speaks_for_the_broker(self) -> None:
        rules = RuleSettings(publish=("$SYS/#", "#"))
        policy = self.policy(everybody=rules)
        self.assertEqual(policy.authorise_publish(self.client(policy), "$SYS/x"), DENIED)

    def test_a_user_stands_there_once(self) -> None:
        with self.assertRaisesRegex(ConfigurationError, "'anna' stands twice"):
            self.policy(users=(ANNA, ANNA))


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "pbkdf2-sha256$x$y$z",
        HASH + "0",
        HASH.replace("$1$", "$0$"),
        HASH.replace("$1$", "$10000001$"),
        HASH.upper(),
    ],
)
def test_a_password_that_is_no_hash_is_not_repeated(text: str) -> None:
    users = (UserSettings("anna", text),)
    with pytest.raises(ConfigurationError, match="broker_password") as caught:
        UserPolicy(BrokerSettings(users=users), maybeDeferred)
    assert text not in str(caught.value)


def test_a_password_may_be_as_slow_to_look_at_as_it_can_be() -> None:
    users = (UserSettings("anna", HASH.replace("$1$", "$10000000$")),)
    assert UserPolicy(BrokerSettings(users=users), maybeDeferred)


def test_a_rule_that_is_none_is_named() -> None:
    users = (UserSettings("anna", HASH, publish=("a/#/b",)),)
    with pytest.raises(ConfigurationError, match="a/#/b"):
        UserPolicy(BrokerSettings(users=users), maybeDeferred)
