"""When to ping, and when to give up."""

from __future__ import annotations

import pytest

from porttunnel.errors import LinkBroken
from porttunnel.mqtt.client_keep_alive import PINGRESP_SECONDS, KeepAlive


def test_without_a_time_nothing_is_due() -> None:
    keep_alive = KeepAlive(0, 0.0)
    assert keep_alive.next_deadline() is None
    assert not keep_alive.check(1e9)


@pytest.mark.mqtt5("3.1.2-20")
@pytest.mark.mqtt3("3.1.2-23")
def test_pings_before_the_time_is_over() -> None:
    keep_alive = KeepAlive(60, 100.0)
    due = keep_alive.next_deadline()
    assert due is not None
    assert 100 < due < 160
    assert not keep_alive.check(due - 1)
    assert keep_alive.check(due)
    assert not keep_alive.check(due)


def test_who_only_sends_pings_too_and_who_only_receives_as_well() -> None:
    keep_alive = KeepAlive(60, 0.0)
    keep_alive.sent(30.0)
    assert keep_alive.next_deadline() == 45.0
    keep_alive.received(30.0)
    assert keep_alive.next_deadline() == 75.0
    keep_alive.received(50.0)
    assert keep_alive.next_deadline() == 75.0


def test_an_answer_ends_the_waiting() -> None:
    keep_alive = KeepAlive(60, 0.0)
    assert keep_alive.check(45.0)
    assert keep_alive.next_deadline() == 45.0 + PINGRESP_SECONDS
    keep_alive.sent(45.0)
    keep_alive.received(46.0)
    keep_alive.answered()
    assert keep_alive.next_deadline() == 90.0


def test_a_dead_broker_is_given_up_and_any_byte_is_a_sign_of_life() -> None:
    keep_alive = KeepAlive(60, 0.0)
    assert keep_alive.check(45.0)
    keep_alive.received(50.0)
    assert not keep_alive.check(45.0 + PINGRESP_SECONDS)
    with pytest.raises(LinkBroken, match="does not answer"):
        keep_alive.check(50.0 + PINGRESP_SECONDS)
