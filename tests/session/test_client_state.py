"""How far a run has come, and how long each step may take."""

from __future__ import annotations

from porttunnel.session.admission import HANDSHAKE_SECONDS, MAX_QUEUED
from porttunnel.session.client_state import (
    CONFIRM_SECONDS,
    CONSENT_SECONDS,
    EXCHANGE_SECONDS,
    PATIENCE_SECONDS,
    UNVERIFIED,
    VERIFIED,
    ClientState,
)
from porttunnel.session.joiner import CONSENT_SECONDS as MASTERS_CONSENT_SECONDS


def test_every_wait_but_the_servers_and_a_members_has_an_end() -> None:
    # JOIN's answer is the link's to wait for; a member stays as long as it likes.
    assert set(ClientState) - set(PATIENCE_SECONDS) == {ClientState.JOINING, ClientState.MEMBER}
    assert all(seconds > 0 for seconds in PATIENCE_SECONDS.values())


def test_who_waits_in_the_masters_queue_waits_long_enough() -> None:
    assert EXCHANGE_SECONDS > (MAX_QUEUED + 1) * HANDSHAKE_SECONDS
    assert CONFIRM_SECONDS < EXCHANGE_SECONDS
    assert CONSENT_SECONDS >= MASTERS_CONSENT_SECONDS


def test_nobody_is_verified_and_not() -> None:
    assert not set(UNVERIFIED) & set(VERIFIED)
    # In SAS there are keys before it is known with whom.
    assert ClientState.COMPARING not in (*UNVERIFIED, *VERIFIED)
