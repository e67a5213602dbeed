"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A deadline would be a timed assertion: a busy machine would fail a correct program.
settings.register_profile("house", deadline=None)
settings.load_profile("house")
