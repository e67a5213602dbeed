"""One stream's states, what it keeps, and the numbers of streams."""

from __future__ import annotations

import pytest

from porttunnel.errors import LocalProtocolError, RemoteProtocolError
from porttunnel.session.stream import (
    TRANSITIONS,
    Stream,
    StreamEvent,
    StreamNumbers,
    StreamState,
)

EVERY_STEP = [(state, event) for state in StreamState for event in StreamEvent]


@pytest.mark.parametrize(("state", "event"), EVERY_STEP)
def test_goes_only_where_the_table_says(state: StreamState, event: StreamEvent) -> None:
    stream = Stream(1, "web", state, 10)
    if (state, event) in TRANSITIONS:
        stream.apply(event)
        assert stream.state is TRANSITIONS[state, event]
        return
    remote = event.name.endswith("_REMOTELY")
    with pytest.raises(RemoteProtocolError if remote else LocalProtocolError, match=state.name):
        stream.apply(event)
    assert stream.state is state


def test_nothing_leaves_closed_and_everything_leads_there() -> None:
    assert not [state for state, _ in TRANSITIONS if state is StreamState.CLOSED]
    reachable = {StreamState.OPENING, StreamState.OFFERED}
    for _ in StreamState:
        reachable |= {after for (state, _), after in TRANSITIONS.items() if state in reachable}
    assert reachable == set(StreamState)
    for state in set(StreamState) - {StreamState.CLOSED}:
        assert TRANSITIONS[state, StreamEvent.RESET_REMOTELY] is StreamState.CLOSED


def test_halves() -> None:
    sending = {StreamState.OPEN, StreamState.REMOTE_ENDED}
    receiving = {StreamState.OPEN, StreamState.LOCAL_ENDED}
    for state in StreamState:
        stream = Stream(1, "web", state, 10)
        assert stream.may_send == (state in sending)
        assert stream.may_receive == (state in receiving)
        stream.end_wanted = True
        assert not stream.may_send


def test_keeps_copies_and_moves_them_in_order() -> None:
    stream = Stream(1, "web", StreamState.OPEN, 10)
    written = bytearray(b"hello")
    stream.keep(memoryview(written))
    written[:] = b"XXXXX"
    stream.keep(memoryview(b" you"))
    assert stream.pending_bytes == 9
    room = bytearray(3)
    assert stream.move_kept(memoryview(room)) == 3
    assert (room, stream.pending_bytes) == (b"hel", 6)
    # Not beyond one write, though there would be room.
    room = bytearray(8)
    assert stream.move_kept(memoryview(room)) == 2
    assert room[:2] == b"lo"
    assert stream.move_kept(memoryview(room)) == 4
    assert room[:4] == b" you"
    assert not stream.pending
    assert stream.pending_bytes == 0


class TestNumbers:
    def test_clients_have_the_odd_ones(self) -> None:
        client, master = StreamNumbers(True), StreamNumbers(False)
        assert [client.draw_local() for _ in range(3)] == [1, 3, 5]
        assert [master.draw_local() for _ in range(3)] == [2, 4, 6]

    def test_the_other_side_counts_its_own(self) -> None:
        numbers = StreamNumbers(True)
        for wrong in (0, 1, 3, 4, 5):
            with pytest.raises(RemoteProtocolError, match="order"):
                numbers.take_remote(wrong)
        numbers.take_remote(2)
        with pytest.raises(RemoteProtocolError, match="order"):
            numbers.take_remote(2)
        numbers.take_remote(4)

    def test_knows_what_there_ever_was(self) -> None:
        numbers = StreamNumbers(False)
        numbers.draw_local()
        numbers.take_remote(1)
        numbers.check_known(1)
        numbers.check_known(2)
        for never in (0, 3, 4, 5, 0xFFFFFFFF):
            with pytest.raises(RemoteProtocolError, match="never opened"):
                numbers.check_known(never)
