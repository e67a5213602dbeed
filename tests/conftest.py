"""What holds for every test."""

from __future__ import annotations

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# A deadline would be a timed assertion: a busy machine would fail a correct program.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

REAL_PROGRAMS = "tests/real/"


class OneLineOfRealPrograms(LoadFileScheduling):
    """The tests of a file one after the other, and those of all files with real programs.

    They mostly wait for their programs, which leaves time for the other files' tests beside them,
    but not for each other's: one brings a server to its limits, another counts its seconds.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(REAL_PROGRAMS):
            return REAL_PROGRAMS
        scope: str = super()._split_scope(nodeid)
        return scope


@pytest.hookimpl(optionalhook=True)  # without the plugin nobody calls it
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneLineOfRealPrograms:
    """``-n 2``, two processes, and more keep to these lines, whatever ``--dist`` says."""
    return OneLineOfRealPrograms(config, log)
