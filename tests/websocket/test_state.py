"""The states of a connection: the table leads to the end, and nothing leads out of it."""

from __future__ import annotations

from porttunnel.websocket.state import TRANSITIONS, ConnectionState, ConnectionStep


def test_nothing_leaves_closed_and_everything_leads_there() -> None:
    assert not [state for state, _ in TRANSITIONS if state is ConnectionState.CLOSED]
    for state in set(ConnectionState) - {ConnectionState.CLOSED}:
        for step in (ConnectionStep.CLOSED_REMOTELY, ConnectionStep.FAILED):
            assert TRANSITIONS[state, step] is ConnectionState.CLOSED


def test_we_close_once() -> None:
    leading = {state for state, step in TRANSITIONS if step is ConnectionStep.CLOSED_LOCALLY}
    assert leading == {ConnectionState.OPEN}
    assert TRANSITIONS[ConnectionState.OPEN, ConnectionStep.CLOSED_LOCALLY] is (
        ConnectionState.CLOSING
    )
