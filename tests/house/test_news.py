"""The news fragments become the change log: docs/contributing, "News"."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FRAGMENTS = ROOT / "docs" / "newsfragments"


def test_every_fragment_has_a_known_kind() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    kinds = {kind["directory"] for kind in settings["tool"]["towncrier"]["type"]}
    fragments = [path for path in FRAGMENTS.iterdir() if path.name != ".gitignore"]
    assert {path.name for path in fragments if path.suffixes[:1][0][1:] not in kinds} == set()


def test_the_next_change_log_can_be_drafted() -> None:
    drafted = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "99.0.0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert drafted.returncode == 0, drafted.stderr
    assert "## 99.0.0 (" in drafted.stdout


def test_the_change_log_has_the_line_where_news_goes() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    marker = settings["tool"]["towncrier"]["start_string"].strip()
    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").count(marker) == 1
