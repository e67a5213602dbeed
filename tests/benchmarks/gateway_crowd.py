"""Very many at a gateway.

``idle PORT``
    Each line of standard input says how many instances are to be there; ``open`` when they are.
``bad PORT RATE SECONDS``
    Bad logins; the answers, as JSON.

Who they are says :func:`login_of`; ``fill`` of :mod:`tests.benchmarks.gateway_programs` has made
the gateway know them.
"""

from __future__ import annotations

import json
import sys

from porttunnel.net.open_files import allow_open_files
from tests.benchmarks.gateway_wire import BadLogins, open_idle

__all__ = ["PASSWORD", "login_of"]

PASSWORD = "5" * 32
FILES_BESIDE_CONNECTIONS = 100
FILES_OF_BAD_LOGINS = 20_000


def login_of(number: int) -> tuple[str, str]:
    """User name and password of an instance."""
    return f"{number:032x}", PASSWORD


def _idle(port: str) -> None:
    opened = []
    while line := sys.stdin.readline():
        count = int(line)
        allow_open_files(count + FILES_BESIDE_CONNECTIONS)
        logins = [login_of(number) for number in range(len(opened), count)]
        opened += open_idle(int(port), logins)
        print("open", flush=True)


def _bad(port: str, rate: str, seconds: str) -> None:
    allow_open_files(FILES_OF_BAD_LOGINS)
    strangers = BadLogins(int(port))
    print("ready", flush=True)
    sys.stdin.readline()
    strangers.press(float(rate), float(seconds))
    print(json.dumps(strangers.answers), flush=True)


def main() -> None:
    """See the module."""
    roles = {"idle": _idle, "bad": _bad}
    roles[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
