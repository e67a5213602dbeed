"""Names to addresses, by the reactor's resolver."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from zope.interface import implementer

__all__ = ["resolve_name"]


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects what a name resolves to."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self.complete: Deferred[list[str]] = Deferred(lambda _: self._cancel())
        self._resolution: IHostResolution | None = None

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._resolution = resolutionInProgress

    def addressResolved(self, address: Any) -> None:
        self._found.append(address.host)

    def resolutionComplete(self) -> None:
        if not self.complete.called:
            self.complete.callback(self._found)

    def _cancel(self) -> None:
        if self._resolution is not None:
            self._resolution.cancel()


async def resolve_name(reactor: Any, name: str) -> list[str]:
    """The addresses of a name, none if it has none.

    :param reactor: looks names up (``IReactorPluggableNameResolver``).
    """
    addresses = _Addresses()
    reactor.nameResolver.resolveHostName(addresses, name)
    return await addresses.complete
