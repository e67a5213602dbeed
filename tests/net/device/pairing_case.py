"""Tests of devices on a real gateway's broker, with an instance of the cores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from porttunnel.gateway.pairing_instance import PairingPolicy
from porttunnel.net.device.device import Device
from porttunnel.net.device.pairing import pair
from porttunnel.net.device.store import DeviceStore
from tests.net.device.gateway_double import GatewayDouble
from tests.net.device.instance_double import InstanceDouble, Served

__all__ = ["Crash", "DeviceTestCase", "Stopped", "greet"]


class DeviceTestCase(TestCase):
    """A gateway, an instance, a store; devices are paired as they are wanted.

    :ivar application: what the instance does with a request; a test may set its own.
    """

    timeout = 60.0  # a deadline, not a measure

    async def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.store = DeviceStore(self.folder)
        self.addCleanup(self.store.close)
        self.gateway = GatewayDouble()
        await self.gateway.start()
        self.addCleanup(self.wrap(self.gateway.stop))
        self.application: Callable[[Served], None] = greet
        self.instance = InstanceDouble(reactor, self.gateway, self._apply)
        await self.instance.start()
        self.addCleanup(self.wrap(self.instance.stop))
        self.events: list[Any] = []
        self.pushes: list[tuple[str, bytes]] = []

    def _apply(self, served: Served) -> None:
        self.application(served)

    def wrap(self, function: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: defer.Deferred.fromCoroutine(function())

    def soon(self, running: Any) -> defer.Deferred[Any]:
        started: defer.Deferred[Any] = defer.Deferred.fromCoroutine(running)
        return started

    async def until(self, condition: Callable[[], object]) -> None:
        """Let everybody go on until it is so; the test's timeout is the only limit."""
        while not condition():
            await deferLater(reactor, 0.005)

    async def pair(self) -> Device:
        """A device that is paired and started."""
        _, code = self.instance.invite(PairingPolicy.IMMEDIATE)
        device = await pair(reactor, self.store, code)
        await device.stop()
        return self.start(device.device_id)

    def start(self, device_id: str, **options: Any) -> Device:
        """A device of the store, as a program that begins finds it."""
        device = Device(
            reactor,
            self.store,
            self.store.read_device(device_id),
            on_push=lambda name, content: self.pushes.append((name, content)),
            on_event=self.events.append,
            **options,
        )
        device.start()
        self.addCleanup(self.wrap(device.stop))
        return device


def greet(served: Served) -> None:
    """What most tests ask for."""
    if served.is_whole and not served.is_cancelled:
        served.respond(200, b"hello " + served.data, fields=((b"x-kind", b"greeting"),))


class Stopped(Exception):
    """The program ends here."""


class Crash:
    """A store whose program ends at one of its methods.

    :param before: whether nothing of it is done any more.
    """

    def __init__(self, store: Any, name: str, *, before: bool) -> None:
        self._store = store
        self._name = name
        method = getattr(store, name)

        def stop(*arguments: Any) -> None:
            if not before:
                method(*arguments)
            raise Stopped

        setattr(store, name, stop)

    def undo(self) -> None:
        delattr(self._store, self._name)
