"""Sockets in the file system."""

from __future__ import annotations

import gc
import os
import socket
import stat
import tempfile
import warnings
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from porttunnel.errors import ConfigurationError
from porttunnel.net.local_socket import MAX_PATH_BYTES, can_listen, listen_locally


class LocalSocketTests(TestCase):
    async def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "x.sock"

    async def listen(self, mode: int = 0o600) -> Any:
        port = await listen_locally(reactor, self.path, Factory.forProtocol(Protocol), mode)
        self.addCleanup(port.stopListening)
        return port

    def mode(self) -> int:
        return stat.S_IMODE(self.path.lstat().st_mode)

    async def test_who_may_open_it(self) -> None:
        umask = os.umask(0o002)
        self.addCleanup(os.umask, umask)
        port = await self.listen()
        self.assertEqual(self.mode(), 0o600)
        await maybeDeferred(port.stopListening)
        self.assertFalse(self.path.exists())
        await self.listen(0o660)
        self.assertEqual(self.mode(), 0o660)
        self.assertEqual(os.umask(0o002), 0o002)

    async def test_what_was_left_is_removed(self) -> None:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(self.path))
        await self.listen()

    async def test_nobody_is_put_out(self) -> None:
        await self.listen()
        with self.assertRaisesRegex(ConfigurationError, "a program listens there"):
            await self.listen()

    async def test_what_is_no_socket_stays(self) -> None:
        self.path.write_text("precious")
        with self.assertRaisesRegex(ConfigurationError, "is no socket"):
            await self.listen()
        self.assertEqual(self.path.read_text(), "precious")

    async def test_a_folder_that_is_not_there(self) -> None:
        self.path = self.path.parent / "none" / "x.sock"
        with self.assertRaisesRegex(ConfigurationError, "can't listen on .*none.*right to write"):
            await self.listen()
        with warnings.catch_warnings():
            # Twisted leaves a socket that could not be bound to the garbage collection.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def test_not_everywhere(self) -> None:
        self.assertTrue(can_listen(reactor, self.path))
        self.assertFalse(can_listen(Clock(), self.path))
        self.assertFalse(can_listen(reactor, Path("/" + "x" * MAX_PATH_BYTES)))
