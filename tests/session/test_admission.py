"""Who shakes hands, who waits, and who knew the code."""

from __future__ import annotations

import random
from typing import Any

import pytest

from porttunnel.errors import (
    AuthenticationFailed,
    ErrorCode,
    LocalProtocolError,
    RemoteProtocolError,
)
from porttunnel.keys.handshake import ClientHandshake, HandshakeMode
from porttunnel.keys.hybrid import encapsulate
from porttunnel.session import request
from porttunnel.session.admission import HANDSHAKE_SECONDS, MAX_QUEUED, Admission, Proven
from porttunnel.session.event import InvitationMade, JoiningPaused, RunFailed
from porttunnel.session.packet import MASTER, Header, PacketType
from porttunnel.session.rejoin import MAX_WRONG_TRIES, RejoinBook
from tests.keys.runs import NUMBER, SESSION_ID, make_client

PIN, SAS, LINK, REJOIN = (
    HandshakeMode.PIN,
    HandshakeMode.SAS,
    HandshakeMode.LINK,
    HandshakeMode.REJOIN,
)
WRONG = {PIN: b"000000", LINK: b"A" * 26}


class Desk:
    """An admission whose packets and events are collected."""

    def __init__(self, *, sas: bool = False) -> None:
        source = random.Random(3)
        self.now = 100.0
        self.packets: list[tuple[PacketType, int, bytes, int]] = []
        self.events: list[Any] = []
        self.former = RejoinBook()
        self.admission = Admission(
            NUMBER,
            SESSION_ID,
            sas=sas,
            former=self.former,
            token_bytes=source.randbytes,
            randbelow=source.randrange,
            encapsulate=encapsulate,
            send=self.send,
            events=self.events,
        )

    def send(self, kind: PacketType, target: int, body: bytes, number: int = 0) -> None:
        self.packets.append((kind, target, body, number))

    def taken(self) -> list[tuple[PacketType, int]]:
        """What was sent since the last call."""
        taken = [(kind, target) for kind, target, _, _ in self.packets]
        self.packets.clear()
        return taken

    def taken_events(self) -> list[Any]:
        taken = self.events.copy()
        self.events.clear()
        return taken

    def password(self, mode: HandshakeMode) -> bytes:
        made = [event for event in self.made if isinstance(event, InvitationMade)][-1]
        code = made.link if mode is LINK else made.code
        return b"" if code is None else code.password

    @property
    def made(self) -> list[Any]:
        current = self.admission._invitations.current
        return [InvitationMade(current.pin_code, current.link_code)]

    def client(
        self, member: int, mode: HandshakeMode = PIN, *, wrong: bool = False
    ) -> ClientHandshake:
        prs = WRONG[mode] if wrong else self.password(mode)
        return make_client(mode, member=member, prs=prs)

    def receive(
        self, kind: PacketType, member: int, body: bytes, *, after: float = 0.0
    ) -> Proven | None:
        self.now += after
        number = 1 if kind in (PacketType.C3, PacketType.M4) else 0
        header = Header(kind, 0, 0, member, MASTER, number, 0, len(body))
        return self.admission.receive(header, body, self.now)

    def run(self, member: int, mode: HandshakeMode = PIN, *, wrong: bool = False) -> Proven | None:
        """A whole run as far as C3."""
        client = self.client(member, mode, wrong=wrong)
        self.receive(PacketType.C1, member, client.c1)
        kind, target, m2, number = self.packets[-1]
        assert (kind, target, number) == (PacketType.M2, member, 0)
        return self.receive(PacketType.C3, member, client.receive_m2(m2).c3)

    def errors(self) -> list[request.ErrorReport]:
        return [
            request.decode_error(body)
            for kind, _, body, _ in self.packets
            if kind is PacketType.ERROR
        ]


def failures(desk: Desk) -> list[int]:
    return [event.member for event in desk.events if isinstance(event, RunFailed)]


class TestRun:
    @pytest.mark.parametrize("mode", [PIN, LINK, SAS])
    def test_proves_who_knows_the_code(self, mode: HandshakeMode) -> None:
        desk = Desk(sas=mode is SAS)
        client = desk.client(2, mode)
        desk.taken_events()
        assert desk.receive(PacketType.C1, 2, client.c1) is None
        (_, _, m2, _) = desk.packets[-1]
        confirming = client.receive_m2(m2)
        proven = desk.receive(PacketType.C3, 2, confirming.c3)
        assert proven is not None
        assert (proven.member, proven.mode) == (2, mode)
        kind, target, m4, number = desk.packets[-1]
        assert (kind, target, number) == (PacketType.M4, 2, 1)
        at_client = confirming.receive_m4(m4)
        assert at_client.client_to_master == proven.established.client_to_master
        # The next client gets another code.
        assert [type(event) for event in desk.taken_events()] == [InvitationMade]

    def test_each_client_gets_its_own_code(self) -> None:
        desk = Desk()
        first = desk.password(PIN), desk.password(LINK)
        assert desk.run(2)
        second = desk.password(PIN), desk.password(LINK)
        # PIN and link secret burn together.
        assert first[0] != second[0]
        assert first[1] != second[1]
        assert desk.run(3, LINK)
        assert (desk.password(PIN), desk.password(LINK)) != second

    @pytest.mark.parametrize("mode", [PIN, LINK])
    def test_a_wrong_code_is_answered_like_everything_else(self, mode: HandshakeMode) -> None:
        desk = Desk()
        desk.taken_events()
        assert desk.run(2, mode, wrong=True) is None
        (report,) = desk.errors()
        assert report.code is ErrorCode.HANDSHAKE_FAILED
        assert report.text == "handshake-failed"
        (failed,) = desk.taken_events()
        assert failed.member == 2
        assert isinstance(failed.error, AuthenticationFailed)

    @pytest.mark.parametrize(
        ("sas", "mode"), [(False, SAS), (False, REJOIN), (True, PIN), (True, LINK), (True, REJOIN)]
    )
    def test_a_mode_that_was_not_invited_is_refused(self, sas: bool, mode: HandshakeMode) -> None:
        desk = Desk(sas=sas)
        client = make_client(mode, member=2)
        assert desk.receive(PacketType.C1, 2, client.c1) is None
        assert desk.taken() == [(PacketType.ERROR, 2)]
        assert failures(desk) == [2]

    @pytest.mark.parametrize(
        "change",
        [
            {"member": 3},
            {"session_id": bytes(16)},
        ],
    )
    def test_an_opening_for_somebody_else_is_refused(self, change: dict[str, Any]) -> None:
        desk = Desk()
        client = make_client(PIN, **({"member": 2, "prs": desk.password(PIN)} | change))
        desk.receive(PacketType.C1, 2, client.c1)
        assert desk.taken() == [(PacketType.ERROR, 2)]
        assert not desk.admission.next_deadline()

    @pytest.mark.parametrize("place", [0, 2, 3, 5, 7, 8, 25, 60, 355])
    def test_a_malformed_opening_is_refused(self, place: int) -> None:
        desk = Desk()
        body = bytearray(desk.client(2).c1)
        body[place] ^= 0xFF
        assert desk.receive(PacketType.C1, 2, bytes(body)) is None
        assert desk.taken() == [(PacketType.ERROR, 2)]
        assert failures(desk) == [2]

    def test_a_client_that_changes_its_nonce_is_charged(self) -> None:
        desk = Desk()
        client = desk.client(2)
        desk.receive(PacketType.C1, 2, client.c1)
        c3 = bytearray(client.receive_m2(desk.packets[-1][2]).c3)
        c3[0] ^= 1
        assert desk.receive(PacketType.C3, 2, bytes(c3)) is None
        assert desk.admission._invitations.wrong_tries == 1


class TestTries:
    def test_the_third_wrong_one_burns_the_code_and_shows_a_new_one(self) -> None:
        desk = Desk()
        first = desk.password(PIN)
        desk.taken_events()
        for member in (2, 3):
            desk.run(member, wrong=True)
            assert desk.password(PIN) == first
        desk.run(4, wrong=True)
        assert desk.password(PIN) != first
        kinds = [type(event) for event in desk.taken_events()]
        assert kinds == [RunFailed, RunFailed, InvitationMade, RunFailed]
        assert desk.run(5)

    def test_ten_pause_joining_until_the_user_allows_it(self) -> None:
        desk = Desk()
        for member in range(2, 12):
            desk.run(member, wrong=True)
        assert [e for e in desk.taken_events() if isinstance(e, JoiningPaused)] == [
            JoiningPaused(10)
        ]
        desk.taken()
        # Even the right code is of no use now.
        desk.receive(PacketType.C1, 20, desk.client(20).c1)
        assert desk.taken() == [(PacketType.ERROR, 20)]
        paused = desk.password(PIN)
        desk.events.clear()
        desk.admission.allow_joining(desk.now)
        assert [type(event) for event in desk.taken_events()] == [InvitationMade]
        assert desk.password(PIN) != paused
        assert desk.run(21)

    def test_allowing_what_is_not_paused_changes_nothing(self) -> None:
        desk = Desk()
        code = desk.password(PIN)
        desk.taken_events()
        desk.admission.allow_joining(desk.now)
        assert desk.password(PIN) == code
        assert desk.taken_events() == []

    def test_in_sas_mode_who_waits_may_wait_on(self) -> None:
        desk = Desk(sas=True)
        for member in range(2, 12):
            client = desk.client(member, SAS)
            desk.receive(PacketType.C1, member, client.c1)
            c3 = bytearray(client.receive_m2(desk.packets[-1][2]).c3)
            c3[-1] ^= 1
            if member == 11:
                desk.receive(PacketType.C1, 12, desk.client(12, SAS).c1)
            desk.receive(PacketType.C3, member, bytes(c3))
        assert [e for e in desk.taken_events() if isinstance(e, JoiningPaused)]
        desk.taken()
        desk.admission.allow_joining(desk.now)
        assert desk.taken() == [(PacketType.M2, 12)]


class TestQueue:
    def test_one_handshake_at_a_time(self) -> None:
        desk = Desk()
        clients = {member: desk.client(member) for member in (2, 3)}
        for member, client in clients.items():
            desk.receive(PacketType.C1, member, client.c1)
        assert desk.taken() == [(PacketType.M2, 2)]
        # Who gives up makes room, and is not charged.
        body = request.encode(request.ErrorReport(code=ErrorCode.INTERNAL, text=""))
        desk.receive(PacketType.ERROR, 2, body)
        assert desk.taken() == [(PacketType.M2, 3)]
        assert desk.admission._invitations.wrong_tries == 0

    def test_eight_wait_and_the_ninth_is_told(self) -> None:
        desk = Desk()
        for member in range(2, 3 + MAX_QUEUED):
            desk.receive(PacketType.C1, member, desk.client(member).c1)
        assert MAX_QUEUED == 8
        assert desk.taken() == [(PacketType.M2, 2)]
        desk.receive(PacketType.C1, 30, desk.client(30).c1)
        (report,) = desk.errors()
        assert report.code is ErrorCode.BUSY
        # The others are served all the same.
        for member in range(3, 3 + MAX_QUEUED):
            desk.now += HANDSHAKE_SECONDS
            desk.admission.handle_timeout(desk.now)
            assert desk.packets[-1][:2] == (PacketType.M2, member)

    def test_who_waits_with_a_void_code_is_refused_uncharged(self) -> None:
        desk = Desk()
        winner = desk.client(2)
        desk.receive(PacketType.C1, 2, winner.c1)
        for member in (3, 4, 5):
            desk.receive(PacketType.C1, member, desk.client(member).c1)
        c3 = winner.receive_m2(desk.packets[-1][2]).c3
        desk.taken()
        assert desk.receive(PacketType.C3, 2, c3)
        errors = [(PacketType.ERROR, member) for member in (3, 4, 5)]
        assert desk.taken() == [(PacketType.M4, 2), *errors]
        assert failures(desk) == [3, 4, 5]
        assert desk.admission._invitations.wrong_tries == 0
        assert desk.run(6)

    def test_in_sas_mode_there_is_no_code_to_be_void(self) -> None:
        desk = Desk(sas=True)
        first, second = desk.client(2, SAS), desk.client(3, SAS)
        desk.receive(PacketType.C1, 2, first.c1)
        c3 = first.receive_m2(desk.packets[-1][2]).c3
        desk.receive(PacketType.C1, 3, second.c1)
        desk.taken()
        assert desk.receive(PacketType.C3, 2, c3)
        assert desk.taken() == [(PacketType.M4, 2), (PacketType.M2, 3)]

    def test_a_bad_one_in_the_queue_stops_no_other(self) -> None:
        desk = Desk()
        desk.receive(PacketType.C1, 2, desk.client(2).c1)
        bad = bytearray(desk.client(3).c1)
        bad[60] ^= 0xFF  # no RSA key any more
        desk.receive(PacketType.C1, 3, bytes(bad))
        desk.receive(PacketType.C1, 4, desk.client(4).c1)
        desk.taken()
        desk.admission.forget(2, desk.now)
        assert desk.taken() == [(PacketType.ERROR, 3), (PacketType.M2, 4)]

    def test_who_left_is_forgotten(self) -> None:
        desk = Desk()
        for member in (2, 3, 4):
            desk.receive(PacketType.C1, member, desk.client(member).c1)
        desk.taken()
        desk.admission.forget(3, desk.now)
        desk.admission.forget(99, desk.now)
        assert desk.taken() == []
        desk.admission.forget(2, desk.now)
        assert desk.taken() == [(PacketType.M2, 4)]


class TestTime:
    def test_ten_seconds_free_the_place_uncharged(self) -> None:
        desk = Desk()
        assert desk.admission.next_deadline() is None
        desk.admission.handle_timeout(1e9)
        client = desk.client(2)
        desk.receive(PacketType.C1, 2, client.c1)
        c3 = client.receive_m2(desk.packets[-1][2]).c3
        desk.receive(PacketType.C1, 3, desk.client(3).c1, after=1.0)
        assert HANDSHAKE_SECONDS == 10.0
        assert desk.admission.next_deadline() == 100.0 + HANDSHAKE_SECONDS
        desk.taken()
        desk.admission.handle_timeout(100.0 + HANDSHAKE_SECONDS - 0.1)
        assert desk.taken() == []
        desk.now = 100.0 + HANDSHAKE_SECONDS
        desk.admission.handle_timeout(desk.now)
        assert desk.taken() == [(PacketType.ERROR, 2), (PacketType.M2, 3)]
        assert desk.admission._invitations.wrong_tries == 0
        # What comes late gets no second answer, and changes nothing for who has the place.
        assert desk.receive(PacketType.C3, 2, c3) is None
        assert desk.taken() == []
        assert desk.admission._invitations.wrong_tries == 0
        assert desk.admission.next_deadline() == desk.now + HANDSHAKE_SECONDS


class TestOneRunForANumber:
    def test_a_flood_is_answered_once(self) -> None:
        desk = Desk()
        for _ in range(5):
            assert desk.receive(PacketType.C3, 2, bytes(64)) is None
        assert desk.taken() == [(PacketType.ERROR, 2)]
        assert [type(event).__name__ for event in desk.events].count("RunFailed") == 1

    def test_who_failed_gets_no_second_run(self) -> None:
        desk = Desk()
        desk.receive(PacketType.C3, 2, bytes(64))
        desk.taken()
        desk.receive(PacketType.C1, 2, desk.client(2).c1)
        assert desk.taken() == []

    def test_a_number_that_left_is_not_given_to_somebody_else(self) -> None:
        desk = Desk()
        desk.admission.forget(2, desk.now)
        desk.receive(PacketType.C1, 2, desk.client(2).c1)
        assert desk.taken() == []


class TestOrder:
    @pytest.mark.parametrize("kind", [PacketType.C3, PacketType.M2, PacketType.M4])
    def test_nothing_begins_but_with_c1(self, kind: PacketType) -> None:
        desk = Desk()
        assert desk.receive(kind, 2, bytes(64)) is None
        assert desk.taken() == [(PacketType.ERROR, 2)]
        (failed,) = [event for event in desk.events if isinstance(event, RunFailed)]
        assert isinstance(failed.error, RemoteProtocolError)

    @pytest.mark.parametrize("waiting", [False, True])
    def test_another_opening_ends_the_run(self, waiting: bool) -> None:
        desk = Desk()
        if waiting:
            desk.receive(PacketType.C1, 9, desk.client(9).c1)
        desk.receive(PacketType.C1, 2, desk.client(2).c1)
        desk.taken()
        other = make_client(PIN, member=2, prs=desk.password(PIN), nonce=b"d" * 32)
        desk.receive(PacketType.C1, 2, other.c1)
        assert desk.taken() == [(PacketType.ERROR, 2)]
        desk.receive(PacketType.C3, 2, bytes(64))
        assert desk.admission._invitations.wrong_tries == 0

    def test_c3_of_who_waits_ends_its_run(self) -> None:
        desk = Desk()
        desk.receive(PacketType.C1, 2, desk.client(2).c1)
        desk.receive(PacketType.C1, 3, desk.client(3).c1)
        desk.taken()
        assert desk.receive(PacketType.C3, 3, bytes(64)) is None
        assert desk.taken() == [(PacketType.ERROR, 3)]
        assert desk.admission.next_deadline() is not None

    def test_a_run_takes_one_guess(self) -> None:
        desk = Desk()
        desk.run(2, wrong=True)
        desk.taken()
        for _ in range(5):
            desk.receive(PacketType.C3, 2, bytes(64))
        assert desk.admission._invitations.wrong_tries == 1

    def test_an_error_of_a_stranger_is_nothing(self) -> None:
        desk = Desk()
        desk.taken_events()
        desk.receive(PacketType.ERROR, 2, b"whatever")
        assert desk.taken() == []
        assert desk.taken_events() == []


class TestAgain:
    """A client that lost its link says again what it said: nobody is charged for that."""

    def test_the_same_opening_gets_the_same_answer(self) -> None:
        desk = Desk()
        client = desk.client(2)
        for _ in range(4):
            desk.receive(PacketType.C1, 2, client.c1, after=1.0)
        first, *others = desk.packets
        assert first[0] is PacketType.M2
        assert others == [first] * 3
        # The time to confirm counts from the first.
        assert desk.admission.next_deadline() == 101.0 + HANDSHAKE_SECONDS
        assert desk.receive(PacketType.C3, 2, client.receive_m2(first[2]).c3)
        assert desk.admission._invitations.wrong_tries == 0

    def test_the_same_opening_of_who_waits_keeps_its_place(self) -> None:
        desk = Desk()
        for member in (2, 3, 4):
            desk.receive(PacketType.C1, member, desk.client(member).c1)
        desk.taken()
        desk.receive(PacketType.C1, 3, desk.client(3).c1)
        assert desk.taken() == []
        desk.admission.forget(2, desk.now)
        assert desk.taken() == [(PacketType.M2, 3)]

    def test_the_same_proof_gets_the_same_answer(self) -> None:
        desk = Desk()
        client = desk.client(2)
        desk.receive(PacketType.C1, 2, client.c1)
        c3 = client.receive_m2(desk.packets[-1][2]).c3
        assert desk.receive(PacketType.C3, 2, c3)
        m4 = desk.packets[-1]
        assert m4[0] is PacketType.M4
        desk.packets.clear()
        desk.taken_events()
        for body in (c3, c3, bytes(64), c3[:-1] + bytes([c3[-1] ^ 1])):
            self.say_again(desk, PacketType.C3, body)
        for kind in (PacketType.C1, PacketType.ERROR):
            self.say_again(desk, kind, c3)
        # Another proof is no answer worth: there are keys already.
        assert desk.packets == [m4, m4]
        assert desk.taken_events() == []
        assert desk.admission._invitations.wrong_tries == 0

    def test_who_is_settled_is_not_answered_again(self) -> None:
        desk = Desk()
        client = desk.client(2)
        desk.receive(PacketType.C1, 2, client.c1)
        c3 = client.receive_m2(desk.packets[-1][2]).c3
        assert desk.receive(PacketType.C3, 2, c3)
        desk.taken()
        desk.admission.settle(2)
        desk.admission.settle(2)
        self.say_again(desk, PacketType.C3, c3)
        assert desk.taken() == []
        # Nor who never shook hands.
        self.say_again(desk, PacketType.C3, c3, member=9)
        assert desk.taken() == []

    @staticmethod
    def say_again(desk: Desk, kind: PacketType, body: bytes, member: int = 2) -> None:
        header = Header(kind, 0, 0, member, MASTER, 1, 0, len(body))
        desk.admission.receive_again(header, body)


class TestRejoin:
    SECRET = bytes(range(32))

    def make(self, member: int, secret: bytes, former: int = 5) -> ClientHandshake:
        prs = secret.hex().encode()
        return make_client(REJOIN, member=member, prs=prs, former=former)

    def run(self, desk: Desk, member: int, secret: bytes, former: int = 5) -> Proven | None:
        client = self.make(member, secret, former)
        desk.receive(PacketType.C1, member, client.c1)
        if desk.packets[-1][:2] != (PacketType.M2, member):
            return None
        return desk.receive(PacketType.C3, member, client.receive_m2(desk.packets[-1][2]).c3)

    def desk(self) -> Desk:
        desk = Desk()
        desk.former.remember(5, "Ben", self.SECRET)
        desk.taken_events()
        return desk

    def test_who_knows_the_secret_needs_no_invitation(self) -> None:
        desk = self.desk()
        proven = self.run(desk, 9, self.SECRET)
        assert proven is not None
        assert (proven.member, proven.mode, proven.former) == (9, REJOIN, 5)
        # So no invitation is used up.
        assert desk.taken_events() == []

    def test_in_a_sas_session_too(self) -> None:
        desk = Desk(sas=True)
        desk.former.remember(5, "Ben", self.SECRET)
        assert self.run(desk, 9, self.SECRET)

    def test_the_third_wrong_secret_makes_it_void(self) -> None:
        desk = self.desk()
        assert MAX_WRONG_TRIES == 3
        for member in range(9, 9 + MAX_WRONG_TRIES):
            assert self.run(desk, member, bytes(32)) is None
        # Neither the invitation nor joining is touched by that.
        assert desk.admission._invitations.wrong_tries == 0
        desk.taken()
        assert self.run(desk, 20, self.SECRET) is None
        assert desk.taken() == [(PacketType.ERROR, 20)]
        assert desk.run(21)

    def test_nobody_who_was_not_there(self) -> None:
        desk = self.desk()
        assert self.run(desk, 9, self.SECRET, former=6) is None
        assert desk.taken() == [(PacketType.ERROR, 9)]
        assert failures(desk) == [9]

    def test_a_code_that_burns_meanwhile_is_not_theirs(self) -> None:
        desk = self.desk()
        winner = desk.client(2)
        desk.receive(PacketType.C1, 2, winner.c1)
        c3 = winner.receive_m2(desk.packets[-1][2]).c3
        desk.receive(PacketType.C1, 3, desk.client(3).c1)
        desk.receive(PacketType.C1, 9, self.make(9, self.SECRET).c1)
        desk.taken()
        assert desk.receive(PacketType.C3, 2, c3)
        assert desk.taken() == [
            (PacketType.M4, 2),
            (PacketType.ERROR, 3),
            (PacketType.M2, 9),
        ]

    @pytest.mark.parametrize("mode", [PIN, LINK, REJOIN])
    def test_a_locked_session_refuses_all(self, mode: HandshakeMode) -> None:
        desk = self.desk()
        desk.admission.locked = True
        client = self.make(9, self.SECRET) if mode is REJOIN else desk.client(9, mode)
        desk.receive(PacketType.C1, 9, client.c1)
        assert desk.taken() == [(PacketType.ERROR, 9)]
        assert desk.admission._invitations.wrong_tries == 0
        desk.admission.locked = False
        assert self.run(desk, 10, self.SECRET)

    def test_while_joining_is_paused_nobody_comes_back(self) -> None:
        desk = self.desk()
        for member in range(10, 20):
            desk.run(member, wrong=True)
        desk.taken()
        assert self.run(desk, 30, self.SECRET) is None
        assert desk.taken() == [(PacketType.ERROR, 30)]
        desk.admission.allow_joining(desk.now)
        assert self.run(desk, 31, self.SECRET)


def test_shows_no_secret() -> None:
    desk = Desk()
    for member in (2, 3):
        desk.receive(PacketType.C1, member, desk.client(member).c1)
    pin = desk.password(PIN).decode()
    shown = repr(desk.admission._queue) + repr(desk.admission._run)
    assert pin not in shown
    assert "password" not in shown


class TestEnd:
    def test_secrets_of_runs_go_with_the_session(self) -> None:
        desk = Desk()
        running, waiting = desk.client(2), desk.client(3)
        desk.receive(PacketType.C1, 2, running.c1)
        desk.receive(PacketType.C1, 3, waiting.c1)
        run = desk.admission._run
        assert run is not None
        desk.admission.close()
        with pytest.raises(LocalProtocolError, match="erased"):
            run.handshake.receive_c3(bytes(64))
        assert desk.admission._queue == {}
        assert desk.admission.next_deadline() is None

    def test_who_had_a_right_code_is_answered_no_more(self) -> None:
        desk = Desk()
        desk.run(2)
        (c3, _m4), *_ = desk.admission._answered.values()
        desk.taken()
        desk.admission.close()
        desk.admission.receive_again(Header(PacketType.C3, 0, 0, 2, MASTER, 1, 0, 64), c3)
        assert desk.taken() == []
