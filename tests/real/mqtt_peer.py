"""A real MQTT client as the tests see it, whichever library it is.

Names of properties are MQTT.js's, for instance ``sessionExpiryInterval``; a value that is bytes is
written in hexadecimal digits.
"""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

__all__ = [
    "Address",
    "Connected",
    "Inbox",
    "MakePeer",
    "Message",
    "Peer",
    "PeerSilent",
    "Refused",
    "Will",
]

WAIT_SECONDS = 20.0  # a deadline, not a measure

Properties = dict[str, Any]


class Address(NamedTuple):
    """Where a broker is.

    :ivar transport: ``tcp`` or ``ws``.
    :ivar certificate: with TLS, the file with the only one to trust; else empty.
    """

    transport: str
    port: int
    certificate: str = ""


class Will(NamedTuple):
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = {}


class Connected(NamedTuple):
    session_present: bool
    properties: Properties


class Message(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties


class Refused(Exception):
    """The broker did not take the client.

    :ivar reason: of its CONNACK.
    """

    def __init__(self, reason: int) -> None:
        super().__init__(f"refused with {reason:#x}")
        self.reason = reason


class PeerSilent(AssertionError):
    """What was waited for did not come."""


class Inbox:
    """What a client has told and nobody has asked about yet."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, queue.Queue[Any]] = {}

    def put(self, kind: Hashable, told: Any) -> None:
        self._queues.setdefault(kind, queue.Queue()).put(told)

    def take(self, kind: Hashable, seconds: float = WAIT_SECONDS) -> Any:
        """The oldest of this kind."""
        try:
            return self._queues.setdefault(kind, queue.Queue()).get(timeout=seconds)
        except queue.Empty:
            raise PeerSilent(f"{kind} did not come") from None

    def has(self, kind: Hashable) -> bool:
        return not self._queues.setdefault(kind, queue.Queue()).empty()


class Peer(ABC):
    """One client. Each call waits for the broker's answer.

    :param version: 4 or 5, as the protocol writes it.
    """

    def __init__(self, address: Address, version: int) -> None:
        self.address = address
        self.version = version

    @abstractmethod
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
        """Connect.

        :param comes_back: by itself, when the connection has ended.
        :raises Refused: it was not taken.
        """

    @abstractmethod
    def came_back(self) -> Connected:
        """Wait until it was taken again."""

    @abstractmethod
    def subscribe(
        self, pattern: str, qos: int = 0, *, properties: Properties | None = None, **options: Any
    ) -> int:
        """The QoS that was granted, or why it was not.

        :param options: ``no_local``, ``retain_as_published``, ``retain_handling``.
        """

    @abstractmethod
    def unsubscribe(self, pattern: str) -> None:
        """Want no more."""

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> int:
        """The reason in the broker's answer; 0 where there is none."""
        return self.published(
            self.begin_publish(topic, payload, qos, retain=retain, properties=properties)
        )

    @abstractmethod
    def begin_publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> int:
        """A number for :meth:`published`; nothing is waited for."""

    @abstractmethod
    def published(self, number: int) -> int:
        """Wait until it is; the reason in the broker's answer, 0 where there is none."""

    @abstractmethod
    def message(self) -> Message:
        """The next one that came."""

    @abstractmethod
    def end(self) -> int | None:
        """Wait until the connection has ended; the reason if the broker told one."""

    @abstractmethod
    def is_connected(self) -> bool:
        """Whether its connection, as far as it knows, is still there."""

    @abstractmethod
    def disconnect(self) -> None:
        """Say goodbye."""

    @abstractmethod
    def drop(self) -> None:
        """End the connection without a goodbye; who comes back by itself does so."""

    @abstractmethod
    def cut(self) -> None:
        """End the connection without a goodbye, for good."""

    @abstractmethod
    def stop(self) -> None:
        """Forget it, whatever state it is in."""

    @abstractmethod
    def silent(self) -> AbstractContextManager[None]:
        """A context in which it does nothing at all; for one that is put out meanwhile."""


MakePeer = Callable[[Address, int], Peer]
