"""The files that the pages show can be used, and their tables tell what holds."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from porttunnel.net.instance.upstream_setting import UpstreamSettings
from porttunnel.services import agent_config, broker_config, server_config
from porttunnel.services.server_gateway_config import GatewaySettings
from porttunnel.services.server_limit_config import LimitSettings

DOCS = Path(__file__).resolve().parents[2] / "docs"
_FILE = re.compile(r"^ *```toml\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| (`[a-z_`, ]+`) \| ([^|]+) \|", re.MULTILINE)
USERS = "[anna]"  # how a file of users begins


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def files(name: str) -> list[str]:
    return [textwrap.dedent(found) for found in _FILE.findall(page(name))]


def told_defaults(name: str, before: str) -> Iterator[tuple[str, str]]:
    """Settings with what the first table behind these words says that holds."""
    table = page(name).partition(before)[2].partition("\n|")[2].partition("\n\n")[0]
    for names, values in _ROW.findall(f"|{table}"):
        settings = re.findall(r"`([a-z_]+)`", names)
        # Digits are grouped by commas, two values parted by a comma and a blank.
        yield from zip(settings, values.strip().split(", "), strict=True)


@pytest.mark.parametrize("name", ["agent", "wiki"])
def test_an_agent_takes_its_files(name: str, tmp_path: Path) -> None:
    shown = files(name)
    (users,) = (file for file in shown if file.startswith(USERS))
    (settings,) = (file for file in shown if not file.startswith(USERS))
    for path, content in (("users.toml", users), ("agent.toml", settings)):
        (tmp_path / path).write_text(content, encoding="utf-8")
        (tmp_path / path).chmod(0o600)
    loaded = agent_config.load_settings(str(tmp_path / "agent.toml"), {})
    assert loaded.upstream is not None
    assert loaded.upstream.users.keys() == {"anna", "ben"}


def test_a_server_and_a_broker_take_theirs(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    server, broker = files("running")
    path.write_text(server, encoding="utf-8")
    assert server_config.load_settings(str(path), [], None, None).proxy.trusted
    path.write_text(broker, encoding="utf-8")
    assert broker_config.load_settings(str(path), [], [], None).users


@pytest.mark.parametrize(
    ("name", "before", "settings"),
    [
        ("running", "What may stand in the file under `[limits]`", LimitSettings),
        ("running", "What may stand in the file under `[gateway]`", GatewaySettings),
        ("agent", "What else may stand under `[upstream]`", UpstreamSettings),
    ],
)
def test_tables_tell_what_holds(name: str, before: str, settings: type[msgspec.Struct]) -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(settings)}
    told = dict(told_defaults(name, before))
    assert told.keys() <= defaults.keys()
    numbers = {
        key: float(text.replace(",", "")) for key, text in told.items() if text[0].isdigit()
    }
    assert numbers
    assert numbers == {key: defaults[key] for key in numbers}


def test_tables_leave_nothing_out() -> None:
    limits = dict(told_defaults("running", "under `[limits]`"))
    gateway = dict(told_defaults("running", "under `[gateway]`"))
    assert limits.keys() == set(LimitSettings.__struct_fields__)
    assert gateway.keys() == set(GatewaySettings.__struct_fields__)
    text = page("agent")
    missing = {name for name in UpstreamSettings.__struct_fields__ if name not in text}
    assert missing == set()


def test_a_row_of_two_settings_has_two_values() -> None:
    rows = _ROW.findall("| `a_b`, `c` | 20,000, 64 | what |\n| `d` | true | what |\n")
    assert rows == [("`a_b`, `c`", "20,000, 64"), ("`d`", "true")]
