"""Every pure module is covered to the last branch by its own mirrored test alone.

``python -m tests.house.coverage_gate`` runs tests/keys/test_cpace.py under coverage for
porttunnel/keys/cpace.py, and so on. One test for one module, because a line that only another
module's test happens to run is a line whose meaning nobody has written down.

Each runs in a process of its own, which has seen nothing of porttunnel before. What these
processes are forked from has loaded pytest and its like once for all of them: that takes longer
than most of the tests.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import coverage
import pytest

__all__ = ["find_failure", "mirrored_test", "pure_modules"]

ROOT = Path(__file__).resolve().parents[2]
PURE = ("errors.py", "machine.py", "wire.py", "keys", "session", "mqtt", "websocket", "gateway")
HYPOTHESIS_PLUGIN = "_hypothesis_pytestplugin"  # the one plugin that the pure tests need
LOADED_ONCE = ["coverage", "pytest", "hypothesis", "hypothesis.stateful"]


def pure_modules() -> Iterator[Path]:
    """The files of all pure modules, relative to the root of the repository."""
    for name in PURE:
        place = ROOT / "porttunnel" / name
        files = [place] if place.suffix else sorted(place.rglob("*.py"))
        yield from (path.relative_to(ROOT) for path in files if path.name != "__init__.py")


def mirrored_test(module: Path) -> Path:
    """``porttunnel/keys/cpace.py`` → ``tests/keys/test_cpace.py``."""
    inner = module.relative_to("porttunnel")
    return Path("tests") / inner.parent / f"test_{inner.name}"


def find_failure(module: Path) -> str:
    """What is wrong with the module's coverage, or an empty string.

    To be called once in a process, and in the root of the repository: what a module does when it
    is imported counts, too.
    """
    test = mirrored_test(module)
    if not test.exists():
        return f"{module}: {test} does not exist"
    told = io.StringIO()
    measured = coverage.Coverage(data_file=None)
    with redirect_stdout(told), redirect_stderr(told):
        measured.start()
        failed = pytest.main(["-q", "-p", "no:cacheprovider", "-p", HYPOTHESIS_PLUGIN, str(test)])
        measured.stop()
    if failed:
        return f"{module}: {test} fails\n{told.getvalue()}"
    report = io.StringIO()
    covered = measured.report(include=[str(module)], file=report)
    return "" if covered == 100 else f"{module}:\n{report.getvalue()}"


def main() -> int:
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    modules = list(pure_modules())
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(LOADED_ONCE)
    with processes.Pool(os.cpu_count(), maxtasksperchild=1) as workers:
        failures = [text for text in workers.imap(find_failure, modules) if text]
    print(*failures, sep="\n")
    print(f"{len(modules) - len(failures)} of {len(modules)} pure modules are fully covered")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
