"""A gateway for tests of devices: real MQTT over WebSocket and real HTTP, accounts in a dict."""

from __future__ import annotations

import json
import secrets
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site

from porttunnel.gateway.part import Failure, FailureCode
from porttunnel.gateway.policy import DeviceRules, InstanceRules, make_unreached_answer
from porttunnel.gateway.topic import format_event_topic, format_response_topic
from porttunnel.keys.credentials import derive_device_password
from porttunnel.mqtt.packet import Subscription, Will
from porttunnel.mqtt.policy import (
    Admission,
    Attempt,
    Bounds,
    Client,
    Decision,
    Profile,
    Refusal,
    SlowConsumer,
)
from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.mqtt_broker import MQTTBrokerFactory

__all__ = ["GatewayDouble"]

PART_BYTES = 70_000
OFFLINE = Failure(FailureCode.INSTANCE_OFFLINE, from_gateway=True).encode()
ALL_REQUESTS = "00000000"
QUEUED_BYTES = 16 << 20


class GatewayDouble:
    """See the module.

    :ivar passwords: by user name.
    :ivar instance_of: by device.
    :ivar offers: setup key → [device id, instance id, nonce or None].
    :ivar claims: how many claims came.
    :ivar lose_claims: so many claims are carried out and get no answer.
    :ivar busy: so many questions are answered by ``busy_status``.
    """

    def __init__(self) -> None:
        self.passwords: dict[str, bytes] = {}
        self.instance_of: dict[str, str] = {}
        self.offers: dict[bytes, list[Any]] = {}
        self.claims = 0
        self.lose_claims = 0
        self.busy = 0
        self.busy_status = 503
        self.removed: list[str] = []
        self.tells_of_losses = True
        self._policy = _Policy(self)
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self.factory = MQTTBrokerFactory(self._policy, reactor=reactor)
        root = Resource()
        root.putChild(b"mqtt", self.factory.websocket_resource())
        root.putChild(b"v1", _Rest(self))
        endpoint = serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
        site = Site(root)
        site.displayTracebacks = True
        self._listening = await endpoint.listen(site)
        self.port = self._listening.getHost().port
        self.address = GatewayAddress.parse(f"http://127.0.0.1:{self.port}")

    async def stop(self) -> None:
        await maybeDeferred(self._listening.stopListening)
        await self.factory.drain()

    async def restart(self) -> None:
        """It goes and comes back at the same place."""
        await self.stop()
        await self.start(self.port)

    def add_instance(self) -> tuple[str, str]:
        instance_id, password = secrets.token_hex(16), secrets.token_hex(16)
        self.passwords[instance_id] = password.encode()
        return instance_id, password

    def offer(self, instance_id: str) -> tuple[str, bytes]:
        device_id, setup_key = secrets.token_hex(16), secrets.token_bytes(16)
        self.offers[setup_key] = [device_id, instance_id, None]
        return device_id, setup_key

    def claim(self, setup_key: bytes, nonce: bytes) -> dict[str, str] | None:
        self.claims += 1
        offer = self.offers.get(setup_key)
        if offer is None or offer[2] not in (None, nonce):
            return None
        device_id, instance_id, _ = offer
        offer[2] = nonce
        self.instance_of[device_id] = instance_id
        self.passwords[device_id] = derive_device_password(nonce, setup_key).hex().encode()
        return {"device_id": device_id, "instance_id": instance_id}

    def revoke(self, device_id: str) -> None:
        self.removed.append(device_id)
        self.passwords.pop(device_id, None)
        self.factory.disconnect_user(device_id, ReasonCode.ADMINISTRATIVE_ACTION)

    def cut(self, user: str) -> None:
        """A user's connections break; its clients may come back."""
        self.factory.disconnect_user(user, ReasonCode.SERVER_SHUTTING_DOWN)

    def tell_all_offline(self, instance_id: str) -> None:
        for device_id, owner in self.instance_of.items():
            if owner == instance_id:
                topic = format_response_topic(device_id, ALL_REQUESTS)
                self.factory.publish(topic, OFFLINE, qos=1)

    def tell_device_offline(self, device_id: str) -> None:
        topic = format_event_topic(self.instance_of[device_id], "device-offline")
        self.factory.publish(topic, json.dumps({"device_id": device_id}).encode(), qos=1)


class _Policy:
    def __init__(self, gateway: GatewayDouble) -> None:
        self._gateway = gateway

    @property
    def bounds(self) -> Bounds:
        return Bounds()

    def authenticate(self, attempt: Attempt, now: float) -> Decision | None:
        connect, gateway = attempt.connect, self._gateway
        user = connect.user_name or ""
        if connect.password is None or gateway.passwords.get(user) != connect.password:
            return Refusal(reason=ReasonCode.BAD_USER_NAME_OR_PASSWORD)
        instance = gateway.instance_of.get(user)
        slow = SlowConsumer.DROP if instance else SlowConsumer.PAUSE
        rules = (
            DeviceRules(user, instance)
            if instance
            else InstanceRules(user, lambda device: gateway.instance_of.get(device) == user)
        )
        return Admission(
            profile=Profile(
                max_session_seconds=0,
                retain_available=False,
                max_packet_bytes=PART_BYTES,
                max_queued_bytes=QUEUED_BYTES,
                slow_consumer=slow,
            ),
            session_name=f"{user}/{connect.client_id}" if instance else user,
            user_name=user,
            context=rules,
        )

    def authorise_publish(self, client: Client, topic: str) -> str | ReasonCode:
        return client.context.route_publish(topic) or ReasonCode.NOT_AUTHORIZED

    def authorise_response_topic(self, client: Client, topic: str) -> str | ReasonCode:
        return topic

    def authorise_subscribe(
        self, client: Client, subscription: Subscription
    ) -> Subscription | ReasonCode:
        allowed = client.context.allow_subscribe(subscription.filter)
        return subscription if allowed else ReasonCode.NOT_AUTHORIZED

    def authorise_will(self, client: Client, will: Will) -> str | ReasonCode:
        return ReasonCode.NOT_AUTHORIZED

    def delivery_topic(self, client: Client, topic: str) -> str:
        return topic

    def connected(self, client: Client, session_present: bool, now: float) -> None:
        """Nobody is told."""

    def disconnected(self, client: Client, reason: ReasonCode, now: float) -> None:
        gateway, user = self._gateway, client.user_name or ""
        if not gateway.tells_of_losses or gateway.factory.draining:
            return
        if user in gateway.instance_of:
            gateway.tell_device_offline(user)
        else:
            gateway.tell_all_offline(user)

    def reached_nobody(self, client: Client | None, message: Any, now: float) -> None:
        answer = make_unreached_answer(message.topic)
        if answer is not None:
            self._gateway.factory.publish(answer.topic, answer.payload, qos=1)


class _Rest(Resource):
    isLeaf = True

    def __init__(self, gateway: GatewayDouble) -> None:
        super().__init__()
        self._gateway = gateway

    def render(self, request: Any) -> Any:
        gateway = self._gateway
        where = request.method, b"/".join(request.postpath)
        if gateway.busy:
            gateway.busy -= 1
            request.setHeader(b"retry-after", b"0")
            return _answer(request, gateway.busy_status, {"code": "busy"})
        if where == (b"POST", b"devices/setup"):
            asked = json.loads(request.content.read())
            key, nonce = (bytes.fromhex(asked[n]) for n in ("device_setup_key", "client_nonce"))
            claimed = gateway.claim(key, nonce)
            if gateway.lose_claims:
                gateway.lose_claims -= 1
                request.transport.abortConnection()
                return 1  # NOT_DONE_YET
            if claimed is None:
                return _answer(request, 404, {"code": "setup-refused"})
            return _answer(request, 201, claimed)
        if request.method == b"DELETE":
            device_id = request.postpath[-1].decode()
            known = gateway.passwords.get(device_id) == request.getPassword()
            if not known:
                return _answer(request, 401, {"code": "wrong-credentials"})
            gateway.revoke(device_id)
            return _answer(request, 204, None)
        return _answer(request, 405, {"code": "wrong-method"})


def _answer(request: Any, status: int, body: Any) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    return b"" if body is None else json.dumps(body).encode()
