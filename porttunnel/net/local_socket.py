"""Sockets in the file system, for programs of this machine."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorUNIX

from porttunnel.errors import ConfigurationError

__all__ = ["MAX_PATH_BYTES", "can_listen", "listen_locally"]

MAX_PATH_BYTES = 100  # macOS has room for 103 and a zero, Linux for 107

_PROBE_SECONDS = 1.0  # a program that listens has a queue in which a connection waits
_NOBODY_ELSE = 0o177  # only its owner may open it, until it has its mode


def can_listen(reactor: Any, path: Path) -> bool:
    """Whether there can be a socket: not on every system, nor below every path."""
    return IReactorUNIX.providedBy(reactor) and len(os.fsencode(path)) <= MAX_PATH_BYTES


async def listen_locally(
    reactor: Any, path: Path, factory: IProtocolFactory, mode: int = 0o600
) -> IListeningPort:
    """Listen; what a program left that was killed is in nobody's way.

    :param path: for which :func:`can_listen`.
    :param mode: who may open it.
    :raises ConfigurationError: it can't be listened on, or somebody does.
    """
    try:
        _remove_left(path)
        # Between being made and getting its mode it must not be open to others either.
        former = os.umask(_NOBODY_ELSE)
        try:
            endpoint = UNIXServerEndpoint(reactor, str(path), mode=mode)
            listening = endpoint.listen(factory)
        finally:
            os.umask(former)
        port: IListeningPort = await listening
    except (CannotListenError, OSError) as error:
        raise ConfigurationError(
            f"can't listen on {path}: {error} Give this user the right to write there, stop the "
            "program that listens there, or name another place"
        ) from error
    return port


def _remove_left(path: Path) -> None:
    """:raises OSError: there is something that is no socket, or a program listens."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is there and is no socket.")
        probe = socket.socket(socket.AF_UNIX)
        with probe:
            probe.settimeout(_PROBE_SECONDS)
            try:
                probe.connect(os.fsencode(path))
            except ConnectionRefusedError:
                path.unlink()
                return
        raise FileExistsError("a program listens there.")
