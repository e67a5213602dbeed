"""Programs that a test needs: there, or the test is skipped and says how to get them."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["needed_program"]

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"  # where servers lie, which few users have in PATH


def needed_program(name: str, package: str) -> str:
    """The program's path.

    Skips the test without it, unless PORTTUNNEL_REQUIRE_REAL=1: then it fails.

    :param package: of Debian.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), SYSTEM_PATH))
    found = shutil.which(name, path=path)
    if found is None:
        text = f"no {name} here: apt install {package}"
        if os.environ.get("PORTTUNNEL_REQUIRE_REAL") == "1":
            pytest.fail(text)
        pytest.skip(text)
    return found
