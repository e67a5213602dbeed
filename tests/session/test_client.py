"""The client's run: from a number to a member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from porttunnel.errors import (
    AuthenticationFailed,
    ConsentRefused,
    CutOff,
    ErrorCode,
    LocalProtocolError,
    NoSuchNumber,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.keys.handshake import ClientHandshake
from porttunnel.session import record, request
from porttunnel.session.client import (
    GOODBYE_SECONDS,
    MAX_RUNS_PER_CODE,
    MAX_WRONG_DIGITS,
    ClientMachine,
)
from porttunnel.session.client_state import (
    CONFIRM_SECONDS,
    CONSENT_SECONDS,
    DIGITS_SECONDS,
    EXCHANGE_SECONDS,
    KEY_SECONDS,
    ClientState,
)
from porttunnel.session.code import SessionCode
from porttunnel.session.event import (
    BroadcastEnded,
    BroadcastLost,
    BroadcastReceived,
    ConnectionFailed,
    ConsentAsked,
    DigitsAsked,
    DigitsShown,
    DigitsWrong,
    DirectOffered,
    KeyWanted,
    MemberAway,
    MemberBack,
    MemberLeft,
    MembersChanged,
    RunFailed,
    SessionFinished,
    StreamDataReceived,
    Verified,
    Welcomed,
)
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    HEADER_BYTES,
    MASTER,
    NO_MEMBER,
    SERVER,
    TAG_BYTES,
    Header,
    PacketType,
    decode_header,
    encode_header_into,
    encode_packet,
)
from porttunnel.session.record import MemberName, Service
from tests.session.test_direct import Cable
from tests.session.test_member import heads
from tests.tunnel import MemoryTunnel, shared_key


@pytest.fixture
def tunnel() -> MemoryTunnel:
    return MemoryTunnel()


@pytest.fixture
def sas() -> MemoryTunnel:
    return MemoryTunnel(sas=True)


def drop(*kinds: PacketType) -> Callable[[Header, bytes], list[bytes]]:
    """A relay that loses packets of these types which the master sends."""

    def liar(header: Header, packet: bytes) -> list[bytes]:
        return [] if header.kind in kinds and header.sender == MASTER else [packet]

    return liar


# How to bring a new client to a state and no further.
HOLD = {
    ClientState.EXCHANGING: drop(PacketType.M2),
    ClientState.CONFIRMING: drop(PacketType.M4, PacketType.DATA),
    ClientState.INTRODUCING: drop(PacketType.DATA),
    ClientState.ASKING: drop(),
}


def bring(tunnel: MemoryTunnel, state: ClientState) -> ClientMachine:
    if state is ClientState.COMPARING:
        tunnel = MemoryTunnel(sas=True)
    if state is ClientState.MEMBER:
        return tunnel.enter()
    tunnel.auto_key = state is not ClientState.PREPARING
    tunnel.liar = HOLD.get(state, drop())
    client = tunnel.join()
    assert client.state is state
    return client


def state_of(client: ClientMachine) -> ClientState:
    return client.state


def failure(tunnel: MemoryTunnel, client: ClientMachine) -> Exception:
    (failed,) = tunnel.events_of(client, ConnectionFailed)
    error: Exception = failed.error
    return error


GROUP = (record.Epoch, record.GroupEnd, record.GroupDropped)


def kinds_of(tunnel: MemoryTunnel, client: ClientMachine) -> list[type[Any]]:
    return [type(event) for event in tunnel.events.get(client.member, [])]


def from_master(tunnel: MemoryTunnel, message: Any, member: int = 2) -> None:
    """A control record out of turn."""
    tunnel.master.peers[member].streams.send_control(record.encode_control(message))
    tunnel.run()


class TestRun:
    @pytest.mark.parametrize("link", [False, True])
    def test_leads_from_a_code_to_streams(self, tunnel: MemoryTunnel, link: bool) -> None:
        code = tunnel.invitation.link if link else tunnel.invitation.code
        client = tunnel.join(code)
        assert tunnel.events[NO_MEMBER] == [KeyWanted()]
        assert tunnel.events[2] == [Verified("Anna")]
        assert client.state is ClientState.ASKING
        with pytest.raises(LocalProtocolError, match="not a member"):
            client.streams.open("web")
        tunnel.master.admit(2, tunnel.now)
        tunnel.run()
        (welcomed,) = tunnel.events_of(client, Welcomed)
        assert welcomed == Welcomed(
            2,
            "Anna",
            (Service(name="web", kind="tcp"),),
            (MemberName(member=1, name="Anna"), MemberName(member=2, name="Ben")),
        )
        assert state_of(client) is ClientState.MEMBER
        assert (client.member, client.session_id) == (2, tunnel.session_id)
        assert client.streams.open("web") == 1

    def test_the_server_sees_the_number_and_never_the_pin(self, tunnel: MemoryTunnel) -> None:
        pin = tunnel.code.password
        client = ClientMachine(
            tunnel.code, name="Ben", token_bytes=tunnel.random.randbytes, jitter=0.0
        )
        client.start(0.0)
        sent = b"".join(client.data_to_send())
        (head,) = heads(sent)
        assert (head.kind, head.sender, head.target) == (PacketType.REQUEST, NO_MEMBER, SERVER)
        assert request.decode_request(sent[36:]) == request.Join(number=48213)
        tunnel.join()
        for _, packet in tunnel.relayed:
            assert pin not in packet

    def test_the_key_may_come_before_or_after_the_number(self, tunnel: MemoryTunnel) -> None:
        tunnel.auto_key = False
        client = tunnel.join()
        assert client.state is ClientState.PREPARING
        client.provide_key(shared_key(), tunnel.now)
        tunnel.run()
        assert state_of(client) is ClientState.ASKING

    def test_a_key_that_comes_too_late_is_of_no_use(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.PREPARING)
        client.close()
        client.provide_key(shared_key(), tunnel.now)
        assert client.state is ClientState.PREPARING
        kinds = [head.kind for head in heads(b"".join(client.data_to_send()))]
        assert kinds == [PacketType.REQUEST]

    def test_asks_for_capabilities(self, tunnel: MemoryTunnel) -> None:
        client = ClientMachine(
            tunnel.code,
            name="Ben",
            token_bytes=tunnel.random.randbytes,
            jitter=0.5,
            capabilities=("files",),
        )
        tunnel.add(client)
        tunnel.run()
        (asked,) = tunnel.events_of(tunnel.master, ConsentAsked)
        assert asked == ConsentAsked(2, "Ben", ("files",), True)

    def test_unknown_numbers(self, tunnel: MemoryTunnel) -> None:
        client = ClientMachine(
            SessionCode(12345, pin="123456"),
            name="Ben",
            token_bytes=tunnel.random.randbytes,
            jitter=0.0,
        )
        client.start(0.0)
        report = request.ErrorReport(code=ErrorCode.NO_SUCH_NUMBER, text="")
        packet = encode_packet(
            PacketType.ERROR, SERVER, NO_MEMBER, request.encode(report), number=1
        )
        client.receive_data(memoryview(packet), 0.0)
        (failed,) = [event for event in client.events() if isinstance(event, ConnectionFailed)]
        assert isinstance(failed.error, NoSuchNumber)
        assert not client.code_used_up
        assert heads(b"".join(client.data_to_send()))[-1].kind is PacketType.REQUEST

    @pytest.mark.parametrize("code", [ErrorCode.LIMIT, ErrorCode.BUSY])
    def test_a_server_that_takes_no_more_is_no_broken_link(
        self, tunnel: MemoryTunnel, code: ErrorCode
    ) -> None:
        client = ClientMachine(
            tunnel.code, name="Ben", token_bytes=tunnel.random.randbytes, jitter=0.0
        )
        client.start(0.0)
        body = request.encode(request.ErrorReport(code=code, text="too many of yours"))
        packet = encode_packet(PacketType.ERROR, SERVER, NO_MEMBER, body, number=1)
        client.receive_data(memoryview(packet), 0.0)
        (failed,) = [event for event in client.events() if isinstance(event, ConnectionFailed)]
        # The same would be refused again: whoever asked is told what the server says.
        assert isinstance(failed.error, RemoteProtocolError)
        assert failed.error.code is code
        assert "too many of yours" in str(failed.error)
        assert not client.code_used_up

    @pytest.mark.parametrize(
        "reply",
        [
            request.Done(),
            request.Joined(session_id=bytes(16), member=MASTER, token=bytes(32)),
        ],
    )
    def test_an_answer_that_no_client_gets(
        self, tunnel: MemoryTunnel, reply: request.Reply
    ) -> None:
        client = ClientMachine(
            tunnel.code, name="Ben", token_bytes=tunnel.random.randbytes, jitter=0.0
        )
        client.start(0.0)
        client.provide_key(shared_key(), 0.0)
        packet = encode_packet(
            PacketType.REPLY, SERVER, NO_MEMBER, request.encode(reply), number=1
        )
        client.receive_data(memoryview(packet), 0.0)
        (failed,) = [event for event in client.events() if isinstance(event, ConnectionFailed)]
        assert isinstance(failed.error, RemoteProtocolError)


class TestCode:
    """Once C3 was sent a run has used up the code, whatever happens."""

    def test_a_code_is_good_for_three_runs(self) -> None:
        assert MAX_RUNS_PER_CODE == 3

    @pytest.mark.parametrize(
        ("state", "used_up"),
        [
            (ClientState.PREPARING, False),
            (ClientState.EXCHANGING, False),
            (ClientState.CONFIRMING, True),
            (ClientState.COMPARING, True),
            (ClientState.INTRODUCING, True),
            (ClientState.ASKING, True),
            (ClientState.MEMBER, True),
        ],
    )
    def test_is_used_up_from_c3_on(
        self, tunnel: MemoryTunnel, state: ClientState, used_up: bool
    ) -> None:
        assert bring(tunnel, state).code_used_up == used_up

    @pytest.mark.parametrize(
        ("state", "verified"),
        [
            (ClientState.EXCHANGING, False),
            (ClientState.CONFIRMING, False),
            (ClientState.COMPARING, False),
            (ClientState.INTRODUCING, True),
            (ClientState.ASKING, True),
            (ClientState.MEMBER, True),
        ],
    )
    def test_is_known_to_the_other_side_from_m4_or_the_digits_on(
        self, tunnel: MemoryTunnel, state: ClientState, verified: bool
    ) -> None:
        assert bring(tunnel, state).was_verified == verified

    @pytest.mark.parametrize("state", [ClientState.EXCHANGING, ClientState.CONFIRMING])
    @pytest.mark.parametrize("how", ["error", "time", "rubbish"])
    def test_a_broken_run(self, tunnel: MemoryTunnel, state: ClientState, how: str) -> None:
        client = bring(tunnel, state)
        if how == "error":
            report = request.ErrorReport(code=ErrorCode.HANDSHAKE_FAILED, text="")
            body = request.encode(report)
            tunnel.deliver(2, encode_packet(PacketType.ERROR, MASTER, 2, body))
            assert isinstance(failure(tunnel, client), AuthenticationFailed)
        elif how == "time":
            tunnel.pass_time(EXCHANGE_SECONDS + 1)
            assert client.over
        else:
            tunnel.deliver(2, encode_packet(PacketType.M4, MASTER, 2, bytes(32), number=1))
            assert client.over
        assert client.code_used_up == (state is ClientState.CONFIRMING)
        # The run can't be taken up again.
        tunnel.lines[2].up = True
        tunnel.deliver(2, encode_packet(PacketType.M2, MASTER, 2, bytes(1419)))
        assert client.over
        assert list(client.events()) == []

    def test_a_wrong_pin_says_the_same_on_both_sides(self, tunnel: MemoryTunnel) -> None:
        wrong = str((int(tunnel.code.pin or "") + 1) % 10**6).zfill(6)
        client = tunnel.join(SessionCode(48213, pin=wrong))
        error = failure(tunnel, client)
        assert isinstance(error, AuthenticationFailed)
        assert str(error) == AuthenticationFailed.MESSAGE
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert str(failed.error) == AuthenticationFailed.MESSAGE
        assert client.code_used_up

    def test_too_many_at_once_is_no_wrong_code(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.EXCHANGING)
        report = request.ErrorReport(code=ErrorCode.BUSY, text="busy")
        tunnel.deliver(2, encode_packet(PacketType.ERROR, MASTER, 2, request.encode(report)))
        error = failure(tunnel, client)
        assert isinstance(error, RemoteProtocolError)
        assert error.code is ErrorCode.BUSY
        assert not client.code_used_up

    def test_who_gives_up_says_so_before_there_are_keys(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.EXCHANGING)
        tunnel.deliver(2, encode_packet(PacketType.M2, MASTER, 2, bytes(1419)))
        sent = heads(b"".join(client.data_to_send()))
        errors = [head.target for head in sent if head.kind is PacketType.ERROR]
        assert errors == [MASTER, SERVER]


class TestTime:
    @pytest.mark.parametrize(
        ("state", "seconds", "error"),
        [
            (ClientState.PREPARING, KEY_SECONDS, CutOff),
            (ClientState.EXCHANGING, EXCHANGE_SECONDS, CutOff),
            (ClientState.CONFIRMING, CONFIRM_SECONDS, AuthenticationFailed),
            (ClientState.INTRODUCING, CONFIRM_SECONDS, CutOff),
            (ClientState.ASKING, CONSENT_SECONDS, ConsentRefused),
        ],
    )
    def test_every_wait_ends(
        self, tunnel: MemoryTunnel, state: ClientState, seconds: float, error: type[Exception]
    ) -> None:
        client = bring(tunnel, state)
        # The master has its own patience: here only the client's counts.
        tunnel.lines[MASTER].core.receive_eof(tunnel.now)
        tunnel.pass_time(seconds - 1.0)
        assert not client.over
        tunnel.pass_time(1.0)
        assert type(failure(tunnel, client)) is error

    def test_digits_have_two_minutes(self, sas: MemoryTunnel) -> None:
        client = sas.join()
        assert DIGITS_SECONDS == 120.0
        sas.master.receive_eof(sas.now)
        sas.pass_time(DIGITS_SECONDS - 1.0)
        assert not client.over
        sas.pass_time(1.0)
        assert isinstance(failure(sas, client), CutOff)

    def test_members_stay(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.pass_time(2 * CONSENT_SECONDS)
        assert client.state is ClientState.MEMBER
        assert not client.over


class TestDigits:
    def test_leaving_while_comparing_looks_like_no_attack(self, sas: MemoryTunnel) -> None:
        client = sas.join()
        client.close()
        sas.run()
        assert sas.events_of(sas.master, RunFailed) == []
        (left,) = sas.events_of(sas.master, MemberLeft)
        assert left.cut_off

    def test_in_both_directions(self, sas: MemoryTunnel) -> None:
        client = sas.join()
        assert kinds_of(sas, client) == [DigitsShown, DigitsAsked]
        (shown,) = sas.events_of(client, DigitsShown)
        # Not a word of consent before the digits were right in both directions.
        assert sas.events_of(sas.master, ConsentAsked) == []
        sas.master.enter_digits(2, shown.digits, sas.now)
        sas.run()
        (read_back,) = sas.events_of(sas.master, DigitsShown)
        assert sas.events_of(sas.master, ConsentAsked) == []
        client.enter_digits(read_back.digits, sas.now)
        sas.run()
        assert sas.events_of(sas.master, ConsentAsked) == [ConsentAsked(2, "Ben", (), True)]
        # The master's name was kept back until here.
        assert sas.events_of(client, Verified) == [Verified("")]
        sas.master.admit(2, sas.now)
        sas.run()
        (welcomed,) = sas.events_of(client, Welcomed)
        assert welcomed.master_name == "Anna"

    def test_the_third_wrong_entry_ends_the_run(self, sas: MemoryTunnel) -> None:
        client = sas.join()
        assert MAX_WRONG_DIGITS == 3
        for left in (2, 1):
            client.enter_digits("000000", sas.now)
            sas.run()
            assert sas.events_of(client, DigitsWrong)[-1] == DigitsWrong(MASTER, left)
        client.enter_digits("1", sas.now)
        sas.run()
        assert isinstance(failure(sas, client), AuthenticationFailed)
        with pytest.raises(LocalProtocolError):
            client.enter_digits("000000", sas.now)
        assert sas.events_of(sas.master, MemberLeft)

    def test_a_mistyped_entry_can_be_mended(self, sas: MemoryTunnel) -> None:
        client = sas.join()
        (shown,) = sas.events_of(client, DigitsShown)
        sas.master.enter_digits(2, shown.digits, sas.now)
        (read_back,) = [e for e in sas.master.events() if isinstance(e, DigitsShown)]
        client.enter_digits(str(int(read_back.digits) ^ 1), sas.now)
        client.enter_digits(read_back.digits, sas.now)
        sas.run()
        assert client.state is ClientState.ASKING

    def test_are_asked_for_in_sas_only(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        with pytest.raises(LocalProtocolError):
            client.enter_digits("000000", tunnel.now)

    @pytest.mark.parametrize(
        "message",
        [
            record.Hello(name="", capabilities=[]),
            record.Refused(reason=""),
            record.Members(members=[]),
            record.Bye(reason=""),
            record.JoinAs(name="", capabilities=[]),
        ],
    )
    def test_until_they_are_right_only_hello_may_come(
        self, sas: MemoryTunnel, message: Any
    ) -> None:
        client = sas.join()
        from_master(sas, message)
        # HELLO was there already; once is enough.
        assert isinstance(failure(sas, client), RemoteProtocolError)


class TestControl:
    def test_hello_may_be_late(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.INTRODUCING)
        assert kinds_of(tunnel, client) == []
        hello = [packet for head, packet in tunnel.relayed if head.kind is PacketType.DATA]
        tunnel.deliver(2, hello[0])
        tunnel.run()
        assert client.state is ClientState.ASKING

    @pytest.mark.parametrize(
        ("reason", "text"),
        [
            ("", "The other side refused. Ask and try again."),
            ("busy now", "The other side refused: busy now. Ask and try again."),
        ],
    )
    def test_a_no_is_told(self, tunnel: MemoryTunnel, reason: str, text: str) -> None:
        client = tunnel.join()
        tunnel.master.refuse(2, reason)
        tunnel.run()
        error = failure(tunnel, client)
        assert isinstance(error, ConsentRefused)
        assert str(error) == text

    def test_who_is_there_is_told(self, tunnel: MemoryTunnel) -> None:
        first = tunnel.enter("Ben")
        tunnel.enter("Cleo")
        (changed,) = tunnel.events_of(first, MembersChanged)
        assert [member.name for member in changed.members] == ["Anna", "Ben", "Cleo"]

    def test_a_goodbye_ends_it(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.master.close("enough")
        tunnel.run()
        assert tunnel.events_of(client, SessionFinished) == [SessionFinished("enough")]
        with pytest.raises(LocalProtocolError):
            client.streams.open("web")

    @pytest.mark.parametrize("state", [ClientState.ASKING, ClientState.MEMBER])
    @pytest.mark.parametrize(
        "message",
        [
            record.Hello(name="", capabilities=[]),
            record.JoinAs(name="", capabilities=[]),
            record.Welcome(
                name="",
                members=[],
                services=[],
                epoch=1,
                group_key=bytes(32),
                signing_key=bytes(32),
            ),
            record.Refused(reason=""),
            record.Members(members=[]),
            record.Direct(addresses=[]),
            record.Epoch(epoch=2, key=bytes(32), previous_end=0),
            record.GroupEnd(epoch=1, next=0),
            record.GroupDropped(reason=""),
            record.GroupAck(epoch=1, next=0, missing=False),
        ],
    )
    def test_each_message_has_its_state(
        self, tunnel: MemoryTunnel, state: ClientState, message: Any
    ) -> None:
        allowed = {
            ClientState.ASKING: (record.Welcome, record.Refused),
            ClientState.MEMBER: (record.Members, record.Direct, *GROUP),
        }
        client = bring(tunnel, state)
        from_master(tunnel, message)
        failed = tunnel.events_of(client, ConnectionFailed)
        broken = [event for event in failed if isinstance(event.error, RemoteProtocolError)]
        assert bool(broken) != isinstance(message, allowed[state])

    def test_no_stream_before_welcome(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        tunnel.master.peers[2].streams.open("web")
        tunnel.run()
        assert isinstance(failure(tunnel, client), RemoteProtocolError)


class TestARefusal:
    def test_of_the_master_is_not_answered_by_another(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.CONFIRMING)
        report = request.ErrorReport(code=ErrorCode.HANDSHAKE_FAILED, text="")
        tunnel.relayed.clear()
        tunnel.deliver(2, encode_packet(PacketType.ERROR, MASTER, 2, request.encode(report)))
        tunnel.run()
        assert isinstance(failure(tunnel, client), AuthenticationFailed)
        assert [header.kind for header, _ in tunnel.relayed] == []


class TestTheMastersLink:
    def test_what_is_said_of_it_is_told_to_members(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.tell(2, request.Link(member=3, up=False))
        tunnel.tell(2, request.Joining(member=3))
        assert tunnel.events_of(client, MemberAway) == []
        tunnel.tell(2, request.Link(member=MASTER, up=False))
        assert tunnel.events_of(client, MemberAway) == [MemberAway(MASTER)]
        tunnel.tell(2, request.Link(member=MASTER, up=True))
        # The server's word brings the question; who is back has answered it.
        assert tunnel.events_of(client, MemberBack) == []
        tunnel.run()
        assert tunnel.events_of(client, MemberBack) == [MemberBack(MASTER)]
        assert not client.over

    def test_who_is_being_asked_about_waits_on(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        tunnel.tell(2, request.Link(member=MASTER, up=False))
        tunnel.tell(2, request.Link(member=MASTER, up=True))
        assert kinds_of(tunnel, client) == [Verified]
        tunnel.master.admit(2, tunnel.now)
        tunnel.run()
        assert client.state is ClientState.MEMBER

    def test_who_shakes_hands_says_its_last_word_again(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.EXCHANGING)
        (first,) = [p for h, p in tunnel.relayed if h.kind is PacketType.C1]
        tunnel.tell(2, request.Link(member=MASTER, up=False))
        tunnel.liar = drop()
        tunnel.tell(2, request.Link(member=MASTER, up=True))
        tunnel.run()
        assert [p for h, p in tunnel.relayed if h.kind is PacketType.C1] == [first, first]
        assert client.state is ClientState.ASKING


class TestHandshake:
    @pytest.mark.parametrize(
        ("state", "kind", "length"),
        [
            (ClientState.PREPARING, PacketType.M2, 1419),
            (ClientState.EXCHANGING, PacketType.M4, 32),
            (ClientState.EXCHANGING, PacketType.C1, 1572),
        ],
    )
    def test_messages_have_their_order(
        self, tunnel: MemoryTunnel, state: ClientState, kind: PacketType, length: int
    ) -> None:
        client = bring(tunnel, state)
        number = 1 if kind is PacketType.M4 else 0
        tunnel.deliver(2, encode_packet(kind, MASTER, 2, bytes(length), number=number))
        error = failure(tunnel, client)
        assert isinstance(error, RemoteProtocolError)
        assert "order" in str(error)

    @pytest.mark.parametrize(
        ("state", "kind"),
        [(ClientState.ASKING, PacketType.M4), (ClientState.MEMBER, PacketType.M2)],
    )
    def test_what_stands_in_the_clear_cannot_hurt_a_pair(
        self, tunnel: MemoryTunnel, state: ClientState, kind: PacketType
    ) -> None:
        client = bring(tunnel, state)
        body = bytes({PacketType.M4: 32, PacketType.M2: 1419}[kind])
        tunnel.deliver(2, encode_packet(kind, MASTER, 2, body, number=int(len(body) == 32)))
        assert client.state is state
        assert not client.over

    @pytest.mark.parametrize("kind", [PacketType.M2, PacketType.C1])
    def test_after_the_proof_every_mistake_is_a_code_that_was_not_right(
        self, tunnel: MemoryTunnel, kind: PacketType
    ) -> None:
        client = bring(tunnel, ClientState.CONFIRMING)
        body = bytes(1419 if kind is PacketType.M2 else 1572)
        tunnel.deliver(2, encode_packet(kind, MASTER, 2, body))
        assert isinstance(failure(tunnel, client), AuthenticationFailed)
        assert client.code_used_up

    def test_the_clear_header_has_one_form(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.EXCHANGING)
        tunnel.deliver(2, encode_packet(PacketType.M2, MASTER, 2, bytes(1419), number=1))
        error = failure(tunnel, client)
        assert isinstance(error, RemoteProtocolError)
        assert "header" in str(error)

    def test_another_clients_packet_is_fatal(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.EXCHANGING)
        tunnel.deliver(2, encode_packet(PacketType.M2, 3, 2, bytes(1419)))
        assert isinstance(failure(tunnel, client), RemoteProtocolError)

    @pytest.mark.parametrize("kind", [PacketType.DATA, PacketType.ACK])
    @pytest.mark.parametrize("state", [ClientState.EXCHANGING, ClientState.MEMBER])
    def test_sealed_packets_are_the_masters(
        self, tunnel: MemoryTunnel, state: ClientState, kind: PacketType
    ) -> None:
        client = bring(tunnel, state)
        tunnel.deliver(2, encode_packet(kind, 3, 2, bytes(TAG_BYTES)))
        assert isinstance(failure(tunnel, client), RemoteProtocolError)

    @pytest.mark.parametrize("kind", [PacketType.DATA, PacketType.ACK])
    @pytest.mark.parametrize("state", [ClientState.EXCHANGING, ClientState.CONFIRMING])
    def test_those_that_overtake_m4_are_dropped(
        self, tunnel: MemoryTunnel, state: ClientState, kind: PacketType
    ) -> None:
        """M4 may be lost with a link; what is dropped here is sent again."""
        client = bring(tunnel, state)
        tunnel.deliver(2, encode_packet(kind, MASTER, 2, bytes(TAG_BYTES)))
        assert client.state is state
        assert not client.over

    def test_an_error_in_the_clear_cannot_hurt_a_pair(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        report = request.ErrorReport(code=ErrorCode.HANDSHAKE_FAILED, text="")
        tunnel.deliver(2, encode_packet(PacketType.ERROR, MASTER, 2, request.encode(report)))
        assert not client.over

    def test_a_malformed_error_is_fatal(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.EXCHANGING)
        tunnel.deliver(2, encode_packet(PacketType.ERROR, MASTER, 2, b"\xc1"))
        assert isinstance(failure(tunnel, client), RemoteProtocolError)


class TestEnds:
    def test_closed_on_purpose(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        client.close("done")
        client.close("twice")
        client.receive_eof(tunnel.now)
        tunnel.run()
        assert tunnel.events_of(client, SessionFinished) == [SessionFinished("done")]
        assert tunnel.events_of(tunnel.master, MemberLeft) == [MemberLeft(2, "done", False)]

    def test_closed_before_there_is_a_number(self, tunnel: MemoryTunnel) -> None:
        client = ClientMachine(
            tunnel.code, name="Ben", token_bytes=tunnel.random.randbytes, jitter=0.0
        )
        client.start(0.0)
        client.close()
        # Nobody to say LEAVE for.
        assert [h.number for h in heads(b"".join(client.data_to_send()))] == [1]

    def test_the_servers_word_is_no_goodbye(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.tell(2, request.Closed(reason="the master closed it"))
        error = failure(tunnel, client)
        assert isinstance(error, SessionEnded)
        assert "the master closed it" in str(error)

    def test_a_run_that_is_given_up_keeps_no_secret(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.EXCHANGING)
        handshake = client._entrance._handshake
        assert isinstance(handshake, ClientHandshake)
        client.close()
        assert client._entrance._handshake is None
        with pytest.raises(LocalProtocolError, match="erased"):
            handshake.receive_m2(bytes(1419))

    def test_a_failure_is_told_once(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        client._fail(SessionEnded("first"))
        client._fail(SessionEnded("second"))
        (failed,) = client.events()
        assert str(failed.error) == "first"

    def test_put_out_by_the_servers_word(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.tell(2, request.Left(member=3, reason="another one"))
        assert not client.over
        tunnel.tell(2, request.Left(member=2, reason="lapsed"))
        error = failure(tunnel, client)
        assert isinstance(error, SessionEnded)
        assert "lapsed" in str(error)

    def test_a_forged_packet_ends_it_and_is_told(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        packet = bytearray(
            next(p for h, p in reversed(tunnel.relayed) if h.kind is PacketType.DATA)
        )
        header = decode_header(packet)
        assert header.sender == MASTER
        packet[16:24] = (header.number + 1).to_bytes(8)
        tunnel.deliver(2, bytes(packet))
        assert isinstance(failure(tunnel, client), AuthenticationFailed)
        assert not len(client.peers)
        tunnel.run()
        assert tunnel.events_of(tunnel.master, MemberLeft)

    def test_a_busy_link_does_not_swallow_the_goodbye(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        stream = client.streams.open("web")
        tunnel.run()
        tunnel.master.streams(2).accept(stream)
        tunnel.run()
        client.streams._streams[stream].send_credit = 4_000_000
        tunnel.master.streams(2)._streams[stream].receive_credit = 4_000_000
        client.streams.write(stream, bytes(2_000_000))
        client.close("done")
        tunnel.run()
        assert tunnel.events_of(tunnel.master, MemberLeft) == [MemberLeft(2, "done", False)]


ENDED = "The session has ended: the master closed it. Ask for a new code."


class TestGoodbye:
    """What the server says of the end may come before the master's last words, which take the
    direct path.
    """

    def enter(self, tunnel: MemoryTunnel) -> tuple[ClientMachine, Cable]:
        client = tunnel.enter()
        cable = Cable(tunnel, client)
        cable.settle()
        assert cable.proven
        return client, cable

    def test_wins_behind_what_was_still_on_its_way(self, tunnel: MemoryTunnel) -> None:
        client, cable = self.enter(tunnel)
        tunnel.master.broadcast.write(7, b"not this", tunnel.now)
        stream = client.streams.open("web")
        cable.settle()
        tunnel.master.streams(2).accept(stream)
        cable.settle()
        tunnel.master.streams(2).write(stream, b"the last words")
        tunnel.tell(2, request.Closed(reason="the master closed it"))
        assert not client.over
        assert client.link.closed
        tunnel.master.close("enough")
        tunnel.pass_time(GOODBYE_SECONDS - 0.1)
        assert not client.over
        cable.settle()
        assert tunnel.events_of(client, SessionFinished) == [SessionFinished("enough")]
        (came,) = tunnel.events_of(client, StreamDataReceived)
        assert bytes(came.data) == b"the last words"
        tunnel.pass_time(2 * GOODBYE_SECONDS)
        assert tunnel.events_of(client, ConnectionFailed) == []

    def test_has_five_seconds_however_often_it_is_said(self, tunnel: MemoryTunnel) -> None:
        client, _ = self.enter(tunnel)
        tunnel.pass_time(1.0)
        assert GOODBYE_SECONDS == 5.0
        due = tunnel.now + GOODBYE_SECONDS
        tunnel.tell(2, request.Closed(reason="the master closed it"))
        # The shell sleeps until then, and no longer.
        assert client.next_deadline() == due
        tunnel.pass_time(3.0)
        tunnel.tell(2, request.Left(member=2, reason="lapsed"))
        client._fail(SessionEnded("said again"))
        assert client.next_deadline() == due
        tunnel.pass_time(1.9)
        assert not client.over
        tunnel.pass_time(0.1)
        error = failure(tunnel, client)
        assert isinstance(error, SessionEnded)
        assert str(error) == ENDED
        assert not len(client.peers)

    def test_a_broadcasts_deadlines_are_met_meanwhile(self, tunnel: MemoryTunnel) -> None:
        client, _ = self.enter(tunnel)
        tunnel.master.broadcast.write(7, b"x", tunnel.now)
        tunnel.run()
        tunnel.tell(2, request.Closed(reason="the master closed it"))
        receiver = client.broadcast
        assert receiver is not None
        due = receiver.next_deadline()
        assert due is not None
        assert client.next_deadline() == due < tunnel.now + GOODBYE_SECONDS
        tunnel.pass_time(GOODBYE_SECONDS)
        assert str(failure(tunnel, client)) == ENDED

    def test_is_waited_for_though_the_path_breaks(self, tunnel: MemoryTunnel) -> None:
        client, cable = self.enter(tunnel)
        tunnel.tell(2, request.Closed(reason="the master closed it"))
        cable.cut()
        assert not client.over
        tunnel.pass_time(GOODBYE_SECONDS)
        assert str(failure(tunnel, client)) == ENDED

    def test_is_waited_for_also_by_who_comes_back_too_late(self, tunnel: MemoryTunnel) -> None:
        client, cable = self.enter(tunnel)
        tunnel.cut(2)
        tunnel.lines[2].token = tunnel.lines[2].old_token = b"forgotten"
        tunnel.resume(2)
        tunnel.run()
        assert not client.over
        tunnel.master.close("enough")
        cable.settle()
        assert tunnel.events_of(client, SessionFinished) == [SessionFinished("enough")]

    def test_nothing_else_is_outlived(self, tunnel: MemoryTunnel) -> None:
        client, _ = self.enter(tunnel)
        tunnel.deliver(2, b"HTTP/1.1 502 Bad Gateway\r\n\r\n" * 2)
        assert isinstance(failure(tunnel, client), RemoteProtocolError)

    def test_our_own_comes_first(self, tunnel: MemoryTunnel) -> None:
        client, cable = self.enter(tunnel)
        tunnel.tell(2, request.Closed(reason="the master closed it"))
        client.close("had enough")
        cable.settle()
        assert tunnel.events_of(client, SessionFinished) == [SessionFinished("had enough")]
        assert tunnel.events_of(tunnel.master, MemberLeft) == [MemberLeft(2, "had enough", False)]


class CutAt:
    """A relay over which a member's link breaks with the first packet of a type."""

    def __init__(self, tunnel: MemoryTunnel, kind: PacketType, who: int, arrives: bool) -> None:
        self.tunnel = tunnel
        self.kind = kind
        self.who = who
        self.arrives = arrives
        self.happened = False

    def __call__(self, header: Header, packet: bytes) -> list[bytes]:
        if self.happened or header.kind is not self.kind:
            return [packet]
        self.happened = True
        if self.arrives:
            self.tunnel.deliver(header.target, packet)
        self.tunnel.cut(self.who)
        return []


HANDSHAKE = (PacketType.C1, PacketType.M2, PacketType.C3, PacketType.M4)


class TestResume:
    """A run goes on where a broken link left it, with the very same messages."""

    @pytest.mark.parametrize("kind", HANDSHAKE)
    @pytest.mark.parametrize("arrives", [False, True])
    @pytest.mark.parametrize("who", [2, MASTER])
    def test_in_the_handshake(
        self, tunnel: MemoryTunnel, kind: PacketType, arrives: bool, who: int
    ) -> None:
        cut = CutAt(tunnel, kind, who, arrives)
        tunnel.liar = cut
        client = tunnel.join()
        assert cut.happened
        assert client.code_used_up == (kind in HANDSHAKE[2:] or (arrives and kind is HANDSHAKE[1]))
        tunnel.pass_time(3.0)
        tunnel.resume(who)
        tunnel.pass_time(5.0)
        assert client.state is ClientState.ASKING
        for each in HANDSHAKE:
            same = {packet for header, packet in tunnel.relayed if header.kind is each}
            assert len(same) == 1
        admission = tunnel.master._admission
        assert admission is not None
        assert admission._invitations.wrong_tries == 0
        assert tunnel.events_of(tunnel.master, RunFailed) == []
        assert len(tunnel.events_of(tunnel.master, ConsentAsked)) == 1
        tunnel.master.admit(2, tunnel.now)
        tunnel.run()
        assert client.streams.open("web") == 1

    @pytest.mark.parametrize("who", [2, MASTER])
    def test_many_times_in_one_handshake(self, tunnel: MemoryTunnel, who: int) -> None:
        """Each new link carries one message more."""
        sent = 0

        def lose_the_last(_header: Header, packet: bytes) -> list[bytes]:
            nonlocal sent
            sent += 1
            if sent % 2:
                tunnel.cut(who)
                return []
            return [packet]

        tunnel.liar = lose_the_last
        client = tunnel.join()
        for _ in range(12):
            if not tunnel.lines[who].up:
                tunnel.resume(who)
            tunnel.run()
        tunnel.liar = drop()
        if not tunnel.lines[who].up:
            tunnel.resume(who)
        tunnel.pass_time(5.0)
        assert client.state is ClientState.ASKING
        assert tunnel.events_of(tunnel.master, RunFailed) == []

    def test_after_joined(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.PREPARING)
        tunnel.cut(2)
        # The key comes while the link is away: C1 waits for the next one.
        client.provide_key(shared_key(), tunnel.now)
        tunnel.run()
        assert [header.kind for header, _ in tunnel.relayed] == []
        tunnel.resume(2)
        tunnel.run()
        assert client.state is ClientState.ASKING

    def test_while_digits_are_compared(self, sas: MemoryTunnel) -> None:
        client = sas.join()
        (shown,) = sas.events_of(client, DigitsShown)
        sas.cut(2)
        sas.master.enter_digits(2, shown.digits, sas.now)
        sas.run()
        (read_back,) = sas.events_of(sas.master, DigitsShown)
        client.enter_digits(read_back.digits, sas.now)
        sas.pass_time(3.0)
        assert sas.events_of(sas.master, ConsentAsked) == []
        sas.resume(2)
        sas.run()
        assert sas.events_of(sas.master, ConsentAsked) == [ConsentAsked(2, "Ben", (), True)]

    @pytest.mark.parametrize("who", [2, MASTER])
    def test_while_consent_is_asked(self, tunnel: MemoryTunnel, who: int) -> None:
        client = tunnel.join()
        tunnel.cut(who)
        tunnel.pass_time(30.0)
        tunnel.master.admit(2, tunnel.now)
        tunnel.pass_time(3.0)
        assert client.state is ClientState.ASKING
        tunnel.resume(who)
        tunnel.pass_time(3.0)
        assert state_of(client) is ClientState.MEMBER

    def test_a_no_comes_late(self, tunnel: MemoryTunnel) -> None:
        """The master forgets at once whom it refused; the server's word is what is left."""
        client = tunnel.join()
        tunnel.cut(2)
        tunnel.master.refuse(2, "not today")
        tunnel.run()
        assert client in tunnel.put_out
        assert not tunnel.master.is_deciding(2)

    @pytest.mark.parametrize(
        ("state", "seconds", "error"),
        [
            (ClientState.PREPARING, KEY_SECONDS, CutOff),
            (ClientState.EXCHANGING, EXCHANGE_SECONDS, CutOff),
            (ClientState.CONFIRMING, CONFIRM_SECONDS, AuthenticationFailed),
            (ClientState.INTRODUCING, CONFIRM_SECONDS, CutOff),
            (ClientState.ASKING, CONSENT_SECONDS, ConsentRefused),
        ],
    )
    def test_no_wait_grows_while_the_link_is_away(
        self, tunnel: MemoryTunnel, state: ClientState, seconds: float, error: type[Exception]
    ) -> None:
        client = bring(tunnel, state)
        used_up = client.code_used_up
        tunnel.cut(2)
        tunnel.pass_time(seconds - 1.0)
        assert not client.over
        tunnel.pass_time(1.0)
        assert type(failure(tunnel, client)) is error
        assert client.code_used_up == used_up

    def test_nor_do_the_digits(self, sas: MemoryTunnel) -> None:
        client = sas.join()
        sas.cut(2)
        sas.pass_time(DIGITS_SECONDS)
        assert isinstance(failure(sas, client), CutOff)

    def test_who_comes_back_with_another_opening_is_refused(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.EXCHANGING)
        (first,) = [packet for header, packet in tunnel.relayed if header.kind is PacketType.C1]
        tunnel.cut(2)
        tunnel.liar = lambda header, packet: (
            [packet[:-1] + bytes([packet[-1] ^ 1])] if header.kind is PacketType.C1 else [packet]
        )
        tunnel.resume(2)
        tunnel.run()
        assert isinstance(failure(tunnel, client), AuthenticationFailed)
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert isinstance(failed.error, RemoteProtocolError)
        # The right one is too late then.
        tunnel.deliver(MASTER, first)
        assert len(tunnel.events_of(tunnel.master, RunFailed)) == 1

    def test_a_packet_of_nobody_in_particular(self, tunnel: MemoryTunnel) -> None:
        client = bring(tunnel, ClientState.CONFIRMING)
        (m2,) = {packet for header, packet in tunnel.relayed if header.kind is PacketType.M2}
        tunnel.deliver(2, m2)
        # The answer to a C1 that came twice.
        assert client.state is ClientState.CONFIRMING


class TestTicket:
    def test_is_a_members(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        with pytest.raises(LocalProtocolError, match="not a member"):
            _ = client.ticket
        tunnel.master.admit(2, tunnel.now)
        tunnel.run()
        ticket = client.ticket
        assert (ticket.number, ticket.session_id, ticket.member) == (48213, tunnel.session_id, 2)
        assert ticket.secret == tunnel.master.peers[2].secrets.rejoin


class TestDirect:
    def test_addresses_are_offered_within_a_budget(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        inside = record.DirectAddress(host="192.168.1.5", port=4663)
        outside = record.DirectAddress(host="203.0.113.5", port=4663)
        tunnel.master.offer_direct([inside, outside])
        tunnel.run()
        assert tunnel.events_of(client, DirectOffered) == [DirectOffered((inside,))]

    def test_only_members_dial(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        with pytest.raises(LocalProtocolError, match="not a member"):
            client.dial("192.168.1.5 answered", tunnel.now)
        tunnel.master.admit(2, tunnel.now)
        tunnel.run()
        path = client.dial("192.168.1.5 answered", tunnel.now)
        (proof,) = path.data_to_send()
        assert bytes(proof[:4]) == b"PTD1"
        assert path.reason == "192.168.1.5 answered"


class TestBroadcast:
    def test_comes_in_order_and_ends(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        broadcast = tunnel.master.broadcast
        for text in (b"one ", b"two ", b"three"):
            broadcast.write(7, text, tunnel.now)
            tunnel.run()
        broadcast.end(7, tunnel.now)
        tunnel.pass_time(1.0)
        assert broadcasted(tunnel, client) == b"one two three"
        assert tunnel.events_of(client, BroadcastEnded) == [BroadcastEnded(7)]
        assert broadcast.settled

    def test_what_is_lost_comes_again_in_the_pair(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.liar = lambda header, packet: [] if header.flags & FLAG_GROUP else [packet]
        tunnel.master.broadcast.write(7, b"lost", tunnel.now)
        tunnel.run()
        assert broadcasted(tunnel, client) == b""
        # The master says where it ends; the client asks, and gets it resent.
        tunnel.pass_time(2.0)
        assert broadcasted(tunnel, client) == b"lost"

    def test_who_is_given_up_is_told(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        from_master(tunnel, record.GroupDropped(reason="too slow"))
        assert len(tunnel.events_of(client, BroadcastLost)) == 1
        assert not client.over

    @pytest.mark.parametrize("state", [ClientState.EXCHANGING, ClientState.ASKING])
    def test_before_welcome_there_is_none(self, tunnel: MemoryTunnel, state: ClientState) -> None:
        client = bring(tunnel, state)
        packet = bytearray(HEADER_BYTES + TAG_BYTES)
        encode_header_into(
            packet, PacketType.DATA, MASTER, ALL_MEMBERS, TAG_BYTES, flags=FLAG_GROUP
        )
        tunnel.deliver(2, bytes(packet))
        tunnel.liar = drop()
        tunnel.run()
        assert not client.over
        assert not any(isinstance(e, BroadcastReceived) for e in tunnel.events.get(2, []))

    def test_a_slow_reader_acknowledges_nothing(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        sender, receiver = tunnel.master.broadcast, client.broadcast
        assert receiver is not None
        receiver.count_consumed()
        sender.write(7, b"slowly", tunnel.now)
        tunnel.pass_time(1.0)
        before = sender.settled
        receiver.consumed(len(b"slowly"), tunnel.now)
        tunnel.pass_time(1.0)
        assert (before, sender.settled) == (False, True)

    def test_there_is_one_while_it_is_a_member(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        found = [client.broadcast is None]
        tunnel.master.admit(2, tunnel.now)
        tunnel.run()
        found.append(client.broadcast is None)
        client.close()
        found.append(client.broadcast is None)
        assert found == [True, False, True]

    def test_another_clients_is_dropped(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.master.broadcast.write(7, b"the master's", tunnel.now)
        tunnel.run()
        (packet,) = [bytearray(p) for h, p in tunnel.relayed if h.flags & FLAG_GROUP]
        packet[12:14] = (3).to_bytes(2)
        packet[16:24] = (1).to_bytes(8)
        tunnel.deliver(2, bytes(packet))
        tunnel.pass_time(1.0)
        assert not client.over
        assert broadcasted(tunnel, client) == b"the master's"


def broadcasted(tunnel: MemoryTunnel, client: ClientMachine) -> bytes:
    return b"".join(bytes(event.data) for event in tunnel.events_of(client, BroadcastReceived))
