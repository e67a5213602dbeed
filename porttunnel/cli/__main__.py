"""``python -m porttunnel.cli`` is ``porttunnel``."""

from __future__ import annotations

from porttunnel.cli.main import main

if __name__ == "__main__":
    main()
