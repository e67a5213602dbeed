"""The states of a connection: the table leads to the end, and nothing leads out of it."""

from __future__ import annotations

from porttunnel.websocket.state import TRANSITIONS, ConnectionState, ConnectionStep


def test_nothing_leaves_closed_and_everything_leads_there() -> None:
    assert not [state for state, _ in TRANSITIONS if state is ConnectionState.CLOSED]
    for state in set(ConnectionState) - {ConnectionState.CLOSED}:
        assert TRANSITIONS[state, ConnectionStep.CUT_OFF] is ConnectionState.CLOSED


def test_who_broke_the_protocol_is_told_unless_we_have_closed() -> None:
    broken = ConnectionStep.BROKEN_REMOTELY
    assert {state: end for (state, step), end in TRANSITIONS.items() if step is broken} == {
        ConnectionState.OPEN: ConnectionState.PARTING,
        ConnectionState.CLOSING: ConnectionState.CLOSED,
    }


def test_a_connection_ends_well_when_both_have_sent_close() -> None:
    local, remote = ConnectionStep.CLOSED_LOCALLY, ConnectionStep.CLOSED_REMOTELY
    for first, second in ((local, remote), (remote, local)):
        between = TRANSITIONS[ConnectionState.OPEN, first]
        assert between is not ConnectionState.CLOSED
        assert TRANSITIONS[between, second] is ConnectionState.CLOSED
        assert (between, first) not in TRANSITIONS
