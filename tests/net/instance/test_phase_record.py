"""porttunnel.net.instance.phase_record: each phase and back again, to go on as before."""

from __future__ import annotations

from typing import Any

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.pairing_instance import Exchanged, Invited, PairingPolicy, Waiting
from porttunnel.gateway.pairing_rotation import Paired, Rotating
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import InstancePhase, Pending
from porttunnel.net.instance.phase_record import decode_phase, encode_phase
from tests.gateway.pairings import ENDS

SETUP = DeviceSecret.from_setup(b"s" * 32)
PENDING = Pending(2**63, b"request", b"answer", DeviceSecret(1, b"p" * 32))
CURRENT = Paired(ENDS, DeviceSecret(4, b"c" * 32))
CONFIRM, IMMEDIATE = PairingPolicy.CONFIRM, PairingPolicy.IMMEDIATE


def show(thing: Any) -> Any:
    """What is in it, also its secrets."""
    if isinstance(thing, (Invited, Exchanged, Waiting, Paired, Rotating)):
        names = sorted(set(type(thing).__slots__) - {"_ends"})
        return type(thing), {name: show(getattr(thing, name)) for name in names}
    if isinstance(thing, (DeviceSecret, Pending)):
        return {name: show(getattr(thing, name)) for name in type(thing).__slots__}
    return thing


@pytest.mark.parametrize(
    "phase",
    [
        Invited(ENDS, CONFIRM, SETUP),
        Invited(ENDS, IMMEDIATE, SETUP),
        Exchanged(ENDS, CONFIRM, SETUP, PENDING),
        Exchanged(ENDS, IMMEDIATE, SETUP, PENDING),
        Waiting(ENDS, Exchanged(ENDS, CONFIRM, SETUP, PENDING), "012345", 2),
        CURRENT,
        Rotating(ENDS, CURRENT, PENDING),
    ],
    ids=lambda phase: type(phase).__name__,
)
def test_each_comes_back(phase: InstancePhase) -> None:
    assert show(decode_phase(ENDS, encode_phase(phase))) == show(phase)


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x81\xa4type\xa5other", b"\x00" * 50])
def test_what_is_damaged_is_an_error_in_words(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="damaged"):
        decode_phase(ENDS, data)


def test_a_secret_of_another_length_is_damage() -> None:
    data = encode_phase(CURRENT).replace(b"c" * 32, b"c" * 31).replace(b"\xc4\x20", b"\xc4\x1f")
    with pytest.raises(ConfigurationError, match="damaged"):
        decode_phase(ENDS, data)


def test_what_is_no_phase() -> None:
    with pytest.raises(TypeError):
        encode_phase(object())  # type: ignore[arg-type]  # a mistake of ours
