"""porttunnel.cli.device_output: where content goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.cli.device_output import FileOutput, StandardOutput, open_output
from porttunnel.errors import ConfigurationError


class ReservedOutput:
    """Standard streams whose output is reserved."""

    def __init__(self) -> None:
        self.full: Callable[[bool], None] = lambda full: None
        self.data = b""
        self.finished = False

    def reserve_output(self, on_full: Callable[[bool], None]) -> None:
        self.full = on_full

    def write_data(self, data: bytes) -> None:
        self.data += data

    def finish_output(self) -> Deferred[None]:
        self.finished = True
        return succeed(None)


class OutputTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "file"
        self.streams: Any = ReservedOutput()

    def finish(self, output: Any) -> None:
        self.successResultOf(Deferred.fromCoroutine(output.finish()))

    def test_standard_output(self) -> None:
        output = open_output(None, self.streams)
        assert isinstance(output, StandardOutput)
        self.streams.full(True)  # before anybody listens
        heard: list[bool] = []
        output.on_full(heard.append)
        self.streams.full(True)
        self.streams.full(False)
        output.write(b"abc")
        output.discard()
        self.finish(output)
        self.assertEqual((heard, self.streams.data), ([True, False], b"abc"))
        self.assertTrue(self.streams.finished)

    def test_a_file_appears_when_it_is_whole(self) -> None:
        self.path.write_bytes(b"old")
        output = open_output(self.path, self.streams)
        assert isinstance(output, FileOutput)
        output.on_full(lambda full: None)
        output.write(b"ne")
        output.write(b"w")
        self.assertEqual((output.name, self.path.read_bytes()), ("file", b"old"))
        self.finish(output)
        self.assertEqual(self.path.read_bytes(), b"new")
        self.assertEqual([each.name for each in self.path.parent.iterdir()], ["file"])

    def test_nothing_is_left_of_half_a_file(self) -> None:
        output = open_output(self.path, self.streams)
        output.write(b"half")
        output.discard()
        output.discard()
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_a_file_that_can_not_be_written(self) -> None:
        with self.assertRaises(ConfigurationError) as raised:
            open_output(self.path / "in-no-folder", self.streams)
        self.assertIn("can't be written (No such file", str(raised.exception))

    def test_a_folder_has_come_in_its_place(self) -> None:
        output = open_output(self.path, self.streams)
        self.path.mkdir()
        failed = self.failureResultOf(Deferred.fromCoroutine(output.finish()))
        self.assertIn("can't be written (Is a directory)", str(failed.value))
        output.discard()
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])

    def test_a_device_stays_what_it_is(self) -> None:
        # A link to it stands for it: as root the test would harm the machine otherwise.
        self.path.symlink_to("/dev/null")
        for end in (self.finish, lambda output: output.discard()):
            output = open_output(self.path, self.streams)
            output.write(b"abc")
            self.assertEqual(list(self.path.parent.iterdir()), [self.path])
            end(output)
            self.assertTrue(self.path.is_char_device())

    def test_what_is_no_file(self) -> None:
        os.mkfifo(self.path)
        with self.assertRaises(ConfigurationError) as raised:
            open_output(self.path, self.streams)
        self.assertIn("can't be written (it is no file)", str(raised.exception))
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])

    def test_a_full_disk(self) -> None:
        output: Any = open_output(self.path, self.streams)
        output.discard()
        output._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  # closed by discard
        with self.assertRaises(ConfigurationError) as raised:
            output.write(b"x")
        self.assertIn("No space left", str(raised.exception))
        output.discard()
