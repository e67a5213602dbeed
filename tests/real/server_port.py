"""A port at which a server can come back."""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress

__all__ = ["port_to_come_back_to"]

# Below what Linux gives to outgoing connections: while the server is away a member that connects
# again and again could be given the server's own port, and then talk to itself.
PORTS = range(20_000, 30_000)


def port_to_come_back_to(*others: int) -> int:
    """A loopback port that is free, and likely to be so whenever its server is away.

    :param others: that are wanted too, and so not free any more.
    """
    for port in random.Random(os.getpid()).sample(PORTS, len(PORTS)):
        if port in others:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no free port in {PORTS}")
