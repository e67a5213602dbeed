"""A server's key, made once for all tests of a class."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from porttunnel.net.certificate import Identity, load_or_create_identity

__all__ = ["TLSTestCase"]


class TLSTestCase(TestCase):
    """:cvar identity: the key and its certificate."""

    timeout = 60.0  # a deadline, not a measure
    identity: Identity

    @classmethod
    def setUpClass(cls) -> None:
        with tempfile.TemporaryDirectory() as folder:
            cls.identity = load_or_create_identity(Path(folder))
