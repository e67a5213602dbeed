"""The table [gateway], and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.broker_policy import BrokerLimits
from porttunnel.services.server_gateway_config import GatewaySettings
from porttunnel.services.server_limit_config import LimitSettings


def test_without_anything_the_defaults_hold() -> None:
    settings = GatewaySettings()
    assert settings.enabled
    assert settings.audit
    assert settings.account_settings() == AccountSettings()


def test_each_setting_reaches_its_place() -> None:
    said = dict.fromkeys(
        (
            *("max_instances", "max_devices_per_instance"),
            *("registrations_per_minute", "registrations_per_hour"),
            *("registrations_per_second_overall",),
            *("invitations_per_minute", "invitations_per_hour"),
            *("requests_per_minute", "requests_per_hour"),
        ),
        7,
    )
    accounts = msgspec.convert(said, GatewaySettings).account_settings()
    assert accounts == AccountSettings(**said)
    said = {
        "connects_per_second": 1,
        "device_messages_per_second": 2,
        "instance_messages_per_second": 3,
        "queued_bytes": 4,
    }
    limits = LimitSettings(connections=5, connections_per_prefix=6)
    assert msgspec.convert(said, GatewaySettings).broker_limits(limits) == BrokerLimits(
        connections=5, connections_per_prefix=6, **said
    )


def test_a_token_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a-word-of-the-operator\n", encoding="ascii")
    settings = GatewaySettings(registration_token_file=str(path))
    accounts = settings.account_settings()
    assert accounts.registration_token == "a-word-of-the-operator"
    assert "a-word" not in repr(accounts)


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff"])
def test_what_is_no_token(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    settings = GatewaySettings(registration_token_file=str(path))
    with pytest.raises(ConfigurationError, match="one word of ASCII"):
        settings.account_settings()


def test_a_token_that_is_not_there(tmp_path: Path) -> None:
    settings = GatewaySettings(registration_token_file=str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="can't be read"):
        settings.account_settings()
