"""How the source is kept: docs/contributing, "Rules that tests enforce"."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.house.source_rules import secret_comparisons, unclear_names, words_of

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "porttunnel").rglob("*.py"))

# One screen-turn too many hides a second subject: such a file wants to be two.
MAX_MODULE_LINES = 400

# Written so that this file does not find itself.
UNFINISHED = re.compile(r"\b(?:[T]ODO|[F]IXME|[X]XX)\b")
SUPPRESSIONS = re.compile(r"#\s*(?:[n]oqa|type:\s*[i]gnore|pragma:\s*[n]o cover)[^#]*(#.*)?")
REGISTRIES = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|yarnpkg[.]com|crates[.]io"
    r"|proxy[.]golang[.]org|rubygems[.]org|repo[.]maven"
)
MACHINE_PATHS = re.compile(r"(?<![\w.}>-])/(?:[w]ork|[r]oot)\b|/tmp/[v]/")

TEXT_SUFFIXES = {
    "",
    ".cfg",
    ".css",
    ".html",
    ".js",
    ".json",
    ".jinja",
    ".md",
    ".py",
    ".sh",
    ".sql",
    ".svg",
    ".toml",
    ".txt",
    ".yml",
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def tracked() -> dict[str, str]:
    """Every text file of the repository and its content."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nobody says which files belong to the project")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return {
        relative(path): path.read_text(encoding="utf-8")
        for path in paths
        if path.is_file() and path.suffix in TEXT_SUFFIXES
    }


def matching_lines(tracked: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in tracked.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {relative(path): ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def test_secrets_are_compared_in_constant_time(trees: dict[str, ast.Module]) -> None:
    assert {name: found for name, t in trees.items() if (found := secret_comparisons(t))} == {}


def test_names_explain_themselves(trees: dict[str, ast.Module]) -> None:
    assert {name: found for name, t in trees.items() if (found := unclear_names(t))} == {}


def test_every_module_has_a_docstring(trees: dict[str, ast.Module]) -> None:
    assert [name for name, tree in trees.items() if not ast.get_docstring(tree)] == []


def test_every_module_says_what_it_offers(trees: dict[str, ast.Module]) -> None:
    def names_set(tree: ast.Module) -> set[str]:
        targets = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
        return {target.id for target in targets if isinstance(target, ast.Name)}

    modules = {n: t for n, t in trees.items() if not n.endswith(("__init__.py", "__main__.py"))}
    assert [name for name, tree in modules.items() if "__all__" not in names_set(tree)] == []


def test_modules_are_short() -> None:
    lengths = {relative(p): len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES}
    assert {name: n for name, n in lengths.items() if n > MAX_MODULE_LINES} == {}


def test_nothing_is_left_unfinished(tracked: dict[str, str]) -> None:
    assert matching_lines(tracked, UNFINISHED) == []


def test_every_suppression_gives_its_reason(tracked: dict[str, str]) -> None:
    python = {name: text for name, text in tracked.items() if name.endswith(".py")}
    bare = [
        f"{name}:{number}"
        for name, text in python.items()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := SUPPRESSIONS.search(line)) and not match.group(1)
    ]
    assert bare == []


def test_no_file_names_a_registry_or_a_path_of_one_machine(tracked: dict[str, str]) -> None:
    assert matching_lines(tracked, REGISTRIES) == []
    assert matching_lines(tracked, MACHINE_PATHS) == []


class TestTheRulesThemselves:
    """On samples with the fault in them, so that a blind rule can't pass."""

    @pytest.mark.parametrize(
        "source",
        [
            "mac == expected",
            "expected != self.local_token",
            "a == b == pin",
            "sha256(token) == stored",
            "message.tag[:16] == x",
            "(user, password) == known",
            "prefix + secret == x",
            "peer.digits() == shown",
        ],
    )
    def test_finds_a_compared_secret(self, source: str) -> None:
        assert len(secret_comparisons(ast.parse(source))) == 1

    @pytest.mark.parametrize(
        "source",
        [
            "len(mac) == 32",
            "self._digits_tries_left == 0",
            "bool(pin) == bool(link)",
            "machine == mapping",
            "mode == Mode.PIN",
            "token is None",
            "password == ''",
            "compare_digest(mac, expected)",
        ],
    )
    def test_leaves_the_rest_alone(self, source: str) -> None:
        assert secret_comparisons(ast.parse(source)) == []

    def test_finds_unclear_names(self) -> None:
        source = (
            "class PairManager:\n    def handle_timeout(self): ...\n    def handle_x(self): ..."
        )
        assert unclear_names(ast.parse(source)) == [
            "line 1: class PairManager",
            "line 3: def handle_x",
        ]

    def test_splits_names_into_words(self) -> None:
        assert words_of("remote_macC") == {"remote", "mac", "c"}
        assert words_of("MAX_PIN") == {"max", "pin"}
        assert words_of("pinging_PSKTag") == {"pinging", "psk", "tag"}

    def test_finds_what_no_file_may_contain(self) -> None:
        assert UNFINISHED.search("# TO" + "DO later")
        assert REGISTRIES.search("https://pypi" + ".org/simple")
        assert MACHINE_PATHS.search("open('/" + "work/main/x')")
        assert MACHINE_PATHS.search("cd /" + "root")
        assert not MACHINE_PATHS.search("https://example.com/work/")
        assert not MACHINE_PATHS.search("/workshop")
        bare = SUPPRESSIONS.search("x = 1  # no" + "qa: S101")
        assert bare
        assert bare.group(1) is None
        reasoned = SUPPRESSIONS.search("x = 1  # no" + "qa: S101  # because")
        assert reasoned
        assert reasoned.group(1) == "# because"
