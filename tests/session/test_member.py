"""What master and client have in common, on a tunnel in memory."""

from __future__ import annotations

import pytest

from porttunnel.errors import (
    AuthenticationFailed,
    CutOff,
    ErrorCode,
    LimitExceeded,
    LinkBroken,
    LocalProtocolError,
    NoSuchNumber,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.session import request
from porttunnel.session.client import ClientMachine
from porttunnel.session.event import (
    BroadcastReceived,
    ConnectionFailed,
    ConsentAsked,
    LinkLost,
    LinkRestored,
    MemberBack,
    MemberLeft,
    RunFailed,
    SessionFinished,
    StreamDataReceived,
    StreamOffered,
)
from porttunnel.session.link import PING_BUSY_SECONDS, PING_SECONDS, REQUEST_SECONDS
from porttunnel.session.member import GIVE_UP_SECONDS, MAX_CLEAR_BYTES
from porttunnel.session.outbox import MAX_IDLE_SLOTS, SEND_AHEAD_BYTES
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    HEADER_BYTES,
    MASTER,
    SERVER,
    TAG_BYTES,
    Header,
    PacketType,
    decode_header,
    encode_header_into,
    encode_packet,
)
from porttunnel.session.receipt import ACK_AFTER_SECONDS, GAP_SECONDS
from tests.tunnel import MemoryTunnel, shared_key


@pytest.fixture
def tunnel() -> MemoryTunnel:
    return MemoryTunnel()


def error_of(tunnel: MemoryTunnel, core: ClientMachine | None = None) -> Exception:
    """The error that ended a core."""
    (failed,) = tunnel.events_of(core or tunnel.master, ConnectionFailed)
    error: Exception = failed.error
    return error


def open_stream(tunnel: MemoryTunnel, client: ClientMachine) -> int:
    stream = client.streams.open("web")
    tunnel.run()
    tunnel.master.streams(client.member).accept(stream)
    tunnel.run()
    return stream


def received(tunnel: MemoryTunnel, member: int) -> bytes:
    return b"".join(
        bytes(event.data)
        for event in tunnel.events[MASTER]
        if isinstance(event, StreamDataReceived) and event.member == member
    )


def from_server(kind: PacketType, body: bytes, target: int = 2, number: int = 0) -> bytes:
    return encode_packet(kind, SERVER, target, body, number=number)


class TestBytes:
    @pytest.mark.parametrize("chunk", [1, 7, 0])
    def test_come_in_any_pieces(self, chunk: int) -> None:
        tunnel = MemoryTunnel(chunk=chunk)
        client = tunnel.enter()
        stream = open_stream(tunnel, client)
        client.streams.write(stream, b"hello" * 500)
        tunnel.run()
        assert received(tunnel, 2) == b"hello" * 500

    @pytest.mark.parametrize("member", [MASTER, 2])
    def test_a_server_that_reads_nothing_has_no_endless_queue_made(
        self, tunnel: MemoryTunnel, member: int
    ) -> None:
        tunnel.liar = lambda header, packet: [packet] if header.kind is PacketType.C1 else []
        client = tunnel.join()
        (_header, c1), *_ = tunnel.relayed
        core, event = tunnel.master, c1
        if member == 2:
            up = request.encode(request.Link(member=MASTER, up=True))
            core, event = client, from_server(PacketType.EVENT, up)
        before = core.link.outbox.waiting_bytes
        core.receive_data(memoryview(bytearray(event)), tunnel.now)
        # It is said again, but not without end.
        assert core.link.outbox.waiting_bytes > before
        for _ in range(6_000):
            core.receive_data(memoryview(bytearray(event)), tunnel.now)
        assert MAX_CLEAR_BYTES <= core.link.outbox.waiting_bytes < MAX_CLEAR_BYTES + 2_000

    def test_what_is_no_packet_ends_it_with_a_goodbye(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.deliver(2, b"HTTP/1.1 502 Bad Gateway\r\n\r\n" * 2)
        assert isinstance(error_of(tunnel, client), RemoteProtocolError)
        header = heads(b"".join(client.data_to_send()))[-1]
        assert (header.kind, header.target) == (PacketType.ERROR, SERVER)

    def test_nothing_counts_after_the_end(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        client.close()
        tunnel.run()
        client.receive_data(memoryview(b"rubbish" * 10), tunnel.now)
        client.receive_eof(tunnel.now)
        client.handle_timeout(tunnel.now + 1e6)
        assert client.next_deadline() is None
        assert list(client.events()) == []
        assert client.over

    def test_a_packet_behind_the_last_is_not_looked_at(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        closed = from_server(PacketType.EVENT, request.encode(request.Closed(reason="")))
        tunnel.deliver(2, closed + b"rubbish" * 10)
        assert len(tunnel.events_of(client, ConnectionFailed)) == 1
        assert isinstance(error_of(tunnel, client), SessionEnded)

    def test_events_are_given_out_once(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        before = client.has_events
        client.receive_eof(tunnel.now)
        assert (before, client.has_events) == (False, True)
        assert [type(event) for event in client.events()] == [LinkLost]
        assert list(client.events()) == []

    def test_the_end_of_the_link_after_the_end_is_nothing(self, tunnel: MemoryTunnel) -> None:
        tunnel.master.close()
        tunnel.run()
        tunnel.master.receive_eof(tunnel.now)
        assert list(tunnel.master.events()) == []
        assert tunnel.events_of(tunnel.master, SessionFinished) == [SessionFinished("closed")]


class TestAddresses:
    def test_a_packet_for_somebody_else_is_fatal(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.deliver(2, encode_packet(PacketType.M4, MASTER, 3, bytes(32)))
        assert isinstance(error_of(tunnel, client), RemoteProtocolError)

    @pytest.mark.parametrize("kind", [PacketType.REPLY, PacketType.EVENT])
    def test_only_the_server_answers(self, tunnel: MemoryTunnel, kind: PacketType) -> None:
        client = tunnel.enter()
        tunnel.deliver(2, encode_packet(kind, MASTER, 2, b"x"))
        assert isinstance(error_of(tunnel, client), RemoteProtocolError)

    @pytest.mark.parametrize("kind", [PacketType.C1, PacketType.M4, PacketType.REQUEST])
    def test_the_server_sends_nothing_of_members(
        self, tunnel: MemoryTunnel, kind: PacketType
    ) -> None:
        client = tunnel.enter()
        body = {PacketType.C1: bytes(1572), PacketType.M4: bytes(32)}.get(kind, b"x")
        tunnel.deliver(2, from_server(kind, body))
        assert isinstance(error_of(tunnel, client), RemoteProtocolError)

    @pytest.mark.parametrize("kind", [PacketType.DATA, PacketType.ACK])
    def test_sealed_packets_of_the_server_are_fatal(
        self, tunnel: MemoryTunnel, kind: PacketType
    ) -> None:
        client = tunnel.enter()
        tunnel.deliver(2, from_server(kind, bytes(TAG_BYTES)))
        tunnel.deliver(MASTER, from_server(kind, bytes(TAG_BYTES), MASTER))
        assert isinstance(error_of(tunnel, client), RemoteProtocolError)
        assert isinstance(error_of(tunnel), RemoteProtocolError)

    @pytest.mark.parametrize("target", [MASTER, ALL_MEMBERS])
    def test_nobody_sends_to_all_but_the_master(self, tunnel: MemoryTunnel, target: int) -> None:
        tunnel.enter()
        packet = bytearray(HEADER_BYTES + TAG_BYTES)
        encode_header_into(packet, PacketType.DATA, 2, target, TAG_BYTES, flags=FLAG_GROUP)
        tunnel.deliver(MASTER, bytes(packet))
        error = error_of(tunnel)
        assert isinstance(error, RemoteProtocolError)
        assert "group" in str(error)


class TestServer:
    @pytest.mark.parametrize(
        ("code", "error"),
        [
            (ErrorCode.NO_SUCH_NUMBER, NoSuchNumber),
            (ErrorCode.SESSION_ENDED, SessionEnded),
            (ErrorCode.MALFORMED, RemoteProtocolError),
        ],
    )
    def test_its_errors_are_typed(
        self, tunnel: MemoryTunnel, code: ErrorCode, error: type[Exception]
    ) -> None:
        client = tunnel.enter()
        report = request.encode(request.ErrorReport(code=code, text="no"))
        tunnel.deliver(2, from_server(PacketType.ERROR, report))
        assert type(error_of(tunnel, client)) is error

    @pytest.mark.parametrize("kind", [PacketType.REPLY, PacketType.EVENT, PacketType.ERROR])
    def test_malformed_answers_are_fatal(self, tunnel: MemoryTunnel, kind: PacketType) -> None:
        client = ClientMachine(
            tunnel.code, name="Ben", token_bytes=tunnel.random.randbytes, jitter=0.0
        )
        client.start(0.0)
        packet = encode_packet(kind, SERVER, 0xFFFE, b"\xc1", number=1)
        client.receive_data(memoryview(bytearray(packet)), 0.0)
        (failed,) = [e for e in client.events() if isinstance(e, ConnectionFailed)]
        assert isinstance(failed.error, RemoteProtocolError)

    @pytest.mark.parametrize("kind", [PacketType.REPLY, PacketType.ERROR])
    def test_the_answer_to_what_was_only_told_is_nothing(
        self, tunnel: MemoryTunnel, kind: PacketType
    ) -> None:
        tunnel.enter()
        tunnel.master.kick(2)
        answers = []
        for header in heads(b"".join(tunnel.master.data_to_send())):
            if header.kind is PacketType.REQUEST:
                answers.append(from_server(kind, b"whatever", MASTER, header.number))
        assert len(answers) == 1
        tunnel.deliver(MASTER, answers[0])
        assert not tunnel.master.over
        # But only once.
        tunnel.deliver(MASTER, answers[0])
        assert tunnel.master.over

    def test_putting_somebody_out_leaves_the_session_up(self, tunnel: MemoryTunnel) -> None:
        for member in (2, 3, 4):
            tunnel.enter()
            tunnel.master.kick(member)
            tunnel.run()
        assert not tunnel.master.over
        assert len(tunnel.events_of(tunnel.master, MemberLeft)) == 3


def heads(data: bytes) -> list[Header]:
    found = []
    while data:
        header = decode_header(data)
        found.append(header)
        data = data[HEADER_BYTES + header.length :]
    return found


class TestTime:
    def test_an_idle_session_gives_memory_back(self, tunnel: MemoryTunnel) -> None:
        pool = tunnel.master.pool
        for slot in [pool.allocate() for _ in range(MAX_IDLE_SLOTS + 1)]:
            pool.release(slot)
        tunnel.pass_time(2 * PING_SECONDS)
        assert len(pool._free) == MAX_IDLE_SLOTS

    def test_an_idle_session_pings_seldom(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.pass_time(1.0)
        deadline = client.next_deadline()
        assert deadline is not None
        assert deadline - tunnel.now > PING_SECONDS - 1.0
        tunnel.pass_time(600.0)
        assert not client.over
        assert not tunnel.master.over

    def test_who_waits_to_be_acknowledged_pings_early(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.pass_time(1.0)
        stream = open_stream(tunnel, client)
        tunnel.pass_time(1.0)
        tunnel.liar = lambda header, packet: []
        heard = tunnel.now
        client.streams.write(stream, b"x")
        # Before its packet went out, and after.
        busy = client.next_deadline()
        assert busy is not None
        tunnel.run()
        assert client.next_deadline() == busy <= heard + PING_BUSY_SECONDS

    def test_a_silent_server_is_left(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.run()
        now = tunnel.now
        while not client.link.closed:
            deadline = client.next_deadline()
            assert deadline is not None
            now = max(now, deadline)
            client.handle_timeout(now)
        (lost,) = client.events()
        assert isinstance(lost, LinkLost)
        assert "dead" in str(lost.error)
        assert now - tunnel.now < 100.0
        assert not client.over

    def test_acknowledgements_go_out_in_time(self, tunnel: MemoryTunnel) -> None:
        clients = [tunnel.enter(name) for name in ("Ben", "Cleo", "Dan")]
        tunnel.pass_time(1.0)
        streams = [client.streams.open("web") for client in clients]
        tunnel.run()
        assert len(streams) == 3
        assert tunnel.master.next_deadline() == tunnel.now + ACK_AFTER_SECONDS
        tunnel.pass_time(ACK_AFTER_SECONDS)
        tunnel.run()
        for client in clients:
            assert client.peers[MASTER].pair.unacked_bytes == 0
        deadline = tunnel.master.next_deadline()
        assert deadline is not None
        assert deadline > tunnel.now + 1.0

    def test_a_loss_is_noticed_and_mended(self, tunnel: MemoryTunnel) -> None:
        first, second = tunnel.enter("Ben"), tunnel.enter("Cleo")
        streams = [open_stream(tunnel, client) for client in (first, second)]
        tunnel.liar = lambda header, packet: []
        first.streams.write(streams[0], b"lost")
        tunnel.run()
        tunnel.liar = lambda header, packet: [packet]
        first.streams.write(streams[0], b" and found")
        second.streams.write(streams[1], b"untouched")
        tunnel.pass_time(1.0)
        assert received(tunnel, 2) == b"lost and found"
        assert received(tunnel, 3) == b"untouched"
        assert tunnel.events_of(tunnel.master, RunFailed) == []

    def test_a_gap_that_stays_ends_that_pair_only(self, tunnel: MemoryTunnel) -> None:
        first, second = tunnel.enter("Ben"), tunnel.enter("Cleo")
        stream = open_stream(tunnel, first)
        tunnel.pass_time(1.0)
        lost: list[int] = []

        def lose(header: Header, packet: bytes) -> list[bytes]:
            if header.sender == 2 and header.kind is PacketType.DATA:
                # One packet never comes, however often it is sent.
                lost[:] = lost or [header.number]
                return [] if [header.number] == lost else [packet]
            # Nor is it asked for: each answer would bring the next packet behind the gap at once.
            return [] if header.target == 2 else [packet]

        tunnel.liar = lose
        first.streams.write(stream, b"lost")
        tunnel.run()
        first.streams.write(stream, b"behind the gap")
        tunnel.pass_time(GAP_SECONDS + 1.0)
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert failed.member == 2
        assert isinstance(failed.error, LimitExceeded)
        assert not second.over
        assert not tunnel.master.over

    def test_a_thousand_idle_clients_are_not_asked(self, tunnel: MemoryTunnel) -> None:
        tunnel.enter()
        tunnel.pass_time(1.0)
        # Whoever has nothing due and nothing unacknowledged is in no book.
        tunnel.master.next_deadline()
        assert not tunnel.master.peers._timed
        assert not tunnel.master.peers._unsettled
        assert not tunnel.master.link.turns


class TestTurns:
    def test_a_full_link_serves_the_pairs_in_turn(self, tunnel: MemoryTunnel) -> None:
        clients = [tunnel.enter(name) for name in ("Ben", "Cleo")]
        streams = [open_stream(tunnel, client) for client in clients]
        master = tunnel.master
        tunnel.pass_time(1.0)
        for client, stream in zip(clients, streams, strict=True):
            # A window wide enough that the link is what stops them.
            master.streams(client.member)._streams[stream].send_credit = 4_000_000
            client.streams._streams[stream].receive_credit = 4_000_000
            master.streams(client.member).write(stream, bytes(2_000_000))
        seen: list[int] = []
        for _ in range(400):
            views = master.data_to_send()
            if not views:
                break
            data = b"".join(views)
            assert master._link.outbox.waiting_bytes < SEND_AHEAD_BYTES + 200_000
            seen.append(decode_header(data).target)
            master.data_sent(len(views[0]))
        # Nobody waits for the other's two million bytes.
        assert {2, 3} <= set(seen[:20])

    def test_the_shell_says_how_much_may_be_ahead(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        stream = open_stream(tunnel, client)
        tunnel.pass_time(1.0)
        client.limit_ahead(10_000)
        client.streams._streams[stream].send_credit = 4_000_000
        client.streams.write(stream, bytes(1_000_000))
        assert client.data_to_send()
        assert client._link.outbox.waiting_bytes < 200_000

    def test_what_the_window_stopped_goes_on_with_the_acknowledgement(
        self, tunnel: MemoryTunnel
    ) -> None:
        client = tunnel.enter()
        stream = open_stream(tunnel, client)
        tunnel.pass_time(1.0)
        client.streams._streams[stream].send_credit = 20_000_000
        tunnel.master.streams(2)._streams[stream].receive_credit = 20_000_000
        data = bytes(range(256)) * 50_000
        client.streams.write(stream, data)
        tunnel.pass_time(2.0)
        assert received(tunnel, 2) == data

    def test_after_the_end_nothing_new_is_sealed(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        client.streams.open("web")
        client.close()
        sent = b"".join(client.data_to_send())
        assert sent
        client.data_sent(len(sent))
        assert list(client.data_to_send()) == []

    def test_after_the_end_no_slot_is_kept(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        stream = client.streams.open("web")
        tunnel.run()
        tunnel.master.streams(2).accept(stream)
        tunnel.run()
        client.streams.write(stream, bytes(100_000))
        tunnel.pass_time(1.0)
        assert client.pool._free
        client.streams.write(stream, bytes(100_000))
        client.close()
        tunnel.run()
        assert client.pool._free == []


class TestLink:
    """What the link's end means, and how it goes on with another one."""

    def test_its_end_is_no_goodbye_and_not_the_end(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.cut(2)
        (lost,) = tunnel.events_of(client, LinkLost)
        assert (type(lost.error), lost.retry_after_seconds) == (LinkBroken, 0.0)
        client.receive_eof(tunnel.now)
        assert list(client.events()) == []
        assert client.link.closed
        assert not client.over
        assert client.session_id == tunnel.session_id

    def test_before_there_is_a_number_it_is_the_end(self, tunnel: MemoryTunnel) -> None:
        client = ClientMachine(
            tunnel.code, name="Ben", token_bytes=tunnel.random.randbytes, jitter=0.0
        )
        client.start(0.0)
        client.receive_eof(1.0)
        (failed,) = [e for e in client.events() if isinstance(e, ConnectionFailed)]
        assert isinstance(failed.error, CutOff)
        assert "start again" in str(failed.error)

    def test_nothing_goes_before_the_server_knows_who_it_is(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        stream = open_stream(tunnel, client)
        client.limit_ahead(10_000)
        woken: list[float] = []
        client.link.wake = lambda: woken.append(tunnel.now)
        tunnel.cut(2)
        client.streams.write(stream, bytes(1_000))
        client.reconnected(tunnel.now)
        # Who runs the link is told of work on the new one too.
        client.link.wake()
        assert woken
        assert client.link.outbox.limit_bytes == 10_000
        sent = b"".join(client.data_to_send())
        (header,) = heads(sent)
        assert header.kind is PacketType.REQUEST
        asked = request.decode_request(sent[HEADER_BYTES:])
        assert isinstance(asked, request.Resume)
        assert (asked.session_id, asked.member) == (tunnel.session_id, 2)
        tunnel.lines[2].up = True
        tunnel.run()
        assert received(tunnel, 2) == bytes(1_000)
        assert tunnel.events_of(client, LinkRestored)

    def test_a_link_that_breaks_while_it_resumes(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.pass_time(1.0)
        tunnel.cut(2)
        deadline = client.next_deadline()
        for _ in range(3):
            client.reconnected(tunnel.now)
            client.receive_eof(tunnel.now)
            tunnel.now += 10.0
        assert len(list(client.events())) == 3
        # Patience counts from when it was lost first.
        assert client.next_deadline() == deadline

    def test_a_resumption_that_nobody_answers_is_a_lost_link(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.cut(2)
        client.reconnected(tunnel.now)
        client.handle_timeout(tunnel.now + REQUEST_SECONDS)
        assert client.link.closed
        assert [type(event) for event in client.events()] == [LinkLost]
        assert not client.over

    def test_patience_has_an_end(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.pass_time(1.0)
        tunnel.cut(2)
        assert client.next_deadline() == tunnel.now + GIVE_UP_SECONDS
        client.handle_timeout(tunnel.now + GIVE_UP_SECONDS - 1.0)
        assert not client.over
        client.handle_timeout(tunnel.now + GIVE_UP_SECONDS)
        (failed,) = client.events()
        assert isinstance(failed.error, CutOff)
        assert client.over

    @pytest.mark.parametrize(
        "code", [ErrorCode.INTERNAL, ErrorCode.LIMIT, ErrorCode.BUSY, ErrorCode.TOO_LATE]
    )
    def test_what_a_new_link_mends_is_a_lost_link(
        self, tunnel: MemoryTunnel, code: ErrorCode
    ) -> None:
        client = tunnel.enter()
        report = request.encode(request.ErrorReport(code=code, text="no"))
        tunnel.deliver(2, from_server(PacketType.ERROR, report))
        (lost,) = tunnel.events_of(client, LinkLost)
        assert "no" in str(lost.error)
        assert not client.over

    @pytest.mark.parametrize("code", [ErrorCode.LIMIT, ErrorCode.BUSY])
    @pytest.mark.parametrize("who", [2, MASTER])
    def test_a_resumption_that_is_refused_for_now_is_tried_again(
        self, tunnel: MemoryTunnel, code: ErrorCode, who: int
    ) -> None:
        tunnel.enter()
        core = tunnel.lines[who].core
        tunnel.cut(who)
        core.reconnected(tunnel.now)
        (header,) = heads(b"".join(core.data_to_send()))
        report = request.encode(request.ErrorReport(code=code, text="no"))
        refusal = from_server(PacketType.ERROR, report, who, header.number)
        core.receive_data(memoryview(refusal), tunnel.now)
        assert [type(event) for event in core.events()] == [LinkLost]
        tunnel.resume(who)
        tunnel.run()
        assert len(tunnel.events_of(core, LinkRestored)) == 1
        assert not core.over

    def test_what_else_is_refused_for_now_is_a_lost_link_too(self, tunnel: MemoryTunnel) -> None:
        tunnel.enter()
        master = tunnel.master
        master._link.ask(request.Status(), tunnel.now)
        (header,) = heads(b"".join(master.data_to_send()))
        report = request.encode(request.ErrorReport(code=ErrorCode.BUSY, text="no"))
        tunnel.deliver(MASTER, from_server(PacketType.ERROR, report, MASTER, header.number))
        assert len(tunnel.events_of(master, LinkLost)) == 1
        assert not master.over

    def test_is_away_until_the_server_has_taken_the_new_one(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        found = [client.is_away]
        tunnel.cut(2)
        found.append(client.is_away)
        tunnel.resume(2)
        found.append(client.is_away)
        tunnel.run()
        found.append(client.is_away)
        assert found == [False, True, True, False]

    def test_what_goes_to_all_waits_for_it_and_for_room(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        master = tunnel.master
        found = [master._has_room()]
        master.link.outbox.append(bytes(master.link.outbox.limit_bytes))
        found.append(master._has_room())
        master.link.outbox.clear()
        tunnel.cut(MASTER)
        found.append(master._has_room())
        master.broadcast.write(7, b"to all", tunnel.now)
        assert list(master.data_to_send()) == []
        tunnel.resume(MASTER)
        tunnel.pass_time(1.0)
        found.append(master._has_room())
        assert found == [True, False, False, True]
        (came,) = tunnel.events_of(client, BroadcastReceived)
        assert bytes(came.data) == b"to all"

    def test_a_server_that_goes_says_for_how_long(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        going = from_server(PacketType.EVENT, request.encode(request.GoingAway(retry_after_s=4)))
        tunnel.deliver(2, going + from_server(PacketType.EVENT, b"not looked at"))
        (lost,) = tunnel.events_of(client, LinkLost)
        assert lost.retry_after_seconds == 4

    def test_resume_has_one_answer(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.cut(2)
        client.reconnected(tunnel.now)
        (header,) = heads(b"".join(client.data_to_send()))
        body = request.encode(request.Done())
        reply = from_server(PacketType.REPLY, body, number=header.number)
        client.receive_data(memoryview(reply), tunnel.now)
        (failed,) = [e for e in client.events() if isinstance(e, ConnectionFailed)]
        assert isinstance(failed.error, RemoteProtocolError)

    def test_what_was_told_is_told_again_behind_resume(self, tunnel: MemoryTunnel) -> None:
        tunnel.enter()
        tunnel.cut(MASTER)
        tunnel.master.kick(2)
        tunnel.master.reconnected(tunnel.now)
        (header,) = heads(b"".join(tunnel.master.data_to_send()))
        assert header.kind is PacketType.REQUEST
        tunnel.lines[MASTER].up = True
        tunnel.run()
        assert 2 not in tunnel.lines

    def test_what_stands_in_the_clear_is_dropped_meanwhile(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.cut(2)
        client.reconnected(tunnel.now)
        client._send_clear(PacketType.C3, MASTER, bytes(64), 1)
        # Before RESUMED the server would take it for the first packet of the new link.
        kinds = [header.kind for header in heads(b"".join(client.data_to_send()))]
        assert kinds == [PacketType.REQUEST]

    def test_all_its_packets_share_their_slots(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        slot = client.pool.allocate()
        client.pool.release(slot)
        tunnel.cut(2)
        tunnel.resume(2)
        assert client.pool.allocate() is slot

    def test_a_failure_is_told_once(self, tunnel: MemoryTunnel) -> None:
        tunnel.master._fail(SessionEnded("first"))
        tunnel.master._fail(SessionEnded("second"))
        (failed,) = tunnel.master.events()
        assert str(failed.error) == "first"

    def test_the_end_while_it_is_away(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        tunnel.cut(2)
        client.close()
        assert client.next_deadline() is None
        assert [type(event) for event in client.events()] == [SessionFinished]

    def test_a_member_that_returns_is_no_stranger(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        stream = open_stream(tunnel, client)
        peer = tunnel.master.peers[2]
        for round_ in range(5):
            tunnel.cut(2)
            tunnel.pass_time(500.0)
            tunnel.resume(2)
            tunnel.run()
            client.streams.write(stream, b"%d" % round_)
            tunnel.run()
        assert received(tunnel, 2) == b"01234"
        assert tunnel.master.peers[2] is peer
        # The same member on the same stream: nobody was asked again, nobody has left.
        assert len(tunnel.events_of(tunnel.master, ConsentAsked)) == 1
        assert tunnel.events_of(tunnel.master, MemberLeft) == []
        assert len(tunnel.events_of(tunnel.master, StreamOffered)) == 1
        assert len(tunnel.events_of(tunnel.master, MemberBack)) == 5


class TestPeers:
    @pytest.mark.parametrize("place", [16, 36, -1])
    def test_a_forged_packet_ends_the_pair(self, tunnel: MemoryTunnel, place: int) -> None:
        client = tunnel.enter()

        def forge(header: Header, packet: bytes) -> list[bytes]:
            changed = bytearray(packet)
            if header.sender != MASTER:
                changed[place] ^= 1
            return [bytes(changed)]

        tunnel.liar = forge
        client.streams.open("web")
        tunnel.run()
        tunnel.pass_time(GAP_SECONDS + 1.0)
        (failed,) = tunnel.events_of(tunnel.master, RunFailed)
        assert isinstance(failed.error, AuthenticationFailed | LimitExceeded)
        assert not tunnel.master.over

    def test_a_record_that_ends_the_peer_is_its_last(self, tunnel: MemoryTunnel) -> None:
        client = tunnel.enter()
        client.close("good night")
        tunnel.run()
        assert tunnel.events_of(tunnel.master, MemberLeft) == [MemberLeft(2, "good night", False)]
        assert not len(tunnel.master.peers)
        assert tunnel.events_of(client, SessionFinished) == [SessionFinished("good night")]


class TestEnd:
    @pytest.mark.parametrize("how", ["close", "the other's close", "error"])
    def test_erases_all_keys(self, tunnel: MemoryTunnel, how: str) -> None:
        client = tunnel.enter()
        tunnel.enter("Cleo")
        cores = [client] if how == "error" else [client, tunnel.master]
        peers = [peer for core in cores for peer in core.peers]
        if how == "close":
            client.close()
            tunnel.master.close()
        elif how == "error":
            tunnel.deliver(2, b"HTTP/1.1 502 Bad Gateway\r\n\r\n" * 2)
        else:
            tunnel.master.close()
        tunnel.run()
        for core in cores:
            assert core.over
            assert not len(core.peers)
            with pytest.raises(LocalProtocolError, match="erased"):
                core._resumption.ask(MASTER)
        assert len(peers) == (1 if how == "error" else 3)
        for peer in peers:
            with pytest.raises(LocalProtocolError, match="erased"):
                _ = peer.secrets.rejoin
            with pytest.raises(LocalProtocolError, match="erased"):
                peer.pair._sealer.advance()
            with pytest.raises(LocalProtocolError, match="erased"):
                peer.pair._opener.open_ack(memoryview(bytes(HEADER_BYTES + TAG_BYTES)), 0, 0)

    def test_what_is_sealed_already_still_goes_out(self, tunnel: MemoryTunnel) -> None:
        first, second = tunnel.enter("Ben"), tunnel.enter("Cleo")
        tunnel.master.close("good night")
        kinds = [header.kind for header in heads(b"".join(tunnel.master.data_to_send()))]
        assert kinds.count(PacketType.DATA) == 2
        tunnel.run()
        for client in (first, second):
            assert tunnel.events_of(client, SessionFinished) == [SessionFinished("good night")]


def test_the_key_is_shared_by_the_tests() -> None:
    assert shared_key() is shared_key()
