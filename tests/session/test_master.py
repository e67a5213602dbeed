"""The master: whom it lets in, and how it puts them out."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import (
    AuthenticationFailed,
    ErrorCode,
    LocalProtocolError,
    RemoteProtocolError,
    SessionEnded,
    StreamCode,
)
from porttunnel.keys.hybrid import encapsulate
from porttunnel.keys.primitives import SigningKey
from porttunnel.session import record, request
from porttunnel.session.admission import HANDSHAKE_SECONDS
from porttunnel.session.client import ClientMachine, ClientState
from porttunnel.session.code import SessionCode
from porttunnel.session.direct import DialledPath
from porttunnel.session.event import (
    BroadcastReceived,
    ConnectionFailed,
    ConsentAsked,
    DigitsAsked,
    DigitsShown,
    DigitsWrong,
    DirectOffered,
    InvitationMade,
    JoiningPaused,
    MemberAway,
    MemberBack,
    MemberJoined,
    MemberLeft,
    RunFailed,
    SessionFinished,
    SessionOpened,
    Welcomed,
)
from porttunnel.session.joiner import (
    CONSENT_SECONDS,
    DIGITS_SECONDS,
    INTRODUCTION_SECONDS,
    MAX_WRONG_DIGITS,
)
from porttunnel.session.master import MasterMachine
from porttunnel.session.member_book import MAX_SERVICES_BYTES, SERVICE_OVERHEAD_BYTES
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
    encode_packet,
)
from porttunnel.session.record import Service
from porttunnel.session.rejoin import RejoinTicket
from tests.session.test_member import heads
from tests.session.test_rejoin import come_back, ticket_of
from tests.tunnel import MemoryTunnel


@pytest.fixture
def tunnel() -> MemoryTunnel:
    return MemoryTunnel()


@pytest.fixture
def sas() -> MemoryTunnel:
    return MemoryTunnel(sas=True)


def make_master(**changes: Any) -> MasterMachine:
    values: dict[str, Any] = {
        "create": request.Create(lifetime_s=3600, max_clients=8, join_window_s=0),
        "name": "Anna",
        "sas": False,
        "signing_key": SigningKey.generate(),
        "token_bytes": bytes,
        "randbelow": lambda bound: bound - 1,
        "encapsulate": encapsulate,
        "jitter": 0.0,
    }
    create = (values | changes).pop("create")
    return MasterMachine(create, **{k: v for k, v in (values | changes).items() if k != "create"})


def wrong_code(tunnel: MemoryTunnel) -> SessionCode:
    return SessionCode(48213, pin=str((int(tunnel.code.pin or "") + 1) % 10**6).zfill(6))


def failure(core_events: list[Any]) -> Exception:
    (failed,) = [event for event in core_events if isinstance(event, ConnectionFailed)]
    error: Exception = failed.error
    return error


def from_client(client: ClientMachine, message: Any) -> None:
    """A control record out of turn."""
    client.peers[MASTER].streams.send_control(record.encode_control(message))


class TestSession:
    def test_opens_with_a_number_and_an_invitation(self, tunnel: MemoryTunnel) -> None:
        opened, invitation = tunnel.events[MASTER]
        assert opened == SessionOpened(48213, tunnel.session_id)
        assert isinstance(invitation, InvitationMade)
        assert tunnel.master.session_id == tunnel.session_id

    def test_asks_for_what_it_was_told(self) -> None:
        master = make_master(create=request.Create(lifetime_s=60, max_clients=1, join_window_s=9))
        master.start(0.0)
        sent = b"".join(master.data_to_send())
        assert request.decode_request(sent[36:]) == request.Create(
            lifetime_s=60, max_clients=1, join_window_s=9
        )

    def test_an_answer_that_no_master_gets(self) -> None:
        master = make_master()
        master.start(0.0)
        body = request.encode(request.Done())
        packet = encode_packet(PacketType.REPLY, SERVER, NO_MEMBER, body, number=1)
        master.receive_data(memoryview(packet), 0.0)
        assert isinstance(failure(list(master.events())), RemoteProtocolError)

    def test_before_it_is_open_nobody_can_join(self) -> None:
        master = make_master()
        master.start(0.0)
        assert master.next_deadline() is not None
        master.allow_joining(0.0)
        master.handle_timeout(1.0)
        left = request.encode(request.Left(member=2, reason=""))
        packet = encode_packet(PacketType.EVENT, SERVER, NO_MEMBER, left)
        master.receive_data(memoryview(packet), 0.0)
        assert not master.over
        packet = encode_packet(PacketType.C1, 2, NO_MEMBER, bytes(1572))
        master.receive_data(memoryview(packet), 0.0)
        assert isinstance(failure(list(master.events())), RemoteProtocolError)

    def test_closed_on_purpose(self, tunnel: MemoryTunnel) -> None:
        clients = [tunnel.enter(name) for name in ("Ben", "Cleo")]
        tunnel.master.close("enough")
        tunnel.master.close("twice")
        tunnel.run()
        assert tunnel.events_of(tunnel.master, SessionFinished) == [SessionFinished("enough")]
        for client in clients:
            assert tunnel.events_of(client, SessionFinished) == [SessionFinished("enough")]

    def test_ended_by_the_server(self, tunnel: MemoryTunnel) -> None:
        tunnel.tell(MASTER, request.Closed(reason="expired"))
        error = failure(tunnel.events[MASTER])
        assert isinstance(error, SessionEnded)
        assert "expired" in str(error)


class TestConsent:
    def test_without_a_yes_nothing_passes(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        assert tunnel.events_of(tunnel.master, ConsentAsked) == [ConsentAsked(2, "Ben", (), True)]
        assert tunnel.master.is_deciding(2)
        with pytest.raises(LocalProtocolError):
            tunnel.master.streams(2)
        # Not even for a client that does not keep to the rules.
        client.peers[MASTER].streams.open("web")
        tunnel.run()
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert isinstance(failed.error, RemoteProtocolError)
        assert client.over
        assert tunnel.events_of(tunnel.master, MemberJoined) == []

    def test_a_yes_lets_in(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        tunnel.master.admit(2, tunnel.now)
        tunnel.run()
        assert not tunnel.master.is_deciding(2)
        assert tunnel.events_of(tunnel.master, MemberJoined) == [MemberJoined(2, "Ben", True)]
        assert client.state is ClientState.MEMBER
        assert tunnel.master.streams(2).open("back") == 2

    def test_a_no_puts_out(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        tunnel.master.refuse(2, "not today")
        tunnel.run()
        assert client.over
        assert not len(tunnel.master.peers)
        assert not tunnel.master.over
        assert tunnel.enter().state is ClientState.MEMBER

    def test_a_busy_link_does_not_swallow_the_no(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        tunnel.master._link.outbox.append(
            encode_packet(PacketType.PING, MASTER, SERVER, bytes(8)) * 20_000
        )
        tunnel.master.refuse(2, "not today")
        tunnel.run()
        assert "not today" in str(failure(tunnel.events[client.member]))

    @pytest.mark.parametrize("member", [1, 2, 3])
    def test_only_who_waits_is_decided_on(self, tunnel: MemoryTunnel, member: int) -> None:
        tunnel.enter()
        with pytest.raises(LocalProtocolError):
            tunnel.master.admit(member, tunnel.now)
        with pytest.raises(LocalProtocolError):
            tunnel.master.refuse(member)
        with pytest.raises(LocalProtocolError):
            tunnel.master.enter_digits(member, "000000", tunnel.now)
        assert not tunnel.master.is_deciding(member)

    def test_nobody_waits_for_ever(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        assert CONSENT_SECONDS == 600.0
        # Only the master's patience counts here.
        client._state_deadline = None
        tunnel.pass_time(CONSENT_SECONDS - 1.0)
        assert tunnel.master.is_deciding(2)
        tunnel.pass_time(1.0)
        assert not tunnel.master.is_deciding(2)
        assert "nobody answered" in str(failure(tunnel.events[2]))

    def test_who_does_not_introduce_itself_is_put_out(self, tunnel: MemoryTunnel) -> None:
        tunnel.liar = lambda header, packet: (
            [] if header.kind is PacketType.DATA and header.sender == MASTER else [packet]
        )
        client = tunnel.join()
        client._state_deadline = None
        tunnel.pass_time(INTRODUCTION_SECONDS - 1.0)
        assert tunnel.events_of(tunnel.master, RunFailed) == []
        tunnel.pass_time(1.0)
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert isinstance(failed.error, AuthenticationFailed)


class TestServices:
    def test_are_listed_once(self, tunnel: MemoryTunnel) -> None:
        tunnel.master.add_service(record.Service(name="web", kind="tcp"))
        client = tunnel.enter()
        (welcomed,) = tunnel.events_of(client, Welcomed)
        assert [service.name for service in welcomed.services] == ["web"]

    def test_are_not_too_many(self, tunnel: MemoryTunnel) -> None:
        for number in range(1, record.MAX_SERVICES):
            tunnel.master.add_service(record.Service(name=f"{number}", kind="tcp"))
        with pytest.raises(LocalProtocolError, match="too much"):
            tunnel.master.add_service(record.Service(name="one more", kind="tcp"))
        client = tunnel.enter()
        (welcomed,) = tunnel.events_of(client, Welcomed)
        assert len(welcomed.services) == record.MAX_SERVICES

    def test_fit_a_record(self, tunnel: MemoryTunnel) -> None:
        bytes_each = 4 * 64 + SERVICE_OVERHEAD_BYTES
        fitting = (MAX_SERVICES_BYTES - len("web") - SERVICE_OVERHEAD_BYTES) // bytes_each
        for number in range(fitting):
            name = chr(0x1F300 + number) * 64
            tunnel.master.add_service(record.Service(name=name, kind="tcp"))
        with pytest.raises(LocalProtocolError, match="too much"):
            tunnel.master.add_service(record.Service(name=chr(0x1F600) * 64, kind="tcp"))
        client = tunnel.enter()
        (welcomed,) = tunnel.events_of(client, Welcomed)
        assert len(welcomed.services) == 1 + fitting


class TestWelcome:
    def test_lists_what_is_shared_now(self, tunnel: MemoryTunnel) -> None:
        files = Service(name="files", kind="dir")
        tunnel.master.add_service(files)
        tunnel.master.add_service(files)
        client = tunnel.enter()
        (welcomed,) = tunnel.events_of(client, Welcomed)
        assert welcomed.services == (Service(name="web", kind="tcp"), files)

    def test_says_what_may_be_asked_for(self) -> None:
        master = make_master(capabilities=("files",))
        assert master._capabilities == ("files",)

    def test_lists_no_more_members_than_fit(
        self, tunnel: MemoryTunnel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(record, "MAX_LISTED_MEMBERS", 2)
        tunnel.enter("Ben")
        client = tunnel.enter("Cleo")
        (welcomed,) = tunnel.events_of(client, Welcomed)
        assert [member.name for member in welcomed.members] == ["Anna", "Ben"]


class TestTries:
    def test_a_wrong_pin_is_seen(self, tunnel: MemoryTunnel) -> None:
        tunnel.join(wrong_code(tunnel))
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert failed.member == 2
        assert str(failed.error) == AuthenticationFailed.MESSAGE
        assert not len(tunnel.master.peers)

    def test_the_third_burns_the_code_and_ten_pause_joining(self, tunnel: MemoryTunnel) -> None:
        member = tunnel.enter("Cleo")
        for count in range(1, 11):
            code = tunnel.code
            tunnel.join(wrong_code(tunnel))
            assert (tunnel.code != code) == (count in (3, 6, 9))
        assert tunnel.events_of(tunnel.master, JoiningPaused) == [JoiningPaused(10)]
        assert tunnel.join().over
        tunnel.master.allow_joining(tunnel.now)
        tunnel.run()
        assert tunnel.enter().state is ClientState.MEMBER
        # Who was in has noticed nothing.
        assert member.state is ClientState.MEMBER
        assert not member.over

    def test_a_mode_that_was_not_invited_is_refused(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join(SessionCode(48213))
        assert client.over
        assert not client.code_used_up
        assert len(tunnel.events_of(tunnel.master, RunFailed)) == 1

    def test_a_cut_off_handshake_frees_its_place(self, tunnel: MemoryTunnel) -> None:
        code = tunnel.code
        tunnel.liar = lambda header, packet: [] if header.kind is PacketType.C3 else [packet]
        tunnel.join()
        tunnel.liar = lambda header, packet: [packet]
        waiting = tunnel.join(code)
        assert not waiting.code_used_up
        tunnel.pass_time(HANDSHAKE_SECONDS)
        assert waiting.state is ClientState.ASKING

    def test_who_left_in_the_middle_makes_room(self, tunnel: MemoryTunnel) -> None:
        code = tunnel.code
        tunnel.liar = lambda header, packet: [] if header.kind is PacketType.C3 else [packet]
        tunnel.join()
        tunnel.liar = lambda header, packet: [packet]
        waiting = tunnel.join(code)
        tunnel.tell(MASTER, request.Left(member=2, reason="lapsed"))
        tunnel.run()
        assert waiting.state is ClientState.ASKING


class TestDigits:
    def test_the_third_wrong_entry_ends_the_run(self, sas: MemoryTunnel) -> None:
        client = sas.join()
        assert sas.events_of(sas.master, DigitsAsked) == [DigitsAsked(2)]
        assert MAX_WRONG_DIGITS == 3
        for left in (2, 1):
            sas.master.enter_digits(2, "000000", sas.now)
            sas.run()
            assert sas.events_of(sas.master, DigitsWrong)[-1] == DigitsWrong(2, left)
        sas.master.enter_digits(2, "0", sas.now)
        sas.run()
        (failed,) = sas.events_of(sas.master, RunFailed)
        assert isinstance(failed.error, AuthenticationFailed)
        assert client.over
        # It has never shown its own digits.
        assert sas.events_of(sas.master, DigitsShown) == []

    def test_have_two_minutes(self, sas: MemoryTunnel) -> None:
        client = sas.join()
        client._state_deadline = None
        assert DIGITS_SECONDS == 120.0
        sas.pass_time(DIGITS_SECONDS - 1.0)
        assert sas.events_of(sas.master, RunFailed) == []
        sas.pass_time(1.0)
        assert len(sas.events_of(sas.master, RunFailed)) == 1
        with pytest.raises(LocalProtocolError):
            sas.master.enter_digits(2, "000000", sas.now)

    @pytest.mark.parametrize(
        "message", [record.JoinAs(name="Eve", capabilities=[]), record.Bye(reason="")]
    )
    def test_until_they_are_right_nothing_is_accepted(
        self, sas: MemoryTunnel, message: Any
    ) -> None:
        client = sas.join()
        from_client(client, message)
        sas.run()
        (failed,) = sas.events_of(sas.master, RunFailed)
        assert isinstance(failed.error, RemoteProtocolError)
        assert sas.events_of(sas.master, ConsentAsked) == []

    @pytest.mark.parametrize("shown", [False, True])
    def test_who_compares_is_told_by_the_server_only(self, sas: MemoryTunnel, shown: bool) -> None:
        client = sas.join()
        if shown:
            (digits,) = sas.events_of(client, DigitsShown)
            sas.master.enter_digits(2, digits.digits, sas.now)
            sas.run()
        sas.master.close()
        sas.run()
        # A goodbye in the pair would break a rule there, and look like an attack.
        assert not client.over
        sas.tell(2, request.Closed(reason="the master closed it"))
        (failed,) = sas.events_of(client, ConnectionFailed)
        assert isinstance(failed.error, SessionEnded)

    def test_two_may_compare_at_once(self, sas: MemoryTunnel) -> None:
        clients = [sas.join(), sas.join()]
        for client in clients:
            (shown,) = sas.events_of(client, DigitsShown)
            sas.master.enter_digits(client.member, shown.digits, sas.now)
        sas.run()
        shown = {event.member: event.digits for event in sas.events_of(sas.master, DigitsShown)}
        for client in clients:
            client.enter_digits(shown[client.member], sas.now)
        sas.run()
        assert [asked.member for asked in sas.events_of(sas.master, ConsentAsked)] == [2, 3]


class TestMembers:
    def test_a_kicked_one_is_told_and_reads_nothing_more(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        stream = tunnel.master.streams(2).open("back")
        tunnel.run()
        assert stream
        tunnel.master.kick(2)
        assert not len(tunnel.master.peers)
        tunnel.run()
        assert tunnel.events_of(client, SessionFinished)
        assert tunnel.events_of(tunnel.master, MemberLeft) == [MemberLeft(2, "put out", False)]
        with pytest.raises(LocalProtocolError):
            tunnel.master.streams(2)

    def test_who_is_not_there_is_not_kicked(self, tunnel: MemoryTunnel) -> None:
        with pytest.raises(LocalProtocolError):
            tunnel.master.kick(2)

    def test_who_waits_for_a_yes_can_be_kicked(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        tunnel.master.kick(2)
        tunnel.run()
        assert client.over

    def test_packets_of_who_just_left_are_dropped(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        client.streams.open("web")
        late = b"".join(client.data_to_send())
        tunnel.master.kick(2)
        tunnel.deliver(MASTER, late)
        assert not tunnel.master.over
        assert tunnel.events_of(tunnel.master, RunFailed) == []

    @pytest.mark.parametrize("sender", [SERVER, MASTER, NO_MEMBER, 0xFFFF])
    @pytest.mark.parametrize("kind", [PacketType.DATA, PacketType.C1])
    def test_packets_of_nobody_are_fatal(
        self, tunnel: MemoryTunnel, kind: PacketType, sender: int
    ) -> None:
        body = bytes(TAG_BYTES if kind is PacketType.DATA else 1572)
        tunnel.deliver(MASTER, encode_packet(kind, sender, MASTER, body))
        assert isinstance(failure(tunnel.events[MASTER]), RemoteProtocolError)

    def test_whose_link_is_lost_is_away_and_no_stranger(self, tunnel: MemoryTunnel) -> None:
        tunnel.enter()
        peer = tunnel.master.peers[2]
        tunnel.tell(MASTER, request.Link(member=9, up=False))
        tunnel.tell(MASTER, request.Joining(member=3))
        tunnel.cut(2)
        assert tunnel.events_of(tunnel.master, MemberAway) == [MemberAway(2)]
        assert not tunnel.master.streams(2).has_work
        tunnel.resume(2)
        tunnel.run()
        assert tunnel.events_of(tunnel.master, MemberBack) == [MemberBack(2)]
        assert tunnel.master.peers[2] is peer
        assert tunnel.events_of(tunnel.master, MemberLeft) == []
        assert len(tunnel.events_of(tunnel.master, ConsentAsked)) == 1

    def test_who_left_while_the_master_was_away(self, tunnel: MemoryTunnel) -> None:
        clients = [tunnel.enter(name) for name in ("Ben", "Cleo")]
        tunnel.cut(MASTER)
        clients[0].close()
        tunnel.run()
        assert tunnel.events_of(tunnel.master, MemberLeft) == []
        tunnel.resume(MASTER)
        tunnel.run()
        # Its goodbye was lost with the link; the server knows that it is gone.
        (left,) = tunnel.events_of(tunnel.master, MemberLeft)
        assert (left.member, left.cut_off) == (2, True)
        assert not tunnel.master.streams(3).has_work

    def test_a_list_that_may_be_cut_short_says_nothing_of_who_left(
        self, tunnel: MemoryTunnel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clients = [tunnel.enter(name) for name in ("Ben", "Cleo")]
        monkeypatch.setattr(request, "MAX_STATUS_MEMBERS", 2)
        tunnel.cut(MASTER)
        clients[0].close()
        tunnel.run()
        tunnel.resume(MASTER)
        tunnel.run()
        assert tunnel.events_of(tunnel.master, MemberLeft) == []

    def test_status_has_one_answer(self, tunnel: MemoryTunnel) -> None:
        tunnel.master.link.ask(request.Status(), tunnel.now)
        sent = heads(b"".join(tunnel.master.data_to_send()))
        body = request.encode(request.Done())
        tunnel.deliver(
            MASTER, encode_packet(PacketType.REPLY, SERVER, MASTER, body, number=sent[-1].number)
        )
        assert isinstance(failure(tunnel.events[MASTER]), RemoteProtocolError)

    def test_with_a_goodbye_it_left_on_purpose(self, tunnel: MemoryTunnel) -> None:
        for client in (tunnel.enter(), tunnel.join()):
            client.close("bye")
            tunnel.run()
        assert tunnel.events_of(tunnel.master, MemberLeft) == [
            MemberLeft(2, "bye", False),
            MemberLeft(3, "bye", False),
        ]

    def test_without_a_goodbye_it_is_cut_off(self, tunnel: MemoryTunnel) -> None:
        other = tunnel.enter("Cleo")
        tunnel.enter("Ben")
        tunnel.tell(MASTER, request.Left(member=3, reason="lapsed"))
        tunnel.run()
        assert tunnel.events_of(tunnel.master, MemberLeft) == [MemberLeft(3, "lapsed", True)]
        changed = tunnel.events[other.member][-1]
        assert [member.name for member in changed.members] == ["Anna", "Cleo"]

    def test_the_clear_cannot_hurt_a_pair(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        report = request.ErrorReport(code=ErrorCode.HANDSHAKE_FAILED, text="")
        for kind, body in (
            (PacketType.ERROR, request.encode(report)),
            (PacketType.C1, bytes(1572)),
            (PacketType.C3, bytes(64)),
        ):
            tunnel.deliver(MASTER, encode_packet(kind, 2, MASTER, body))
        assert tunnel.events_of(tunnel.master, RunFailed) == []
        stream = client.streams.open("web")
        tunnel.run()
        tunnel.master.streams(2).refuse(stream, StreamCode.UNKNOWN_SERVICE, "")

    @pytest.mark.parametrize(
        "message",
        [
            record.JoinAs(name="Ben", capabilities=[]),
            record.Hello(name="", capabilities=[]),
            record.Members(members=[]),
            record.Refused(reason=""),
        ],
    )
    @pytest.mark.parametrize("admitted", [False, True])
    def test_each_message_has_its_sender_and_state(
        self, tunnel: MemoryTunnel, admitted: bool, message: Any
    ) -> None:
        client = tunnel.enter() if admitted else tunnel.join()
        from_client(client, message)
        tunnel.run()
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert isinstance(failed.error, RemoteProtocolError)
        assert client.over
        assert not tunnel.master.over

    def test_a_forger_costs_its_own_pair_only(self, tunnel: MemoryTunnel) -> None:
        first, second = tunnel.enter("Ben"), tunnel.enter("Cleo")

        def forge(header: Header, packet: bytes) -> list[bytes]:
            return [packet[:-1] + bytes([packet[-1] ^ (header.sender == first.member)])]

        tunnel.liar = forge
        first.streams.open("web")
        second.streams.open("web")
        tunnel.run()
        assert [event.member for event in tunnel.events_of(tunnel.master, RunFailed)] == [2]
        assert first.over
        assert not second.over


def test_the_last_packets_go_out_before_the_server_is_asked(tunnel: MemoryTunnel) -> None:
    tunnel.enter()
    tunnel.master.kick(2)
    kinds = [head.kind for head in heads(b"".join(tunnel.master.data_to_send()))]
    assert kinds == [PacketType.DATA, PacketType.REQUEST]


class TestLock:
    def test_lets_nobody_new_in_until_it_is_opened(self, tunnel: MemoryTunnel) -> None:
        member = tunnel.enter()
        tunnel.master.lock(True)
        refused = tunnel.join()
        assert refused.over
        assert not refused.code_used_up
        assert not member.over
        tunnel.master.lock(False)
        assert tunnel.enter("Cleo").state is ClientState.MEMBER

    def test_is_asked_of_the_server_too(self, tunnel: MemoryTunnel) -> None:
        tunnel.master.lock(True)
        sent = b"".join(tunnel.master.data_to_send())
        assert request.decode_request(sent[HEADER_BYTES:]) == request.Lock(locked=True)

    def test_needs_a_session(self) -> None:
        with pytest.raises(LocalProtocolError, match="no session"):
            make_master().lock(True)


class TestBroadcast:
    def test_needs_a_session(self) -> None:
        with pytest.raises(LocalProtocolError, match="not open"):
            _ = make_master().broadcast

    def test_goes_to_all_at_once(self, tunnel: MemoryTunnel) -> None:
        clients = [tunnel.enter(name) for name in ("Ben", "Cleo", "Dora")]
        tunnel.relayed.clear()
        tunnel.master.broadcast.write(1, b"to all", tunnel.now)
        tunnel.pass_time(1.0)
        sent = [header for header, _ in tunnel.relayed if header.flags & FLAG_GROUP]
        assert [header.target for header in sent] == [ALL_MEMBERS]
        for client in clients:
            (came,) = tunnel.events_of(client, BroadcastReceived)
            assert bytes(came.data) == b"to all"
        assert tunnel.master.broadcast.settled

    def test_a_report_is_a_members_only(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        from_client(client, record.GroupAck(epoch=1, next=0, missing=False))
        tunnel.run()
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert isinstance(failed.error, RemoteProtocolError)

    @pytest.mark.parametrize("epoch", [1, 2])
    def test_a_report_of_what_was_never_sent_ends_its_pair(
        self, tunnel: MemoryTunnel, epoch: int
    ) -> None:
        client, other = tunnel.enter("Ben"), tunnel.enter("Cleo")
        from_client(client, record.GroupAck(epoch=epoch, next=99, missing=False))
        tunnel.run()
        assert [event.member for event in tunnel.events_of(tunnel.master, RunFailed)] == [2]
        assert not other.over

    def test_waits_while_the_link_is_away(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.cut(MASTER)
        tunnel.master.broadcast.write(1, b"later", tunnel.now)
        tunnel.run()
        assert tunnel.master.data_to_send() == ()
        tunnel.resume(MASTER)
        tunnel.pass_time(3.0)
        (came,) = tunnel.events_of(client, BroadcastReceived)
        assert bytes(came.data) == b"later"

    def test_is_over_with_the_session(self, tunnel: MemoryTunnel) -> None:
        tunnel.enter()
        tunnel.master.broadcast.write(1, b"too late", tunnel.now)
        tunnel.master.close()
        packets = heads(b"".join(tunnel.master.data_to_send()))
        assert not any(header.flags & FLAG_GROUP for header in packets)


class TestDirect:
    def test_is_offered_to_all_and_to_those_that_come(self, tunnel: MemoryTunnel) -> None:
        first = tunnel.enter("Ben")
        address = record.DirectAddress(host="10.0.0.1", port=4663)
        tunnel.master.offer_direct([address])
        second = tunnel.enter("Cleo")
        for client in (first, second):
            assert tunnel.events_of(client, DirectOffered) == [DirectOffered((address,))]

    def test_only_who_is_in_is_answered(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.join()
        peer = client.peers[MASTER]
        for admitted in (False, True):
            if admitted:
                tunnel.master.admit(2, tunnel.now)
            dialled = DialledPath(client, peer, "", tunnel.now, nonce=bytes(16))
            accepted = tunnel.master.accept_direct("a cable", tunnel.now)
            assert accepted.reason == "a cable"
            accepted.receive_data(memoryview(b"".join(dialled.data_to_send())), tunnel.now)
            assert bool(accepted.data_to_send()) == admitted
            assert accepted.closed != admitted


class TestRejoin:
    def test_who_was_remembered_and_gone_before_is_welcome(self) -> None:
        tunnel = MemoryTunnel()
        tunnel.master._remember = True
        client = tunnel.enter()
        secrets = client.ticket
        ticket = RejoinTicket(
            secrets.number, secrets.session_id, secrets.member, bytes(secrets.secret)
        )
        again = ClientMachine(
            tunnel.code,
            ticket=ticket,
            name="Ben",
            token_bytes=tunnel.random.randbytes,
            jitter=0.5,
        )
        tunnel.add(again)
        tunnel.run()
        assert again.state is ClientState.MEMBER
        assert client in tunnel.put_out
        assert [event.member for event in tunnel.events_of(tunnel.master, MemberLeft)] == [2]
        # And once more, though the one before has left meanwhile.
        last = ClientMachine(
            tunnel.code,
            ticket=RejoinTicket(secrets.number, tunnel.session_id, 3, bytes(again.ticket.secret)),
            name="Ben",
            token_bytes=tunnel.random.randbytes,
            jitter=0.5,
        )
        tunnel.tell(MASTER, request.Left(member=3, reason="lapsed"))
        tunnel.add(last)
        tunnel.run()
        assert last.state is ClientState.MEMBER
        assert [event.member for event in tunnel.events_of(tunnel.master, MemberLeft)] == [2, 3]

    @pytest.mark.parametrize("server_obeys", [True, False])
    def test_who_is_kicked_does_not_come_in_by_a_run_that_is_open(
        self, server_obeys: bool
    ) -> None:
        tunnel = remembering()
        held = hold(tunnel, PacketType.DATA)
        ticket = ticket_of(tunnel.enter())
        again = come_back(tunnel, ticket)
        assert again.state is ClientState.ASKING
        tunnel.keeps_kicked = not server_obeys
        tunnel.master.kick(2)
        tunnel.run()
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert failed.member == 3
        assert isinstance(failed.error, AuthenticationFailed)
        left = [event.member for event in tunnel.events_of(tunnel.master, MemberLeft)]
        assert sorted(left) == [2, 3]
        assert 3 not in tunnel.master.peers
        assert again.over == server_obeys
        release(tunnel, held)
        assert len(tunnel.events_of(tunnel.master, MemberJoined)) == 1
        assert not tunnel.master.over

    def test_nor_by_one_whose_proof_comes_after_the_kick(self) -> None:
        tunnel = remembering()
        held = hold(tunnel, PacketType.C3)
        ticket = ticket_of(tunnel.enter())
        again = come_back(tunnel, ticket)
        assert again.state is ClientState.CONFIRMING
        tunnel.master.kick(2)
        tunnel.run()
        assert tunnel.events_of(tunnel.master, RunFailed) == []
        release(tunnel, held)
        # It knew the secret, and is told nothing but that it is out.
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert failed.member == 3
        assert isinstance(failed.error, AuthenticationFailed)
        assert again.over
        assert 3 not in tunnel.master.peers
        assert len(tunnel.events_of(tunnel.master, MemberJoined)) == 1

    def test_a_kick_leaves_the_runs_of_others_open(self) -> None:
        tunnel = remembering()
        held = hold(tunnel, PacketType.DATA, sender=4)
        tunnel.enter("Ben")
        ticket = ticket_of(tunnel.enter("Cleo"))
        again = come_back(tunnel, ticket)
        assert again.member == 4
        tunnel.master.kick(2)
        release(tunnel, held)
        assert again.state is ClientState.MEMBER
        # Nor does a kick of who came back once look for who it was before.
        tunnel.master.kick(4)
        tunnel.run()
        assert tunnel.events_of(tunnel.master, RunFailed) == []

    def test_one_ticket_makes_one_member_with_the_name_that_was_agreed_to(self) -> None:
        tunnel = remembering()
        held = hold(tunnel, PacketType.DATA, sender=None)
        ticket = ticket_of(tunnel.enter())
        runs = [come_back(tunnel, ticket) for _ in range(2)]
        assert [run.member for run in runs] == [3, 4]
        release(tunnel, held)
        assert [run.state is ClientState.MEMBER for run in runs] == [True, False]
        assert runs[1].over
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert failed.member == 4
        joined = tunnel.events_of(tunnel.master, MemberJoined)
        # They called themselves otherwise, and nobody was asked about that.
        assert joined == [MemberJoined(2, "Ben", True), MemberJoined(3, "Ben", True)]
        assert len(tunnel.events_of(tunnel.master, ConsentAsked)) == 1


def remembering() -> MemoryTunnel:
    tunnel = MemoryTunnel()
    tunnel.master._remember = True
    return tunnel


def hold(tunnel: MemoryTunnel, kind: PacketType, sender: int | None = 3) -> list[bytes]:
    """From now on a relay keeps what a client that came back sends; ``None``: each of them."""
    held: list[bytes] = []

    def keep(header: Header, packet: bytes) -> list[bytes]:
        theirs = header.sender > 2 if sender is None else header.sender == sender
        if theirs and header.kind is kind:
            held.append(packet)
            return []
        return [packet]

    tunnel.liar = keep
    return held


def release(tunnel: MemoryTunnel, held: list[bytes]) -> None:
    """What was kept comes, and everything after it."""
    assert held
    tunnel.liar = lambda _header, packet: [packet]
    for packet in held:
        tunnel.deliver(MASTER, packet)
    tunnel.run()


class TestEnd:
    @pytest.mark.parametrize("how", ["closed", "ended by the server"])
    def test_all_keys_go(self, how: str) -> None:
        tunnel = remembering()
        tunnel.enter()
        master = tunnel.master
        peer, sealer = master.peers[2], master.broadcast._sealer
        assert sealer is not None
        assert master._former.password(2) is not None
        if how == "closed":
            master.close()
        else:
            tunnel.tell(MASTER, request.Closed(reason="expired"))
        assert master.over
        assert not len(master.peers)
        with pytest.raises(LocalProtocolError, match="erased"):
            _ = peer.secrets.rejoin
        with pytest.raises(LocalProtocolError, match="erased"):
            sealer.seal_group(memoryview(bytearray(100)), 10, 0)
        assert master._former.password(2) is None
        with pytest.raises(LocalProtocolError, match="erased"):
            master._resumption.ask(MASTER)

    def test_before_there_is_a_session_there_are_none(self) -> None:
        master = make_master()
        master.start(0.0)
        master.close()
        assert list(master.events()) == [SessionFinished("closed")]

    def test_a_yes_or_no_that_comes_after_it_is_nobodys(self, tunnel: MemoryTunnel) -> None:
        tunnel.join()
        before = tunnel.master.is_deciding(2)
        tunnel.master.close()
        assert (before, tunnel.master.is_deciding(2)) == (True, False)


def test_no_secrets_of_those_who_join_outlive_the_session() -> None:
    tunnel = MemoryTunnel(sas=True)
    comparing = tunnel.join()
    tunnel.liar = lambda header, packet: [] if header.kind is PacketType.M2 else [packet]
    tunnel.join()
    joiner = tunnel.master._book.joining(comparing.member)
    admission = tunnel.master._admission
    assert joiner is not None
    assert admission is not None
    assert joiner.established is not None
    assert admission.next_deadline() is not None
    tunnel.master.close()
    assert joiner.established is None
    assert admission.next_deadline() is None
