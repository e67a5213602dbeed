"""``--forward [HOST:]PORT=NAME``."""

from __future__ import annotations

import click
import pytest

from porttunnel.cli.forward_option import Forward, parse_forward


@pytest.mark.parametrize(
    ("value", "forward"),
    [
        ("8080=web", Forward("127.0.0.1", 8080, "web")),
        ("0=web", Forward("127.0.0.1", 0, "web")),
        ("0.0.0.0:8080=web", Forward("0.0.0.0", 8080, "web")),
        ("[::1]:8080=web", Forward("::1", 8080, "web")),
    ],
)
def test_is_read(value: str, forward: Forward) -> None:
    assert parse_forward(value) == forward


@pytest.mark.parametrize(
    "value", ["", "8080", "8080=", "=web", "x=web", ":80=web", "65536=web", "-1=web", "²=web"]
)
def test_that_is_none_says_what_is(value: str) -> None:
    with pytest.raises(click.BadParameter, match="such as 8080=web"):
        parse_forward(value)
