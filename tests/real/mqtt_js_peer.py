"""MQTT.js (npm) for the tests: one program of Node.js has all the clients."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.real.mqtt_peer import (
    Address,
    Connected,
    Inbox,
    Message,
    Peer,
    Properties,
    Refused,
    Will,
)
from tests.real.needed import lacking, needed_program
from tests.real.program import ROOT, Program, Start

__all__ = ["MQTTJSPeer", "MQTTJSProgram"]

FOLDER = Path(__file__).with_name("mqtt_js")
PROTOCOLS = {
    ("tcp", False): "mqtt",
    ("tcp", True): "mqtts",
    ("ws", False): "ws",
    ("ws", True): "wss",
}
RECONNECT_MILLISECONDS = 100


class MQTTJSProgram:
    """The program; skips the test where Node.js or MQTT.js is missing."""

    def __init__(self, start: Start) -> None:
        node = needed_program("node", "nodejs")
        if not (FOLDER / "node_modules" / "mqtt").is_dir():
            lacking(f"no MQTT.js here: npm ci --prefix {FOLDER.relative_to(ROOT)}")
        self.program: Program = start(node, str(FOLDER / "clients.js"))
        self.inbox = Inbox()
        self._numbers = itertools.count(1)

    def new_number(self) -> int:
        return next(self._numbers)

    def ask(self, name: int, command: str, **fields: Any) -> dict[str, Any]:
        """Its answer to a command."""
        number = self.tell(name, command, **fields)
        answer: dict[str, Any] = self.take(number)
        return answer

    def tell(self, name: int, command: str, **fields: Any) -> int:
        number = self.new_number()
        self.program.send({"id": number, "name": name, "do": command} | fields)
        return number

    def take(self, kind: Any) -> Any:
        """What it tells of this kind: the answer to a number, or (name, event)."""
        while not self.inbox.has(kind):
            line = self.program.next_line()
            if line is None:
                pytest.fail(f"MQTT.js has ended: {self.program.errors}")
            told = json.loads(line)
            self.inbox.put(told.get("id") or (told["name"], told["event"]), told)
        return self.inbox.take(kind)


class MQTTJSPeer(Peer):
    """One of its clients."""

    def __init__(self, program: MQTTJSProgram, address: Address, version: int) -> None:
        super().__init__(address, version)
        self._program = program
        self._name = program.new_number()
        self._connecting = 0

    def connect(
        self,
        client_id: str = "",
        *,
        clean: bool = True,
        keep_alive: int = 60,
        will: Will | None = None,
        user: str | None = None,
        password: str | None = None,
        properties: Properties | None = None,
        comes_back: bool = False,
    ) -> Connected:
        options: dict[str, Any] = {
            "protocol": PROTOCOLS[self.address.transport, bool(self.address.certificate)],
            "port": self.address.port,
            "protocolVersion": self.version,
            "clientId": client_id,
            "clean": clean,
            "keepalive": keep_alive,
            "properties": properties or {},
            "reconnectPeriod": RECONNECT_MILLISECONDS if comes_back else 0,
        }
        if self.address.certificate:
            options["ca"] = Path(self.address.certificate).read_text("ascii")
        if will is not None:
            options["will"] = will._asdict() | {"payload": will.payload.hex()}
        if user is not None:
            options |= {"username": user, "password": password}
        self._connecting = self._program.tell(self._name, "connect", options=options)
        return self.came_back()

    def came_back(self) -> Connected:
        told = self._program.take(self._connecting)
        if "refused" in told:
            raise Refused(told["refused"])
        return Connected(told["present"], told["properties"])

    def subscribe(
        self, pattern: str, qos: int = 0, *, properties: Properties | None = None, **options: Any
    ) -> int:
        wanted = {
            "qos": qos,
            "nl": options.get("no_local", False),
            "rap": options.get("retain_as_published", False),
            "rh": options.get("retain_handling", 0),
            "properties": properties or {},
        }
        told = self._program.ask(self._name, "subscribe", pattern=pattern, options=wanted)
        return int(told["reason"])

    def unsubscribe(self, pattern: str) -> None:
        self._program.ask(self._name, "unsubscribe", pattern=pattern)

    def begin_publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> int:
        return self._program.tell(
            self._name,
            "publish",
            topic=topic,
            payload=payload.hex(),
            options={"qos": qos, "retain": retain, "properties": properties or {}},
        )

    def published(self, number: int) -> int:
        return int(self._program.take(number)["reason"])

    def message(self) -> Message:
        told = self._program.take((self._name, "message"))
        properties = told["properties"]
        # One alone comes without a list.
        if isinstance(properties.get("subscriptionIdentifier"), int):
            properties["subscriptionIdentifier"] = [properties["subscriptionIdentifier"]]
        return Message(
            told["topic"], bytes.fromhex(told["payload"]), told["qos"], told["retain"], properties
        )

    def end(self) -> int | None:
        reason: int | None = self._program.take((self._name, "end"))["reason"]
        return reason

    def is_connected(self) -> bool:
        return bool(self._program.ask(self._name, "state")["connected"])

    def disconnect(self) -> None:
        self._program.tell(self._name, "disconnect")
        self.end()

    def drop(self) -> None:
        self._program.tell(self._name, "drop")

    def cut(self) -> None:
        self.drop()
        self.end()

    def stop(self) -> None:
        self._program.tell(self._name, "stop")

    @contextmanager
    def silent(self) -> Iterator[None]:
        os.kill(self._program.program.pid, signal.SIGSTOP)
        yield
        os.kill(self._program.program.pid, signal.SIGCONT)
