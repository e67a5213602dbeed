"""What the master invites with, and how many wrong tries it takes."""

from __future__ import annotations

import random

import pytest

from porttunnel.keys.handshake import HandshakeMode
from porttunnel.session.invitation import (
    MAX_WRONG_TRIES,
    MAX_WRONG_TRIES_IN_ALL,
    Invitations,
)


def make(*, sas: bool = False) -> Invitations:
    source = random.Random(7)
    return Invitations(48213, sas, source.randrange, source.randbytes)


def test_pin_and_link_are_one_invitation() -> None:
    current = make().current
    assert current.link_code is not None
    assert current.password(HandshakeMode.PIN) == current.pin_code.password
    assert current.password(HandshakeMode.LINK) == current.link_code.password
    assert len(current.password(HandshakeMode.PIN) or b"") == 6
    assert current.password(HandshakeMode.SAS) is None
    assert current.password(HandshakeMode.REJOIN) is None


def test_digits_alone_invite_to_sas_only() -> None:
    current = make(sas=True).current
    assert current.link_code is None
    assert current.password(HandshakeMode.SAS) == b""
    for mode in (HandshakeMode.PIN, HandshakeMode.LINK, HandshakeMode.REJOIN):
        assert current.password(mode) is None


def test_a_new_one_has_new_secrets() -> None:
    invitations = make()
    first = invitations.current
    second = invitations.renew()
    assert second is invitations.current
    for mode in (HandshakeMode.PIN, HandshakeMode.LINK):
        assert first.password(mode) != second.password(mode)


def test_the_third_wrong_try_burns_it() -> None:
    invitations = make()
    assert MAX_WRONG_TRIES == 3
    assert [invitations.count_wrong_try() for _ in range(3)] == [False, False, True]
    invitations.renew()
    assert not invitations.count_wrong_try()


def test_the_tenth_in_all_pauses_until_the_user_resumes() -> None:
    invitations = make()
    assert MAX_WRONG_TRIES_IN_ALL == 10
    for count in range(1, 11):
        assert not invitations.paused
        if invitations.count_wrong_try():
            invitations.renew()
        assert invitations.wrong_tries == count
    assert invitations.paused
    former = invitations.current
    assert invitations.resume() is invitations.current is not former
    assert not invitations.paused
    assert invitations.wrong_tries == 0


@pytest.mark.parametrize("sas", [False, True])
def test_shows_no_secret(sas: bool) -> None:
    current = make(sas=sas).current
    for mode in HandshakeMode:
        password = current.password(mode)
        assert not password or password.decode() not in repr(current)
