"""Where the tunnel server's address comes from."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from porttunnel.cli import setting
from porttunnel.cli.device import device
from porttunnel.cli.instance import instance
from porttunnel.cli.setting import (
    CONFIG_NAME,
    default_data_dir,
    explain_unreachable,
    read_server,
)
from porttunnel.errors import ConfigurationError, CutOff, NotReachable
from porttunnel.net.server_address import DEFAULT_SERVER


def test_what_was_given_wins(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_text('server = "tcp:configured:1"')
    assert read_server("tcp:given:1", tmp_path, "tcp:default:1") == "tcp:given:1"


def test_then_the_configured_one(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_text('server = "tcp:configured:1"\nother = 1')
    assert read_server(None, tmp_path, "tcp:default:1") == "tcp:configured:1"


def test_then_the_default(tmp_path: Path) -> None:
    assert read_server(None, tmp_path, "tcp:default:1") == "tcp:default:1"
    (tmp_path / CONFIG_NAME).write_text("")
    assert read_server("", tmp_path, "tcp:default:1") == "tcp:default:1"


@pytest.mark.parametrize("content", ["server = ", "server = 1", "server"])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / CONFIG_NAME).write_text(content)
    with pytest.raises(ConfigurationError, match=CONFIG_NAME):
        read_server(None, tmp_path, "tcp:default:1")


def test_a_folder_in_the_file_s_place_is_named(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).mkdir()
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_server(None, tmp_path, "tcp:default:1")


def test_the_user_s_folder_is_where_settings_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setting, "default_data_dir", lambda: tmp_path)
    (tmp_path / CONFIG_NAME).write_text('server = "tcp:mine:1"')
    assert read_server(None, None, "tcp:default:1") == "tcp:mine:1"
    assert default_data_dir().name == "porttunnel"


def test_who_named_no_server_is_told_where_it_was_looked_for() -> None:
    error = NotReachable("No.")
    explained = explain_unreachable(error, DEFAULT_SERVER)
    assert isinstance(explained, NotReachable)
    assert str(explained).startswith("No. No server was named")
    assert explain_unreachable(error, "tcp:named:1") is error
    cut = CutOff("cut")
    assert explain_unreachable(cut, DEFAULT_SERVER) is cut


@pytest.mark.parametrize("command", [device.commands["list"], instance.commands["devices"]])
def test_a_folder_that_can_not_be_read_is_for_the_command_to_tell(command: click.Command) -> None:
    # click would say less: not that the agent's folder is for the agent's user, for one.
    (option,) = (one for one in command.params if one.name == "data_dir")
    assert isinstance(option.type, click.Path)
    assert not option.type.readable
