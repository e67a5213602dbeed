"""The directory against a model of it in memory.

Whatever happens, in any order, through two server processes on one store: both know the same
sessions and members as the model does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from porttunnel.errors import NoSuchNumber, SessionEnded
from porttunnel.net.store.sqlite import IN_MEMORY, SQLiteStore
from porttunnel.session.directory import (
    Admission,
    Directory,
    Ended,
    Lapsed,
    Moved,
    Report,
    SessionStatus,
)

MASTER_GRACE = 300.0
CLIENT_GRACE = 120.0
HANDSHAKE_GRACE = 60.0
MAX_SESSIONS = 3  # few, so that much happens to each

PROCESS = st.integers(0, 1)
WHO = st.integers(0, 4)  # one of the members that came last, gone or not
WHICH_TOKEN = st.integers(0, 3)  # one of its last tokens, dead or not


@dataclass
class Member:
    session_id: bytes
    number: int
    member: int
    tokens: list[bytes]  # all that it was ever given
    good: set[bytes]
    joined_at: float
    established: bool
    linked_by: int
    unlinked_since: float | None = None
    gone: bool = False

    def lost(self, grace: float, now: float) -> bool:
        return self.unlinked_since is not None and self.unlinked_since + grace <= now


@dataclass
class Session:
    number: int
    ends_at: float
    join_until: float
    max_clients: int
    locked: bool = False
    members: dict[int, Member] = field(default_factory=dict)


class DirectoryMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        random = Random(seed)
        self.store = SQLiteStore(IN_MEMORY)
        self.directories = [
            Directory(
                self.store,
                randbelow=random.randrange,
                token_bytes=random.randbytes,
                master_grace_seconds=MASTER_GRACE,
                client_grace_seconds=CLIENT_GRACE,
                handshake_grace_seconds=HANDSHAKE_GRACE,
                number_digits=(1, 2),
            )
            for _ in range(2)
        ]
        for directory in self.directories:
            directory.start(0.0)
        self.now = 0.0
        self.sessions: dict[bytes, Session] = {}
        self.known: list[Member] = []
        self.untold: list[list[Report]] = [[], []]

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    def someone(self, who: int) -> Member:
        return self.known[-1 - who % len(self.known)]

    def admit(self, admission: Admission, process: int) -> None:
        key = (admission.session_id, admission.member)
        assert key not in {(member.session_id, member.member) for member in self.known}
        member = Member(
            *(admission.session_id, admission.number, admission.member),
            tokens=[admission.token],
            good={admission.token},
            joined_at=self.now,
            established=admission.member == 1,
            linked_by=process,
        )
        self.known.append(member)
        self.sessions[admission.session_id].members[admission.member] = member

    def tell_other(self, process: int, report: Report) -> None:
        """What this process did, the other hears with its next expire."""
        self.untold[1 - process].append(report)

    def end(self, session_id: bytes) -> None:
        for member in self.sessions.pop(session_id).members.values():
            member.gone = True

    def put_out(self, member: Member) -> None:
        member.gone = True
        del self.sessions[member.session_id].members[member.member]

    @precondition(lambda self: len(self.sessions) < MAX_SESSIONS)
    @rule(
        process=PROCESS,
        lifetime=st.sampled_from([200, 5_000, 6_000]),
        max_clients=st.integers(1, 3),
        window=st.sampled_from([100, 9_000]),
    )
    def create(self, process: int, lifetime: int, max_clients: int, window: int) -> None:
        master = self.directories[process].create(lifetime, max_clients, window, self.now)
        issued = {member.number for member in self.known}
        assert master.number not in issued
        assert (master.number > 9) == (len(issued) >= 5)
        assert master.member == 1
        self.sessions[master.session_id] = Session(
            master.number, self.now + lifetime, self.now + window, max_clients
        )
        self.admit(master, process)

    @precondition(lambda self: self.known)
    @rule(process=PROCESS, who=WHO, establish=st.booleans())
    def join(self, process: int, who: int, establish: bool) -> None:
        number = self.someone(who).number
        session = self.sessions.get(self.someone(who).session_id)
        if (
            session is None
            or session.locked
            or self.now >= min(session.join_until, session.ends_at)
            or len(session.members) > session.max_clients
        ):
            with pytest.raises(NoSuchNumber):
                self.directories[process].join(number, self.now)
            return
        client = self.directories[process].join(number, self.now)
        assert client.number == number
        assert 2 <= client.member <= 0xFFFD
        self.admit(client, process)
        if establish:
            self.establish(process, 0)

    @rule(process=PROCESS, number=st.integers(0, 99))
    def join_what_was_never_issued(self, process: int, number: int) -> None:
        if number not in {member.number for member in self.known}:
            with pytest.raises(NoSuchNumber):
                self.directories[process].join(number, self.now)

    @precondition(lambda self: self.known)
    @rule(process=PROCESS, who=WHO, which=WHICH_TOKEN)
    def resume(self, process: int, who: int, which: int) -> None:
        member = self.someone(who)
        token = member.tokens[-1 - which % len(member.tokens)]
        arguments = (member.session_id, member.member, token, self.now)
        if member.gone or token not in member.good:
            with pytest.raises(SessionEnded):
                self.directories[process].resume(*arguments)
            return
        resumed = self.directories[process].resume(*arguments)
        assert (resumed.session_id, resumed.member) == (member.session_id, member.member)
        if token == member.tokens[-1]:
            assert resumed.token not in member.tokens
            member.tokens.append(resumed.token)
        assert resumed.token == member.tokens[-1]
        member.good = {token, resumed.token}
        if member.unlinked_since is None and member.linked_by != process:
            self.tell_other(process, Moved(member.session_id, member.member))
        member.linked_by, member.unlinked_since = process, None

    @precondition(lambda self: self.known)
    @rule(process=PROCESS, who=WHO, which=WHICH_TOKEN)
    def confirm_token(self, process: int, who: int, which: int) -> None:
        member = self.someone(who)
        token = member.tokens[-1 - which % len(member.tokens)]
        self.directories[process].confirm_token(member.session_id, member.member, token)
        if token == member.tokens[-1]:
            member.good = {token}

    @precondition(lambda self: self.known)
    @rule(process=PROCESS, who=WHO)
    def establish(self, process: int, who: int) -> None:
        member = self.someone(who)
        self.directories[process].establish(member.session_id, member.member)
        member.established = True

    @precondition(lambda self: self.known)
    @rule(process=PROCESS, who=WHO, kicked=st.booleans())
    def leave(self, process: int, who: int, kicked: bool) -> None:
        member = self.someone(who)
        if member.member == 1:
            return
        directory = self.directories[process]
        leave = directory.kick if kicked else directory.leave
        if member.session_id not in self.sessions:
            with pytest.raises(SessionEnded):
                leave(member.session_id, member.member, self.now)
            return
        told = leave(member.session_id, member.member, self.now)
        if not member.gone:
            self.put_out(member)
            self.tell_other(process, told)

    @precondition(lambda self: self.known)
    @rule(process=PROCESS, who=WHO, locked=st.booleans())
    def lock(self, process: int, who: int, locked: bool) -> None:
        session_id = self.someone(who).session_id
        if session_id not in self.sessions:
            with pytest.raises(SessionEnded):
                self.directories[process].lock(session_id, locked)
            return
        self.directories[process].lock(session_id, locked)
        self.sessions[session_id].locked = locked

    @precondition(lambda self: self.known)
    @rule(process=PROCESS, who=WHO)
    def close(self, process: int, who: int) -> None:
        session_id = self.someone(who).session_id
        ended = self.directories[process].close(session_id, "closed", self.now)
        if session_id in self.sessions:
            assert ended == Ended(session_id, "closed")
            self.end(session_id)
            self.tell_other(process, ended)
        else:
            assert ended is None

    @precondition(lambda self: self.known)
    @rule(process=PROCESS, who=WHO, up=st.booleans())
    def change_link(self, process: int, who: int, up: bool) -> None:
        member = self.someone(who)
        self.directories[process].link_changed(member.session_id, member.member, up, self.now)
        if up and member.unlinked_since is not None:
            member.linked_by, member.unlinked_since = process, None
        elif not up and member.linked_by == process and member.unlinked_since is None:
            member.unlinked_since = self.now

    @rule(process=PROCESS, minutes=st.integers(1, 3), seconds=st.sampled_from([1.0, 59.0, 60.0]))
    def let_time_pass(self, process: int, minutes: int, seconds: float) -> None:
        for _ in range(minutes):
            self.now += seconds
            reports = self.directories[process].expire(self.now)
            told = self.take_untold(process)
            assert reports[: len(told)] == told
            ended = [
                (report.session_id, report.member if isinstance(report, Lapsed) else 0)
                for report in reports[len(told) :]
            ]
            assert sorted(ended) == sorted(self.expire())
            self.untold[1 - process] += reports[len(told) :]
            heard = self.directories[1 - process].expire(self.now)
            assert heard == self.take_untold(1 - process)

    def take_untold(self, process: int) -> list[Report]:
        """What this process has not heard, but for those who have come back to it meanwhile."""
        untold, self.untold[process] = self.untold[process], []
        here = {
            (member.session_id, member.member)
            for member in self.known
            if not member.gone and member.unlinked_since is None and member.linked_by == process
        }
        return [
            report
            for report in untold
            if not isinstance(report, Moved) or (report.session_id, report.member) not in here
        ]

    def expire(self) -> list[tuple[bytes, int]]:
        reports = []
        for session_id, session in list(self.sessions.items()):
            if session.ends_at <= self.now or session.members[1].lost(MASTER_GRACE, self.now):
                reports.append((session_id, 0))
                self.end(session_id)
                continue
            for member in list(session.members.values()):
                late = member.joined_at + HANDSHAKE_GRACE <= self.now
                if member.member > 1 and (
                    (late and not member.established) or member.lost(CLIENT_GRACE, self.now)
                ):
                    reports.append((session_id, member.member))
                    self.put_out(member)
        return reports

    @invariant()
    def both_processes_know_what_the_model_knows(self) -> None:
        for session_id, session in getattr(self, "sessions", {}).items():
            assert len(session.members) <= session.max_clients + 1
            members = tuple(sorted(session.members))
            left = int(session.ends_at - self.now)
            for directory in self.directories:
                status = directory.status(session_id, self.now)
                assert status == SessionStatus(members, session.locked, left)


TestDirectoryMachine = DirectoryMachine.TestCase
TestDirectoryMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
