"""What a decoder makes of bytes: a value, or a reason code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from porttunnel.errors import MqttError

__all__ = ["attempt", "refusal"]


def attempt(decode: Callable[..., Any], *arguments: Any) -> tuple[Any, int | None]:
    """(value, None), or (None, reason code) of the only error that it may raise."""
    try:
        return decode(*arguments), None
    except MqttError as error:
        return None, error.reason


def refusal(decode: Callable[..., Any], *arguments: Any) -> int:
    """The reason code with which it refuses, as it must."""
    with pytest.raises(MqttError) as caught:
        decode(*arguments)
    return caught.value.reason
