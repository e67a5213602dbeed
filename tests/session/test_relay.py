"""One link of the tunnel server, without its socket: who may send what to whom."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from porttunnel.errors import ErrorCode, RemoteProtocolError
from porttunnel.session import relay, request
from porttunnel.session.packet import (
    ALL_MEMBERS,
    FLAG_GROUP,
    FLAG_RESYNC,
    HEADER_BYTES,
    NO_MEMBER,
    SERVER,
    PacketType,
    decode_header,
    encode_header_into,
    encode_packet,
)
from porttunnel.session.relay import (
    TRANSITIONS,
    AnswerReady,
    ConnectionFailed,
    FirstPacketReceived,
    GoodbyeReceived,
    LinkEvent,
    LinkState,
    RelayLink,
    RequestReceived,
    encode_error,
    refusal_of,
)

CREATE = request.Create(lifetime_s=60, max_clients=1, join_window_s=60)
JOIN = request.Join(number=12_345)
RESUME = request.Resume(session_id=bytes(16), member=2, token=bytes(32))
BODIES = {PacketType.C1: 1_572, PacketType.M2: 1_419, PacketType.C3: 64, PacketType.M4: 32}


def packet(kind: PacketType, sender: int, target: int, size: int = 0, flags: int = 0) -> bytes:
    body = bytes(size or BODIES.get(kind, 16))
    head = bytearray(HEADER_BYTES)
    encode_header_into(head, kind, sender, target, len(body), flags=flags)
    return bytes(head) + body


def asks(message: Any, sender: int = NO_MEMBER, number: int = 1) -> bytes:
    body = request.encode(message)
    return encode_packet(PacketType.REQUEST, sender, SERVER, body, number=number)


def receive(link: RelayLink, data: bytes, now: float = 1.0) -> list[Any]:
    items = []
    for item in link.receive_data(memoryview(data), now):
        if isinstance(item, relay.Run):
            items.append((item.target, item.sealed, bytes(item.packets)))
        else:
            items.append(item)
    return items


def member_link(member: int) -> RelayLink:
    link = RelayLink(0.0)
    assert receive(link, asks(JOIN)) == [RequestReceived(1, JOIN)]
    link.request_answered()
    link.admit(member, resumed=False)
    assert (link.state, link.member) == (LinkState.MEMBER, member)
    return link


def error_code(items: list[Any]) -> ErrorCode:
    """The code of the one failure among the items, which must be the last."""
    *before, last = items
    assert not any(isinstance(item, ConnectionFailed) for item in before)
    assert isinstance(last, ConnectionFailed)
    head = decode_header(last.goodbye)
    assert (head.kind, head.sender, head.number) == (PacketType.ERROR, SERVER, 0)
    report = request.decode_error(last.goodbye[HEADER_BYTES:])
    assert report.code is last.error.code
    assert str(last.error).startswith(report.text)
    return report.code


# States


def test_the_transition_table_is_the_whole_story() -> None:
    reached, new = set(), {LinkState.NEW}
    while new:
        reached |= new
        new = {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached
    assert reached == set(LinkState)
    assert {event for _, event in TRANSITIONS} == set(LinkEvent)
    assert all(TRANSITIONS[state, LinkEvent.ENDED] is LinkState.CLOSED for state in LinkState)


@pytest.mark.parametrize("message", [CREATE, JOIN, RESUME])
def test_a_stranger_may_ask_to_come_in(message: Any) -> None:
    link = RelayLink(0.0)
    assert (link.state, link.member) == (LinkState.NEW, NO_MEMBER)
    assert receive(link, asks(message, number=7)) == [RequestReceived(7, message)]
    assert link.state is LinkState.PENDING


def test_who_resumes_may_say_its_number() -> None:
    assert receive(RelayLink(0.0), asks(RESUME, sender=2)) == [RequestReceived(1, RESUME)]


@pytest.mark.parametrize(("message", "sender"), [(RESUME, 3), (JOIN, 2), (CREATE, 1)])
def test_a_stranger_may_not_take_a_name(message: Any, sender: int) -> None:
    link = RelayLink(0.0)
    assert error_code(receive(link, asks(message, sender))) is ErrorCode.NOT_ALLOWED


def test_a_refused_stranger_may_try_again() -> None:
    link = RelayLink(0.0)
    receive(link, asks(JOIN))
    link.request_answered()
    link.refuse(5.0)
    assert link.state is LinkState.NEW
    assert link.next_deadline() == 5.0 + 15.0
    assert receive(link, asks(JOIN, number=2)) == [RequestReceived(2, JOIN)]


@pytest.mark.parametrize("message", [request.Leave(), request.Status(), request.Kick(member=2)])
def test_a_stranger_may_ask_nothing_else(message: Any) -> None:
    link = RelayLink(0.0)
    assert error_code(receive(link, asks(message))) is ErrorCode.UNEXPECTED
    assert link.state is LinkState.CLOSED


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        *itertools.product(set(PacketType) - {PacketType.REQUEST}, [1, 2, ALL_MEMBERS]),
        *((kind, SERVER) for kind in (PacketType.DATA, PacketType.STORE, PacketType.PONG)),
        (PacketType.REQUEST, 1),
    ],
)
def test_strangers_and_pending_links_send_nothing_on(kind: PacketType, target: int) -> None:
    size = 8 if kind in (PacketType.PING, PacketType.PONG) else 0
    for pending in (False, True):
        link = RelayLink(0.0)
        if pending:
            receive(link, asks(JOIN))
        items = receive(link, packet(kind, NO_MEMBER, target, size))
        assert error_code(items) is ErrorCode.UNEXPECTED


def test_a_second_request_must_wait_for_the_first_answer() -> None:
    link = RelayLink(0.0)
    items = receive(link, asks(JOIN) + asks(JOIN, number=2))
    assert items[0] == RequestReceived(1, JOIN)
    assert error_code(items) is ErrorCode.UNEXPECTED


def test_a_stranger_is_refused_by_its_header_before_its_body_comes() -> None:
    link = RelayLink(0.0)
    data = packet(PacketType.DATA, NO_MEMBER, 1, 65_000)
    assert receive(link, data[: HEADER_BYTES - 1]) == []
    items = receive(link, data[HEADER_BYTES - 1 : HEADER_BYTES])
    assert error_code(items) is ErrorCode.UNEXPECTED


def test_a_pending_request_may_come_in_pieces() -> None:
    link = RelayLink(0.0)
    data = asks(JOIN)
    for place in range(len(data) - 1):
        assert receive(link, data[place : place + 1]) == []
    assert receive(link, data[-1:]) == [RequestReceived(1, JOIN)]


# Members

MASTER_MAY = {PacketType.M2, PacketType.M4, PacketType.DATA, PacketType.ACK, PacketType.ERROR}
CLIENT_MAY = {PacketType.C1, PacketType.C3, PacketType.DATA, PacketType.ACK, PacketType.ERROR}
SEALED = {PacketType.DATA, PacketType.ACK}
RELAYED = set(PacketType) - {PacketType.PING, PacketType.PONG}


@pytest.mark.parametrize("kind", sorted(RELAYED))
@pytest.mark.parametrize(
    ("member", "target"),
    [(1, 2), (1, 0xFFFD), (1, 1), (1, NO_MEMBER), (1, ALL_MEMBERS), (2, 1), (2, 3), (2, 2)],
)
def test_who_may_send_what_to_whom(kind: PacketType, member: int, target: int) -> None:
    link = member_link(member)
    data = packet(kind, member, target)
    allowed = (
        (kind in MASTER_MAY and 2 <= target <= 0xFFFD)
        if member == 1
        else (kind in CLIENT_MAY and target == 1)
    )
    items = receive(link, data)
    if allowed:
        assert items == [(target, kind in SEALED, data)]
    else:
        assert error_code(items) is ErrorCode.NOT_ALLOWED


@pytest.mark.parametrize(
    ("member", "target"), [(1, 2), (1, ALL_MEMBERS), (2, 1), (2, ALL_MEMBERS)]
)
def test_only_the_master_speaks_to_all(member: int, target: int) -> None:
    data = packet(PacketType.DATA, member, target, 100, FLAG_GROUP)
    items = receive(member_link(member), data + data)
    if (member, target) == (1, ALL_MEMBERS):
        assert items == [(ALL_MEMBERS, True, data + data)]
    else:
        assert error_code(items) is ErrorCode.NOT_ALLOWED


@pytest.mark.parametrize(
    "kind",
    sorted(set(PacketType) - {PacketType.REQUEST, PacketType.STORE, PacketType.ERROR}),
)
@pytest.mark.parametrize("member", [1, 2])
def test_what_no_member_may_say_to_the_server(kind: PacketType, member: int) -> None:
    if kind is PacketType.PING:
        data = packet(kind, member, 1 if member == 2 else 2, 8)
    else:
        data = packet(kind, member, SERVER, 8 if kind is PacketType.PONG else 0)
    assert error_code(receive(member_link(member), data)) is ErrorCode.NOT_ALLOWED


def test_nobody_speaks_for_another() -> None:
    for member, sender in ((2, 3), (2, 1), (1, 2), (2, NO_MEMBER)):
        data = packet(PacketType.DATA, sender, 1 if member == 2 else 2)
        assert error_code(receive(member_link(member), data)) is ErrorCode.NOT_ALLOWED


def test_a_run_stops_at_another_sender() -> None:
    good = packet(PacketType.DATA, 2, 1, 500)
    items = receive(member_link(2), good + good + packet(PacketType.DATA, 3, 1, 500))
    assert items[0] == (1, True, good + good)
    assert error_code(items) is ErrorCode.NOT_ALLOWED


def test_runs_keep_their_order_and_hold_whole_packets() -> None:
    two = packet(PacketType.DATA, 1, 2, 60_000) + packet(PacketType.ACK, 1, 2, 0, FLAG_RESYNC)
    three = packet(PacketType.DATA, 1, 3, 100)
    link = member_link(1)
    assert receive(link, two + three + three + two[:70]) == [
        (2, True, two),
        (3, True, three + three),
    ]
    assert receive(link, two[70:] + three) == [
        (2, True, two[: HEADER_BYTES + 60_000]),
        (2, True, two[HEADER_BYTES + 60_000 :]),
        (3, True, three),
    ]


def test_a_members_unfinished_packet_is_checked_too() -> None:
    link = member_link(2)
    data = packet(PacketType.DATA, 2, 3, 65_000)
    assert error_code(receive(link, data[:100])) is ErrorCode.NOT_ALLOWED


def test_what_is_no_packet_ends_the_link() -> None:
    link = member_link(2)
    good = packet(PacketType.DATA, 2, 1)
    items = receive(link, good + b"GET / HTTP/1.1\r\nHost: example\r\n\r\n" + bytes(40))
    assert items[0] == (1, True, good)
    assert error_code(items) is ErrorCode.MALFORMED
    assert receive(link, good) == []


# Requests of members


def test_requests_are_reported_in_order() -> None:
    link = member_link(1)
    data = asks(request.Status(), 1, 5) + asks(request.Lock(locked=True), 1, 6)
    assert receive(link, data) == [
        RequestReceived(5, request.Status()),
        RequestReceived(6, request.Lock(locked=True)),
    ]


@pytest.mark.parametrize("message", [CREATE, JOIN, RESUME])
def test_a_member_is_in_already(message: Any) -> None:
    assert error_code(receive(member_link(2), asks(message, 2))) is ErrorCode.UNEXPECTED


def test_sixteen_requests_may_wait() -> None:
    link = member_link(2)
    for number in range(16):
        receive(link, asks(request.Status(), 2, number))
    link.request_answered()
    assert receive(link, asks(request.Status(), 2, 16)) == [RequestReceived(16, request.Status())]
    assert error_code(receive(link, asks(request.Status(), 2, 17))) is ErrorCode.LIMIT


def test_a_malformed_request_ends_the_link() -> None:
    for body in (b"\xc1", b"\x80", request.encode(JOIN) + b"x", b"\x91" * 4_000):
        data = encode_packet(PacketType.REQUEST, NO_MEMBER, SERVER, body)
        assert error_code(receive(RelayLink(0.0), data)) is ErrorCode.MALFORMED


def test_who_may_ask_what() -> None:
    for message in (request.Kick(member=3), request.Lock(locked=True), request.Close()):
        assert refusal_of(1, message) is None
        refused = refusal_of(2, message)
        assert refused is not None
        assert refused.code is ErrorCode.NOT_ALLOWED
    assert refusal_of(2, request.Leave()) is None
    assert refusal_of(1, request.Leave()) is not None
    assert refusal_of(1, request.Status()) is refusal_of(2, request.Status()) is None


def test_files_are_refused_and_the_link_stays() -> None:
    link = member_link(2)
    (answer,) = receive(link, packet(PacketType.STORE, 2, SERVER, 20))
    assert isinstance(answer, AnswerReady)
    assert decode_header(answer.packet).target == 2
    assert request.decode_error(answer.packet[HEADER_BYTES:]).code is ErrorCode.NOT_ALLOWED
    assert link.state is LinkState.MEMBER


# Pings, goodbyes, the first packet


@pytest.mark.parametrize("sender", [NO_MEMBER, 2])
def test_a_ping_is_echoed(sender: int) -> None:
    ping = encode_packet(PacketType.PING, sender, SERVER, b"12345678", number=9)
    pong = encode_packet(PacketType.PONG, SERVER, 2, b"12345678", number=9)
    assert receive(member_link(2), ping) == [AnswerReady(pong)]


def test_a_stranger_may_ping() -> None:
    ping = encode_packet(PacketType.PING, NO_MEMBER, SERVER, b"12345678")
    pong = encode_packet(PacketType.PONG, SERVER, NO_MEMBER, b"12345678")
    assert receive(RelayLink(0.0), ping) == [AnswerReady(pong)]


def test_a_ping_in_another_name_is_refused() -> None:
    ping = encode_packet(PacketType.PING, 3, SERVER, b"12345678")
    assert error_code(receive(member_link(2), ping)) is ErrorCode.NOT_ALLOWED


@pytest.mark.parametrize("admitted", [False, True])
def test_a_goodbye_ends_the_link_without_an_answer(admitted: bool) -> None:
    link = member_link(2) if admitted else RelayLink(0.0)
    goodbye = encode_packet(PacketType.ERROR, link.member, SERVER, b"whatever")
    unfinished = packet(PacketType.C1, 7, 7)[:50]
    assert receive(link, goodbye + unfinished) == [GoodbyeReceived()]
    assert link.state is LinkState.CLOSED


def test_after_the_end_nothing_is_looked_at() -> None:
    link = member_link(2)
    assert error_code(receive(link, b"no packets " * 10)) is ErrorCode.MALFORMED
    for more in (b"nor this", packet(PacketType.C1, 2, 1), b"x" * 100):
        assert receive(link, more) == []


def test_behind_a_goodbye_anything_may_stand() -> None:
    link = member_link(2)
    goodbye = encode_packet(PacketType.ERROR, 2, SERVER, b"whatever")
    assert receive(link, goodbye + b"no packets " * 10) == [GoodbyeReceived()]


def test_the_first_packet_after_a_resume_is_reported_once() -> None:
    link = RelayLink(0.0)
    receive(link, asks(RESUME))
    link.request_answered()
    link.admit(2, resumed=True)
    assert (link.state, link.member) == (LinkState.RESUMED, 2)
    # A ping tells nothing: it may have been sent before RESUMED came.
    ping = encode_packet(PacketType.PING, NO_MEMBER, SERVER, b"12345678")
    assert not any(isinstance(item, FirstPacketReceived) for item in receive(link, ping))
    data = packet(PacketType.ACK, 2, 1, 0, FLAG_RESYNC)
    assert receive(link, data) == [FirstPacketReceived(), (1, True, data)]
    assert receive(link, data) == [(1, True, data)]


def test_nothing_is_read_on_after_the_end_in_the_middle() -> None:
    link = member_link(1)
    data = packet(PacketType.DATA, 1, 2) + packet(PacketType.DATA, 1, 3)
    items = link.receive_data(memoryview(data), 1.0)
    next(items)
    link.end()
    assert list(items) == []


# Deadlines


def test_a_stranger_asks_in_time_or_goes() -> None:
    link = RelayLink(100.0)
    assert link.next_deadline() == 115.0
    # Dripping bytes don't help.
    receive(link, asks(JOIN)[:20], 114.0)
    assert link.next_deadline() == 115.0
    assert link.handle_timeout(114.9) is None
    failed = link.handle_timeout(115.0)
    assert error_code([failed]) is ErrorCode.TOO_LATE
    assert link.next_deadline() is None
    assert link.handle_timeout(200.0) is None


def test_silence_ends_a_link() -> None:
    link = member_link(2)
    receive(link, packet(PacketType.DATA, 2, 1), 500.0)
    assert link.next_deadline() == 560.0
    assert link.handle_timeout(559.0) is None
    assert error_code([link.handle_timeout(560.0)]) is ErrorCode.TOO_LATE


def test_a_pending_link_must_ping_too() -> None:
    link = RelayLink(0.0)
    receive(link, asks(JOIN), 3.0)
    assert link.next_deadline() == 63.0


def test_a_failure_from_outside_names_the_member() -> None:
    failed = member_link(5).fail(RemoteProtocolError("x" * 500, ErrorCode.LIMIT))
    assert decode_header(failed.goodbye).target == 5
    assert error_code([failed]) is ErrorCode.LIMIT


def test_an_error_packet_answers_a_request() -> None:
    data = encode_error(2, ErrorCode.NO_SUCH_NUMBER, "text", 12)
    head = decode_header(data)
    assert (head.kind, head.sender, head.target, head.number) == (PacketType.ERROR, 0, 2, 12)
    report = request.decode_error(data[HEADER_BYTES:])
    assert (report.code, report.text) == (ErrorCode.NO_SUCH_NUMBER, "text")


def test_the_longest_text_of_any_script_fits() -> None:
    for letter in ("a", "ß", "語", "𝕏"):
        data = encode_error(2, ErrorCode.HANDSHAKE_FAILED, letter * 300)
        assert decode_header(data).length == len(data) - HEADER_BYTES
