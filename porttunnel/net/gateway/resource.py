"""The gateway's accounts as pages of a web site.

Source: docs/gateway-protocol, section 5. Strangers ask here, so everything is bounded, and
whatever goes wrong is one of the problems of :mod:`.problem`: no page, no traceback.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from porttunnel.errors import ConfigurationError, GatewayBusy
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.accounts import GatewayAccounts
from porttunnel.net.gateway.openapi import describe
from porttunnel.net.gateway.problem import PROBLEM_TYPE, ProblemKind, RequestRefused
from porttunnel.net.gateway.route import Access, Place, Question, Route, find_place
from porttunnel.session.limit import prefix_of

__all__ = ["MAX_BODY_BYTES", "OPENAPI_PATH", "AccountResource"]

MAX_BODY_BYTES = 4_096  # the longest that is right has some 200
MAX_CREDENTIAL_BYTES = 512  # in base64: an id and a password take 88
OPENAPI_PATH = "/openapi.json"

_JSON = "application/json"
_NOBODY = Account("", "")
_BASIC_CHALLENGE = {"WWW-Authenticate": 'Basic realm="porttunnel gateway", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes = b""
    content_type: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)


class AccountResource(Resource):
    """Answers below ``/v1`` and at :data:`OPENAPI_PATH`, and puts 404 everywhere else.

    :param accounts: whose.
    """

    isLeaf = True

    def __init__(self, accounts: GatewayAccounts) -> None:
        Resource.__init__(self)
        self._accounts = accounts
        self._openapi = msgspec.json.encode(
            describe(needs_token=accounts.settings.registration_token is not None)
        )

    def render(self, request: Request) -> int:
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        answering = Deferred.fromCoroutine(self._answer(request))
        answering.addErrback(self._explain)
        answering.addCallback(_send, request, gone)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> _Answer:
        path, method = request.path.decode("latin-1"), request.method.decode("latin-1")
        place = find_place(path)
        if path != OPENAPI_PATH and place is None:
            raise RequestRefused(ProblemKind.NOT_FOUND)
        methods = {"GET"} if place is None else set(place.routes)
        allow = {"Allow": ", ".join(sorted(_with_implied(methods)))}
        if method == "OPTIONS":
            return _Answer(204, headers=allow)
        wanted = "GET" if method == "HEAD" else method
        if wanted not in methods:
            raise RequestRefused(ProblemKind.WRONG_METHOD, allow)
        if place is None:
            return _Answer(200, self._openapi)
        return await self._ask(request, place.routes[wanted], place)

    async def _ask(self, request: Request, route: Route, place: Place) -> _Answer:
        prefix = prefix_of(getattr(request.getClientAddress(), "host", ""))
        # Who asks comes before what he asks: strangers learn nothing, and cost little.
        if route.access in (Access.INSTANCE, Access.ACCOUNT):
            account = await self._authenticate(request, prefix)
            if account.is_device and route.access is Access.INSTANCE:
                raise RequestRefused(ProblemKind.NOT_ALLOWED)
            with self._accounts.counted(account, revokes=route.method == "DELETE"):
                return await self._give(request, route, place, prefix, account)
        return await self._give(request, route, place, prefix, _NOBODY)

    async def _give(
        self, request: Request, route: Route, place: Place, prefix: str, account: Account
    ) -> _Answer:
        token = _authorization(request, b"bearer")
        document = _read_document(request, route)
        question = Question(prefix, account, token, place.device_id, document)
        given = await route.answer(self._accounts, question)
        return _Answer(route.status, b"" if given is None else msgspec.json.encode(given))

    async def _authenticate(self, request: Request, prefix: str) -> Account:
        shown = _authorization(request, b"basic")
        try:
            user_name, colon, password = base64.b64decode(shown or b"", validate=True).partition(
                b":"
            )
        except binascii.Error:
            colon = b""
        account = None
        if colon:
            account = await self._accounts.authenticate(
                user_name.decode("latin-1"), password, prefix
            )
        if account is None:
            raise RequestRefused(ProblemKind.WRONG_CREDENTIALS, _BASIC_CHALLENGE)
        return account

    def _explain(self, failure: Failure) -> _Answer:
        """The answer to what was not done."""
        error = failure.value
        headers: dict[str, str] = {}
        if isinstance(error, RequestRefused):
            kind, headers = error.kind, error.headers
            if error.__cause__ is not None:
                self._accounts.complaint.tell(Failure(error.__cause__))
        elif isinstance(error, GatewayBusy):
            kind = ProblemKind.TOO_MANY_ATTEMPTS if error.too_many else ProblemKind.BUSY
            headers = {"Retry-After": str(max(1, math.ceil(error.retry_seconds)))}
        else:
            self._accounts.complaint.tell(failure)
            is_store = isinstance(error, ConfigurationError)
            kind = ProblemKind.UNAVAILABLE if is_store else ProblemKind.BROKEN
        body = msgspec.json.encode(RequestRefused(kind).document())
        return _Answer(kind.status, body, PROBLEM_TYPE, headers)


def _with_implied(methods: set[str]) -> set[str]:
    return methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())


def _authorization(request: Request, scheme: bytes) -> bytes | None:
    """What stands behind this scheme in the field Authorization."""
    fields = request.requestHeaders.getRawHeaders(b"authorization", [])
    if len(fields) != 1:
        return None
    name, _, shown = fields[0].partition(b" ")
    if name.lower() != scheme or len(shown) > MAX_CREDENTIAL_BYTES:
        return None
    stripped: bytes = shown.strip()
    return stripped


def _read_document(request: Request, route: Route) -> Any:
    """The body, as what the route takes.

    :raises RequestRefused: it is something else.
    """
    content: Any = request.content
    body = content.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise RequestRefused(ProblemKind.TOO_LARGE)
    if route.takes is None:
        if body:
            raise RequestRefused(ProblemKind.MALFORMED)
        return None
    if not body and route.body_may_be_empty:
        return route.takes()
    types = request.requestHeaders.getRawHeaders(b"content-type", [])
    if [each.partition(b";")[0].strip().lower() for each in types] != [_JSON.encode()]:
        raise RequestRefused(ProblemKind.NOT_JSON)
    try:
        return msgspec.json.decode(body, type=route.takes)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RequestRefused(ProblemKind.MALFORMED) from None


def _send(answer: _Answer, request: Request, gone: Deferred[None]) -> None:
    if gone.called:
        return
    request.setResponseCode(answer.status)
    # Passwords and keys stand in some, and who has which device in others.
    request.setHeader("Cache-Control", "no-store")
    request.setHeader("X-Content-Type-Options", "nosniff")
    for name, value in answer.headers.items():
        request.setHeader(name, value)
    if answer.body:
        request.setHeader("Content-Type", answer.content_type)
        request.setHeader("Content-Length", str(len(answer.body)))
        request.write(answer.body)
    request.finish()
