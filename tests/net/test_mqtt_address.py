"""porttunnel.net.mqtt_address: where a broker is, as people write it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.testing import MemoryReactorClock

from porttunnel.errors import ConfigurationError
from porttunnel.net.carriers.connector import StreamConnector
from porttunnel.net.carriers.websocket_client import WebSocketConnector
from porttunnel.net.mqtt_address import parse_broker_address

PIN = "sha256-" + "A" * 43


def target(connector: Any) -> tuple[type[Any], bytes, int, bool]:
    """Kind, host, port and whether TLS is spoken."""
    endpoint = connector._endpoint
    wrapped = not isinstance(endpoint, HostnameEndpoint)
    inner = endpoint._wrappedEndpoint if wrapped else endpoint
    return type(connector), inner._hostBytes, inner._port, wrapped


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mqtt://localhost", (StreamConnector, b"localhost", 1883, False)),
        ("mqtt://[::1]:1000/", (StreamConnector, b"::1", 1000, False)),
        ("mqtts://broker.example", (StreamConnector, b"broker.example", 8883, True)),
        (f"mqtts://broker.example:1000#{PIN}", (StreamConnector, b"broker.example", 1000, True)),
        ("ws://localhost/mqtt", (WebSocketConnector, b"localhost", 80, False)),
        ("wss://broker.example:444/a/b?c=d", (WebSocketConnector, b"broker.example", 444, True)),
        (f"wss://broker.example/mqtt#{PIN}", (WebSocketConnector, b"broker.example", 443, True)),
    ],
)
def test_urls(text: str, expected: tuple[Any, ...]) -> None:
    assert target(parse_broker_address(MemoryReactorClock(), text)) == expected


def test_a_web_sockets_path_and_header_are_kept() -> None:
    headers = {"Authorization": "Bearer x"}
    text = f"wss://broker.example/a?b=c#{PIN}"
    connector: Any = parse_broker_address(MemoryReactorClock(), text, headers=headers)
    assert connector._factory.resource == "/a?b=c"
    assert connector._factory.headers == headers


def test_endpoint_strings() -> None:
    connector: Any = parse_broker_address(MemoryReactorClock(), "tcp:localhost:1883")
    assert isinstance(connector._endpoint, TCP4ClientEndpoint)


@pytest.mark.parametrize(
    "text",
    [
        "mqtt://",
        "mqtt://host:x",
        "mqtt://host:0",
        "mqtt://host:65536",
        "mqtt://[::1",
        "mqtt://user:hush@[::1",
        "mqtt://host/path",
        "mqtt://user:hush@host",
        "ftp://host",
        "ftp://host:21",
        f"mqtt://host#{PIN}",
        "mqtts://host#sha256-short",
        "nonsense:1",
        "host",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_broker_address(MemoryReactorClock(), text)
    assert "hush" not in str(caught.value)
