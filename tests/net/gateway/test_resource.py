"""porttunnel.net.gateway.resource, asked over real HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

from twisted.internet import endpoints, reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from porttunnel.errors import ConfigurationError, GatewayBusy
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.resource import MAX_BODY_BYTES, AccountResource
from tests.net.gateway.listening import AccountsInMemory
from tests.net.gateway.turns import Turns
from tests.net.http_question import Question

NOBODY = "f" * 32
JSON = {"Content-Type": "application/json"}


class Reply(NamedTuple):
    status: int
    head: str
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def field(self, name: str) -> str | None:
        for line in self.head.split("\r\n")[1:]:
            field, _, value = line.partition(": ")
            if field.lower() == name.lower():
                return value
        return None


def basic(user: str, password: str) -> dict[str, str]:
    shown = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {shown}"}


class ResourceTestCase(TestCase):
    timeout = 20
    settings: AccountSettings | None = None

    async def setUp(self) -> None:
        self.scene = AccountsInMemory(self.settings)
        self.addCleanup(self.scene.close)
        root = Resource()
        resource = AccountResource(self.scene.accounts)
        root.putChild(b"v1", resource)
        root.putChild(b"openapi.json", resource)
        endpoint = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port = await endpoint.listen(Site(root, parsePOSTFormSubmission=False))
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    def begin(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[Question, Deferred[Any]]:
        fields = {"Host": "localhost", "Connection": "close", **(headers or {})}
        if body:
            fields["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        question = Question(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        client = endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{self.port}")
        return question, client.connect(Factory.forProtocol(lambda: question))

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Reply:
        data = b"" if body is None else body
        if not isinstance(data, bytes):
            data, headers = json.dumps(body).encode(), {**JSON, **(headers or {})}
        question, connected = self.begin(method, path, data, headers)
        await connected
        head, _, content = (await question.ended).partition(b"\r\n\r\n")
        return Reply(int(head.split()[1]), head.decode("ascii"), content)

    async def register(self) -> dict[str, str]:
        """The header of a new instance."""
        made = (await self.ask("POST", "/v1/instances")).document
        return basic(made["instance_id"], made["instance_password"])

    def check_problem(self, reply: Reply, status: int, code: str) -> None:
        self.assertEqual(reply.status, status, reply)
        self.assertEqual(reply.field("Content-Type"), "application/problem+json")
        self.assertEqual(reply.field("Cache-Control"), "no-store")
        self.assertEqual((reply.document["status"], reply.document["code"]), (status, code))


class RouteTests(ResourceTestCase):
    async def test_the_whole_way_of_a_device(self) -> None:
        instance = await self.register()
        invited = await self.ask("POST", "/v1/devices", {"expires_in": 60}, instance)
        self.assertEqual(invited.status, 201)
        device_id = invited.document["device_id"]
        path = f"/v1/devices/{device_id}"
        self.check_problem(
            await self.ask("POST", f"{path}/confirm", None, instance), 409, "not-claimed"
        )
        setup = {
            "device_setup_key": invited.document["device_setup_key"],
            "client_nonce": "a" * 64,
        }
        for _ in range(2):
            answer = await self.ask("POST", "/v1/devices/setup", setup)
            self.assertEqual(answer.status, 201)
            self.assertEqual(answer.document["device_id"], device_id)
        confirmed = await self.ask("POST", f"{path}/confirm", None, instance)
        self.assertEqual((confirmed.status, confirmed.body), (204, b""))
        expected = {"device_id": device_id, "state": "confirmed"}
        self.assertEqual((await self.ask("GET", path, None, instance)).document, expected)
        self.assertEqual(
            (await self.ask("GET", "/v1/devices", None, instance)).document,
            {"devices": [expected]},
        )
        self.assertEqual((await self.ask("DELETE", path, None, instance)).status, 204)
        self.check_problem(await self.ask("GET", path, None, instance), 404, "not-found")

    async def test_a_device_asks_for_itself_only(self) -> None:
        instance = await self.register()
        invited = (await self.ask("POST", "/v1/devices", None, instance)).document
        setup = {"device_setup_key": invited["device_setup_key"], "client_nonce": "a" * 64}
        await self.ask("POST", "/v1/devices/setup", setup)
        hashed = self.scene.get(self.scene.accounts.desk.hash(b"d" * 32))
        self.scene.store._file.change("UPDATE devices SET password_hash = ?", hashed)
        device = basic(invited["device_id"], "d" * 32)
        path = f"/v1/devices/{invited['device_id']}"
        self.assertEqual((await self.ask("GET", path, None, device)).status, 200)
        for method, other in (
            ("GET", "/v1/devices"),
            ("POST", "/v1/devices"),
            ("DELETE", "/v1/instances/self"),
            ("POST", f"{path}/confirm"),
        ):
            self.check_problem(await self.ask(method, other, None, device), 403, "not-allowed")
        self.assertEqual((await self.ask("DELETE", path, None, device)).status, 204)
        self.check_problem(await self.ask("GET", path, None, device), 401, "wrong-credentials")

    async def test_an_instance_changes_its_password_and_goes(self) -> None:
        instance = await self.register()
        path = "/v1/instances/self/password"
        changed = await self.ask("POST", path, {"new_password": "e" * 32}, instance)
        self.assertEqual(changed.status, 204)
        self.assertEqual(
            (await self.ask("DELETE", "/v1/instances/self", None, instance)).status, 204
        )
        self.check_problem(
            await self.ask("GET", "/v1/devices", None, instance), 401, "wrong-credentials"
        )

    async def test_it_describes_itself(self) -> None:
        reply = await self.ask("GET", "/openapi.json")
        self.assertEqual((reply.status, reply.field("Content-Type")), (200, "application/json"))
        self.assertEqual(reply.document["openapi"], "3.1.0")
        head = await self.ask("HEAD", "/openapi.json")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.field("Content-Length"), str(len(reply.body)))
        self.check_problem(await self.ask("POST", "/openapi.json", {}), 405, "wrong-method")


class RefusalTests(ResourceTestCase):
    async def test_what_is_not_there(self) -> None:
        for path in ("/v1", "/v1/", "/v1/nothing", "/v1/devices/", "/v1/devices/XY", "/v1/%00"):
            for method in ("GET", "POST", "OPTIONS", "BREW"):
                self.check_problem(await self.ask(method, path), 404, "not-found")

    async def test_wrong_methods(self) -> None:
        for method in ("PUT", "PATCH", "TRACE", "DELETE", "BREW", "get"):
            reply = await self.ask(method, "/v1/devices")
            self.check_problem(reply, 405, "wrong-method")
            self.assertEqual(reply.field("Allow"), "GET, HEAD, OPTIONS, POST")
        self.check_problem(await self.ask("GET", "/v1/instances"), 405, "wrong-method")
        head = await self.ask("HEAD", "/v1/instances")
        self.assertEqual((head.status, head.body), (405, b""))

    async def test_options(self) -> None:
        for path, allow in (
            ("/v1/instances", "OPTIONS, POST"),
            ("/v1/devices?x=y", "GET, HEAD, OPTIONS, POST"),
            ("/openapi.json", "GET, HEAD, OPTIONS"),
        ):
            reply = await self.ask("OPTIONS", path)
            self.assertEqual((reply.status, reply.body), (204, b""))
            self.assertEqual(reply.field("Allow"), allow)

    async def test_who_does_not_say_who_he_is(self) -> None:
        user, password = NOBODY, "p" * 32
        valid = basic(user, password)["Authorization"]
        for shown in (
            None,
            "",
            "Basic",
            "Basic ",
            "Basic ====",
            "Basic " + base64.b64encode(b"no colon").decode(),
            "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
            "Basic " + "A" * 10_000,
            "Bearer " + valid.split()[1],
            valid.split()[1],
            valid,
            f"{valid}\r\nAuthorization: {valid}",
        ):
            headers = {} if shown is None else {"Authorization": shown}
            reply = await self.ask("GET", "/v1/devices", None, headers)
            self.check_problem(reply, 401, "wrong-credentials")
            self.assertIn("Basic realm=", reply.field("WWW-Authenticate") or "")

    async def test_the_scheme_may_be_written_as_one_likes(self) -> None:
        instance = await self.register()
        shown = instance["Authorization"].replace("Basic ", "bAsIc  ")
        reply = await self.ask("GET", "/v1/devices", None, {"Authorization": shown})
        self.assertEqual(reply.status, 200)
        head = await self.ask("HEAD", "/v1/devices", None, instance)
        self.assertEqual((head.status, head.body), (200, b""))

    async def test_strangers_learn_nothing_of_their_bodies(self) -> None:
        reply = await self.ask("POST", "/v1/devices", b"nonsense")
        self.check_problem(reply, 401, "wrong-credentials")

    async def test_bodies_that_are_none(self) -> None:
        for body in (b"{", b"null", b"[]", b'{"x": 1}', b"\xff", b"{}{}", b"[" * 4_000):
            reply = await self.ask("POST", "/v1/devices/setup", body, JSON)
            self.check_problem(reply, 400, "malformed")
        wrong = {"device_setup_key": "a" * 32, "client_nonce": "a" * 64, "more": 1}
        self.check_problem(await self.ask("POST", "/v1/devices/setup", wrong), 400, "malformed")
        instance = await self.register()
        reply = await self.ask("DELETE", "/v1/instances/self", {}, instance)
        self.check_problem(reply, 400, "malformed")

    async def test_bodies_that_are_not_json(self) -> None:
        path, body = "/v1/devices/setup", b'{"a": "b"}'
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            reply = await self.ask("POST", path, body, {"Content-Type": kind})
            self.check_problem(reply, 415, "not-json")
        self.check_problem(await self.ask("POST", path, body), 415, "not-json")
        self.check_problem(await self.ask("POST", path), 415, "not-json")
        reply = await self.ask(
            "POST", path, body, {"Content-Type": "Application/JSON ; charset=utf-8"}
        )
        self.check_problem(reply, 400, "malformed")
        self.assertEqual((await self.ask("POST", "/v1/instances", {})).status, 201)

    async def test_bodies_that_are_too_long(self) -> None:
        padded = b"{}" + b" " * (MAX_BODY_BYTES - 2)
        self.assertEqual((await self.ask("POST", "/v1/instances", padded, JSON)).status, 201)
        reply = await self.ask("POST", "/v1/instances", padded + b" ", JSON)
        self.check_problem(reply, 413, "too-large")

    async def test_wrong_setup_keys(self) -> None:
        setup = {"device_setup_key": "a" * 32, "client_nonce": "a" * 64}
        for _ in range(20):
            reply = await self.ask("POST", "/v1/devices/setup", setup)
            self.check_problem(reply, 404, "setup-refused")
        reply = await self.ask("POST", "/v1/devices/setup", setup)
        self.check_problem(reply, 429, "too-many-attempts")
        self.assertEqual(reply.field("Retry-After"), "60")


class TroubleTests(ResourceTestCase):
    async def test_too_much_at_a_time(self) -> None:
        self.patch(self.scene.accounts, "authenticate", lambda *_: fail(GatewayBusy(0.01)))
        reply = await self.ask("GET", "/v1/devices", None, basic(NOBODY, "p" * 32))
        self.check_problem(reply, 503, "busy")
        self.assertEqual(reply.field("Retry-After"), "1")

    async def test_a_store_that_fails(self) -> None:
        error = ConfigurationError("/var/lib/secret.sqlite: the disk is full")
        self.patch(self.scene.accounts, "authenticate", lambda *_: fail(error))
        reply = await self.ask("GET", "/v1/devices", None, basic(NOBODY, "p" * 32))
        self.check_problem(reply, 503, "unavailable")
        self.assertNotIn(b"secret", reply.body)

    async def test_a_removal_that_can_not_be_written_down(self) -> None:
        instance = await self.register()
        invited = (await self.ask("POST", "/v1/devices", None, instance)).document
        self.scene.fill_disk()
        with capturedLogs() as logged:
            for path in (f"/v1/devices/{invited['device_id']}", "/v1/instances/self"):
                reply = await self.ask("DELETE", path, None, instance)
                self.check_problem(reply, 503, "not-recorded")
                self.assertIn("Repeat this until it is done", reply.document["detail"])
        told = [str(each["error"]) for each in logged if "error" in each]
        self.assertEqual(told, ["the disk is full"])
        self.scene.empty_disk()
        reply = await self.ask("DELETE", "/v1/instances/self", None, instance)
        self.assertEqual(reply.status, 204)

    async def test_a_fault_of_our_own(self) -> None:
        self.patch(
            self.scene.accounts, "authenticate", lambda *_: fail(ZeroDivisionError("secret"))
        )
        reply = await self.ask("GET", "/v1/devices", None, basic(NOBODY, "p" * 32))
        self.check_problem(reply, 500, "broken")
        self.assertNotIn(b"secret", reply.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_what_was_begun_is_done_though_nobody_waits_any_more(self) -> None:
        instance = await self.register()
        begun: Deferred[None] = Deferred()
        going_on: Deferred[None] = Deferred()
        remove = self.scene.accounts.instances.remove

        async def remove_late(instance_id: str) -> None:
            begun.callback(None)
            await going_on
            await remove(instance_id)

        self.patch(self.scene.accounts.instances, "remove", remove_late)
        question, connected = self.begin("DELETE", "/v1/instances/self", headers=instance)
        await connected
        await begun
        transport: Any = question.transport
        transport.abortConnection()
        self.assertEqual(await question.ended, b"")
        # Another question and its answer: by then the server has seen the first one end.
        await self.ask("GET", "/openapi.json")
        going_on.callback(None)
        self.assertEqual(self.scene.listener.told[0][0], "instance removed")

    async def test_a_busy_pool_holds_nobody_else_up(self) -> None:
        instance = await self.register()
        cores = Turns()
        self.scene.accounts.desk._run_hash = cores.run
        self.assertEqual((await self.ask("GET", "/v1/devices", None, instance)).status, 200)
        cores.are_held = True
        question, connected = self.begin("POST", "/v1/instances")
        await connected
        self.assertEqual((await self.ask("GET", "/v1/devices", None, instance)).status, 200)
        self.assertEqual(cores.waiting(), 1)
        cores.release()
        self.assertIn(b" 201 ", await question.ended)


class LimitTests(ResourceTestCase):
    settings = AccountSettings(requests_per_minute=2)

    async def test_an_account_asks_only_so_often(self) -> None:
        instance, other = await self.register(), await self.register()
        for _ in range(2):
            self.assertEqual((await self.ask("GET", "/v1/devices", None, instance)).status, 200)
        reply = await self.ask("GET", "/v1/devices", None, instance)
        self.check_problem(reply, 429, "too-many-attempts")
        self.assertEqual((await self.ask("GET", "/v1/devices", None, other)).status, 200)
        self.scene.clock.advance(60.0)
        self.assertEqual((await self.ask("GET", "/v1/devices", None, instance)).status, 200)

    async def test_what_revokes_does_not_wait_for_that(self) -> None:
        instance = await self.register()
        invited = (await self.ask("POST", "/v1/devices", None, instance)).document
        await self.ask("GET", "/v1/devices", None, instance)
        path = f"/v1/devices/{invited['device_id']}"
        reply = await self.ask("GET", path, None, instance)
        self.check_problem(reply, 429, "too-many-attempts")
        self.assertEqual((await self.ask("DELETE", path, None, instance)).status, 204)
        reply = await self.ask("DELETE", "/v1/instances/self", None, instance)
        self.assertEqual(reply.status, 204)


class TokenTests(ResourceTestCase):
    settings = AccountSettings(registration_token="sesame")

    async def test_who_registers_shows_the_token(self) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}, basic("sesame", "sesame")):
            reply = await self.ask("POST", "/v1/instances", None, headers)
            self.check_problem(reply, 401, "wrong-credentials")
            self.assertEqual(reply.field("WWW-Authenticate"), "Bearer")
        reply = await self.ask("POST", "/v1/instances", None, {"Authorization": "Bearer sesame"})
        self.assertEqual(reply.status, 201)
        described = (await self.ask("GET", "/openapi.json")).document
        self.assertTrue(described["paths"]["/v1/instances"]["post"]["security"])
