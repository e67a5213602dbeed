"""``python -m porttunnel.services.broker_password``: from a password to what stands in the file.

It asks twice, or reads one line of standard input if nobody sits there.
"""

from __future__ import annotations

import secrets
import sys
from getpass import getpass

from porttunnel.keys.credentials import SALT_BYTES, hash_password

__all__ = ["main"]

_USAGE = """\
Usage: python -m porttunnel.services.broker_password

Makes the hash of a password, for the file of twistd porttunnel-broker. It asks for the password
twice, or reads one line of standard input; it takes no arguments."""


def main() -> int:
    """Ask, and print the hash; 1 if there is nothing to hash, 2 for any argument."""
    if sys.argv[1:]:
        # Not taken for a password either: others on this machine could see it.
        print(_USAGE, file=sys.stderr)
        return 2
    if sys.stdin.isatty():
        password = getpass("Password: ")
        if not secrets.compare_digest(password.encode(), getpass("Again: ").encode()):
            print("These were two passwords. Try again.", file=sys.stderr)
            return 1
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        print("A password has one character at least. Try again.", file=sys.stderr)
        return 1
    print(hash_password(password.encode(), secrets.token_bytes(SALT_BYTES)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
