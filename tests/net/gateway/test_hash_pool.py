"""porttunnel.net.gateway.hash_pool"""

from __future__ import annotations

import os
import threading
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from porttunnel.net.gateway import hash_pool
from porttunnel.net.gateway.hash_pool import HashPool, count_threads

PATIENCE_SECONDS = 10.0  # reached only by a pool that is wrong


class HashPoolTests(TestCase):
    timeout = 30

    def test_the_reactor_keeps_a_core(self) -> None:
        for cores, threads in ((1, 1), (2, 1), (3, 2), (16, 15)):
            with mock.patch.object(
                os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), create=True
            ):
                self.assertEqual(count_threads(), threads)

    def test_where_nobody_tells_which_cores_are_ours(self) -> None:
        with mock.patch.object(os, "sched_getaffinity", side_effect=AttributeError, create=True):
            for cores, threads in ((None, 1), (1, 1), (4, 3)):
                with mock.patch.object(os, "cpu_count", return_value=cores):
                    self.assertEqual(count_threads(), threads)

    def test_before_the_start_calls_are_made_at_once(self) -> None:
        self.assertEqual(
            self.successResultOf(HashPool(reactor).run(threading.get_ident)),
            threading.get_ident(),
        )

    async def test_calls_are_made_side_by_side(self) -> None:
        with mock.patch.object(hash_pool, "count_threads", return_value=3):
            pool = HashPool(reactor)
        pool.start()
        self.addCleanup(pool.stop)
        # Each waits for the others: one after the other they would wait for ever.
        barrier = threading.Barrier(3, timeout=PATIENCE_SECONDS)
        turns = await gatherResults([pool.run(barrier.wait) for _ in range(3)])
        self.assertEqual(sorted(turns), [0, 1, 2])

    async def test_an_error_comes_back(self) -> None:
        pool = HashPool(reactor)
        pool.start()
        self.addCleanup(pool.stop)
        with self.assertRaises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
