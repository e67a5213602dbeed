"""When a session or a membership is over: who is told, and that nothing brings it back."""

from __future__ import annotations

import secrets
from functools import partial

from porttunnel.errors import ErrorCode
from porttunnel.session import request
from tests.net.serving import Peer, ServerTestCase, sealed

MASTER_AWAY = request.Closed(reason="the master did not come back")
TIME_OVER = request.Closed(reason="its time is over")
CLIENT_AWAY = request.Left(member=2, reason="it did not come back")
SHORT = request.Create(lifetime_s=60, max_clients=3, join_window_s=60)


def draw_first(draws: list[int], below: int) -> int:
    """A source of numbers that begins with what it is told."""
    return draws.pop() if draws else secrets.randbelow(below)


class EndTestCase(ServerTestCase):
    master_grace_seconds = 300.0
    client_grace_seconds = 120.0

    def pair_in(self, create: request.Create = SHORT) -> tuple[Peer, Peer]:
        """A master and a client whose handshake is done."""
        master = self.master(create)
        client = self.client(master)
        master.send(sealed(1, 2))
        client.heard()
        return master, client

    def established_pair(self) -> tuple[Peer, Peer]:
        return self.pair_in(request.Create(lifetime_s=9_000, max_clients=3, join_window_s=9_000))

    def assert_over(self, *members: Peer) -> None:
        """Nobody resumes, nobody joins, and no new session gets the number, ever."""
        number = members[0].number or members[1].number
        for _ in range(2):
            for member in members:
                self.assertEqual(self.resume_refused(member), ErrorCode.SESSION_ENDED)
            stranger = self.peer("203.0.113.5")
            stranger.ask(request.Join(number=number))
            self.clock.advance(1.0)
            self.assertEqual(stranger.heard(), [ErrorCode.NO_SUCH_NUMBER])
            draws = [number - 10_000]
            self.randbelow = partial(draw_first, draws)
            self.restart()
            self.assertNotEqual(self.master().number, number)
            self.assertEqual(draws, [])

    def resume_refused(self, former: Peer) -> ErrorCode:
        peer = self.peer()
        token, session_id = former.token, former.session_id
        answer: ErrorCode = peer.enter(
            request.Resume(session_id=session_id, member=former.member, token=token)
        )
        return answer


class MasterAwayTests(EndTestCase):
    async def test_the_session_ends_after_its_grace(self) -> None:
        master, client = self.established_pair()
        other = self.client(master)
        master.send(sealed(1, 3))
        master.lose()
        self.advance(299.0)
        self.assertNotIn(MASTER_AWAY, client.heard())
        self.assertFalse(client.closed)
        self.advance(10.0)
        for peer in (client, other):
            self.assertIn(MASTER_AWAY, peer.heard())
            self.assertTrue(peer.closed)
        self.assertEqual(self.server.sessions, {})
        self.assert_over(master, client, other)

    async def test_a_master_that_was_here_in_time_begins_anew(self) -> None:
        master, client = self.established_pair()
        for _ in range(3):
            master.lose()
            self.advance(290.0)
            master = self.resume(master)
        self.assertFalse(client.closed)
        self.assertNotIn(MASTER_AWAY, client.heard())

    async def test_grace_goes_on_over_a_restart(self) -> None:
        master, client = self.established_pair()
        master.lose()
        self.advance(100.0)
        self.restart()
        client = self.resume(client)
        self.advance(190.0)
        self.assertFalse(client.closed)
        self.advance(20.0)
        self.assertIn(MASTER_AWAY, client.heard())
        self.assert_over(master, client)

    async def test_time_without_any_server_does_not_count(self) -> None:
        master, client = self.established_pair()
        master.lose()
        self.kill(self.server)
        self.clock.advance(3_000.0)
        self.start_server()
        client = self.resume(client)
        self.advance(290.0)
        self.assertFalse(client.closed)
        self.assertNotEqual(self.resume(master).token, b"")


class LifetimeTests(EndTestCase):
    async def test_all_are_told(self) -> None:
        master, client = self.pair_in()
        other = self.client(master)
        master.send(sealed(1, 3))
        self.advance(59.0)
        self.assertFalse(master.closed)
        self.advance(10.0)
        for peer in (master, client, other):
            self.assertIn(TIME_OVER, peer.heard())
            self.assertTrue(peer.closed)
        self.assert_over(master, client, other)

    async def test_who_resumes_between_the_end_and_its_telling_is_refused(self) -> None:
        master, client = self.pair_in()
        client.lose()
        self.clock.advance(60.0)
        self.assertEqual(self.resume_refused(client), ErrorCode.SESSION_ENDED)
        self.assertEqual(self.resume_refused(master), ErrorCode.SESSION_ENDED)

    async def test_it_ends_also_while_no_server_is_there(self) -> None:
        master, client = self.pair_in()
        self.kill(self.server)
        self.clock.advance(61.0)
        self.start_server()
        self.assert_over(master, client)

    async def test_a_session_that_was_closed(self) -> None:
        master, client = self.established_pair()
        master.ask(request.Close())
        self.assert_over(master, client)


class ClientAwayTests(EndTestCase):
    async def test_the_master_is_told_why(self) -> None:
        master, client = self.established_pair()
        other = self.client(master)
        master.send(sealed(1, 3))
        client.lose()
        self.advance(119.0)
        self.assertNotIn(CLIENT_AWAY, master.heard())
        self.advance(10.0)
        self.assertEqual(master.heard().count(CLIENT_AWAY), 1)
        self.assertFalse(master.closed)
        self.assertFalse(other.closed)
        self.assertNotIn(CLIENT_AWAY, other.heard())
        self.assertEqual(self.resume_refused(client), ErrorCode.SESSION_ENDED)
        # Its number is not given out again.
        self.assertEqual(self.client(master).member, 4)

    async def test_a_restart_does_not_let_it_off(self) -> None:
        master, client = self.established_pair()
        client.lose()
        self.advance(60.0)
        self.restart()
        master = self.resume(master)
        self.advance(70.0)
        self.assertIn(CLIENT_AWAY, master.heard())
        self.assertEqual(self.resume_refused(client), ErrorCode.SESSION_ENDED)

    async def test_a_master_that_was_away_meanwhile_finds_it_in_the_status(self) -> None:
        master, client = self.established_pair()
        client.lose()
        master.lose()
        self.advance(200.0)
        master = self.resume(master)
        master.ask(request.Status())
        (status,) = master.heard()
        self.assertEqual(status.members, [1])
        self.assertEqual(self.resume_refused(client), ErrorCode.SESSION_ENDED)
