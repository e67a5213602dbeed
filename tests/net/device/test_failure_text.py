"""porttunnel.net.device.failure_text: each reason has words, and says what to do."""

from __future__ import annotations

import pytest

from porttunnel.errors import RequestFailureCode, RequestNotExecuted, RequestUncertain
from porttunnel.net.device.failure_text import not_executed, seen_before, uncertain


@pytest.mark.parametrize("code", list(RequestFailureCode))
def test_each_reason(code: RequestFailureCode) -> None:
    nothing, safe, uneasy = not_executed(code), uncertain(code, True), uncertain(code, False)
    assert isinstance(nothing, RequestNotExecuted)
    assert isinstance(uneasy, RequestUncertain)
    assert nothing.code is safe.code is uneasy.code is code
    assert "Nothing was carried out" in str(nothing)
    assert "may have been carried out" in str(uneasy)
    assert "carried out" not in str(safe).removeprefix(str(nothing).partition(".")[0])


def test_what_was_seen_before() -> None:
    assert "may have been" in str(seen_before(False))
    assert str(seen_before(True)).endswith("Try again.")
