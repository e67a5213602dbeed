"""``python -m tests.fuzz NAME [libFuzzer's arguments]``; without a name: what there is.

By hand, for hours, with what was found kept in a folder::

    python -m tests.fuzz relay -max_total_time=3600 /tmp/relay
"""

from __future__ import annotations

import importlib
import inspect
import sys

import atheris

from tests.fuzz.names import TARGETS


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"{__doc__}\n" + "\n".join(map(describe, TARGETS)))
    # Imported here, so that the fuzzer sees which branches of it are taken.
    with atheris.instrument_imports(include=["porttunnel"]):
        target = getattr(importlib.import_module(TARGETS[name]), name)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


def describe(name: str) -> str:
    target = getattr(importlib.import_module(TARGETS[name]), name)
    return f"  {name:<12} {' '.join(inspect.getdoc(target).split())}"  # type: ignore[union-attr]  # each has one


main()
