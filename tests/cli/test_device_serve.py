"""porttunnel.cli.device_serve: which systems are there, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.cli import device_serve as serve_module
from porttunnel.cli.device_json import JsonDeviceDialogue
from porttunnel.cli.device_serve import Serving
from porttunnel.cli.exit_code import ExitCode
from porttunnel.errors import ConfigurationError, DeviceRevoked, GatewayUnreachable
from porttunnel.net.device.event import (
    DeviceConnected,
    DeviceDisconnected,
    DeviceEnded,
    DeviceEvent,
    SecretRotated,
)
from tests.cli.device_records import OTHER_ID, WIKI_ID, make_record
from tests.cli.spoken import SpokenStreams

RECORDS = [make_record(), make_record(OTHER_ID)]


class ServingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tell: dict[str, Callable[[DeviceEvent], None]] = {}
        self.running_now: set[str] = set()
        self.ports: list[int | None] = []
        self.taken: OSError | None = None
        test = self

        class OneDevice:
            def __init__(self, reactor: Any, store: Any, record: Any, *, on_event: Any) -> None:
                self.device_id = record.device_id
                test.tell[record.device_id] = on_event

            def start(self) -> None:
                test.running_now.add(self.device_id)

            async def stop(self) -> None:
                test.running_now.discard(self.device_id)

        class OneProxy:
            def __init__(self, reactor: Any, device: Any) -> None:
                self._name = f"proxy of {device.device_id}"

            async def start(self, port: int | None) -> int:
                test.ports.append(port)
                if test.taken is not None:
                    raise CannotListenError("127.0.0.1", port, test.taken)
                test.running_now.add(self._name)
                return 20_000 + len(test.ports)

            async def stop(self) -> None:
                test.running_now.discard(self._name)

        self.patch(serve_module, "Device", OneDevice)
        self.patch(serve_module, "LoopbackProxy", OneProxy)
        self.streams: Any = SpokenStreams()

    def begin(self, port: int | None = None, records: Any = RECORDS) -> Deferred[ExitCode]:
        store: Any = None
        serving = Serving(JsonDeviceDialogue(self.streams))
        return ensureDeferred(serving.run(None, store, records, port))

    def test_each_system_has_its_port_until_the_user_leaves(self) -> None:
        running = self.begin()
        listening = self.streams.events()
        self.assertEqual(
            [(each["device_id"], each["address"]) for each in listening],
            [(WIKI_ID, "127.0.0.1:20001"), (OTHER_ID, "127.0.0.1:20002")],
        )
        self.assertEqual(len(self.running_now), 4)
        running.cancel()
        self.assertEqual(self.successResultOf(running), ExitCode.DONE)
        self.assertEqual(self.streams.events(), [{"event": "done", "reason": "Ended."}])
        self.assertEqual(self.running_now, set())

    def test_a_port_that_is_taken(self) -> None:
        self.taken = OSError(98, "Address already in use")
        running = self.begin(80, RECORDS[:1])
        error = self.failureResultOf(running, ConfigurationError).value
        self.assertIn("Port 80 of this machine can't be used (Address already in use)", str(error))
        self.assertEqual((self.ports, self.running_now), ([80], set()))

    def test_a_link_is_told_when_it_changes(self) -> None:
        running = self.begin()
        self.streams.take()
        lost = DeviceDisconnected(GatewayUnreachable("No way."))
        for happened in (
            DeviceConnected(),
            SecretRotated(2),
            lost,
            lost,
            DeviceConnected(),
            DeviceDisconnected(),
        ):
            self.tell[WIKI_ID](happened)
        told = [(each["up"], each.get("reason")) for each in self.streams.events()]
        expected = [(True, None), (False, "No way."), (True, None), (False, "")]
        self.assertEqual(told, expected)
        running.cancel()

    def test_goes_on_with_those_that_are_not_revoked(self) -> None:
        running = self.begin()
        self.streams.take()
        ended = DeviceEnded(DeviceRevoked("Pair again."))
        self.tell[WIKI_ID](ended)
        self.tell[WIKI_ID](ended)
        self.assertNoResult(running)
        self.assertEqual(
            self.streams.events(), [{"event": "error", "code": "revoked", "text": "Pair again."}]
        )
        self.tell[OTHER_ID](ended)
        self.assertEqual(self.successResultOf(running), ExitCode.REFUSED)
        self.assertEqual(self.running_now, set())
