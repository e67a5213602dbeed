"""What the operator of a tunnel server sees: health, readiness, metrics, a status page.

Meant for the loopback interface: it tells no secret, session number or address, but how busy
the server is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from porttunnel.net.admin_page import NO_METRICS, format_page, make_site, prepare
from porttunnel.net.gateway.gateway import Gateway
from porttunnel.net.tunnel_server import TunnelServerFactory

__all__ = ["admin_site"]

PROBE_SECONDS = 5.0  # a store that takes longer is not one to send users to

format_metrics: Callable[[TunnelServerFactory, Gateway | None], bytes] | None
try:
    from porttunnel.net.metrics import format_metrics
except ImportError:
    format_metrics = None


class _ReadyResource(Resource):
    """Whether users may be sent here."""

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        server: TunnelServerFactory,
        is_listening: Callable[[], bool],
        probe: Callable[[], Deferred[Any]],
    ) -> None:
        Resource.__init__(self)
        self._reactor = reactor
        self._server = server
        self._is_listening = is_listening
        self._probe = probe

    def render_GET(self, request: Request) -> bytes | int:
        if self._server.draining:
            prepare(request, 503)
            return b"draining: members are told to come back later\n"
        if not self._is_listening():
            prepare(request, 503)
            return b"not listening yet\n"
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        probed = self._probe()
        probed.addTimeout(PROBE_SECONDS, self._reactor)
        probed.addCallbacks(self._succeed, self._fail)
        probed.addCallback(self._answer, request, gone)
        return NOT_DONE_YET

    def _succeed(self, _: object) -> tuple[int, bytes]:
        return 200, b"ready\n"

    def _fail(self, failure: Failure) -> tuple[int, bytes]:
        self._log.failure("the store can't be used", failure)
        return 503, b"the store can't be used; see the log\n"

    def _answer(self, answer: tuple[int, bytes], request: Request, gone: Deferred[None]) -> None:
        if not gone.called:
            prepare(request, answer[0])
            request.setHeader(b"content-length", str(len(answer[1])).encode("ascii"))
            request.write(answer[1])
            request.finish()


def admin_site(
    reactor: Any,
    server: TunnelServerFactory,
    is_listening: Callable[[], bool],
    probe: Callable[[], Deferred[Any]],
    gateway: Gateway | None = None,
) -> Site:
    """The pages, for any stream endpoint.

    :param reactor: for time-outs.
    :param server: whose numbers are shown.
    :param is_listening: whether all listeners are up.
    :param probe: writes to the store, or fails.
    :param gateway: in the same process, if there is one.
    """
    return make_site(
        reactor,
        page=lambda: _format_page(server, gateway),
        ready=_ReadyResource(reactor, server, is_listening, probe),
        metrics=lambda: _metrics(server, gateway),
    )


def _metrics(server: TunnelServerFactory, gateway: Gateway | None) -> tuple[int, str]:
    if format_metrics is None:
        return 501, NO_METRICS
    return 200, format_metrics(server, gateway).decode("utf-8")


def _format_page(server: TunnelServerFactory, gateway: Gateway | None) -> str:
    counters = server.counters
    numbers = {
        "links": len(server.links),
        "sessions with a link": len(server.sessions),
        "members with a link": sum(len(session.links) for session in server.sessions.values()),
        "bytes relayed": counters.relayed_bytes,
        "bytes waiting": server.waiting.count,
        "requests answered": sum(counters.requests.values()),
        "links that broke a rule": sum(counters.failed_links.values()),
        "connections refused": counters.refused_connections,
    }
    if gateway is not None:
        broker = gateway.broker.broker
        numbers |= {
            "instances connected": gateway.presence.instance_count,
            "devices connected": gateway.presence.device_count,
            "messages of instances and devices": broker.counters.messages_received,
            "bytes waiting for instances and devices": broker.held_bytes,
        }
    state = "draining" if server.draining else "in service"
    return format_page("porttunnel server", state, numbers)
