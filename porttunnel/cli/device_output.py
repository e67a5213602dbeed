"""Where `device get` and `device request` put what is answered: standard output, or a file."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from porttunnel.cli import device_text as text
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.errors import ConfigurationError

__all__ = ["FileOutput", "Output", "StandardOutput", "open_output"]

PART_SUFFIX = ".part"  # of a file that isn't whole yet


class Output(Protocol):
    """Where content goes."""

    name: str

    def on_full(self, call: Callable[[bool], None]) -> None:
        """Be told when it takes nothing more for now, and when it does again."""

    def write(self, data: bytes) -> None:
        """A piece; :raises ConfigurationError: it can't be written."""

    async def finish(self) -> None:
        """It is whole; :raises ConfigurationError: it can't be written."""

    def discard(self) -> None:
        """It will not be whole."""


class StandardOutput:
    """Standard output; lines go to standard error from now on.

    :param streams: standard input and output.
    """

    name = "-"

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams
        self._call: Callable[[bool], None] | None = None
        streams.reserve_output(self._tell_full)

    def on_full(self, call: Callable[[bool], None]) -> None:
        self._call = call

    def write(self, data: bytes) -> None:
        self._streams.write_data(data)

    async def finish(self) -> None:
        await self._streams.finish_output()

    def discard(self) -> None:
        """What is out is out."""

    def _tell_full(self, full: bool) -> None:
        if self._call is not None:
            self._call(full)


class FileOutput:
    """A file that is there once it is whole. A device such as ``/dev/null`` stays what it is.

    :param path: of the file.
    :raises ConfigurationError: it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._part = path
        try:
            if not path.is_char_device():
                if path.exists() and not path.is_file():
                    raise OSError(errno.EINVAL, text.NO_FILE)
                self._part = path.with_name(path.name + PART_SUFFIX)
            self._file = self._part.open("wb")
        except OSError as error:
            raise self._fault(error) from None

    def on_full(self, call: Callable[[bool], None]) -> None:
        """Never."""

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._fault(error) from None

    async def finish(self) -> None:
        try:
            self._file.close()
            if self._part != self._path:
                self._part.replace(self._path)
        except OSError as error:
            raise self._fault(error) from None

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
            if self._part != self._path:
                self._part.unlink(missing_ok=True)

    def _fault(self, error: OSError) -> ConfigurationError:
        reason = error.strerror or error
        return ConfigurationError(text.NO_OUTPUT_FILE.format(path=self._path, reason=reason))


def open_output(path: Path | None, streams: StandardStreams) -> Output:
    """A file, or standard output if None.

    :raises ConfigurationError: the file can't be written.
    """
    return StandardOutput(streams) if path is None else FileOutput(path)
