"""Our client at our broker, whatever becomes of their connections: in any order of cuts and bytes.

Two clients with sessions that last: what one publishes, the other gets, at QoS 2 once and at QoS 1
at least once, each in its order; and whoever published hears of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from porttunnel.mqtt.broker import Broker
from porttunnel.mqtt.client import Client, ClientState
from porttunnel.mqtt.client_event import (
    ConnectionFailed,
    MessageReceived,
    PublishFinished,
    RequestFailed,
    SubscribeFinished,
)
from porttunnel.mqtt.client_setting import ClientSettings
from porttunnel.mqtt.connection import ServerConnection
from porttunnel.mqtt.packet import Subscription, Version
from porttunnel.mqtt.policy import AllowAll, Profile

# Small, so that a short walk meets them.
RECEIVE_MAXIMUM = 3
ALIASES = 2
TOPICS = ("t/a", "t/b", "t/c")
PORTIONS = (1, 4, 7, 12, 30, 1 << 20, 1 << 20)  # bytes that arrive at a time
# How often each comes, in a walk where nothing much would happen if all came as often.
ACTIONS = {"publish": 5, "move": 12, "exchange": 3, "finish": 3, "cut": 2, "connect": 2}
ENDLESS = 10_000  # steps of settling: more means that it never comes to rest


class Member:
    """A client core and its line to the broker; bytes wait on the line until they are moved."""

    def __init__(self, broker: Broker, name: str, version: Version) -> None:
        self.broker = broker
        self.client = Client(
            ClientSettings(
                version=version,
                client_id=name,
                clean_start=False,
                keep_alive_seconds=0,
                session_expiry_seconds=10_000,
                receive_maximum=RECEIVE_MAXIMUM,
                max_inflight=RECEIVE_MAXIMUM,
                topic_alias_maximum=ALIASES,
            )
        )
        self.core: ServerConnection | None = None
        self.there = bytearray()  # on its way to the broker
        self.here = bytearray()  # on its way to the client
        self.events: list[Any] = []
        self.unfinished: list[MessageReceived] = []

    def connect(self) -> None:
        if self.core is None and self.client.state is ClientState.OFFLINE:
            self.core = self.broker.accept(0.0, spare_client_id="spare")
            self.client.connect(0.0)
            self.look()

    def cut(self) -> None:
        """What is on its way is lost."""
        if self.core is not None:
            self.core.receive_eof(0.0)
            self.core = None
            self.client.receive_eof(0.0)
            self.there.clear()
            self.here.clear()
            self.look()

    def move(self, count: int, *, up: bool) -> bool:
        """Some bytes arrive at the broker (``up``) or at the client; whether there were any."""
        core = self.core
        if core is None:
            return False
        if up:
            _send(self.client, self.there)
            data = bytes(self.there[:count])
            del self.there[:count]
            core.receive_data(memoryview(data), 0.0)
        else:
            _send(core, self.here)
            data = bytes(self.here[:count])
            del self.here[:count]
            self.client.receive_data(memoryview(data), 0.0)
        self.broker.take_ready()
        self.look()
        return bool(data)

    def finish(self) -> bool:
        """The program is done with the oldest message that it has."""
        if not self.unfinished:
            return False
        self.client.finish(self.unfinished.pop(0).delivery)
        return True

    def look(self) -> None:
        for happened in self.client.events():
            assert not isinstance(happened, ConnectionFailed | RequestFailed), happened
            self.events.append(happened)
            if isinstance(happened, MessageReceived):
                self.unfinished.append(happened)

    def happened(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def _send(core: Any, line: bytearray) -> None:
    """All that a core has to send goes on the line."""
    while views := core.data_to_send():
        data = b"".join(views)
        core.data_sent(len(data))
        line += data


class TwoClients(RuleBasedStateMachine):
    """See the module."""

    @initialize(version=st.sampled_from(Version))
    def begin(self, version: Version) -> None:
        profile = Profile(
            receive_maximum=RECEIVE_MAXIMUM,
            max_inflight=RECEIVE_MAXIMUM,
            topic_alias_maximum=ALIASES,
            outgoing_aliases=ALIASES,
        )
        self.broker = Broker(AllowAll(profile), 0.0)
        self.sender = Member(self.broker, "sender", version)
        self.receiver = Member(self.broker, "receiver", version)
        self.published: list[tuple[int, str, bytes]] = []
        self.receiver.client.subscribe([Subscription("t/+", 2)])
        for member in (self.sender, self.receiver):
            member.connect()
        self.settle()
        assert len(self.receiver.happened(SubscribeFinished)) == 1

    @property
    def members(self) -> tuple[Member, Member]:
        return self.sender, self.receiver

    def settle(self) -> None:
        """Let everything move until it comes to rest."""
        for _ in range(ENDLESS):
            moved = [
                member.move(1 << 20, up=up) for member in self.members for up in (True, False)
            ]
            moved += [member.finish() for member in self.members]
            if not any(moved):
                return
        raise AssertionError("it never comes to rest")

    @rule(
        action=st.sampled_from([name for name, often in ACTIONS.items() for _ in range(often)]),
        who=st.booleans(),
        up=st.booleans(),
        count=st.sampled_from(PORTIONS),
        qos=st.sampled_from([1, 2]),
        topic=st.sampled_from(TOPICS),
    )
    def step(self, *, action: str, who: bool, up: bool, count: int, qos: int, topic: str) -> None:
        member = self.members[who]
        match action:
            case "publish":
                payload = b"%d" % len(self.published)
                self.published.append((qos, topic, payload))
                self.sender.client.publish(topic, payload, qos=qos)
            case "move":
                member.move(count, up=up)
            case "exchange":
                for each in self.members:
                    each.move(1 << 20, up=True)
                    each.move(1 << 20, up=False)
            case "finish":
                self.receiver.finish()
            case "cut":
                member.cut()
                if up:
                    member.connect()
            case _:
                member.connect()

    def teardown(self) -> None:
        if not hasattr(self, "broker"):
            return
        for member in self.members:
            member.connect()
        self.settle()
        assert len(self.sender.happened(PublishFinished)) == len(self.published)
        assert self.sender.client.is_idle
        received = self.receiver.happened(MessageReceived)
        for qos in (1, 2):
            wanted = [(topic, payload) for q, topic, payload in self.published if q == qos]
            got = [(each.topic, each.payload) for each in received if each.qos == qos]
            if qos == 1:
                # Again is allowed; who has seen something for the first time sees it in order.
                got = list(dict.fromkeys(got))
            assert got == wanted


def run(factory: Callable[[], RuleBasedStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        factory,
        settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None),
    )


@pytest.mark.mqtt5("4.1.0-1", "4.3.2-4", "4.3.3-8", "4.3.3-10", "4.4.0-1", "4.6.0-1")
@pytest.mark.mqtt3("4.3.2-2", "4.3.3-2", "4.4.0-1", "4.6.0-1")
def test_nothing_is_lost_and_at_qos_2_nothing_comes_twice() -> None:
    run(TwoClients, examples=60, steps=60)


@pytest.mark.long
def test_nothing_is_lost_however_long_it_goes_on() -> None:
    run(TwoClients, examples=2_000, steps=200)
