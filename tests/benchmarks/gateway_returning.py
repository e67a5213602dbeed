"""Instances that come back to a gateway after a cut, as the library does it: ``PORT COUNT``.

When all of them are connected it says ``all there``, and when that was (:func:`time.monotonic`).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet import reactor as twisted_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import globalLogBeginner, textFileLogObserver

from porttunnel.mqtt.client_event import Connected
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.connection import open_mqtt
from porttunnel.net.gateway_client.rest import Login
from porttunnel.net.open_files import allow_open_files
from tests.benchmarks.gateway_crowd import login_of
from tests.benchmarks.program import HOST

__all__ = ["Crowd"]

FILES_BESIDE_CONNECTIONS = 100

reactor: Any = twisted_reactor


@dataclass(frozen=True)
class _Place(GatewayAddress):
    """The gateway, as somebody reaches it from an address of their own."""

    source: str = HOST

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        port = int(self.url.rpartition(":")[2])
        return TCP4ClientEndpoint(reactor, HOST, port, bindAddress=(self.source, 0))


class Crowd:
    """See the module.

    :param port: of the gateway.
    :param count: of instances.
    """

    def __init__(self, port: int, count: int) -> None:
        url = f"http://{HOST}:{port}"
        self._missing = set(range(count))
        self._clients = [
            open_mqtt(
                reactor,
                _Place(url, source=f"127.{number >> 8 & 255}.{number & 255}.1"),
                Login(*login_of(number)),
                on_message=lambda message: None,
                on_event=partial(self._happened, number),
            )
            for number in range(count)
        ]

    def start(self) -> None:
        for client in self._clients:
            client.start()

    def _happened(self, number: int, happened: Any) -> None:
        if not isinstance(happened, Connected):
            self._missing.add(number)
            return
        self._missing.discard(number)
        if not self._missing:
            print(f"all there {time.monotonic()}", flush=True)


def main() -> None:
    """See the module."""
    port, count = map(int, sys.argv[1:])
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    allow_open_files(count + FILES_BESIDE_CONNECTIONS)
    reactor.callWhenRunning(Crowd(port, count).start)
    reactor.run()


if __name__ == "__main__":
    main()
