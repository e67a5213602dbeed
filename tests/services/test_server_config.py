"""Defaults, then the file, then the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from platformdirs import user_data_path

from porttunnel.errors import ConfigurationError
from porttunnel.services.server_config import (
    GatewaySettings,
    LimitSettings,
    ProxySettings,
    ServerSettings,
    load_settings,
)


def write(folder: Path, text: str) -> str:
    path = folder / "server.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_without_anything_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTTUNNEL_DATA", raising=False)
    settings = load_settings(None, [], None, None)
    assert settings == ServerSettings()
    assert settings.listen == ("tcp:4663",)
    assert settings.admin == "tcp:9463:interface=127.0.0.1"
    assert settings.has_admin
    assert settings.data_path == user_data_path("porttunnel", appauthor=False)
    assert settings.limits.connections_per_prefix == 64
    assert settings.limits.creates_per_minute == 60
    assert settings.limits.creates_per_hour == 600


def test_the_file_says_everything(tmp_path: Path) -> None:
    config = write(
        tmp_path,
        """
        listen = ["tcp:1", "unix:/run/x"]
        data_dir = "/srv/data"
        admin = "off"
        public_name = "tunnel.example"
        [limits]
        connections = 10
        client_grace_s = 60
        creates_per_minute = 7
        creates_per_hour = 70
        [proxy]
        trusted = ["127.0.0.1", "10.0.0.0/8", "unix"]
        [gateway]
        drain_s = 1.5
        audit = false
        """,
    )
    assert load_settings(config, [], None, None) == ServerSettings(
        listen=("tcp:1", "unix:/run/x"),
        data_dir="/srv/data",
        admin="off",
        public_name="tunnel.example",
        limits=LimitSettings(
            connections=10, client_grace_s=60, creates_per_minute=7, creates_per_hour=70
        ),
        proxy=ProxySettings(trusted=("127.0.0.1", "10.0.0.0/8", "unix")),
        gateway=GatewaySettings(drain_s=1.5, audit=False),
    )


def test_the_command_line_wins(tmp_path: Path) -> None:
    config = write(tmp_path, 'listen = ["tcp:1"]\nadmin = "tcp:2"\npublic_name = "kept"')
    settings = load_settings(config, ["tcp:3", "tcp:4"], "/elsewhere", "")
    assert settings.listen == ("tcp:3", "tcp:4")
    assert settings.data_path == Path("/elsewhere")
    assert settings.public_name == "kept"
    assert not settings.has_admin


def test_the_environment_names_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTTUNNEL_DATA", "/from/environment")
    assert load_settings(None, [], None, None).data_path == Path("/from/environment")
    assert load_settings(None, [], "/said", None).data_path == Path("/said")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("listen = 4663", "listen"),
        ("listen = []", "listen"),
        ('listne = ["tcp:1"]', "listne"),
        ("[limits]\nconnections = 0", "limits.connections"),
        ('[proxy]\ntrusted = ["10.0.0.1/8"]', "10.0.0.1/8"),
        ("[gateway]\ndrain_s = -1", "gateway.drain_s"),
        ("[gateway]\nenable = true", "enable"),
        ("[limits]\ncreates_per_hour = 0", "limits.creates_per_hour"),
        ("[limits]\nconnectoins = 1", "connectoins"),
        ("listen = [", "not TOML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    config = write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=why) as raised:
        load_settings(config, [], None, None)
    assert config in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--config"):
        load_settings(str(tmp_path / "none.toml"), [], None, None)


@pytest.mark.parametrize("name", ["https://gateway.example.com", "gateway.example.com:443", "a b"])
def test_a_public_name_is_a_host_s(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no host name"):
        load_settings(write(tmp_path, f'public_name = "{name}"'), [], None, None)


@pytest.mark.parametrize("name", ["gateway.example.com", "2001:db8::7", "192.0.2.7"])
def test_a_public_name_may_be_an_address(tmp_path: Path, name: str) -> None:
    settings = load_settings(write(tmp_path, f'public_name = "{name}"'), [], None, None)
    assert settings.public_name == name
