"""Two server processes on one book: what one ends, the members at the other hear of."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from porttunnel.errors import ErrorCode
from porttunnel.net.tunnel_server import EXPIRY_SECONDS
from porttunnel.session import request
from porttunnel.session.directory import EXPIRY_BATCH
from tests.net.serving import Peer, ServerTestCase, sealed

CLOSED = request.Closed(reason="the master closed it")


class TwoProcessesTestCase(ServerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.here = self.server
        self.there = self.start_server()
        self.server = self.here

    def elsewhere(self, former: Peer) -> Peer:
        """The member resumes at the other process; its old link has not ended yet."""
        return self.resume(former, server=self.there)

    def wait(self) -> None:
        """Until both have had their next look into the book."""
        self.clock.advance(EXPIRY_SECONDS)


class EndsTests(TwoProcessesTestCase):
    async def test_closing(self) -> None:
        master, client = self.pair()
        other = self.client(master)
        master = self.elsewhere(master)
        master.ask(request.Close())
        self.assertEqual(master.heard(), [request.Done(), CLOSED])
        self.assertEqual(client.heard(), [])
        self.wait()
        for peer in (client, other):
            self.assertEqual(peer.heard()[-1], CLOSED)
            self.assertTrue(peer.closed)
        self.assertEqual((self.here.sessions, self.there.sessions), ({}, {}))

    async def test_kicking(self) -> None:
        master, client = self.pair()
        other = self.client(master)
        stale, master = master, self.elsewhere(master)
        master.ask(request.Kick(member=2))
        left = request.Left(member=2, reason="the master put it out")
        self.assertEqual(master.heard(), [request.Done(), left])
        self.wait()
        self.assertIn(left, client.heard())
        self.assertTrue(client.closed)
        self.assertFalse(other.closed)
        self.assertTrue(stale.closed)

    async def test_leaving(self) -> None:
        master, client = self.pair()
        client = self.elsewhere(client)
        client.ask(request.Leave())
        self.wait()
        self.assertEqual(
            master.heard(),
            [request.Link(member=2, up=False), request.Left(member=2, reason="it left")],
        )
        self.assertFalse(master.closed)
        self.assertEqual(list(self.here.sessions[master.session_id].links), [1])

    async def test_what_expires_is_told_at_both(self) -> None:
        master = self.master(request.Create(lifetime_s=60, max_clients=2, join_window_s=60))
        client, other = self.client(master), self.client(master)
        master.send(sealed(1, 2) + sealed(1, 3))
        other = self.elsewhere(other)
        self.advance(70.0)
        closed = request.Closed(reason="its time is over")
        for peer in (master, client, other):
            self.assertIn(closed, peer.heard())
            self.assertTrue(peer.closed)

    async def test_a_client_that_lapses_is_told_of_wherever_its_master_is(self) -> None:
        for place in (self.here, self.there):
            self.server = place
            master, client = self.pair()
            master.send(sealed(1, 2))
            client.lose()
            self.advance(610.0)
            left = request.Left(member=2, reason="it did not come back")
            self.assertEqual(master.heard().count(left), 1)

    async def test_more_than_one_batch_is_told_in_one_go(self) -> None:
        limiter = self.here._desk._create_limiter
        self.patch(limiter, "wait_seconds", lambda prefix, now: 0.0)
        masters = [self.master() for _ in range(EXPIRY_BATCH + 10)]
        for master in masters:
            self.elsewhere(master).ask(request.Close())
        self.wait()
        self.assertEqual([master for master in masters if not master.closed], [])

    async def test_a_later_process_is_told_nothing_old(self) -> None:
        master, _ = self.pair()
        master.ask(request.Close())
        other = self.master()
        later = self.start_server()
        moved = self.resume(other, server=later)
        self.wait()
        self.assertEqual(moved.heard(), [])
        self.assertFalse(moved.closed)

    async def test_a_session_that_goes_on_hears_nothing(self) -> None:
        master, client = self.pair()
        self.server = self.there
        self.pair()[0].ask(request.Close())
        self.wait()
        self.assertEqual(master.heard() + client.heard(), [])
        self.assertFalse(master.closed or client.closed)


class MovedTests(TwoProcessesTestCase):
    async def test_the_old_link_is_closed(self) -> None:
        master, client = self.pair()
        master.send(sealed(1, 2))
        again = self.elsewhere(client)
        client.heard()
        self.assertFalse(client.closed)
        self.wait()
        self.assertEqual(client.heard(), [ErrorCode.REPLACED])
        self.assertTrue(client.closed)
        self.assertFalse(again.closed)
        # It is not here any more, and what is sent to it here reaches nobody.
        self.assertEqual(master.heard(), [request.Link(member=2, up=False)])
        # The book knows where it is: nobody takes it for lost.
        self.advance(700.0)
        self.assertFalse(again.closed)
        row = self.store.member(client.session_id, 2)
        assert row is not None
        self.assertIsNone(row.unlinked_since)

    async def test_who_comes_back_before_anybody_noticed_stays(self) -> None:
        master, client = self.pair()
        there = self.elsewhere(client)
        back = self.resume(there)
        self.assertEqual(client.heard(), [ErrorCode.REPLACED])
        self.wait()
        self.assertFalse(back.closed)
        self.assertTrue(there.closed)
        master.heard()
        master.send(sealed(1, 2))
        self.assertEqual(back.heard(), [b"never opened 0123"])

    async def test_to_and_fro(self) -> None:
        _, client = self.pair()
        for _ in range(4):
            there = self.elsewhere(client)
            self.wait()
            self.assertTrue(client.closed)
            client.lose()
            client = self.resume(there)
            self.wait()
            self.assertTrue(there.closed)
            there.lose()
            self.assertFalse(client.closed)

    async def test_a_whole_session_moves_when_a_process_drains(self) -> None:
        master, client = self.pair()
        drained = Deferred.fromCoroutine(self.here.drain())
        for peer in (master, client):
            self.assertIsInstance(peer.heard()[-1], request.GoingAway)
            peer.lose()
        self.assertIsNone(self.successResultOf(drained))
        master, client = self.elsewhere(master), self.elsewhere(client)
        master.heard()
        self.wait()
        master.send(sealed(1, 2))
        self.assertEqual(client.heard(), [b"never opened 0123"])
        self.assertEqual(master.heard(), [])

    async def test_two_that_resume_at_both_at_once(self) -> None:
        _, client = self.pair()
        first = self.resume(client)
        second = self.elsewhere(client)
        self.assertNotEqual(first.token, b"")
        # What it still says on the first link does not void what the second one was given.
        first.send(sealed(2, 1))
        self.wait()
        self.assertEqual([first.closed, second.closed], [True, False])
        second.lose()
        self.assertNotEqual(self.resume(second).token, b"")

    async def test_a_session_that_is_not_here_moves_unheard(self) -> None:
        master, client = self.pair()
        client.lose()
        master.lose()
        self.elsewhere(client)
        self.wait()
        self.assertEqual(self.here.sessions, {})
