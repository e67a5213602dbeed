"""porttunnel.net.device.exchange_maker: fresh counters and salts, and few keys that are kept."""

from __future__ import annotations

from porttunnel.gateway.message_key import Ends
from porttunnel.gateway.pairing_schedule import DeviceSecret
from porttunnel.gateway.part_stream import decode_opening
from porttunnel.net.device.exchange_maker import MAX_KEPT_KEYS, ExchangeMaker

ENDS = Ends(b"i" * 16, b"d" * 16)
SECRETS = [DeviceSecret(number, bytes([number]) * 32) for number in range(1, 5)]


def test_each_exchange_is_fresh() -> None:
    maker = ExchangeMaker(ENDS, 7, 1_000, unix_seconds=lambda: 5.0)
    first, second = (
        decode_opening(bytes(maker.make(SECRETS[0], about_keys=about).send(b"x", last=True)))
        for about in (False, True)
    )
    assert (first.head.counter, first.head.unix_ms) == (6_000, 6_000)
    assert (second.head.counter, second.head.unix_ms) == (6_001, 6_000)
    assert (first.head.about_keys, second.head.about_keys) == (False, True)
    assert first.header != second.header
    assert first.head.generation == 1


def test_few_keys_are_kept() -> None:
    maker = ExchangeMaker(ENDS)
    keys = [maker.keys_of(secret) for secret in SECRETS]
    assert maker.keys_of(SECRETS[-1]) is keys[-1]
    assert maker.keys_of(SECRETS[-2]) is keys[-2]
    assert maker.keys_of(SECRETS[-1]) is keys[-1]
    assert maker.keys_of(SECRETS[0]) is not keys[0]
    assert maker.keys_of(SECRETS[-1]) is keys[-1]
    assert len(maker._keys) == MAX_KEPT_KEYS
