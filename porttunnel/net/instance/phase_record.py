"""The phases of a device's pairing as bytes, to be kept.

The bytes hold secrets. Whoever can read them can read and ask whatever the device can.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_instance import Exchanged, Invited, PairingPolicy, Waiting
from porttunnel.gateway.pairing_rotation import Paired, Rotating
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.pairing_step import InstancePhase, Pending

__all__ = ["decode_phase", "encode_phase"]


class _Secret(msgspec.Struct, frozen=True, array_like=True):
    generation: int
    secret: bytes

    def __repr__(self) -> str:
        return "<_Secret>"


class _Pending(msgspec.Struct, frozen=True, array_like=True):
    counter: int
    request: bytes
    answer: bytes
    secret: _Secret


class _Invited(msgspec.Struct, frozen=True, tag="invited"):
    asks_digits: bool
    setup: _Secret


class _Exchanged(msgspec.Struct, frozen=True, tag="exchanged"):
    asks_digits: bool
    setup: _Secret
    pending: _Pending


class _Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    setup: _Secret
    pending: _Pending
    digits: str
    tries_left: int

    def __repr__(self) -> str:
        return "<_Waiting>"


class _Paired(msgspec.Struct, frozen=True, tag="paired"):
    secret: _Secret


class _Rotating(msgspec.Struct, frozen=True, tag="rotating"):
    secret: _Secret
    pending: _Pending


_Record: TypeAlias = _Invited | _Exchanged | _Waiting | _Paired | _Rotating

_DECODER = msgspec.msgpack.Decoder(_Record)


def encode_phase(phase: InstancePhase) -> bytes:
    """The bytes of a phase."""
    return msgspec.msgpack.encode(_record_of(phase))


def decode_phase(ends: Ends, data: bytes) -> InstancePhase:
    """The phase again.

    :param ends: of the device.
    :raises ConfigurationError: the bytes are damaged.
    """
    try:
        return _phase_of(ends, _DECODER.decode(data))
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigurationError(
            "What is kept of a device is damaged. Restore the instance's state from a backup, or "
            "remove it and pair all devices again."
        ) from error


def _record_of(phase: InstancePhase) -> _Record:
    match phase:
        case Invited():
            return _Invited(_asks(phase.policy), _keep_secret(phase.setup))
        case Exchanged():
            return _Exchanged(
                _asks(phase.policy), _keep_secret(phase.setup), _keep_pending(phase.pending)
            )
        case Waiting():
            exchanged = phase.exchanged
            return _Waiting(
                _keep_secret(exchanged.setup),
                _keep_pending(exchanged.pending),
                phase.digits,
                phase.tries_left,
            )
        case Paired():
            return _Paired(_keep_secret(phase.secret))
        case Rotating():
            return _Rotating(_keep_secret(phase.paired.secret), _keep_pending(phase.pending))
    raise TypeError(f"{type(phase).__name__} is no phase of an instance's that is kept")


def _phase_of(ends: Ends, record: _Record) -> InstancePhase:
    match record:
        case _Invited(asks_digits, setup):
            return Invited(ends, _policy(asks_digits), _make_secret(setup))
        case _Exchanged(asks_digits, setup, pending):
            return Exchanged(
                ends, _policy(asks_digits), _make_secret(setup), _make_pending(pending)
            )
        case _Waiting(setup, pending, digits, tries_left):
            exchanged = Exchanged(
                ends, PairingPolicy.CONFIRM, _make_secret(setup), _make_pending(pending)
            )
            return Waiting(ends, exchanged, digits, tries_left)
        case _Paired(secret):
            return Paired(ends, _make_secret(secret))
        case _Rotating(secret, pending):
            return Rotating(ends, Paired(ends, _make_secret(secret)), _make_pending(pending))


def _asks(policy: PairingPolicy) -> bool:
    return policy is PairingPolicy.CONFIRM


def _policy(asks_digits: bool) -> PairingPolicy:
    return PairingPolicy.CONFIRM if asks_digits else PairingPolicy.IMMEDIATE


def _keep_secret(secret: DeviceSecret) -> _Secret:
    return _Secret(secret.generation, secret.secret)


def _make_secret(kept: _Secret) -> DeviceSecret:
    return DeviceSecret(kept.generation, kept.secret)


def _keep_pending(pending: Pending) -> _Pending:
    return _Pending(pending.counter, pending.request, pending.answer, _keep_secret(pending.secret))


def _make_pending(kept: _Pending) -> Pending:
    return Pending(kept.counter, kept.request, kept.answer, _make_secret(kept.secret))
