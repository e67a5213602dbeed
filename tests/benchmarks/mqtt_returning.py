"""Clients of ours that come back after a cut: ``PORT COUNT``.

Each says something to itself whenever it has a connection. When all have heard themselves it says
``all there``, and when the last of them did (:func:`time.monotonic`).
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

from twisted.internet import reactor as twisted_reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner, textFileLogObserver

from porttunnel.errors import MessagingError
from porttunnel.mqtt.client_event import Connected, MessageReceived
from porttunnel.net.mqtt import ClientSettings, MQTTClient, parse_broker_address
from porttunnel.net.open_files import allow_open_files
from tests.benchmarks.program import HOST

__all__ = ["Crowd"]

FILES_BESIDE_CONNECTIONS = 100

reactor: Any = twisted_reactor


class Crowd:
    """See the module.

    :param port: of the broker.
    :param count: of clients.
    """

    def __init__(self, port: int, count: int) -> None:
        self._missing = set(range(count))
        self._count = count
        connector = parse_broker_address(reactor, f"mqtt://{HOST}:{port}")
        self._clients = [
            MQTTClient(
                reactor,
                connector,
                ClientSettings(client_id=f"returning-{number}"),
                on_message=self._heard,
                on_event=partial(self._happened, number),
            )
            for number in range(count)
        ]

    async def start(self) -> None:
        for number, client in enumerate(self._clients):
            client.start()
            # It is asked for again by the client itself, on each connection that needs it.
            Deferred.fromCoroutine(client.subscribe(_topic(number), qos=1))

    def _happened(self, number: int, happened: Any) -> None:
        if isinstance(happened, Connected):
            said = self._clients[number].publish(_topic(number), b"%d" % number, qos=1)
            said.addErrback(lambda failure: failure.trap(MessagingError))

    def _heard(self, message: MessageReceived) -> None:
        self._missing.discard(int(message.payload))
        if not self._missing:
            self._missing = set(range(self._count))  # they will come back once more
            print(f"all there {time.monotonic()}", flush=True)


def _topic(number: int) -> str:
    return f"bench/returning/{number}"


def main() -> None:
    """See the module."""
    port, count = map(int, sys.argv[1:])
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    allow_open_files(count + FILES_BESIDE_CONNECTIONS)
    crowd = Crowd(port, count)
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(crowd.start()))
    reactor.run()


if __name__ == "__main__":
    main()
