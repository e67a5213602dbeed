"""Coming back to the tunnel server: after `kill -9`, after lost answers, and twice at once."""

from __future__ import annotations

from itertools import product

from porttunnel.errors import ErrorCode
from porttunnel.session import request
from porttunnel.session.packet import SERVER, PacketType, encode_packet
from tests.net.serving import Peer, ServerTestCase, sealed

LINK_UP = {member: request.Link(member=member, up=True) for member in (1, 2)}
LINK_DOWN = {member: request.Link(member=member, up=False) for member in (1, 2)}


class ResumeTestCase(ServerTestCase):
    def ask_to_resume(self, former: Peer, token: bytes | None = None, number: int = 7) -> Peer:
        """RESUME on a new link, without a look at the answer."""
        peer = self.peer()
        peer.member, peer.session_id = former.member, former.session_id
        message = request.Resume(
            session_id=former.session_id,
            member=former.member,
            token=former.token if token is None else token,
        )
        peer.ask(message, number)
        return peer

    def talk(self, master: Peer, client: Peer) -> None:
        """Both reach each other, by these links."""
        master.heard()
        client.heard()
        master.send(sealed(1, 2, b"to the client 01"))
        client.send(sealed(2, 1, b"to the master 01"))
        self.assertEqual(client.heard(), [b"to the client 01"])
        self.assertEqual(master.heard(), [b"to the master 01"])


class RestartTests(ResumeTestCase):
    async def test_any_order_and_either_token(self) -> None:
        for order, previous in product(((1, 2), (2, 1)), (False, True)):
            peers: dict[int, Peer] = dict(zip((1, 2), self.pair(), strict=True))
            tokens = {}
            for member in order:
                # A second token is there, and the member has not said that it got it.
                again = self.resume(peers[member])
                tokens[member] = peers[member].token if previous else again.token
            self.restart()
            for member in order:
                peers[member] = self.resume(peers[member], tokens[member])
                self.assertEqual(len(peers[member].token), 32)
            first, second = (peers[member] for member in order)
            self.assertEqual(first.heard(), [LINK_UP[second.member]])
            self.assertEqual(second.heard(), [])
            self.talk(peers[1], peers[2])

    async def test_only_those_concerned_hear_of_a_link(self) -> None:
        master, first = self.pair()
        second = self.client(master)
        self.restart()
        first = self.resume(first)
        second = self.resume(second)
        self.assertEqual(first.heard() + second.heard(), [])
        master = self.resume(master)
        self.assertEqual([first.heard(), second.heard()], [[LINK_UP[1]], [LINK_UP[1]]])
        first.lose()
        self.assertEqual(master.heard(), [LINK_DOWN[2]])
        self.assertEqual(second.heard(), [])

    async def test_a_token_that_was_void_before_is_void_after(self) -> None:
        _, client = self.pair()
        again = self.resume(client)
        again.send(sealed(2, 1))
        self.restart()
        self.assertEqual(self.resume(client).token, b"")
        self.assertNotEqual(self.resume(again).token, b"")

    async def test_an_established_client_stays_one(self) -> None:
        master, client = self.pair()
        master.send(sealed(1, 2))
        self.restart()
        master = self.resume(master)
        # Longer than an unfinished handshake may take, shorter than its grace.
        self.advance(599.0)
        master.ask(request.Status())
        *_, status = master.heard()
        self.assertEqual((status.members, status.linked), ([1, 2], [1]))
        self.talk(master, self.resume(client))

    async def test_a_client_in_mid_handshake_goes_on(self) -> None:
        master, client = self.pair()
        self.restart()
        client = self.resume(client)
        master = self.resume(master)
        client.heard()
        c1 = encode_packet(PacketType.C1, 2, 1, bytes(1_572))
        client.send(c1)
        self.assertEqual(master.transport.value(), c1)

    async def test_who_joins_after_it_gets_a_number_of_its_own(self) -> None:
        master, _ = self.pair()
        self.restart()
        master = self.resume(master)
        master.number = self.directory._store.session(master.session_id).number
        self.assertEqual(self.client(master).member, 3)

    async def test_again_and_again(self) -> None:
        master, client = self.pair()
        for _ in range(5):
            self.restart()
            master, client = self.resume(master), self.resume(client)
            self.talk(master, client)

    async def test_lock_and_limits_outlive_it(self) -> None:
        master, _ = self.pair()
        number = master.number
        master.ask(request.Lock(locked=True))
        self.restart()
        stranger = self.peer()
        stranger.ask(request.Join(number=number))
        self.clock.advance(1.0)
        self.assertEqual(stranger.heard(), [ErrorCode.NO_SUCH_NUMBER])


class LostAnswerTests(ResumeTestCase):
    async def test_several_in_a_row(self) -> None:
        master, client = self.pair()
        for _ in range(5):
            self.ask_to_resume(client).lose()
        self.talk(master, self.resume(client))

    async def test_several_in_a_row_with_a_crash_after_each(self) -> None:
        master, client = self.pair()
        for _ in range(5):
            self.ask_to_resume(client)
            self.restart()
        self.talk(self.resume(master), self.resume(client))

    async def test_of_those_who_hung_up_before_they_were_answered(self) -> None:
        master, client = self.pair()
        client.lose()
        for _ in range(5):
            self.thread.held = []
            self.ask_to_resume(client).lose()
            self.thread.release()
        self.assertEqual(master.heard(), [LINK_DOWN[2]])
        self.talk(master, self.resume(client))

    async def test_a_ping_is_no_sign_that_it_came(self) -> None:
        _, client = self.pair()
        lost = self.ask_to_resume(client)
        # A member that has no answer yet pings without its number.
        lost.send(encode_packet(PacketType.PING, 0xFFFE, SERVER, bytes(8)))
        lost.lose()
        self.assertNotEqual(self.resume(client).token, b"")

    async def test_a_late_packet_on_the_older_link_voids_nothing(self) -> None:
        """The last token that the member has is the older one: the answer with the newer is lost,
        and what it sent on the older link arrives afterwards.
        """
        master, client = self.pair()
        first = self.resume(client)
        self.thread.held = []
        second = self.ask_to_resume(first)
        second.lose()
        self.thread.release()
        first.send(sealed(2, 1))
        first.lose()
        self.talk(master, self.resume(first))


class RaceTests(ResumeTestCase):
    def race(self, client: Peer, count: int = 2) -> list[Peer]:
        self.thread.held = []
        racers = [self.ask_to_resume(client) for _ in range(count)]
        self.thread.release()
        return racers

    async def test_exactly_one_link_stays(self) -> None:
        for count in (2, 3, 5):
            master, client = self.pair()
            *earlier, last = self.race(client, count)
            for loser in earlier:
                resumed, error = loser.heard()
                self.assertIsInstance(resumed, request.Resumed)
                self.assertIs(error, ErrorCode.REPLACED)
                self.assertTrue(loser.closed)
                loser.lose()
            (resumed,) = last.heard()
            self.assertFalse(last.closed)
            session = self.server.sessions[master.session_id]
            self.assertEqual(sorted(session.links), [1, 2])
            self.assertEqual(master.heard(), [LINK_UP[2]] * count)
            self.talk(master, last)
            last.token = resumed.token
            last.lose()
            self.talk(master, self.resume(last))

    async def test_the_one_that_stays_can_resume_before_it_has_said_a_word(self) -> None:
        for answer_came in (False, True):
            _, client = self.pair()
            *_, last = self.race(client)
            (resumed,) = last.heard()
            last.lose()
            token = resumed.token if answer_came else client.token
            self.assertNotEqual(self.resume(client, token).token, b"")

    async def test_with_the_old_links_end_in_between(self) -> None:
        master, client = self.pair()
        self.thread.held = []
        racers = [self.ask_to_resume(client)]
        client.lose()
        racers.append(self.ask_to_resume(client))
        self.thread.release()
        row = self.store.member(client.session_id, 2)
        assert row is not None
        self.assertIsNone(row.unlinked_since)
        self.assertEqual([racer.closed for racer in racers], [True, False])
        self.talk(master, racers[1])

    async def test_when_the_last_one_has_hung_up_the_first_stays(self) -> None:
        master, client = self.pair()
        self.thread.held = []
        first, last = self.ask_to_resume(client), self.ask_to_resume(client)
        last.lose()
        self.thread.release()
        (resumed,) = first.heard()
        self.assertFalse(first.closed)
        self.talk(master, first)
        first.lose()
        self.assertNotEqual(self.resume(first, resumed.token).token, b"")

    async def test_a_resume_that_was_given_up_arrives_last(self) -> None:
        """The kernel sends on what a program has closed: the given-up link's RESUME may come
        when the next one's was answered. The member has that answer's token and no other.
        """
        for spoke_first in (False, True):
            master, client = self.pair()
            client.lose()
            second = self.resume(client)
            if spoke_first:
                second.send(sealed(2, 1))
            ghost = self.ask_to_resume(client)
            answered = isinstance(ghost.heard()[0], request.Resumed)
            self.assertEqual(answered, not spoke_first)
            self.assertEqual(second.closed, answered)
            ghost.lose()
            second.lose()
            self.talk(master, self.resume(second))

    async def test_a_stranger_without_the_token_wins_no_race(self) -> None:
        master, client = self.pair()
        self.thread.held = []
        thief = self.ask_to_resume(client, bytes(32))
        honest = self.ask_to_resume(client)
        late = self.ask_to_resume(client, b"\xff" * 32)
        self.thread.release()
        self.assertEqual(thief.heard(), [ErrorCode.SESSION_ENDED])
        self.assertEqual(late.heard(), [ErrorCode.SESSION_ENDED])
        self.talk(master, honest)
