"""Where pushes are asked for: a socket in the file system, a port of the loopback interface."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from porttunnel.errors import ConfigurationError
from porttunnel.net.instance.push_endpoint import PushingInstance, PushSite
from porttunnel.net.local_socket import can_listen, listen_locally
from porttunnel.net.secret_file import write_secret_file

__all__ = ["PushPort"]

LOOPBACK = "127.0.0.1"
MAX_TOKEN_BYTES = 4_096  # a larger file is something else
MIN_TOKEN_CHARACTERS = 32  # 128 bits in hex; a shorter one could be guessed

_TOKEN_BYTES = 32
_READABLE_BY_OTHERS = 0o077


class PushPort:
    """Opens one or both.

    :param reactor: the reactor.
    :param instance: tells the devices.
    """

    def __init__(self, reactor: Any, instance: PushingInstance) -> None:
        self._reactor = reactor
        self._instance = instance
        self._ports: list[IListeningPort] = []

    async def open_socket(self, path: Path, mode: int) -> str:
        """Listen in the file system; whoever may open it may push.

        :returns: what to print.
        :raises ConfigurationError: it can't be listened on.
        """
        if not can_listen(self._reactor, path):
            raise ConfigurationError(
                f"there can be no socket at {path}: its path is too long, or this system has "
                'none. Name another with socket in [push], or write socket = "off" and set a port'
            )
        site = PushSite(self._reactor, self._instance)
        self._ports.append(await listen_locally(self._reactor, path, site, mode))
        return f"listening unix:{path}"

    async def open_port(self, number: int, token_path: Path) -> str:
        """Listen on the loopback interface; whoever has the token may push.

        :param number: 0 takes any.
        :param token_path: where the token is; made if it isn't there.
        :returns: what to print.
        :raises ConfigurationError: it can't be listened on, or the token can't be used.
        """
        token = load_or_create_token(token_path)
        try:
            # The site has to know its port, which is known when it listens.
            hosts: list[bytes] = []
            site = PushSite(self._reactor, self._instance, hosts=hosts, token=token)
            endpoint = TCP4ServerEndpoint(self._reactor, number, interface=LOOPBACK)
            port: Any = await endpoint.listen(site)
        except CannotListenError as error:
            raise ConfigurationError(
                f"can't listen on port {number} for pushes: {error} Stop the program that does, "
                "or choose another port"
            ) from error
        self._ports.append(port)
        real = port.getHost().port
        hosts += [f"{name}:{real}".encode() for name in (LOOPBACK, "localhost")]
        return f"listening tcp:{real}:interface={LOOPBACK}"

    async def close(self) -> None:
        """Take no pushes any more."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self._ports.clear()


def load_or_create_token(path: Path) -> str:
    """The token in a file, which is made if it isn't there.

    :raises ConfigurationError: it can't be read or written, is open to others, or is too short.
    """
    try:
        if not path.exists():
            write_secret_file(path, secrets.token_hex(_TOKEN_BYTES).encode() + b"\n")
        with path.open("rb") as file:
            # Windows has no such bits; there the user's folder protects the file.
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & _READABLE_BY_OTHERS:
                raise ConfigurationError(
                    f"{path} holds a token and others may read it; run: chmod 600 {path}"
                )
            token = file.read(MAX_TOKEN_BYTES).strip()
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be used ({error.strerror}); give this user the right to read and "
            "write there, or name another file"
        ) from error
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isalnum():
        raise ConfigurationError(
            f"{path} holds no token of {MIN_TOKEN_CHARACTERS} letters and digits or more; delete "
            "it, and a new one is made"
        )
    return token.decode("ascii")
