"""A broker made of the library, with a policy of its own: ``python -m tests.real.library_broker``.

Prints where it listens, once for TCP and once for WebSocket.
"""

from __future__ import annotations

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from porttunnel.mqtt.packet import Subscription
from porttunnel.mqtt.policy import Admission, AllowAll, Attempt, Client, Decision
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.mqtt import MQTTBrokerFactory
from tests.real.mqtt_peer import Address
from tests.real.program import PYTHON, Start, find_port

LISTEN = "tcp:0:interface=127.0.0.1"
SHORT_KEEP_ALIVE_SECONDS = 2  # for a user of this name
SHORT_KEEP_ALIVE = "short-keep-alive"
SECRET = "secret/"


class HousePolicy(AllowAll):
    """One user must speak often, and some topics nobody may read."""

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        if attempt.connect.user_name == SHORT_KEEP_ALIVE:
            profile = replace(self.profile, max_keep_alive_seconds=SHORT_KEEP_ALIVE_SECONDS)
            return Admission(profile=profile)
        return super().authenticate(attempt, now)

    def authorise_subscribe(
        self, client: Client, subscription: Subscription
    ) -> Subscription | ReasonCode:
        if subscription.filter.startswith(SECRET):
            return ReasonCode.NOT_AUTHORIZED
        return subscription


async def run(reactor: object) -> None:
    factory = MQTTBrokerFactory(HousePolicy(), reactor=reactor)
    for made in (factory, factory.websocket_factory()):
        port = await serverFromString(reactor, LISTEN).listen(made)
        print(f"listening tcp:{port.getHost().port}", flush=True)
    await Deferred()


def start_broker(start: Start) -> dict[str, Address]:
    """Start one; its addresses by transport."""
    program = start(*PYTHON, "-m", "tests.real.library_broker")
    ports = [find_port(program.line("listening ")) for _ in range(2)]
    return {name: Address(name, port) for name, port in zip(("tcp", "ws"), ports, strict=True)}


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
