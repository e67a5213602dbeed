"""Where the tunnel server answers requests, those of one link in their order.

Source: docs/session-protocol, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from porttunnel.errors import (
    ConfigurationError,
    ErrorCode,
    LimitExceeded,
    NoSuchNumber,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.net.counters import ServerCounters
from porttunnel.net.tunnel_link import PAIR_WINDOW_BYTES, LiveSession, TunnelLink
from porttunnel.session import request
from porttunnel.session.directory import (
    CLIENT_GRACE_SECONDS,
    MASTER_GRACE_SECONDS,
    Admission,
    Directory,
    Ended,
    Lapsed,
)
from porttunnel.session.limit import RateLimiter
from porttunnel.session.packet import SERVER, PacketType, encode_packet
from porttunnel.session.relay import LinkState, RequestReceived, encode_error, refusal_of

__all__ = ["DEFAULT_LIMITS", "REFUSAL_DELAY_SECONDS", "RequestDesk", "SessionKeeper"]

REFUSAL_DELAY_SECONDS = 1.0  # longer than any look-up takes, so that its length tells nothing
DEFAULT_LIMITS = request.Limits(
    waiting_bytes=PAIR_WINDOW_BYTES,
    master_grace_s=int(MASTER_GRACE_SECONDS),
    client_grace_s=int(CLIENT_GRACE_SECONDS),
)

_NO_SUCH_NUMBER = "no session can be joined with this number; ask for a new code"
_SESSION_ENDED = "this session, or this membership in it, is over; ask for a new code"
_TOO_MANY_CREATED = (
    "no more sessions are opened just now, for this address or for all; try again in {seconds} s; "
    "the operator can set creates_per_minute and creates_per_hour in [limits]"
)
_INTERNAL = "the tunnel server has a problem of its own; try again in a minute"


class SessionKeeper(Protocol):
    """What the desk needs of the server whose links and sessions these are."""

    sessions: dict[bytes, LiveSession]

    def admit(self, link: TunnelLink, admission: Admission, answer: bytes) -> None:
        """Make the link its member's, send it ``answer``, and tell who is concerned."""

    def resume_begins(self, session_id: bytes, member: int) -> None:
        """A RESUME is on its way to the directory."""

    def resume_ended(self, session_id: bytes, member: int, *, admitted: bool) -> None:
        """Its answer is there."""

    def remove(self, lapsed: Lapsed) -> None:
        """A client is no member any more: tell it and the master."""

    def end_session(self, ended: Ended) -> None:
        """A session is over: tell all."""


class RequestDesk:
    """See the module.

    :param reactor: for the time.
    :param directory: only touched by way of ``run``.
    :param run: see :class:`porttunnel.net.tunnel_server.TunnelServerFactory`.
    :param keeper: admits and removes.
    :param join_limiter: counts JOINs that failed; only touched by way of ``run``.
    :param create_limiter: counts CREATEs that succeeded; only touched by way of ``run``.
    :param counters: gets the outcomes.
    :param limits: what CREATED tells.
    :param unix_time: seconds, for the directory.
    :param refusal_delay_seconds: from a JOIN to its refusal, whatever the reason.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        directory: Directory,
        run: Callable[..., Deferred[Any]],
        keeper: SessionKeeper,
        *,
        join_limiter: RateLimiter,
        create_limiter: RateLimiter,
        counters: ServerCounters,
        limits: request.Limits,
        unix_time: Callable[[], float],
        refusal_delay_seconds: float,
    ) -> None:
        self._reactor = reactor
        self._directory = directory
        self._run = run
        self._keeper = keeper
        self._join_limiter = join_limiter
        self._create_limiter = create_limiter
        self._counters = counters
        self._limits = limits
        self._unix_time = unix_time
        self._refusal_delay_seconds = refusal_delay_seconds
        self._answering: set[Deferred[None]] = set()

    def answer(self, link: TunnelLink, asked: RequestReceived) -> None:
        """Answer after the requests that came before it on the same link."""
        link.requests.append((asked, self._reactor.seconds(), link.session))
        if len(link.requests) > 1:
            return
        answering = Deferred.fromCoroutine(self._answer_all(link))
        self._answering.add(answering)
        answering.addErrback(lambda failure: failure.trap(CancelledError))
        answering.addBoth(lambda _: self._answering.discard(answering))

    def close(self) -> None:
        """Answer nothing any more: the links are gone."""
        for answering in list(self._answering):
            answering.cancel()

    async def _answer_all(self, link: TunnelLink) -> None:
        # Also when the link has gone: who says LEAVE and hangs up means it.
        while link.requests:
            asked, arrived, session = link.requests[0]
            outcome = await self._answer_one(link, asked, arrived, session)
            kind = asked.request.__struct_config__.tag
            self._counters.requests[str(kind), outcome] += 1
            del link.requests[0]
            link.core.request_answered()

    async def _answer_one(
        self, link: TunnelLink, asked: RequestReceived, arrived: float, session: LiveSession | None
    ) -> str:
        try:
            if session is None:
                await self._let_in(link, asked)
            else:
                await self._fulfil(link, asked, session)
        except CancelledError:
            raise
        except NoSuchNumber:
            # The same delay for all reasons, so that the time tells no more than the answer.
            delay = arrived + self._refusal_delay_seconds - self._reactor.seconds()
            await deferLater(self._reactor, max(0.0, delay), lambda: None)
            return self._refuse(link, asked, ErrorCode.NO_SUCH_NUMBER, _NO_SUCH_NUMBER)
        except SessionEnded:
            return self._refuse(link, asked, ErrorCode.SESSION_ENDED, _SESSION_ENDED)
        except RemoteProtocolError as error:
            return self._refuse(link, asked, error.code, str(error))
        except ConfigurationError as error:  # the store's; it says what the operator can do
            self._log.critical("a request could not be answered: {text}", text=str(error))
            return self._refuse(link, asked, ErrorCode.INTERNAL, _INTERNAL)
        except Exception:
            self._log.failure("a request could not be answered")
            return self._refuse(link, asked, ErrorCode.INTERNAL, _INTERNAL)
        return "done"

    async def _let_in(self, link: TunnelLink, asked: RequestReceived) -> None:
        now = self._unix_time()
        match asked.request:
            case request.Create() as create:
                seconds = self._reactor.seconds()
                admission = await self._run(self._create, create, link.prefix, now, seconds)
                created = request.Created(
                    session_id=admission.session_id,
                    number=admission.number,
                    token=admission.token,
                    limits=self._limits,
                )
                self._keeper.admit(link, admission, _reply(admission.member, asked, created))
            case request.Join(number=number):
                seconds = self._reactor.seconds()
                admission = await self._run(self._join, number, link.prefix, now, seconds)
                joined = request.Joined(
                    session_id=admission.session_id,
                    member=admission.member,
                    token=admission.token,
                )
                self._keeper.admit(link, admission, _reply(admission.member, asked, joined))
            case request.Resume(session_id=session_id, member=member, token=token):
                self._keeper.resume_begins(session_id, member)
                admitted = False
                try:
                    admission = await self._run(
                        self._directory.resume, session_id, member, token, now
                    )
                    resumed = request.Resumed(token=admission.token)
                    self._keeper.admit(link, admission, _reply(member, asked, resumed))
                    admitted = True
                finally:
                    self._keeper.resume_ended(session_id, member, admitted=admitted)

    def _create(
        self, create: request.Create, prefix: str, now: float, seconds: float
    ) -> Admission:
        """In the directory's thread, for the same reason as :meth:`_join`."""
        wait_seconds = self._create_limiter.wait_seconds(prefix, seconds)
        if wait_seconds:
            raise LimitExceeded(_TOO_MANY_CREATED.format(seconds=math.ceil(wait_seconds)))
        admission = self._directory.create(
            create.lifetime_s, create.max_clients, create.join_window_s, now
        )
        self._create_limiter.count(prefix, seconds)
        return admission

    def _join(self, number: int, prefix: str, now: float, seconds: float) -> Admission:
        """In the directory's thread, so that a failure counts before the next try is looked at."""
        if not self._join_limiter.allows(prefix, seconds):
            raise NoSuchNumber(_NO_SUCH_NUMBER)
        try:
            return self._directory.join(number, now)
        except NoSuchNumber:
            self._join_limiter.count(prefix, seconds)
            raise

    async def _fulfil(
        self, link: TunnelLink, asked: RequestReceived, session: LiveSession
    ) -> None:
        refusal = refusal_of(link.member, asked.request)
        if refusal is not None:
            raise refusal
        now = self._unix_time()
        session_id = session.session_id
        done = _reply(link.member, asked, request.Done())
        match asked.request:
            case request.Leave():
                lapsed = await self._run(self._directory.leave, session_id, link.member, now)
                link.send(done)
                self._keeper.remove(lapsed)
            case request.Kick(member=member):
                lapsed = await self._run(self._directory.kick, session_id, member, now)
                link.send(done)
                self._keeper.remove(lapsed)
            case request.Lock(locked=locked):
                await self._run(self._directory.lock, session_id, locked)
                link.send(done)
            case request.Close():
                reason = "the master closed it"
                await self._run(self._directory.close, session_id, reason, now)
                link.send(done)
                self._keeper.end_session(Ended(session_id, reason))
            case request.Status():
                status = await self._run(self._directory.status, session_id, now)
                report = request.StatusReport(
                    members=list(status.members[: request.MAX_STATUS_MEMBERS]),
                    linked=sorted(session.links)[: request.MAX_STATUS_MEMBERS],
                    locked=status.locked,
                    ends_in_s=status.ends_in_s,
                )
                link.send(_reply(link.member, asked, report))

    def _refuse(self, link: TunnelLink, asked: RequestReceived, code: ErrorCode, text: str) -> str:
        if link.open:
            link.send(encode_error(link.member, code, text, asked.number))
        if link.core.state is LinkState.PENDING:
            link.core.refuse(self._reactor.seconds())
        return code.value


def _reply(member: int, asked: RequestReceived, reply: request.Reply) -> bytes:
    return encode_packet(
        PacketType.REPLY, SERVER, member, request.encode(reply), number=asked.number
    )
