"""``python -m tests.benchmarks NAME [options]``; see docs/benchmarks."""

from __future__ import annotations

import importlib
import signal
import sys
from types import FrameType

SUITES = ("tunnel", "direct", "resume", "broadcast", "mqtt", "mqtt-load", "gateway")


def _stop(number: int, frame: FrameType | None) -> None:
    # As Ctrl-C: on the way out everything that was started is stopped.
    raise KeyboardInterrupt


def main() -> int:
    """Run the benchmark that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in SUITES:
        print(f"usage: python -m tests.benchmarks {{{','.join(SUITES)}}} [--help]")
        return 2
    signal.signal(signal.SIGTERM, _stop)
    suite = importlib.import_module(f"tests.benchmarks.{sys.argv[1].replace('-', '_')}")
    result: int = suite.main(sys.argv[2:])
    return result


if __name__ == "__main__":
    sys.exit(main())
