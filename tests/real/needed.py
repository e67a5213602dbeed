"""Programs that a test needs: there, or the test is skipped and says how to get them."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

__all__ = ["lacking", "needed_program"]

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"  # where servers lie, which few users have in PATH


def needed_program(name: str, package: str) -> str:
    """The program's path.

    Skips the test without it, unless PORTTUNNEL_REQUIRE_REAL=1: then it fails.

    :param package: of Debian.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), SYSTEM_PATH))
    found = shutil.which(name, path=path)
    if found is None:
        lacking(f"no {name} here: apt install {package}")
    return found


def lacking(text: str) -> NoReturn:
    """Skip the test or, with PORTTUNNEL_REQUIRE_REAL=1, fail it.

    :param text: what is missing, and how to get it.
    """
    if os.environ.get("PORTTUNNEL_REQUIRE_REAL") == "1":
        pytest.fail(text)
    pytest.skip(text)
