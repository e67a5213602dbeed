"""porttunnel.net.link_connection: what becomes of an attempt to connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from porttunnel.errors import ConfigurationError, NotReachable
from porttunnel.net.client import join
from porttunnel.net.link_connection import connect_link
from porttunnel.net.master import share
from tests.tunnel import shared_key


@implementer(IStreamClientEndpoint)
class Attempt:
    """An endpoint whose attempt the test ends."""

    def __init__(self, on_cancel: Callable[[Any], None] | None = None) -> None:
        self.connecting: defer.Deferred[Any] = defer.Deferred(on_cancel)
        self.factory: IProtocolFactory | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[Any]:
        self.factory = protocolFactory
        return self.connecting


class SilentResolver:
    """Looks up for ever."""

    def resolveHostName(self, receiver: Any, *arguments: Any, **options: Any) -> None:
        receiver.resolutionBegan(None)


def begin_join(endpoint: IStreamClientEndpoint) -> defer.Deferred[Any]:
    joining = join(Clock(), endpoint, "48213", key=defer.succeed(shared_key()))
    return defer.Deferred.fromCoroutine(joining)


class CancelledTests(TestCase):
    """Who gives up while it connects is told just that, and nothing goes to the log."""

    def test_says_so_whatever_the_endpoint_makes_of_it(self) -> None:
        for error in (DNSLookupError("no such host"), ConnectingCancelledError(None)):
            endpoint = Attempt(lambda connecting, error=error: connecting.errback(error))
            joining = begin_join(endpoint)
            joining.cancel()
            self.failureResultOf(joining, defer.CancelledError)
            self.assertTrue(endpoint.connecting.called)
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_says_so_while_a_name_is_looked_up(self) -> None:
        reactor: Any = MemoryReactorClock()
        reactor.nameResolver = SilentResolver()
        joining = begin_join(HostnameEndpoint(reactor, b"tunnel.example.com", 4663))
        joining.cancel()
        self.failureResultOf(joining, defer.CancelledError)

    def test_ends_a_share_as_well(self) -> None:
        endpoint = Attempt(lambda connecting: connecting.errback(DNSLookupError("none")))
        sharing = defer.Deferred.fromCoroutine(share(Clock(), endpoint, ["web=8000"]))
        sharing.cancel()
        self.failureResultOf(sharing, defer.CancelledError)


class ConnectedTests(TestCase):
    def test_each_time_with_a_protocol_of_its_own(self) -> None:
        made: list[Protocol] = []

        def make() -> Any:
            made.append(Protocol())
            return made[-1]

        for count in (1, 2):
            endpoint = Attempt()
            connecting = defer.Deferred.fromCoroutine(connect_link(make, endpoint))
            assert endpoint.factory is not None
            self.assertIs(endpoint.factory.buildProtocol(None), made[-1])
            self.assertNoResult(connecting)
            endpoint.connecting.callback(made[-1])
            self.successResultOf(connecting)
            self.assertEqual(len(made), count)


class FailedTests(TestCase):
    def test_is_not_reachable(self) -> None:
        for text in ("refused", "refused."):
            endpoint = Attempt()
            connecting = defer.Deferred.fromCoroutine(connect_link(Protocol, endpoint))
            endpoint.connecting.errback(ConnectError(string=text))
            failed = self.failureResultOf(connecting, NotReachable)
            self.assertIn("refused). Check its address", str(failed.value))

    def test_tells_why(self) -> None:
        endpoint = Attempt()
        joining = begin_join(endpoint)
        endpoint.connecting.errback(DNSLookupError("no such host"))
        failed = self.failureResultOf(joining, NotReachable)
        self.assertIn("no such host", str(failed.value))

    def test_a_typed_error_stays_what_it_is(self) -> None:
        endpoint = Attempt()
        joining = begin_join(endpoint)
        endpoint.connecting.errback(ConfigurationError("the pin is wrong"))
        self.failureResultOf(joining, ConfigurationError)
