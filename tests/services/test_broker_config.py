"""The broker's settings: defaults, then the file, then the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.mqtt.policy import Bounds, Profile, SlowConsumer
from porttunnel.services.broker_config import (
    DEFAULT_ADMIN,
    DEFAULT_LISTEN,
    BrokerSettings,
    DrainSettings,
    RuleSettings,
    UserSettings,
    load_settings,
)


def write(folder: Path, text: str) -> str:
    path = folder / "broker.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def load(folder: Path, text: str) -> BrokerSettings:
    return load_settings(write(folder, text), [], [], None)


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings(None, [], [], None)
    assert settings == BrokerSettings(listen=(DEFAULT_LISTEN,))
    assert settings.admin == DEFAULT_ADMIN
    assert settings.has_admin
    assert settings.is_open


def test_the_file_says_everything(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        listen = ["tcp:1", "ssl:2"]
        websocket = ["tcp:3"]
        websocket_path = "/mqtt"
        websocket_origins = ["https://example.org"]
        admin = "off"
        status_interval_s = 0
        anonymous = true
        [everybody]
        publish = ["a"]
        subscribe = ["b/#"]
        [[users]]
        name = "anna"
        password = "hash"
        publish = ["users/%u/#"]
        subscribe = ["c"]
        [drain]
        seconds = 7
        server_reference = "other.example:1883"
        [client]
        max_packet_bytes = 1000
        messages_per_second = 10
        max_qos = 0
        slow_consumer = "cut"
        retain_available = false
        [limits]
        max_connections = 10
        max_connections_per_prefix = 5
        """,
    )
    assert settings == BrokerSettings(
        listen=("tcp:1", "ssl:2"),
        websocket=("tcp:3",),
        websocket_path="/mqtt",
        websocket_origins=("https://example.org",),
        admin="off",
        status_interval_s=0,
        anonymous=True,
        everybody=RuleSettings(publish=("a",), subscribe=("b/#",)),
        users=(UserSettings("anna", "hash", publish=("users/%u/#",), subscribe=("c",)),),
        drain=DrainSettings(seconds=7, server_reference="other.example:1883"),
        client=Profile(
            max_packet_bytes=1_000,
            messages_per_second=10,
            max_qos=0,
            slow_consumer=SlowConsumer.CUT,
            retain_available=False,
        ),
        limits=Bounds(max_connections=10, max_connections_per_prefix=5),
    )
    assert not settings.has_admin
    assert not settings.is_open


def test_the_command_line_wins(tmp_path: Path) -> None:
    config = write(tmp_path, 'listen = ["tcp:1"]\nwebsocket = ["tcp:2"]\nadmin = "tcp:3"')
    settings = load_settings(config, ["tcp:4"], ["tcp:5"], "off")
    assert settings.listen == ("tcp:4",)
    assert settings.websocket == ("tcp:5",)
    assert not settings.has_admin


def test_who_only_wants_websocket_gets_nothing_else() -> None:
    settings = load_settings(None, [], ["tcp:5"], None)
    assert (settings.listen, settings.websocket) == ((), ("tcp:5",))


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("", True),
        ("anonymous = true", True),
        ("anonymous = false", False),
        ("[everybody]", False),
        ('[[users]]\nname = "a"\npassword = "b"', False),
    ],
)
def test_a_broker_is_open_if_there_are_no_rules(tmp_path: Path, text: str, is_open: bool) -> None:
    assert load(tmp_path, text).is_open is is_open


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lisen = []", "lisen is no setting"),
        ("listen = 1", "Expected"),
        ("[client]\nmax_size = 1", "max_size is no setting here"),
        ("[client]\nmax_qos = 3", "max_qos can't be 3"),
        ("[client]\nreceive_maximum = 0", "receive_maximum can't be 0"),
        ("[client]\nreceive_maximum = 65536", "receive_maximum can't be 65536"),
        ("[client]\nmessages_per_second = -1.5", "messages_per_second can't be"),
        ('[client]\nslow_consumer = "wait"', "drop, pause or cut"),
        ("[client]\nslow_consumer = 1", "Expected"),
        ('[client]\nmax_qos = "1"', "Expected"),
        ("client = 1", "Expected"),
        ("[limits]\nmax_sessions = 0", "max_sessions can't be 0"),
        ("[drain]\nseconds = -1", "Expected"),
        ("[drain]\nseconds = inf", "Expected"),
        ("[drain]\nspeed = 1", "unknown field"),
        ('[[users]]\nname = ""\npassword = "b"', "length"),
        ("[[users]]\nname = 'a'", "password"),
        ("=", "not TOML"),
    ],
)
def test_what_is_no_setting(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        load(tmp_path, text)
    assert "correct the file" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name the right file"):
        load_settings(str(tmp_path / "none"), [], [], None)


def test_hashes_are_not_shown() -> None:
    user: Any = UserSettings("anna", "pbkdf2-hush")
    assert "hush" not in repr(user)
    assert "hush" not in repr(BrokerSettings(users=(user,)))
