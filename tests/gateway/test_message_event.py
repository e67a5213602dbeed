"""porttunnel/gateway/message_event.py: where a request stands."""

from __future__ import annotations

import pytest

from porttunnel.errors import LocalProtocolError
from porttunnel.gateway.message_event import LIVE_STATES, ExchangeState, demand_state


@pytest.mark.parametrize("state", ExchangeState)
def test_a_wrong_turn_is_our_own_mistake(state: ExchangeState) -> None:
    demand_state(state, state)
    others = [other for other in ExchangeState if other is not state]
    with pytest.raises(LocalProtocolError, match="not the turn"):
        demand_state(state, *others)


def test_what_lives() -> None:
    assert set(ExchangeState) - set(LIVE_STATES) == {ExchangeState.DONE, ExchangeState.ENDED}
