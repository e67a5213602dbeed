"""The tunnel server: its sessions and links in memory, and what passes between them.

Source: docs/session-protocol, sections 2, 3, 7 and 10. The server keeps no packets and can read
none; what it must know after a crash is in the directory's store.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from secrets import SystemRandom
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from porttunnel.errors import ErrorCode, LimitExceeded
from porttunnel.net.carriers.protocol import CarrierProtocol
from porttunnel.net.counters import ServerCounters
from porttunnel.net.request_desk import DEFAULT_LIMITS, REFUSAL_DELAY_SECONDS, RequestDesk
from porttunnel.net.tunnel_link import LiveSession, TunnelLink
from porttunnel.net.waiting import WaitingTotal
from porttunnel.session import request
from porttunnel.session.directory import (
    EXPIRY_BATCH,
    Admission,
    Directory,
    Ended,
    Lapsed,
    Moved,
)
from porttunnel.session.limit import RateLimiter
from porttunnel.session.packet import ALL_MEMBERS, MASTER, SERVER, PacketType, encode_packet
from porttunnel.session.relay import ConnectionFailed, RequestReceived, Run, encode_error

__all__ = ["TunnelServerFactory"]

EXPIRY_SECONDS = 5.0  # how late a session may end
MAX_WAITING_BYTES = 256 << 20  # on all links: then those that wait most must go and resume
MIN_RETRY_SECONDS = 1.0  # a restart takes about as long
MAX_RETRY_SECONDS = 5.0  # spread, so that not all members come back at the same moment

_REPLACED = "another link of this member has taken over"


class TunnelServerFactory(Factory):
    """Makes the links of a tunnel server; usable on any stream endpoint.

    :param reactor: time, and descriptors to watch.
    :param directory: the book of sessions; only touched by way of ``run``.
    :param run: calls a function off the reactor's thread, one after the other in order
        (:meth:`porttunnel.net.directory_thread.DirectoryThread.run`).
    :param join_limiter: slows down who tries numbers; only touched by way of ``run``.
    :param create_limiter: slows down who uses up numbers; only touched by way of ``run``.
    :param counters: what is counted is counted here.
    :param limits: what CREATED tells; the directory has the same.
    :param unix_time: seconds, for the directory.
    :param refusal_delay_seconds: from a JOIN to its refusal, whatever the reason.
    :param max_waiting_bytes: what may wait on all links together.

    :ivar sessions: those that have a link here, by their id.
    :ivar links: all connections, also those that are being closed.
    :ivar waiting: what waits on all links.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        directory: Directory,
        run: Callable[..., Deferred[Any]],
        *,
        join_limiter: RateLimiter | None = None,
        create_limiter: RateLimiter | None = None,
        counters: ServerCounters | None = None,
        limits: request.Limits = DEFAULT_LIMITS,
        unix_time: Callable[[], float] = time.time,
        refusal_delay_seconds: float = REFUSAL_DELAY_SECONDS,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self.counters = counters or ServerCounters()
        self.waiting = WaitingTotal()
        self.links: set[TunnelLink] = set()
        self.sessions: dict[bytes, LiveSession] = {}
        self.draining = False
        self._reactor = reactor
        self._directory = directory
        self._run = run
        self._unix_time = unix_time
        self._max_waiting_bytes = max_waiting_bytes
        self._desk = RequestDesk(
            reactor,
            directory,
            run,
            self,
            join_limiter=join_limiter or RateLimiter.for_join_failures(),
            create_limiter=create_limiter or RateLimiter.for_creates(),
            counters=self.counters,
            limits=limits,
            unix_time=unix_time,
            refusal_delay_seconds=refusal_delay_seconds,
        )
        self._resuming: Counter[tuple[bytes, int]] = Counter()
        self._lost_meanwhile: set[tuple[bytes, int]] = set()
        self._untold: set[tuple[bytes, int]] = set()  # whose link's news the directory lacks
        self._all_gone: Deferred[None] | None = None
        self._expiry = LoopingCall(lambda: Deferred.fromCoroutine(self._expire()))
        self._expiry.clock = reactor
        self._random = SystemRandom()

    async def start(self) -> None:
        """Say that this server takes links, and end what is over from now on."""
        await self._run(self._directory.start, self._unix_time())
        self._expiry.start(EXPIRY_SECONDS, now=False)

    async def drain(self) -> None:
        """Tell all members to come back a little later, and close their links.

        The directory is not told link by link: it counts from when service begins again.
        """
        self.draining = True
        if self._expiry.running:
            self._expiry.stop()
        for link in list(self.links):
            seconds = self._random.uniform(MIN_RETRY_SECONDS, MAX_RETRY_SECONDS)
            link.close(_event_for(link.member, request.GoingAway(retry_after_s=seconds)))
        if self.links:
            self._all_gone = Deferred()
            await self._all_gone
        self._desk.close()

    def buildProtocol(self, addr: IAddress | None) -> CarrierProtocol | None:
        if self.draining:
            return None
        link = TunnelLink(self._reactor, self, self.waiting)
        self.links.add(link)
        return CarrierProtocol(self._reactor, link)

    # What links report

    def forward(self, source: TunnelLink, run: Run, views: Sequence[memoryview]) -> None:
        session = source.session
        if session is None:
            return
        self.counters.relayed_bytes += sum(map(len, views))
        if run.target == ALL_MEMBERS:
            session.broadcast(views)
            return
        target = session.links.get(run.target)
        if target is None:
            return
        if run.sealed and source.member == MASTER and run.target not in session.established:
            session.established.add(run.target)
            self._note(self._directory.establish, session.session_id, run.target)
        if not target.take(source.member, views):
            # A client that reads nothing must not be able to end the session of all.
            guilty = target if source.member == MASTER else source
            if guilty.open:
                text = "more waits for a slow member than a pair may have under way"
                guilty.fail(guilty.core.fail(LimitExceeded(text)))

    def answer(self, link: TunnelLink, asked: RequestReceived) -> None:
        self._desk.answer(link, asked)

    def token_arrived(self, link: TunnelLink) -> None:
        session, token, link.token = link.session, link.token, b""
        if session is not None:
            self._note(self._directory.confirm_token, session.session_id, link.member, token)

    def link_failed(self, link: TunnelLink, failed: ConnectionFailed) -> None:
        # No line in the log: it would keep the address, and strangers could fill the disk with it.
        self.counters.failed_links[failed.error.code.value] += 1

    def link_ended(self, link: TunnelLink) -> None:
        session, link.session = link.session, None
        if session is None or session.links.get(link.member) is not link:
            return
        self._unlink(session, link.member)
        if self.draining:
            return
        key = (session.session_id, link.member)
        if key in self._resuming:
            self._lost_meanwhile.add(key)
        self._note_link(key, up=False)
        self._announce(session, link.member, request.Link(member=link.member, up=False))

    def link_gone(self, link: TunnelLink) -> None:
        self.links.discard(link)
        if self._all_gone is not None and not self.links:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    def waiting_grew(self) -> None:
        while self.waiting.count > self._max_waiting_bytes:
            most = max(self.links, key=lambda link: link.waiting.count)
            self._log.warn("too much waits in all: the link with the most of it is closed")
            most.abort()

    # What the desk decides

    def admit(self, link: TunnelLink, admission: Admission, answer: bytes) -> None:
        session_id, member = key = admission.session_id, admission.member
        session = self.sessions.get(session_id)
        if not link.open:
            # It has gone meanwhile; a former link of the same member goes on.
            if session is None or member not in session.links:
                self._note_link(key, up=False)
            return
        resumed = key in self._resuming
        if session is None:
            session = self.sessions[session_id] = LiveSession(session_id)
        if resumed:
            link.token = admission.token
        link.core.admit(member, resumed=resumed)
        link.session = session
        replaced, session.links[member] = session.links.get(member), link
        if replaced is not None:
            replaced.close(encode_error(member, ErrorCode.REPLACED, _REPLACED))
        link.send(answer)
        if session.links.get(member) is not link:
            return  # it reads nothing, and the answer was too much: its end has been told
        if resumed:
            self._announce(session, member, request.Link(member=member, up=True))
        elif member != MASTER:
            self._announce(session, member, request.Joining(member=member))

    def resume_begins(self, session_id: bytes, member: int) -> None:
        self._resuming[session_id, member] += 1

    def resume_ended(self, session_id: bytes, member: int, *, admitted: bool) -> None:
        """The directory may have heard of the new link before it heard of the old one's end:
        then it is told of the new one again.
        """
        key = (session_id, member)
        if admitted and key in self._lost_meanwhile:
            session = self.sessions.get(session_id)
            if session is not None and member in session.links:
                self._note_link(key, up=True)
        self._resuming[key] -= 1
        if not self._resuming[key]:
            del self._resuming[key]
            self._lost_meanwhile.discard(key)

    def remove(self, lapsed: Lapsed) -> None:
        session = self.sessions.get(lapsed.session_id)
        if session is None:
            return
        left = request.Left(member=lapsed.member, reason=lapsed.reason)
        link = session.links.get(lapsed.member)
        if link is not None:
            self._unlink(session, lapsed.member)
            link.close(_event_for(lapsed.member, left))
        session.established.discard(lapsed.member)
        self._announce(session, lapsed.member, left)

    def drop_moved(self, moved: Moved) -> None:
        """A member has resumed at another process: the link that is left of it here is dead."""
        session = self.sessions.get(moved.session_id)
        link = None if session is None else session.links.get(moved.member)
        if link is not None:
            link.close(encode_error(moved.member, ErrorCode.REPLACED, _REPLACED))

    def end_session(self, ended: Ended) -> None:
        session = self.sessions.pop(ended.session_id, None)
        if session is None:
            return
        links, session.links = session.links, {}
        for member, link in links.items():
            link.close(_event_for(member, request.Closed(reason=ended.reason)))

    def _unlink(self, session: LiveSession, member: int) -> None:
        del session.links[member]
        if not session.links:
            del self.sessions[session.session_id]

    def _announce(self, session: LiveSession, member: int, event: request.Event) -> None:
        for link in session.concerned(member):
            link.send(_event_for(link.member, event))

    async def _expire(self) -> None:
        count = EXPIRY_BATCH
        try:
            while count >= EXPIRY_BATCH:
                reports = await self._run(self._directory.expire, self._unix_time())
                for report in reports:
                    match report:
                        case Ended():
                            self.end_session(report)
                        case Lapsed():
                            self.remove(report)
                        case Moved():
                            self.drop_moved(report)
                count = len(reports)
            self._note_untold()
        except Exception:
            self._log.failure("what is over could not be ended; it is tried again")

    def _note(self, function: Callable[..., None], *arguments: Any) -> None:
        """Tell the directory something that nobody waits for."""
        noted = self._run(function, *arguments)
        noted.addErrback(lambda failure: self._log.failure("the directory failed", failure))

    def _note_link(self, key: tuple[bytes, int], *, up: bool) -> None:
        """Tell the directory that a member's link came or went."""
        noted = self._run(self._directory.link_changed, *key, up, self._unix_time())
        noted.addErrback(self._link_not_noted, key)

    def _link_not_noted(self, failure: Failure, key: tuple[bytes, int]) -> None:
        self._log.failure("the directory could not be told of a link; it is told later", failure)
        self._untold.add(key)

    def _note_untold(self) -> None:
        """Who counted as linked for ever would never lose its place."""
        untold, self._untold = self._untold, set()
        for session_id, member in untold:
            key = session_id, member
            session = self.sessions.get(session_id)
            up = session is not None and member in session.links
            if not up and key in self._resuming:
                self._lost_meanwhile.add(key)  # this may come behind the new link's beginning
            self._note_link(key, up=up)


def _event_for(member: int, event: request.Event) -> bytes:
    return encode_packet(PacketType.EVENT, SERVER, member, request.encode(event))
