"""porttunnel.net.instance.upstream_share: how much one may have, and what is left for others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.net.instance.upstream_share import UpstreamShares


@pytest.mark.parametrize(
    ("maximum", "expected"), [(1, 1), (2, 1), (3, 2), (4, 3), (8, 5), (128, 65)]
)
def test_what_one_may_have(maximum: int, expected: int) -> None:
    shares = UpstreamShares(maximum)
    count = 0
    while shares.may_take("a"):
        shares.take("a")
        count += 1
    assert count == expected


@given(st.integers(3, 64), st.lists(st.sampled_from("abc"), max_size=200))
def test_one_is_left_for_who_has_none(maximum: int, asking: list[str]) -> None:
    shares = UpstreamShares(maximum)
    taken = []
    for device_id in asking:
        if shares.may_take(device_id):
            shares.take(device_id)
            taken.append(device_id)
    assert len(taken) <= maximum
    # Who had some already never took the last one.
    assert shares.may_take("d") or taken.count(taken[-1]) == 1
    for device_id in taken:
        shares.give_back(device_id)
    assert [shares.may_take(each) for each in "abcd"] == [True] * 4
