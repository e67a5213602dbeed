"""The master's book of clients: who joins, who is in, and the group key that turns with them."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import LocalProtocolError, PorttunnelError
from porttunnel.keys.primitives import SigningKey
from porttunnel.keys.sealing import Opener
from porttunnel.session import record
from porttunnel.session.event import PathKind
from porttunnel.session.joiner import CONSENT_SECONDS, INTRODUCTION_SECONDS, Joiner, JoinerState
from porttunnel.session.member_book import (
    GROUP_KEY_BYTES,
    MAX_SERVICES_BYTES,
    SERVICE_OVERHEAD_BYTES,
    MemberBook,
)
from porttunnel.session.outbox import SlotPool
from porttunnel.session.packet import FLAG_GROUP, HEADER_BYTES, MASTER, decode_header
from porttunnel.session.path import Path
from porttunnel.session.peer import Peer
from porttunnel.session.peer_book import PeerBook
from tests.keys.runs import SESSION_ID, make_client, make_master

WEB = record.Service(name="web", kind="tcp")


class Office:
    """A book with its peers; what each client is told is opened and read here."""

    def __init__(self, *, opened: bool = True) -> None:
        self.pool = SlotPool()
        self.link = Path(PathKind.RELAY, self.pool)
        self.link.member = MASTER
        self.events: list[Any] = []
        self.group: list[bytes] = []
        self.has_room = True
        self.keys = 0
        self.openers: dict[int, Opener] = {}
        self.told: dict[int, list[record.Control]] = {}
        self.peers = PeerBook(self.link, self.events, self.ignore, self.fail)
        self.book = MemberBook(
            name="Anna",
            services=(WEB,),
            signing_key=SigningKey.generate(),
            token_bytes=self.draw,
            peers=self.peers,
            events=self.events,
            send_group=lambda packet: self.group.append(bytes(packet)),
            has_room=lambda: self.has_room,
        )
        if opened:
            self.book.open(SESSION_ID)

    @staticmethod
    def ignore(_peer: Peer, _payload: memoryview, _now: float) -> None:
        raise AssertionError("no client says anything here")

    @staticmethod
    def fail(_peer: Peer, error: PorttunnelError) -> None:
        raise error

    def draw(self, count: int) -> bytes:
        self.keys += 1
        return self.keys.to_bytes(count)

    def begin(self, member: int, state: JoinerState = JoinerState.DECIDING) -> Joiner:
        client = make_client(member=member)
        master = make_master(client.c1, member=member)
        finished = master.receive_c3(client.receive_m2(master.m2).c3)
        self.openers[member] = Opener(finished.established.master_to_client)
        peer = Peer(
            MASTER,
            member,
            finished.established,
            pool=self.pool,
            path=self.link,
            events=self.events,
            wants_turn=self.peers.want_turn,
        )
        self.peers.add(peer)
        joiner = Joiner(peer, name=f"client {member}")
        joiner.enter(state, 100.0)
        self.book.begin(joiner)
        self.told[member] = []
        return joiner

    def enter(self, member: int) -> Joiner:
        joiner = self.begin(member)
        self.book.admit(joiner, 200.0)
        return joiner

    def read(self) -> None:
        """Take what goes to the clients, packet by packet."""
        while self.link.turns or self.link.outbox.waiting_bytes:
            self.peers.take_turns(self.link)
            data = b"".join(self.link.outbox.views())
            self.link.outbox.sent(len(data))
            while data:
                header = decode_header(data)
                end = HEADER_BYTES + header.length
                packet, data = memoryview(bytearray(data[:end])), data[end:]
                self.take(header.target, packet, header.epoch, header.number)

    def take(self, member: int, packet: memoryview, generation: int, number: int) -> None:
        records = self.openers[member].open_data(packet, generation, number)
        while records:
            kind, stream, length = record.RECORD_HEADER.unpack_from(records)
            assert (kind, stream) == (record.RecordKind.CONTROL, record.CONTROL_STREAM)
            start, end = record.RECORD_HEADER.size, record.RECORD_HEADER.size + length
            self.told[member].append(record.decode_control(records[start:end]))
            records = records[end:]

    def taken(self, member: int) -> list[record.Control]:
        """What a client was told since the last call."""
        self.read()
        taken, self.told[member] = self.told[member], []
        return taken


class TestWho:
    def test_joins_first_and_is_in_then(self) -> None:
        office = Office()
        book = office.book
        joiner = office.begin(2)
        assert book.find(2) is book.joining(2) is book.deciding(2) is joiner
        assert book.admitted(2) is None
        before = joiner.peer.streams.admitted
        book.admit(joiner, 200.0)
        assert book.find(2) is joiner
        assert book.joining(2) is None
        assert book.admitted(2) is joiner.peer
        assert book.joiner_of(joiner.peer) is joiner
        assert (before, joiner.peer.streams.admitted) == (False, True)
        assert (joiner.state, joiner.deadline) == (JoinerState.MEMBER, None)
        other = office.begin(3)
        assert book.joiner_of(other.peer) is other
        assert list(book) == [other, joiner]

    @pytest.mark.parametrize("state", [JoinerState.COMPARING, JoinerState.INTRODUCING])
    def test_does_not_wait_for_our_user(self, state: JoinerState) -> None:
        office = Office()
        office.begin(2, state)
        office.enter(3)
        assert not office.book.is_deciding(2)
        for member in (2, 3, 4):
            with pytest.raises(LocalProtocolError, match="does not wait"):
                office.book.deciding(member)

    def test_nobody_is_there(self) -> None:
        book = Office().book
        assert [book.find(2), book.joining(2), book.admitted(2)] == [None] * 3
        assert list(book) == []


class TestEpoch:
    def test_turns_by_one_with_each_join_and_leave(self) -> None:
        office = Office()
        joiners = [office.enter(member) for member in (2, 3, 4)]
        office.book.remove(joiners[1])
        epochs = [told for told in office.taken(2) if isinstance(told, record.Epoch)]
        assert [epoch.epoch for epoch in epochs] == [2, 3, 4]
        # Fresh each time, and the same for all who are in.
        keys = [epoch.key for epoch in epochs]
        assert keys == [number.to_bytes(GROUP_KEY_BYTES) for number in (2, 3, 4)]
        assert [e.key for e in office.taken(4) if isinstance(e, record.Epoch)] == keys[2:]

    def test_who_comes_in_learns_it_from_welcome(self) -> None:
        office = Office()
        office.enter(2)
        office.enter(3)
        welcome, *others = office.taken(3)
        assert isinstance(welcome, record.Welcome)
        assert (welcome.name, welcome.services, welcome.epoch) == ("Anna", [WEB], 2)
        assert welcome.group_key == (2).to_bytes(GROUP_KEY_BYTES)
        assert [each.member for each in welcome.members] == [MASTER, 2, 3]
        assert others == []

    def test_the_others_have_the_key_before_they_hear_of_it(self) -> None:
        office = Office()
        office.enter(2)
        office.taken(2)
        office.enter(3)
        epoch, members = office.taken(2)
        assert isinstance(epoch, record.Epoch)
        assert isinstance(members, record.Members)
        assert [each.name for each in members.members] == ["Anna", "client 2", "client 3"]

    def test_who_never_was_in_turns_nothing(self) -> None:
        office = Office()
        office.enter(2)
        office.taken(2)
        joiner = office.begin(3)
        office.book.remove(joiner)
        assert office.taken(2) == []
        assert office.keys == 1

    def test_who_is_out_has_no_keys_any_more(self) -> None:
        office = Office()
        joiner = office.enter(2)
        office.book.remove(joiner)
        assert office.book.find(2) is None
        assert 2 not in office.peers
        with pytest.raises(LocalProtocolError, match="erased"):
            _ = joiner.peer.secrets.direct_client
        with pytest.raises(LocalProtocolError, match="erased"):
            joiner.peer.pair.seal_last(b"")
        office.book.remove(joiner)
        assert list(office.book) == []

    def test_what_is_broadcast_has_the_epochs_number(self) -> None:
        office = Office()
        first = office.enter(2)
        office.enter(3)
        broadcast = office.book.broadcast
        broadcast.write(1, b"for two", 300.0)
        broadcast.flush(300.0)
        office.book.remove(first)
        broadcast.write(1, b"for one", 300.0)
        broadcast.flush(300.0)
        headers = [decode_header(packet) for packet in office.group]
        assert [(h.epoch, h.number, h.flags) for h in headers] == [
            (2, 0, FLAG_GROUP),
            (3, 0, FLAG_GROUP),
        ]
        (told,) = [each for each in office.taken(3) if isinstance(each, record.Epoch)]
        assert told.previous_end == 1

    def test_a_broadcast_waits_for_the_link(self) -> None:
        office = Office()
        office.enter(2)
        office.has_room = False
        office.book.broadcast.write(1, b"later", 300.0)
        office.book.flush_broadcast(300.0)
        assert office.group == []
        office.has_room = True
        office.book.flush_broadcast(300.0)
        assert len(office.group) == 1

    def test_a_turn_without_a_broadcast_costs_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        office = Office()
        office.enter(2)
        flushed: list[float] = []
        monkeypatch.setattr(office.book.broadcast, "flush", flushed.append)
        office.book.flush_broadcast(300.0)
        assert flushed == []
        office.book.broadcast.write(1, b"to all", 301.0)
        office.book.flush_broadcast(301.0)
        assert flushed == [301.0]


class TestSession:
    def test_there_is_no_broadcast_before_it(self) -> None:
        office = Office(opened=False)
        assert office.book.next_deadline() is None
        before = office.book.may_broadcast
        office.book.flush_broadcast(300.0)
        with pytest.raises(LocalProtocolError, match="not open"):
            _ = office.book.broadcast
        office.book.open(SESSION_ID)
        assert (before, office.book.may_broadcast) == (False, True)
        assert office.book.broadcast.settled

    @pytest.mark.parametrize("opened", [True, False])
    def test_no_keys_are_left_behind_it(self, *, opened: bool) -> None:
        office = Office(opened=opened)
        joiner = office.begin(2, JoinerState.COMPARING)
        client = make_client(member=3)
        master = make_master(client.c1, member=3)
        joiner.established = master.receive_c3(client.receive_m2(master.m2).c3).established
        if opened:
            office.enter(4)
            office.book.broadcast.write(1, b"of nobody's any more", 100.0)
        office.book.close()
        assert joiner.established is None
        office.book.flush_broadcast(100.0)
        assert office.group == []


class TestTelling:
    def test_a_service_is_listed_once_and_for_the_next(self) -> None:
        office = Office()
        files = record.Service(name="files", kind="dir")
        for service in (WEB, files, files):
            office.book.add_service(service)
        office.enter(2)
        (welcome,) = office.taken(2)
        assert isinstance(welcome, record.Welcome)
        assert welcome.services == [WEB, files]

    def test_services_have_an_end_in_number(self) -> None:
        book = Office().book
        for number in range(1, record.MAX_SERVICES):
            book.add_service(record.Service(name=f"{number}", kind="tcp"))
        with pytest.raises(LocalProtocolError, match="too much"):
            book.add_service(record.Service(name="more", kind="tcp"))

    def test_services_have_an_end_in_bytes(self) -> None:
        book = Office().book
        each = 256 + SERVICE_OVERHEAD_BYTES
        for number in range((MAX_SERVICES_BYTES - len("web") - SERVICE_OVERHEAD_BYTES) // each):
            book.add_service(record.Service(name=chr(0x1F300 + number) * 64, kind="tcp"))
        with pytest.raises(LocalProtocolError, match="too much"):
            book.add_service(record.Service(name=chr(0x1F500) * 64, kind="tcp"))

    def test_addresses_go_to_all_and_to_those_that_come(self) -> None:
        office = Office()
        office.enter(2)
        addresses = [record.DirectAddress(host="10.0.0.1", port=4663)]
        office.book.offer_direct(addresses)
        office.enter(3)
        for member in (2, 3):
            offers = [told for told in office.taken(member) if isinstance(told, record.Direct)]
            assert offers == [record.Direct(addresses=addresses)]

    def test_no_more_members_are_listed_than_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(record, "MAX_LISTED_MEMBERS", 2)
        office = Office()
        for member in (2, 3):
            office.enter(member)
        welcome = office.taken(3)[0]
        assert isinstance(welcome, record.Welcome)
        assert [each.member for each in welcome.members] == [MASTER, 2]


class TestTime:
    def test_only_who_joins_is_waited_for(self) -> None:
        office = Office()
        assert office.book.next_deadline() is None
        deciding = office.begin(2)
        introducing = office.begin(3, JoinerState.INTRODUCING)
        assert office.book.next_deadline() == 100.0 + INTRODUCTION_SECONDS
        assert office.book.overdue(100.0 + INTRODUCTION_SECONDS - 1.0) == []
        assert office.book.overdue(100.0 + INTRODUCTION_SECONDS) == [introducing]
        assert office.book.overdue(100.0 + CONSENT_SECONDS) == [deciding, introducing]
        office.book.admit(deciding, 200.0)
        office.book.remove(introducing)
        assert office.book.overdue(1e9) == []
