"""What `device request` sends: a text, a file however large, or standard input."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from twisted.internet.defer import Deferred
from twisted.protocols.basic import FileSender

from porttunnel.cli import device_text as text
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.errors import ConfigurationError
from porttunnel.net.gateway_client.body import BodyWriter

__all__ = ["Content", "FileContent", "InputContent", "TextContent", "as_given", "open_content"]

READ_BYTES = 65_536  # of a file at a time: about a part


class Content(Protocol):
    """What is sent."""

    @property
    def length(self) -> int | None:
        """In bytes; None if nobody knows yet."""

    def send(self, writer: BodyWriter) -> None:
        """Write it, as fast as it is taken, and end it."""

    def close(self) -> None:
        """It is needed no more."""


class TextContent:
    """A few bytes.

    :param data: all of it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def send(self, writer: BodyWriter) -> None:
        if self._data:
            writer.write(self._data)
        writer.end()

    def close(self) -> None:
        """Nothing to do."""


class FileContent:
    """A file, from where it stands to its end.

    :param file: opened for reading.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.length = os.fstat(file.fileno()).st_size

    def send(self, writer: BodyWriter) -> None:
        sender = FileSender()
        sender.CHUNK_SIZE = READ_BYTES
        sent: Deferred[Any] = sender.beginFileTransfer(self._file, writer)
        # It fails if the request is over before all was read; that is told as its response.
        sent.addCallbacks(lambda _: writer.end(), lambda _: None)

    def close(self) -> None:
        self._file.close()


class InputContent:
    """Standard input, to its end.

    :param streams: standard input and output.
    """

    length = None

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams
        streams.reserve_input()

    def send(self, writer: BodyWriter) -> None:
        self._streams.send_input_to(_EndingConsumer(writer))

    def close(self) -> None:
        """Nothing to do."""


class _EndingConsumer:
    """A writer as a transport: its connection ends with the content."""

    def __init__(self, writer: BodyWriter) -> None:
        self.write = writer.write
        self.registerProducer = writer.registerProducer
        self.unregisterProducer = writer.unregisterProducer
        self.loseConnection = writer.end


def as_given(argument: str) -> bytes:
    """The bytes of an argument of the command line, which need not be UTF-8."""
    return argument.encode(errors="surrogateescape")


def open_content(data: str | None, streams: StandardStreams) -> Content:
    """What ``--data`` says.

    :param data: a text, ``@FILE``, ``@-`` for standard input, or None for nothing.
    :raises ConfigurationError: the file can't be read.
    """
    if data is None or not data.startswith("@"):
        return TextContent(as_given(data or ""))
    if data == "@-":
        return InputContent(streams)
    path = Path(data[1:])
    try:
        if path.exists() and not path.is_file():
            # A pipe is written by somebody; nothing else would happen while they are waited for.
            raise OSError(errno.EINVAL, text.NO_FILE_TO_READ)
        return FileContent(path.open("rb"))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(text.NO_DATA_FILE.format(path=path, reason=reason)) from None
