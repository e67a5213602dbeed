"""What is told who wants the gateway's accounts, or MQTT, by HTTP that others on the way can read.

As with :mod:`porttunnel.net.gateway.plain_mqtt` a password may have been sent by then; whoever set
it up learns of it at the first try.
"""

from __future__ import annotations

import msgspec
from twisted.web.resource import Resource
from twisted.web.server import Request

from porttunnel.net.gateway.problem import PROBLEM_TYPE, ProblemKind, RequestRefused

__all__ = ["TLSDemandedResource"]


class TLSDemandedResource(Resource):
    """Refuses everything below its place, and reads nothing of it."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        refused = RequestRefused(ProblemKind.TLS_DEMANDED)
        self._body = msgspec.json.encode(refused.document())

    def render(self, request: Request) -> bytes:
        request.setResponseCode(ProblemKind.TLS_DEMANDED.status)
        request.setHeader("Content-Type", PROBLEM_TYPE)
        request.setHeader("Cache-Control", "no-store")
        return self._body
