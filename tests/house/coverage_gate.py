"""Every pure module is covered to the last branch by its own mirrored test alone.

``python -m tests.house.coverage_gate`` runs tests/keys/test_cpace.py under coverage for
porttunnel/keys/cpace.py, and so on. One test for one module, because a line that only another
module's test happens to run is a line whose meaning nobody has written down.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["find_failure", "mirrored_test", "pure_modules"]

ROOT = Path(__file__).resolve().parents[2]
PURE = ("errors.py", "machine.py", "wire.py", "keys", "session", "mqtt", "websocket", "gateway")


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


def _run(*arguments: str | Path, data_file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coverage", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"COVERAGE_FILE": str(data_file)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def find_failure(module: Path) -> str:
    """What is wrong with the module's coverage, or an empty string."""
    test = mirrored_test(module)
    if not (ROOT / test).exists():
        return f"{module}: {test} does not exist"
    with tempfile.TemporaryDirectory() as folder:
        data_file = Path(folder) / "coverage"
        pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", test)
        tested = _run("run", *pytest, data_file=data_file)
        if tested.returncode:
            return f"{module}: {test} fails\n{tested.stdout}"
        report = ("report", "--fail-under=100", f"--include={module}")
        reported = _run(*report, data_file=data_file)
        return f"{module}:\n{reported.stdout}" if reported.returncode else ""


def main() -> int:
    modules = list(pure_modules())
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        failures = [failure for failure in workers.map(find_failure, modules) if failure]
    print(*failures, sep="\n")
    print(f"{len(modules) - len(failures)} of {len(modules)} pure modules are fully covered")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
