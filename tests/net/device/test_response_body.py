"""porttunnel.net.device.response_body: what flows, waits, ends and breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from porttunnel.errors import LocalProtocolError, PorttunnelError
from porttunnel.gateway.http_head import Fields
from porttunnel.net.device.response_body import ResponseBody

BROKEN = PorttunnelError("it broke")
TRAILERS = ((b"x-sum", b"1"),)


class Taker:
    """Writes down what it is told.

    :ivar react: called with each piece.
    """

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.react: Callable[[bytes], object] = lambda data: None

    def body_received(self, data: bytes) -> None:
        self.told.append(data)
        self.react(data)

    def body_ended(self, trailers: Fields) -> None:
        self.told.append(trailers)

    def body_broken(self, error: PorttunnelError) -> None:
        self.told.append(error)


class ResponseBodyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.taken = 0
        self.cancelled = 0
        self.body = ResponseBody(self.take, self.cancel)
        self.taker = Taker()

    def take(self) -> None:
        self.taken += 1

    def cancel(self) -> None:
        self.cancelled += 1

    def come(self, *pieces: bytes) -> None:
        """A part with these pieces."""
        for piece in pieces:
            self.body.add(piece)
        self.body.mark_part()

    def test_it_flows(self) -> None:
        self.body.deliver(self.taker)
        self.come(b"a", b"b")
        self.come(b"c")
        self.body.end(TRAILERS)
        self.assertEqual((self.taker.told, self.taken), ([b"a", b"b", b"c", TRAILERS], 2))
        self.assertFalse(self.body.is_held)

    def test_nothing_is_taken_before_there_is_somebody(self) -> None:
        self.come(b"a")
        self.body.end(())
        self.assertEqual(self.taken, 0)
        self.assertTrue(self.body.is_held)
        self.body.deliver(self.taker)
        self.assertEqual((self.taker.told, self.taken), ([b"a", ()], 1))

    def test_one_receiver(self) -> None:
        self.body.deliver(self.taker)
        with pytest.raises(LocalProtocolError):
            self.body.deliver(self.taker)

    def test_a_pause_within_a_part(self) -> None:
        self.taker.react = lambda data: self.body.pause()
        self.body.deliver(self.taker)
        self.come(b"a", b"b")
        self.assertEqual((self.taker.told, self.taken), ([b"a"], 0))
        self.body.resume()
        self.assertEqual((self.taker.told, self.taken), ([b"a", b"b"], 0))
        self.body.resume()
        self.assertEqual(self.taken, 1)

    def test_a_pause_and_its_end_from_inside(self) -> None:
        def blink(data: bytes) -> None:
            self.body.pause()
            self.body.resume()

        self.taker.react = blink
        self.body.deliver(self.taker)
        self.come(b"a", b"b")
        self.assertEqual((self.taker.told, self.taken), ([b"a", b"b"], 1))

    def test_what_came_before_it_broke_comes_first(self) -> None:
        self.come(b"a")
        self.body.fail(BROKEN)
        self.body.end(())
        self.body.deliver(self.taker)
        self.assertEqual(self.taker.told, [b"a", BROKEN])

    def test_cancelled_it_is_silent(self) -> None:
        self.body.deliver(self.taker)
        self.come(b"a")
        self.body.cancel()
        self.body.cancel()
        self.come(b"b")
        self.body.fail(BROKEN)
        self.assertEqual((self.taker.told, self.cancelled), ([b"a"], 1))

    def test_after_its_end_there_is_nothing_to_cancel(self) -> None:
        self.body.deliver(self.taker)
        self.body.end(())
        self.body.cancel()
        self.assertEqual(self.cancelled, 0)

    def test_a_receiver_that_breaks_gets_no_more(self) -> None:
        def break_down(data: bytes) -> None:
            raise ValueError

        self.taker.react = break_down
        self.body.deliver(self.taker)
        self.come(b"a", b"b")
        self.assertEqual((self.taker.told, self.cancelled), ([b"a"], 1))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
