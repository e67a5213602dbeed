"""The pages build without a warning, and what they say can be run runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.blocks import Block, find_blocks, find_command

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

BLOCK_SECONDS = 120  # a block that hangs fails instead of holding up the run
# Neither what is large nor what changes while the tests beside this one run.
NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "node_modules"),
    *("build", "_build", "dist", "benchmark-results"),
)

TESTED_BLOCKS = [
    pytest.param(block, id=f"{page.name}:{block.line}")
    for page in PAGES
    for block in find_blocks(page.read_text(encoding="utf-8"))
    if not block.name
]


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-b", "html"]
    built = subprocess.run(
        [*sphinx, "-d", tmp_path / "doctrees", ROOT / "docs", tmp_path / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.stdout + built.stderr == ""
    assert built.returncode == 0
    assert (tmp_path / "html" / "index.html").is_file()


@pytest.mark.real
@pytest.mark.parametrize("block", TESTED_BLOCKS)
def test_what_a_page_shows_can_be_run(block: Block, tmp_path: Path) -> None:
    copy = tmp_path / "porttunnel"
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    programs = Path(sys.executable).parent
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PORTTUNNEL_DATA": str(tmp_path / "data"),
    }
    program = [sys.executable] if block.language == "python" else ["bash", "-e"]
    ran = subprocess.run(
        [*program, "-c", block.source],
        cwd=copy,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BLOCK_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


class TestTheReadme:
    README = (ROOT / "README.md").read_text(encoding="utf-8")

    @pytest.mark.parametrize("name", ["demo", "tests"])
    def test_has_one_command_line_for_each_purpose(self, name: str) -> None:
        command = find_command(self.README, name)
        assert "\n" not in command
        assert command.startswith("python3 -m venv .venv && ")

    def test_the_gate_runs_its_test_command(self) -> None:
        gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        assert "-m tests.house.blocks README.md tests" in gate
        assert gate.rstrip().endswith('-c "$test_command"')

    def test_the_gate_can_be_executed(self) -> None:
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
        checked = subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=False)
        assert checked.returncode == 0

    def test_links_lead_somewhere(self) -> None:
        links = set(relative_links(self.README))
        assert links
        assert {link for link in links if not (ROOT / link).exists()} == set()


class TestTheModuleTable:
    PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    ROWS = (
        "| subject | files below `porttunnel/` |\n|---|---|\n"
        "| bytes | `wire`, `session/packet` |\n| codes | `session/code` |\n"
    )

    def test_names_every_module_and_nothing_else(self) -> None:
        package = ROOT / "porttunnel"
        modules = {
            path.relative_to(package).with_suffix("").as_posix()
            for path in package.rglob("*.py")
            if not path.stem.startswith("__")
        }
        named = named_modules(self.PAGE)
        assert set(named) == modules
        assert len(named) == len(set(named)), "a module stands in two rows"

    def test_is_read_row_by_row(self) -> None:
        page = f"# Page\n\n`machine` is not in it.\n\n{self.ROWS}\nNor is `net/driver`.\n"
        assert named_modules(page) == ["wire", "session/packet", "session/code"]
        with pytest.raises(ValueError, match="substring not found"):
            named_modules("# Page\n\n| package | `wire` |\n")


def named_modules(page: str) -> list[str]:
    """What the second column of the table of subjects names."""
    rows = page[page.index("| subject |") :].partition("\n\n")[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[2])]


def relative_links(text: str) -> list[str]:
    """The relative targets of the links and pictures of a Markdown page."""
    targets = [part.partition(")")[0] for part in text.split("](")[1:]]
    return [target.partition("#")[0] for target in targets if "://" not in target]


class TestTheBlocks:
    PAGE = (
        "# Page\n\n<!-- test -->\n```sh\necho one\n```\n\n```sh\necho not marked\n```\n"
        "<!-- command: go -->\n\n```console\n$ echo a \\\n> b\na b\n```\n"
    )

    def test_are_found_with_their_lines(self) -> None:
        assert list(find_blocks(self.PAGE)) == [
            Block(3, "", "sh", "echo one\n"),
            Block(11, "go", "console", "echo a \\\nb\n"),
        ]

    def test_are_found_by_name(self) -> None:
        assert find_command(self.PAGE, "go") == "echo a \\\nb"
        with pytest.raises(ValueError, match="not enough values"):
            find_command(self.PAGE, "stay")

    def test_a_lost_mark_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="before no fenced block"):
            list(find_blocks("<!-- test -->\nand then text\n"))

    def test_a_language_that_nobody_runs_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="nobody runs"):
            list(find_blocks("<!-- test -->\n```cobol\nSTOP RUN.\n```\n"))
