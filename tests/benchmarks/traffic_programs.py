"""Starts the processes of :mod:`tests.benchmarks.traffic` and its like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.program import Program

__all__ = ["start_echo", "start_fetch", "start_member", "start_source"]


@contextmanager
def start_source(folder: Path, prefix: Sequence[str] = ()) -> Iterator[int]:
    """Serves any number of fetches; its port."""
    with start_member("traffic", "source", folder=folder, prefix=prefix) as source:
        yield int(source.read_line())


@contextmanager
def start_echo(folder: Path, prefix: Sequence[str] = ()) -> Iterator[int]:
    """Sends back each byte at once; its port."""
    with start_member("traffic", "echo", folder=folder, prefix=prefix) as echo:
        yield int(echo.read_line())


def start_fetch(port: int, count: int, folder: Path, prefix: Sequence[str] = ()) -> Program:
    return start_member("traffic", "fetch", port, count, folder=folder, prefix=prefix)


def start_member(
    module: str,
    role: str,
    *arguments: int,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Program:
    """A process of one of our modules.

    :param module: in this package.
    :param role: its first argument.
    :param prefix: what stands before the command, so that it runs on another host.
    """
    words = [str(argument) for argument in arguments]
    argv = [*prefix, "python", "-m", f"tests.benchmarks.{module}", role, *words]
    return Program(argv, folder, name=f"{module}-{role}", environment=environment)
