"""Who makes carriers: a new connection whenever it is asked, over whatever leads there."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from porttunnel.errors import NotReachable, PorttunnelError
from porttunnel.net.carriers.interface import Receiver
from porttunnel.net.carriers.protocol import CarrierProtocol

__all__ = ["Connector", "StreamConnector", "connect_protocol"]


class Connector(Protocol):
    """Leads to one place."""

    async def connect(self, receiver: Receiver) -> None:
        """Make a connection; the receiver's ``carrier_made`` is called before this returns.

        Cancelled, it leaves nothing behind.

        :raises NotReachable: there is none; the reason is in its text.
        """


class StreamConnector:
    """Connects over any stream endpoint: plain TCP, TLS, a UNIX socket, a stream of a session.

    :param reactor: the reactor of the endpoint.
    :param endpoint: where to.
    """

    def __init__(self, reactor: Any, endpoint: IStreamClientEndpoint) -> None:
        self._reactor = reactor
        self._endpoint = endpoint

    async def connect(self, receiver: Receiver) -> None:
        """See :class:`Connector`."""
        await connect_protocol(CarrierProtocol(self._reactor, receiver), self._endpoint)


class _Giver(Factory):
    """Gives a protocol that is there already, and that may have a factory of its own."""

    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._protocol


async def connect_protocol(protocol: IProtocol, endpoint: IStreamClientEndpoint) -> None:
    """Connect this protocol, once.

    :raises NotReachable: there is no connection; the reason is in its text.
    """
    connecting = endpoint.connect(_Giver(protocol))
    # What is cancelled is a Deferred of our own: what an endpoint makes of its cancellation can't
    # always be told from a failure. While it looks up a name, it says that there is none.
    connected: Deferred[Any] = Deferred()
    connecting.chainDeferred(connected)
    try:
        await connected
    except CancelledError:
        connecting.cancel()
        raise
    except PorttunnelError:
        raise
    except Exception as error:
        reason = str(error).rstrip(".")
        raise NotReachable(
            f"No connection could be made ({reason}). Check the address, and whether anything "
            "listens there."
        ) from error
