"""A member's link: requests and answers, pings, the goodbye."""

from __future__ import annotations

import pytest

from porttunnel.errors import (
    ErrorCode,
    LinkBroken,
    NoSuchNumber,
    PorttunnelError,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.session import request
from porttunnel.session.link import (
    MAX_TOLD,
    PING_BUSY_SECONDS,
    PING_JITTER_SECONDS,
    PING_SECONDS,
    REQUEST_SECONDS,
    ServerLink,
    error_from_report,
)
from porttunnel.session.outbox import SEND_AHEAD_BYTES, SlotPool
from porttunnel.session.packet import (
    HEADER_BYTES,
    NO_MEMBER,
    SERVER,
    Header,
    PacketType,
    decode_header,
    encode_packet,
)
from porttunnel.session.path import MAX_MISSED_PINGS
from tests.session.pairs import drain
from tests.session.test_pair import cut

IDLE_SECONDS = PING_SECONDS + PING_JITTER_SECONDS / 2


@pytest.fixture
def link() -> ServerLink:
    made = ServerLink(SlotPool(), 0.5)
    made.start(0.0)
    return made


def sent(link: ServerLink) -> list[tuple[Header, bytes]]:
    return [(decode_header(p), p[HEADER_BYTES:]) for p in cut(drain(link.outbox))]


def receive(link: ServerLink, data: bytes, now: float = 0.0) -> list[Header]:
    return [header for header, _ in link.receive(memoryview(data), now, SERVER)]


def answer_to(number: int) -> Header:
    return decode_header(
        encode_packet(PacketType.REPLY, SERVER, 2, request.encode(request.Done()), number=number)
    )


class TestRequests:
    def test_are_numbered_and_answered(self, link: ServerLink) -> None:
        link.ask(request.Join(number=48213), 0.0)
        link.member = 2
        link.ask(request.Status(), 0.0)
        (join, join_body), (status, _) = sent(link)
        assert (join.kind, join.sender, join.target, join.number) == (
            PacketType.REQUEST,
            NO_MEMBER,
            SERVER,
            1,
        )
        assert request.decode_request(join_body) == request.Join(number=48213)
        assert (status.sender, status.number) == (2, 2)
        assert link.answered(answer_to(2)) == request.Status()
        assert link.answered(answer_to(1)) == request.Join(number=48213)
        for number in (0, 1, 2, 3):
            with pytest.raises(RemoteProtocolError):
                link.answered(answer_to(number))

    def test_nobody_waits_for_what_is_only_told(self, link: ServerLink) -> None:
        link.tell(request.Kick(member=2))
        link.ask(request.Status(), 0.0)
        assert [header.number for header, _ in sent(link)] == [1, 2]
        assert link.nobody_waits(answer_to(1))
        assert not link.nobody_waits(answer_to(1))
        assert not link.nobody_waits(answer_to(2))
        link.handle_timeout(1.0, False)

    def test_what_is_told_does_not_flood_the_server(self, link: ServerLink) -> None:
        for member in range(2, 2 + MAX_TOLD + 2):
            link.tell(request.Kick(member=member))
        numbers = [header.number for header, _ in sent(link)]
        assert len(numbers) == MAX_TOLD
        for number in numbers:
            assert link.nobody_waits(answer_to(number))
        later = [header.number for header, _ in sent(link)]
        assert len(later) == 2
        assert link.nobody_waits(answer_to(later[0]))
        assert sent(link) == []

    def test_the_last_word_goes_at_once(self, link: ServerLink) -> None:
        for member in range(2, 2 + MAX_TOLD + 2):
            link.tell(request.Kick(member=member))
        sent(link)
        link.tell_last(request.Close())
        ((_, body),) = sent(link)
        assert request.decode_request(body) == request.Close()
        assert link.untold == [request.Close()]

    def test_what_a_lost_link_did_not_get_through_is_told_on_the_next(
        self, link: ServerLink
    ) -> None:
        kicks = [request.Kick(member=member) for member in range(2, 2 + 2 * MAX_TOLD)]
        for kick in kicks:
            link.tell(kick)
        answered = sent(link)[0][0].number
        assert link.nobody_waits(answer_to(answered))
        assert link.untold == kicks[1:]
        link.close()
        assert sent(link) == []
        link.tell(request.Lock(locked=True))
        assert link.untold == [*kicks[1:], request.Lock(locked=True)]
        new = ServerLink(SlotPool(), 0.0)
        new.hold(link.untold)
        new.tell(request.Close())
        # Nothing but RESUME goes before the server knows whose link this is.
        assert sent(new) == []
        new.release()
        told = []
        while messages := sent(new):
            for header, body in messages:
                told.append(request.decode_request(body))
                assert new.nobody_waits(answer_to(header.number))
        assert told == [*kicks[1:], request.Lock(locked=True), request.Close()]
        assert new.untold == []
        new.release()
        assert sent(new) == []

    def test_the_answer_has_its_time(self, link: ServerLink) -> None:
        link.ask(request.Status(), 1.0)
        link.ask(request.Status(), 5.0)
        assert link.next_deadline(False) == 1.0 + REQUEST_SECONDS
        link.answered(answer_to(1))
        assert link.next_deadline(False) == min(5.0 + REQUEST_SECONDS, IDLE_SECONDS)
        link.handle_timeout(5.0 + REQUEST_SECONDS - 0.1, False)
        with pytest.raises(LinkBroken, match="does not answer"):
            link.handle_timeout(5.0 + REQUEST_SECONDS, False)

    def test_counts_also_before_the_link_is_there(self) -> None:
        link = ServerLink(SlotPool(), 0.0)
        assert link.next_deadline(False) is None
        link.handle_timeout(1e9, False)
        link.ask(request.Status(), 1.0)
        assert link.next_deadline(False) == 1.0 + REQUEST_SECONDS
        link.handle_timeout(2.0, False)


class TestReceiving:
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_gives_packets_and_deals_with_pings(self, link: ServerLink, size: int) -> None:
        link.member = 2
        packets = (
            encode_packet(PacketType.PING, SERVER, 2, b"12345678")
            + encode_packet(PacketType.EVENT, SERVER, 2, b"x")
            + encode_packet(PacketType.PONG, SERVER, 2, b"12345678")
            + encode_packet(PacketType.M4, 1, 2, bytes(32))
        )
        found = [
            header.kind
            for start in range(0, len(packets), size)
            for header in receive(link, packets[start : start + size])
        ]
        assert found == [PacketType.EVENT, PacketType.M4]
        ((pong, body),) = sent(link)
        assert (pong.kind, pong.sender, pong.target) == (PacketType.PONG, 2, SERVER)
        assert body == b"12345678"

    def test_a_flood_of_pings_makes_no_queue(self, link: ServerLink) -> None:
        flood = encode_packet(PacketType.PING, SERVER, 2, bytes(8)) * 20_000
        assert receive(link, flood) == []
        assert SEND_AHEAD_BYTES <= link.outbox.waiting_bytes < SEND_AHEAD_BYTES + 100

    def test_nothing_counts_after_the_goodbye(self, link: ServerLink) -> None:
        event = encode_packet(PacketType.EVENT, SERVER, 2, b"x")
        found = []
        for header, _ in link.receive(memoryview(event * 3), 0.0, SERVER):
            found.append(header)
            link.say_goodbye()
        assert len(found) == 1
        link.say_goodbye()
        ((header, body),) = sent(link)
        assert (header.kind, header.target) == (PacketType.ERROR, SERVER)
        assert request.decode_error(body).code is ErrorCode.UNEXPECTED

    def test_what_is_no_packet_is_refused(self, link: ServerLink) -> None:
        with pytest.raises(RemoteProtocolError):
            receive(link, b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3)


class TestSilence:
    def test_who_was_idle_and_then_sends_has_missed_nothing(self, link: ServerLink) -> None:
        now = PING_SECONDS
        assert link.next_deadline(True) is not None
        link.handle_timeout(now, True)
        assert link.next_deadline(True) == now + PING_BUSY_SECONDS
        link.handle_timeout(now, True)
        assert [header.kind for header, _ in sent(link)] == [PacketType.PING]

    @pytest.mark.parametrize(("busy", "patience"), [(False, 17.5), (True, 5.0)])
    def test_is_broken_by_pings_and_ends_the_link(
        self, link: ServerLink, busy: bool, patience: float
    ) -> None:
        assert patience == (PING_BUSY_SECONDS if busy else IDLE_SECONDS)
        for count in range(1, MAX_MISSED_PINGS + 1):
            assert link.next_deadline(busy) == count * patience
            link.handle_timeout(count * patience - 0.1, busy)
            assert sent(link) == []
            link.handle_timeout(count * patience, busy)
            ((ping, _),) = sent(link)
            assert (ping.kind, ping.target) == (PacketType.PING, SERVER)
        with pytest.raises(LinkBroken, match="dead"):
            link.handle_timeout((MAX_MISSED_PINGS + 1) * patience, busy)

    def test_any_bytes_end_it(self, link: ServerLink) -> None:
        link.handle_timeout(IDLE_SECONDS, False)
        receive(link, b"P", 20.0)
        assert link.next_deadline(False) == 20.0 + IDLE_SECONDS


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (ErrorCode.NO_SUCH_NUMBER, NoSuchNumber),
        (ErrorCode.SESSION_ENDED, SessionEnded),
        (ErrorCode.NOT_ALLOWED, RemoteProtocolError),
        (ErrorCode.TOO_LATE, LinkBroken),
        (ErrorCode.LIMIT, LinkBroken),
        (ErrorCode.BUSY, LinkBroken),
        (ErrorCode.INTERNAL, LinkBroken),
        (ErrorCode.REPLACED, LinkBroken),
    ],
)
def test_what_the_server_reports_is_typed(code: ErrorCode, error: type[PorttunnelError]) -> None:
    made = error_from_report(request.ErrorReport(code=code, text="what it says"))
    assert type(made) is error
    if isinstance(made, RemoteProtocolError):
        assert made.code is code
    if type(made) in (RemoteProtocolError, LinkBroken):
        assert "what it says" in str(made)


@pytest.mark.parametrize(
    "code", [ErrorCode.LIMIT, ErrorCode.BUSY, ErrorCode.TOO_LATE, ErrorCode.INTERNAL]
)
def test_what_is_refused_would_be_refused_again(code: ErrorCode) -> None:
    report = request.ErrorReport(code=code, text="too many of yours")
    made = error_from_report(report, answers=True)
    assert isinstance(made, RemoteProtocolError)
    assert made.code is code
    assert "too many of yours" in str(made)


@pytest.mark.parametrize(
    ("message", "is_final"),
    [
        (request.Create(lifetime_s=60, max_clients=1, join_window_s=0), True),
        (request.Join(number=48213), True),
        (request.Resume(session_id=bytes(16), member=2, token=bytes(32)), False),
        (request.Status(), False),
    ],
)
def test_only_a_refused_beginning_is_final(
    link: ServerLink, message: request.Request, is_final: bool
) -> None:
    link.ask(message, 0.0)
    assert link.is_asked(answer_to(1)) is is_final
    # What answers nothing of ours is about the link.
    assert not link.is_asked(answer_to(2))
