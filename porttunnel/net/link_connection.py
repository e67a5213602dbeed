"""One connection to the tunnel server: made, or explained why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from porttunnel.errors import NotReachable, PorttunnelError

__all__ = ["connect_link"]


async def connect_link(
    make_protocol: Callable[[], IProtocol], endpoint: IStreamClientEndpoint
) -> None:
    """Connect a member's link.

    :param make_protocol: the protocol of the connection.
    :param endpoint: the tunnel server.
    :raises NotReachable: no connection; the reason is in its text.
    """
    factory: Any = Factory()
    factory.protocol = make_protocol
    factory.noisy = False
    connecting = endpoint.connect(factory)
    # What is cancelled is a Deferred of our own: what an endpoint makes of its cancellation can't
    # always be told from a failure. While it looks up a name, it says that there is none.
    connected: defer.Deferred[Any] = defer.Deferred()
    connecting.chainDeferred(connected)
    try:
        await connected
    except defer.CancelledError:
        connecting.cancel()
        raise
    except PorttunnelError:
        raise
    except Exception as error:
        reason = str(error).rstrip(".")
        raise NotReachable(
            f"The tunnel server can't be reached ({reason}). Check its address, and whether it "
            "runs."
        ) from error
