"""Coming back after the client's process ended: the ticket, the master's book, whole members."""

from __future__ import annotations

import copy
import pickle

import pytest

from porttunnel.errors import AuthenticationFailed, LocalProtocolError
from porttunnel.session import request
from porttunnel.session.client import ClientMachine
from porttunnel.session.client_state import ClientState
from porttunnel.session.code import SessionCode
from porttunnel.session.event import (
    ConnectionFailed,
    ConsentAsked,
    DigitsShown,
    InvitationMade,
    JoiningPaused,
    MemberJoined,
    MemberLeft,
    MembersChanged,
    RunFailed,
    Welcomed,
)
from porttunnel.session.packet import MASTER
from porttunnel.session.rejoin import (
    MAX_FORMER_MEMBERS,
    MAX_WRONG_TRIES,
    RejoinBook,
    RejoinTicket,
)
from tests.tunnel import MemoryTunnel

SECRET = bytes(range(32))
SESSION_ID = b"0123456789abcdef"


class TestTicket:
    def test_is_a_password_of_64_characters(self) -> None:
        ticket = RejoinTicket(48213, SESSION_ID, 5, SECRET)
        assert ticket.password == SECRET.hex().encode()
        assert (ticket.number, ticket.session_id, ticket.member) == (48213, SESSION_ID, 5)

    def test_shows_and_lends_no_secret(self) -> None:
        ticket = RejoinTicket(48213, SESSION_ID, 5, SECRET)
        assert repr(ticket) == "<RejoinTicket (secret)>"
        for take_out in (copy.copy, pickle.dumps):
            with pytest.raises(TypeError, match="neither pickled nor copied"):
                take_out(ticket)

    def test_can_be_erased(self) -> None:
        ticket = RejoinTicket(48213, SESSION_ID, 5, SECRET)
        ticket.erase()
        assert ticket.member == 5
        with pytest.raises(LocalProtocolError, match="erased"):
            _ = ticket.password


class TestBook:
    def test_knows_who_may_come_back(self) -> None:
        book = RejoinBook()
        book.remember(5, "Ben", SECRET)
        assert book.password(5) == SECRET.hex().encode()
        assert book.name(5) == "Ben"
        assert book.password(6) is None
        assert repr(book) == "<RejoinBook of 1>"

    def test_who_is_forgotten_may_not(self) -> None:
        book = RejoinBook()
        book.remember(5, "Ben", SECRET)
        book.forget(5)
        book.forget(5)
        assert book.password(5) is None

    def test_is_empty_once_the_session_is_over(self) -> None:
        book = RejoinBook()
        for member in (5, 6):
            book.remember(member, "Ben", SECRET)
        book.close()
        assert [book.password(member) for member in (5, 6)] == [None, None]
        assert repr(book) == "<RejoinBook of 0>"

    def test_a_secret_takes_three_wrong_tries(self) -> None:
        book = RejoinBook()
        book.remember(5, "Ben", SECRET)
        book.remember(6, "Cleo", SECRET)
        for left in range(MAX_WRONG_TRIES - 1, -1, -1):
            book.count_wrong_try(5)
            assert (book.password(5) is not None) == (left > 0)
        assert book.password(6) is not None
        # A new membership begins anew.
        book.remember(5, "Ben", SECRET)
        book.count_wrong_try(5)
        assert book.password(5) is not None

    def test_a_wrong_try_for_somebody_forgotten_is_nobodys(self) -> None:
        book = RejoinBook()
        book.remember(5, "Ben", SECRET)
        book.forget(5)
        for _ in range(MAX_WRONG_TRIES):
            book.count_wrong_try(5)
        # In one book, so nothing of somebody forgotten is left for whoever comes next.
        book.remember(5, "Ben", SECRET)
        book.count_wrong_try(5)
        assert book.password(5) is not None

    def test_is_bounded_and_forgets_the_oldest(self) -> None:
        book = RejoinBook()
        for member in range(2, 3 + MAX_FORMER_MEMBERS):
            book.remember(member, "", SECRET)
        assert repr(book) == f"<RejoinBook of {MAX_FORMER_MEMBERS}>"
        assert book.password(2) is None
        assert book.password(3) is not None


def come_back(tunnel: MemoryTunnel, ticket: RejoinTicket) -> ClientMachine:
    """A new program with the ticket of an old one."""
    client = ClientMachine(
        SessionCode(ticket.number),
        ticket=ticket,
        name="Ben again",
        token_bytes=tunnel.random.randbytes,
        jitter=0.5,
    )
    tunnel.add(client)
    tunnel.run()
    return client


def ticket_of(client: ClientMachine) -> RejoinTicket:
    """As a file keeps it over the end of a program."""
    taken = client.ticket
    return RejoinTicket(taken.number, taken.session_id, taken.member, bytes(taken.secret))


def fake(ticket: RejoinTicket) -> RejoinTicket:
    return RejoinTicket(ticket.number, ticket.session_id, ticket.member, bytes(32))


def enter(tunnel: MemoryTunnel, *, sas: bool) -> ClientMachine:
    """A new client that is admitted, in SAS after both users have typed the digits."""
    client = tunnel.join()
    if sas:
        (shown,) = tunnel.events_of(client, DigitsShown)
        tunnel.master.enter_digits(client.member, shown.digits, tunnel.now)
        tunnel.run()
        (read_back,) = tunnel.events_of(tunnel.master, DigitsShown)
        client.enter_digits(read_back.digits, tunnel.now)
        tunnel.run()
    tunnel.master.admit(client.member, tunnel.now)
    tunnel.run()
    return client


@pytest.fixture
def tunnel() -> MemoryTunnel:
    tunnel = MemoryTunnel()
    tunnel.master._remember = True
    return tunnel


class TestMembers:
    @pytest.mark.parametrize("sas", [False, True])
    def test_who_knows_the_secret_is_in_without_a_question(self, sas: bool) -> None:
        tunnel = MemoryTunnel(sas=sas)
        tunnel.master._remember = True
        client = enter(tunnel, sas=sas)
        ticket = ticket_of(client)
        invitations = len(tunnel.events_of(tunnel.master, InvitationMade))
        tunnel.cut(2)
        again = come_back(tunnel, ticket)
        assert again.state is ClientState.MEMBER
        assert again.member == 3
        assert len(tunnel.events_of(tunnel.master, ConsentAsked)) == 1
        assert tunnel.events_of(tunnel.master, MemberJoined)[-1] == MemberJoined(3, "Ben", True)
        # No digits, no new code: the one for the next client still holds.
        assert len(tunnel.events_of(tunnel.master, InvitationMade)) == invitations
        (welcomed,) = tunnel.events_of(again, Welcomed)
        assert [member.member for member in welcomed.members] == [MASTER, 3]

    def test_the_former_membership_is_over(self, tunnel: MemoryTunnel) -> None:
        other = tunnel.enter("Cleo")
        client = tunnel.enter("Ben")
        stream = client.streams.open("web")
        tunnel.run()
        tunnel.master.streams(client.member).accept(stream)
        tunnel.run()
        former = tunnel.master.peers[client.member]
        ticket = ticket_of(client)
        again = come_back(tunnel, ticket)
        (left,) = tunnel.events_of(tunnel.master, MemberLeft)
        assert (left.member, left.cut_off) == (client.member, True)
        assert "anew" in left.reason
        assert client.member not in tunnel.master.peers
        with pytest.raises(LocalProtocolError):
            tunnel.master.streams(client.member)
        # Its streams and keys are gone with it, here and on the server.
        assert not former.streams.may_write(stream)
        with pytest.raises(LocalProtocolError, match="erased"):
            _ = former.secrets.rejoin
        assert client in tunnel.put_out
        # One out, one in: two epochs, and the others are told who is there.
        assert again.streams.open("web") == 1
        names = tunnel.events_of(other, MembersChanged)[-1].members
        assert [(each.member, each.name) for each in names] == [
            (1, "Anna"),
            (2, "Cleo"),
            (4, "Ben"),
        ]

    def test_each_membership_has_its_own_ticket(self, tunnel: MemoryTunnel) -> None:
        first = ticket_of(tunnel.enter())
        client = come_back(tunnel, first)
        second = ticket_of(client)
        assert second.member == client.member
        assert second.secret != first.secret
        # The first one was good for one time.
        assert come_back(tunnel, first).over
        assert come_back(tunnel, second).state is ClientState.MEMBER

    def test_the_ticket_outlives_a_goodbye(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        ticket = ticket_of(client)
        tunnel.tell(MASTER, request.Left(member=client.member, reason="lapsed"))
        again = come_back(tunnel, ticket)
        assert again.state is ClientState.MEMBER
        # That one was gone already.
        assert len(tunnel.events_of(tunnel.master, MemberLeft)) == 1

    def test_a_wrong_secret_three_times_makes_it_void(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        ticket = ticket_of(client)
        for _ in range(MAX_WRONG_TRIES):
            failed = come_back(tunnel, fake(ticket))
            (event,) = tunnel.events_of(failed, ConnectionFailed)
            assert isinstance(event.error, AuthenticationFailed)
        assert come_back(tunnel, ticket).over
        assert len(tunnel.events_of(tunnel.master, RunFailed)) == MAX_WRONG_TRIES + 1
        # Whoever tried that has not put out who is in.
        assert client.state is ClientState.MEMBER
        assert not client.over
        assert tunnel.enter("Cleo").state is ClientState.MEMBER

    def test_two_wrong_tries_leave_it_good(self, tunnel: MemoryTunnel) -> None:
        ticket = ticket_of(tunnel.enter())
        for _ in range(MAX_WRONG_TRIES - 1):
            come_back(tunnel, fake(ticket))
        assert come_back(tunnel, ticket).state is ClientState.MEMBER

    def test_who_was_put_out_stays_out(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        ticket = ticket_of(client)
        tunnel.master.kick(client.member)
        tunnel.run()
        assert come_back(tunnel, ticket).over
        assert len(tunnel.events_of(tunnel.master, MemberJoined)) == 1

    def test_a_master_that_does_not_remember_refuses(self) -> None:
        tunnel = MemoryTunnel()
        client = tunnel.enter()
        again = come_back(tunnel, ticket_of(client))
        assert again.over
        assert not again.code_used_up

    def test_a_locked_session_refuses_all(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        ticket = ticket_of(client)
        tunnel.master.lock(True)
        assert come_back(tunnel, ticket).over
        assert tunnel.join().over
        assert not client.over
        tunnel.master.lock(False)
        assert come_back(tunnel, ticket).state is ClientState.MEMBER

    def test_while_joining_is_paused_all_are_refused(self, tunnel: MemoryTunnel) -> None:
        ticket = ticket_of(tunnel.enter())
        while not tunnel.events_of(tunnel.master, JoiningPaused):
            wrong = str((int(tunnel.code.pin or "") + 1) % 10**6).zfill(6)
            tunnel.join(SessionCode(tunnel.number, pin=wrong))
        assert come_back(tunnel, ticket).over
        tunnel.master.allow_joining(tunnel.now)
        assert come_back(tunnel, ticket).state is ClientState.MEMBER

    def test_a_ticket_is_a_members_only(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        with pytest.raises(LocalProtocolError, match="not a member"):
            _ = client.ticket

    def test_who_would_be_a_fake_in_the_middle_learns_nothing(self, tunnel: MemoryTunnel) -> None:
        """A server that keeps C1 and C3 of a rejoin can't come back with them."""
        client = tunnel.enter()
        ticket = ticket_of(client)
        again = come_back(tunnel, ticket)
        kept = [packet for header, packet in tunnel.relayed if header.sender == again.member]
        tunnel.master.kick(again.member)
        tunnel.run()
        joined = len(tunnel.events_of(tunnel.master, MemberJoined))
        for packet in kept:
            tunnel.deliver(MASTER, packet)
        tunnel.run()
        assert len(tunnel.events_of(tunnel.master, MemberJoined)) == joined
