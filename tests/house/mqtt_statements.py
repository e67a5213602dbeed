"""Which test shows which normative statement of MQTT: the page docs/mqtt-conformance.md.

A test names what it shows, ``@pytest.mark.mqtt5("3.1.0-1")``; the numbers, and why one has no
test, stand in mqtt_statements.toml. ``python -m tests.house.mqtt_statements`` writes the page.

Marks are read from the syntax trees: no test is imported. Vectors have their numbers with them.
"""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Mark",
    "Standard",
    "find_marks",
    "find_problems",
    "find_vector_marks",
    "load_standards",
    "make_page",
    "read_all",
]

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
DATA = Path(__file__).with_suffix(".toml")
PAGE = ROOT / "docs" / "mqtt-conformance.md"

# A test of all its vectors, and these: each vector says itself what it shows.
VECTORS = {"mqtt/test_vectors.py": "vectors/mqtt.json"}

MAX_TESTS = 3  # named in a row; more are counted

INTRODUCTION = """\
# MQTT: statement by statement

The standards number what an implementation must do. Here is each number, what it is about in a
few words of ours, and the tests that show it, or why none does. What it says exactly stands in
appendix B of [MQTT 5.0](https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html) and of
[MQTT 3.1.1](https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html).

This page is made from the marks of the tests by `python -m tests.house.mqtt_statements`; a test
fails when it is not what they say. To run a test of a row: `python -m pytest tests/NAME`; those
of `vectors/mqtt.json` by `python -m pytest tests/mqtt/test_vectors.py`.
"""


@dataclass(frozen=True)
class Standard:
    """One version of MQTT.

    :param mark: of pytest, that names its statements.
    :param version: as people say it.
    :param count: how many statements its appendix B lists.
    :param note: what its readers should know of the numbers.
    :param titles: of its sections, by the first two parts of their statements' numbers.
    :param about: number → what it is about.
    :param reasons: number → why no test shows it.
    """

    mark: str
    version: str
    count: int
    note: str
    titles: dict[str, str]
    about: dict[str, str]
    reasons: dict[str, str]


@dataclass(frozen=True, order=True)
class Mark:
    """A test that shows a statement.

    :param test: as pytest is told of it, from the folder of tests on.
    """

    standard: str
    number: str
    test: str


def load_standards(text: str) -> list[Standard]:
    """What the data file says."""
    return [
        Standard(
            name,
            said["version"],
            said["count"],
            said["note"],
            said["title"],
            said["about"],
            said["reason"],
        )
        for name, said in tomllib.loads(text).items()
    ]


def find_marks(source: str, name: str, standards: Iterable[str]) -> Iterator[Mark]:
    """The marks in a file of tests, in the order of its lines.

    :param name: of the file, from the folder of tests on.
    :raises ValueError: a mark is not on a test, or says its numbers other than as text.
    """
    yield from _marks_below(ast.parse(source), name, frozenset(standards), (name,))


def _marks_below(
    node: ast.AST, file: str, standards: frozenset[str], path: tuple[str, ...]
) -> Iterator[Mark]:
    for child in ast.iter_child_nodes(node):
        inner = path
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = (*path, child.name)
        if isinstance(child, ast.Call) and _marked_standard(child) in standards:
            if len(path) > 1 and not path[-1].startswith(("test", "Test")):
                raise ValueError(f"{file}:{child.lineno}: what is marked is not a test")
            for argument in child.args:
                match argument:
                    case ast.Constant(value=str(number)):
                        yield Mark(_marked_standard(child), number, "::".join(path))
                    case _:
                        raise ValueError(f"{file}:{child.lineno}: a number is not given as text")
        yield from _marks_below(child, file, standards, inner)


def _marked_standard(call: ast.Call) -> str:
    """``pytest.mark.mqtt5("3.1.0-1")`` → mqtt5; of other calls an empty string."""
    match call.func:
        case ast.Attribute(value=ast.Attribute(attr="mark"), attr=name):
            return name
    return ""


def find_vector_marks(text: str, name: str, standards: Iterable[str]) -> Iterator[Mark]:
    """The marks in a file of vectors: lists of objects that have a name, by the lists' names."""
    lists = [each for each in json.loads(text).values() if isinstance(each, list)]
    for vector in (each for vectors in lists for each in vectors):
        for standard in standards:
            for number in vector.get(standard) or ():
                yield Mark(standard, number, f"{name}: {vector['name']}")


def find_problems(standards: Iterable[Standard], marks: Iterable[Mark]) -> list[str]:
    """What keeps the table from being true and whole, one sentence each."""
    shown = {(mark.standard, mark.number) for mark in marks}
    problems = []
    for standard in standards:
        known = standard.about.keys()
        named = {number for mark, number in shown if mark == standard.mark}
        label = f"MQTT {standard.version}"
        if len(known) != standard.count:
            problems.append(f"{label}: {len(known)} statements, not {standard.count}")
        problems += [f"{label}: there is no {n}, but a test names it" for n in named - known]
        problems += [
            f"{label}: {n} has neither test nor reason"
            for n in known - named - standard.reasons.keys()
        ]
        problems += [
            f"{label}: {n} has a reason for no test, and a test"
            for n in named & standard.reasons.keys()
        ]
        problems += [
            f"{label}: there is no {n}, but a reason for no test"
            for n in standard.reasons.keys() - known
        ]
    return sorted(problems)


def make_page(standards: Iterable[Standard], marks: Iterable[Mark]) -> str:
    """The page, in Markdown."""
    tests: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for mark in sorted(set(marks)):
        tests[mark.standard, mark.number].append(mark.test)
    return INTRODUCTION + "".join(_chapter(standard, tests) for standard in standards)


def _chapter(standard: Standard, tests: defaultdict[tuple[str, str], list[str]]) -> str:
    shown = sum(bool(tests[standard.mark, number]) for number in standard.about)
    lines = [
        f"\n## MQTT {standard.version}\n",
        f"{shown} of {standard.count} statements are shown by tests. {standard.note}",
    ]
    section = ""
    for number, about in standard.about.items():
        if section != (section := ".".join(number.split(".")[:2])):
            lines += [
                f"\n### {section.removesuffix('.0')} {standard.titles[section]}\n",
                "| number | about | shown by |",
                "|---|---|---|",
            ]
        evidence = _listed(tests[standard.mark, number]) or standard.reasons.get(number, "")
        lines.append(f"| {number} | {about} | {evidence} |")
    return "\n".join(lines) + "\n"


def _listed(names: list[str]) -> str:
    """The first few tests, and how many more there are."""
    listed = [f"`{name}`" for name in names[:MAX_TESTS]]
    if len(names) > MAX_TESTS:
        listed.append(f"and {len(names) - MAX_TESTS} more")
    return ", ".join(listed)


def read_all() -> tuple[list[Standard], list[Mark]]:
    """The standards, and the marks of all tests of the repository."""
    standards = load_standards(DATA.read_text(encoding="utf-8"))
    names = [standard.mark for standard in standards]
    marks: list[Mark] = []
    for path in sorted(TESTS.rglob("test_*.py")):
        name = path.relative_to(TESTS).as_posix()
        find, name = (find_vector_marks, VECTORS[name]) if name in VECTORS else (find_marks, name)
        marks += find((TESTS / name).read_text(encoding="utf-8"), name, names)
    return standards, marks


def main() -> int:
    standards, marks = read_all()
    PAGE.write_text(make_page(standards, marks), encoding="utf-8")
    problems = find_problems(standards, marks)
    print(*problems, f"{PAGE.relative_to(ROOT)}: {len(problems)} problems", sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
