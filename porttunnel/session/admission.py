"""The way to keys: who shakes hands with the master now, who waits, and who knew the code.

Source: docs/session-protocol, section 5. Nobody in here has keys yet; what a right C3 proves
comes out, and asking the user begins behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from porttunnel.errors import (
    AuthenticationFailed,
    ErrorCode,
    PorttunnelError,
    ProtocolError,
    RemoteProtocolError,
)
from porttunnel.keys.handshake import Established, HandshakeMode, MasterHandshake, decode_c1
from porttunnel.keys.hybrid import Encapsulation
from porttunnel.session import request
from porttunnel.session.event import InvitationMade, JoiningPaused, RunFailed
from porttunnel.session.invitation import Invitations
from porttunnel.session.packet import Header, PacketType, check_handshake_header
from porttunnel.session.rejoin import RejoinBook

__all__ = ["Admission", "Proven"]

MAX_QUEUED = 8  # that wait for the invitation: 80 s at most
HANDSHAKE_SECONDS = 10.0  # from C1 to C3: then the next who waits gets the invitation


class Proven(NamedTuple):
    """A client that knew the code (in SAS: that is there), and the keys shared with it.

    ``former``: in REJOIN the number that it had, else 0.
    """

    member: int
    mode: HandshakeMode
    former: int
    established: Established


class Sender(Protocol):
    """Sends what is in the clear, or drops it while the link is away: the client says it again."""

    def __call__(self, kind: PacketType, target: int, body: bytes, number: int = 0) -> None:
        """Queue a packet with a plaintext body."""


@dataclass(slots=True, eq=False)
class _Applicant:
    member: int
    c1: bytes = field(repr=False)
    mode: HandshakeMode
    former: int
    password: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class _Run:
    """The one handshake that is going on: M2 was sent."""

    applicant: _Applicant
    handshake: MasterHandshake
    deadline: float

    @property
    def member(self) -> int:
        return self.applicant.member


class Admission:
    """Invitations, the queue before them, and one handshake at a time.

    :param number: session number.
    :param session_id: 16 bytes.
    :param sas: invite with the number alone.
    :param former: clients that may come back without a code.
    :param token_bytes: as ``secrets.token_bytes``.
    :param randbelow: as ``secrets.randbelow``.
    :param encapsulate: as :func:`porttunnel.keys.hybrid.encapsulate`.
    :param send: queues a packet to a client.
    :param events: where what happens is appended, the first invitation at once.
    """

    def __init__(
        self,
        number: int,
        session_id: bytes,
        *,
        sas: bool,
        former: RejoinBook,
        token_bytes: Callable[[int], bytes],
        randbelow: Callable[[int], int],
        encapsulate: Callable[[bytes, bytes], Encapsulation],
        send: Sender,
        events: list[Any],
    ) -> None:
        self._number = number
        self._session_id = session_id
        self._sas = sas
        self._former = former
        self._token_bytes = token_bytes
        self._encapsulate = encapsulate
        self._send = send
        self._events = events
        self._invitations = Invitations(number, sas, randbelow, token_bytes)
        # A number is good for one run, right or wrong: who floods is answered once, and the
        # server can't give a number that our user is being asked about to somebody else.
        self._done: set[int] = set()
        self._queue: dict[int, _Applicant] = {}
        self._run: _Run | None = None
        self._answered: dict[int, tuple[bytes, bytes]] = {}  # a right C3 and its M4
        self.locked = False
        self._announce()

    def receive(self, header: Header, body: bytes, now: float) -> Proven | None:
        """A packet of somebody without keys: C1, C3 or ERROR; what a right C3 proves.

        Whatever else comes ends this client's run, with one answer for all reasons.
        """
        member = header.sender
        if member in self._done or self._answer_again(header, body):
            return None
        proven = None
        known = member in self._queue
        run = self._take(member)
        try:
            check_handshake_header(header)
            if header.kind is PacketType.C1 and not known and run is None:
                self._receive_c1(member, body)
            else:
                self._done.add(member)
                if header.kind is PacketType.C3 and run is not None:
                    proven = self._receive_c3(run, body)
                elif header.kind is not PacketType.ERROR:
                    raise RemoteProtocolError("a handshake message out of order")
                # An ERROR is a client's hint that it gave up: nothing is charged.
        except (ProtocolError, AuthenticationFailed) as error:
            self._fail(member, error)
        self._begin_next(now)
        return proven

    def receive_again(self, header: Header, body: bytes) -> None:
        """A client with keys sends its C3 again: M4 was lost around a broken link."""
        c3, m4 = self._answered.get(header.sender, (b"", b""))
        if header.kind is PacketType.C3 and body == c3:
            self._send(PacketType.M4, header.sender, m4, 1)

    def settle(self, member: int) -> None:
        """This client has gone, and says nothing again."""
        self._answered.pop(member, None)

    def close(self) -> None:
        """The session is over: secrets of runs that are under way go."""
        if self._run is not None:
            self._run.handshake.erase()
            self._run = None
        self._queue.clear()
        self._answered.clear()

    def _answer_again(self, header: Header, body: bytes) -> bool:
        """Whether this is the C1 that is being answered: the same one has the same answer."""
        run = self._run
        if header.kind is not PacketType.C1:
            return False
        if run is not None and run.member == header.sender and run.applicant.c1 == body:
            self._send(PacketType.M2, run.member, run.handshake.m2)
            return True
        waiting = self._queue.get(header.sender)
        return waiting is not None and waiting.c1 == body

    def forget(self, member: int, now: float) -> None:
        """This client is gone."""
        self._done.add(member)
        self.settle(member)
        self._take(member)
        self._begin_next(now)

    def allow_joining(self, now: float) -> None:
        """The user lets people try again after too many wrong tries, with a new code."""
        if self._invitations.paused:
            self._invitations.resume()
            self._announce()
            self._begin_next(now)

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due (seconds, absolute)."""
        return None if self._run is None else self._run.deadline

    def handle_timeout(self, now: float) -> None:
        """Who sent no C3 in time makes room; nothing is charged, as nothing was guessed."""
        if self._run is not None and now >= self._run.deadline:
            member, self._run = self._run.member, None
            self._fail(member, RemoteProtocolError("C3 came too late", ErrorCode.TOO_LATE))
            self._begin_next(now)

    def _take(self, member: int) -> _Run | None:
        """Whatever becomes of this client, it does not stand here any more."""
        self._queue.pop(member, None)
        run = self._run
        if run is None or run.member != member:
            return None
        self._run = None
        return run

    def _receive_c1(self, member: int, body: bytes) -> None:
        c1 = decode_c1(body)
        if c1.member != member:
            raise RemoteProtocolError("the handshake's opening is for another member")
        if c1.mode is HandshakeMode.REJOIN:
            password = self._former.password(c1.former)
        else:
            password = self._invitations.current.password(c1.mode)
        if password is None or self._invitations.paused or self.locked:
            raise AuthenticationFailed
        if len(self._queue) >= MAX_QUEUED:
            raise RemoteProtocolError("too many clients join at once", ErrorCode.BUSY)
        self._queue[member] = _Applicant(member, body, c1.mode, c1.former, password)

    def _begin_next(self, now: float) -> None:
        """Give the invitation to the next who waits, if nobody has it."""
        while self._run is None and self._queue and not self._invitations.paused:
            applicant = self._queue.pop(next(iter(self._queue)))
            try:
                self._run = self._send_m2(applicant, now)
            except (ProtocolError, AuthenticationFailed) as error:
                self._fail(applicant.member, error)

    def _send_m2(self, applicant: _Applicant, now: float) -> _Run:
        c1 = decode_c1(applicant.c1)
        handshake = MasterHandshake(
            self._number,
            self._session_id,
            applicant.member,
            applicant.mode,
            applicant.password,
            c1=applicant.c1,
            encapsulation=self._encapsulate(c1.rsa_public, c1.mlkem_public),
            scalar=self._token_bytes(32),
            nonce=self._token_bytes(32),
        )
        self._send(PacketType.M2, applicant.member, handshake.m2)
        return _Run(applicant, handshake, now + HANDSHAKE_SECONDS)

    def _receive_c3(self, run: _Run, body: bytes) -> Proven:
        applicant = run.applicant
        try:
            finished = run.handshake.receive_c3(body)
        except AuthenticationFailed:
            if applicant.former:
                self._former.count_wrong_try(applicant.former)
            else:
                self._count_wrong_try()
            raise
        self._answered[run.member] = (body, finished.m4)
        self._send(PacketType.M4, run.member, finished.m4, 1)
        if not applicant.former:
            self._renew()
        return Proven(run.member, applicant.mode, applicant.former, finished.established)

    def _count_wrong_try(self) -> None:
        burnt = self._invitations.count_wrong_try()
        if self._invitations.paused:
            self._events.append(JoiningPaused(self._invitations.wrong_tries))
            self._refuse_void()
        elif burnt:
            self._renew()

    def _renew(self) -> None:
        self._invitations.renew()
        self._announce()
        self._refuse_void()

    def _refuse_void(self) -> None:
        """Who waits has made its C1 with the code that is void now: it can't succeed, and to
        answer it would charge the next code. In SAS there is none in it.
        """
        if not self._sas:
            for applicant in list(self._queue.values()):
                if not applicant.former:
                    del self._queue[applicant.member]
                    self._fail(applicant.member, AuthenticationFailed())

    def _announce(self) -> None:
        current = self._invitations.current
        self._events.append(InvitationMade(current.pin_code, current.link_code))

    def _fail(self, member: int, error: PorttunnelError) -> None:
        self._done.add(member)
        busy = isinstance(error, RemoteProtocolError) and error.code is ErrorCode.BUSY
        code = ErrorCode.BUSY if busy else ErrorCode.HANDSHAKE_FAILED
        # One text for all: the detail is for our own log only.
        report = request.ErrorReport(code=code, text=code.value)
        self._send(PacketType.ERROR, member, request.encode(report))
        self._events.append(RunFailed(member, error))
