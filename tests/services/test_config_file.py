"""The TOML file of a service, and where its data is."""

from __future__ import annotations

from pathlib import Path

import pytest
from platformdirs import user_data_path

from porttunnel.errors import ConfigurationError
from porttunnel.services.config_file import find_data_path, read_config


def test_no_file_says_nothing() -> None:
    assert read_config(None) == {}


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('admin = "off"\n[limits]\nrequests = 1\n')
    assert read_config(str(path)) == {"admin": "off", "limits": {"requests": 1}}


@pytest.mark.parametrize("content", [b"admin = ", b"admin", b"\xff"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"x.toml is not TOML"):
        read_config(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"can't be read .No such file"):
        read_config(str(tmp_path / "none"))


def test_where_data_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTTUNNEL_DATA", "/from/environment")
    assert find_data_path("/as/set") == Path("/as/set")
    assert find_data_path("~/data") == Path.home() / "data"
    assert find_data_path("") == Path("/from/environment")
    monkeypatch.delenv("PORTTUNNEL_DATA")
    assert find_data_path("") == user_data_path("porttunnel", appauthor=False)
