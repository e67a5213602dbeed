"""``python -m porttunnel.services.broker_password``: from a password to what stands in the file.

It asks twice, or reads one line of standard input if nobody sits there.
"""

from __future__ import annotations

import secrets
import sys
from getpass import getpass

from porttunnel.keys.credentials import SALT_BYTES, hash_password

__all__ = ["main"]


def main() -> int:
    """Ask, and print the hash; 1 if there is nothing to hash."""
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
