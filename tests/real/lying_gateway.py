"""A gateway that lies: the real one, whose rules send every part to a client named ``liar``. That
one passes it on, or does whatever it likes (:mod:`tests.real.liar`).
"""

from __future__ import annotations

import runpy
from typing import Any

from porttunnel.mqtt.packet import Subscription
from porttunnel.mqtt.policy import Admission, Attempt, Client, Decision, Profile
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway import gateway
from porttunnel.net.gateway.broker_policy import GatewayPolicy
from tests.real.liar import LIAR, WHAT_LIES

__all__ = ["LyingPolicy"]

PROFILE = Profile(max_queued_bytes=64 << 20, max_outbox_bytes=64 << 20)


class LyingPolicy(GatewayPolicy):
    """See the module."""

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        if attempt.connect.user_name == LIAR:
            return Admission(profile=PROFILE, session_name=LIAR)
        return super().authenticate(attempt, now)

    def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
        if client.session_name == LIAR:
            return topic
        allowed = super().authorise_publish(client, topic)
        return allowed if isinstance(allowed, ReasonCode) else f"{WHAT_LIES}/{allowed}"

    def authorise_subscribe(
        self, client: Client, subscription: Subscription
    ) -> Subscription | ReasonCode:
        if client.session_name == LIAR:
            return subscription
        return super().authorise_subscribe(client, subscription)

    def connected(self, client: Client, session_present: bool, now: float) -> None:
        if client.session_name != LIAR:
            super().connected(client, session_present, now)

    def disconnected(self, client: Client, *event: Any) -> None:
        if client.session_name != LIAR:
            super().disconnected(client, *event)


def main() -> None:
    """As ``python -m twisted``."""
    gateway.GatewayPolicy = LyingPolicy  # type: ignore[misc]  # that is the lie
    runpy.run_module("twisted", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
