"""Endpoint strings that begin with ``porttunnel:``, for clients and servers.

Twisted imports this module whenever any program parses an endpoint string with a prefix that is
not Twisted's own. So it is feather-light: the parser proper loads when the prefix is ours.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import (
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class PorttunnelClientParser:
    """Joins a session and connects to a service in it."""

    prefix = "porttunnel"

    def parseStreamClient(self, reactor: Any, *args: str, **kwargs: str) -> IStreamClientEndpoint:
        from porttunnel.net.endpoint_strings import parse_client

        return parse_client(reactor, *args, **kwargs)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class PorttunnelServerParser:
    """Opens a session and listens to the streams of a service in it."""

    prefix = "porttunnel"

    def parseStreamServer(self, reactor: Any, *args: str, **kwargs: str) -> IStreamServerEndpoint:
        from porttunnel.net.endpoint_strings import parse_server

        return parse_server(reactor, *args, **kwargs)


client_parser = PorttunnelClientParser()
server_parser = PorttunnelServerParser()
