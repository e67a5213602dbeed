"""porttunnel.cli.device_choice: which pairing is meant."""

from __future__ import annotations

import pytest

from porttunnel.cli.device_choice import (
    choose_device,
    choose_devices,
    format_devices,
    host_of,
    short_id,
)
from porttunnel.errors import ConfigurationError
from tests.cli.device_records import OTHER_ID, make_record

WIKI = make_record()
LOCAL = make_record(OTHER_ID, "http://localhost:8080", name="My Wiki")
BOTH = [WIKI, LOCAL]


def test_names() -> None:
    assert (short_id(WIKI), host_of(WIKI), host_of(LOCAL)) == (
        "3fa91c02",
        "wiki.example.com",
        "localhost:8080",
    )
    assert format_devices(BOTH) == "3fa91c02 (wiki.example.com), 3fb00000 (My Wiki)"


@pytest.mark.parametrize("wanted", ["3fa", "3FA91C02", WIKI.device_id, "wiki.example.com"])
def test_by_id_or_host(wanted: str) -> None:
    assert choose_device(BOTH, wanted) is WIKI


@pytest.mark.parametrize("wanted", ["localhost", "localhost:8080", "LOCALHOST", "my wiki"])
def test_by_host_with_or_without_its_port_or_by_name(wanted: str) -> None:
    assert choose_device(BOTH, wanted) is LOCAL


def test_the_only_one_needs_no_name() -> None:
    assert choose_device([LOCAL], None) is LOCAL
    assert choose_devices(BOTH, None) == BOTH
    assert choose_devices(BOTH, "3f") == BOTH


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (None, "Choose one with --device"),
        ("3f", r"3fa91c02 \(wiki.example.com\), 3fb00000 \(My Wiki\)"),
        ("other.example.com", "No pairing fits 'other.example.com'"),
        ("", "No pairing fits"),
    ],
)
def test_what_is_not_clear_is_said(wanted: str | None, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        choose_device(BOTH, wanted)


def test_no_pairing_at_all() -> None:
    with pytest.raises(ConfigurationError, match="porttunnel device pair"):
        choose_devices([], None)
