"""The gateway's accounts, asked by our own client: both say the same thing."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet import endpoints, reactor
from twisted.trial.unittest import TestCase

from porttunnel.errors import GatewayRefused
from porttunnel.keys.credentials import derive_device_password
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.resource import AccountResource
from porttunnel.net.gateway.site import GatewaySite
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.answer import ClaimedDevice, ListedDevice
from porttunnel.net.gateway_client.rest import Login, RestClient
from tests.net.gateway.listening import UNIX_TIME, AccountsInMemory

NONCE, OTHER_NONCE = b"n" * 32, b"m" * 32
TOKEN = "sesame"


class ClientTests(TestCase):
    timeout = 20

    async def setUp(self) -> None:
        self.scene = AccountsInMemory(AccountSettings(registration_token=TOKEN))
        self.addCleanup(self.scene.close)
        resource = AccountResource(self.scene.accounts)
        site = GatewaySite(reactor, accounts=resource, mqtt=resource, is_ready=lambda: True)
        endpoint = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port = await endpoint.listen(site)
        self.addCleanup(port.stopListening)
        address = GatewayAddress.parse(f"http://127.0.0.1:{port.getHost().port}")
        self.client = RestClient(reactor, address)

    async def check_refused(self, asking: Awaitable[Any], status: int, code: str) -> None:
        with self.assertRaises(GatewayRefused) as caught:
            await asking
        self.assertEqual((caught.exception.status, caught.exception.code), (status, code))

    async def test_everything_that_can_be_asked(self) -> None:
        client = self.client
        await self.check_refused(client.register_instance("wrong"), 401, "wrong-credentials")
        instance = await client.register_instance(TOKEN)
        offered = await client.offer_device(instance, 60)
        self.assertEqual(offered.expires, UNIX_TIME + 60)
        device_id, key = offered.device_id, bytes.fromhex(offered.device_setup_key)
        await self.check_refused(client.confirm_device(instance, device_id), 409, "not-claimed")
        for _ in range(2):
            claimed = await client.claim_device(key, NONCE)
            self.assertEqual(claimed, ClaimedDevice(device_id, instance.user))
        await client.confirm_device(instance, device_id)
        await self.check_refused(client.claim_device(key, OTHER_NONCE), 404, "setup-refused")
        device = Login(device_id, derive_device_password(NONCE, key).hex())
        listed = ListedDevice(device_id, "confirmed")
        self.assertEqual(await client.read_device(device, device_id), listed)
        self.assertEqual(await client.list_devices(instance), (listed,))
        await self.check_refused(client.list_devices(device), 403, "not-allowed")
        await client.remove_device(device, device_id)
        await self.check_refused(client.remove_device(instance, device_id), 404, "not-found")
        await client.change_password(instance, "e" * 32)
        changed = Login(instance.user, "e" * 32)
        self.assertEqual(await client.list_devices(changed), ())
        await self.check_refused(client.list_devices(instance), 401, "wrong-credentials")
        await client.remove_instance(changed)
        await self.check_refused(client.list_devices(changed), 401, "wrong-credentials")

    async def test_when_to_come_again(self) -> None:
        for _ in range(20):
            await self.check_refused(
                self.client.claim_device(b"k" * 16, NONCE), 404, "setup-refused"
            )
        with self.assertRaises(GatewayRefused) as caught:
            await self.client.claim_device(b"k" * 16, NONCE)
        self.assertEqual(caught.exception.status, 429)
        self.assertEqual(caught.exception.retry_after_seconds, 60.0)
