"""What is kept to come back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from porttunnel.cli.ticket_file import TicketFile
from porttunnel.errors import ConfigurationError
from porttunnel.session.rejoin import RejoinTicket

SECRET = bytes(range(32))
SERVER = "ptuns://tunnel.example.com"


def ticket(member: int = 2) -> RejoinTicket:
    return RejoinTicket(48213, bytes(16), member, SECRET)


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    file = TicketFile(tmp_path / "data", 48213)
    assert file.read() is None
    file.write(SERVER, ticket())
    file.write(SERVER, ticket(member=3))
    kept = file.read()
    assert kept is not None
    assert kept.server == SERVER
    came = kept.ticket
    assert (came.number, came.session_id, came.member) == (48213, bytes(16), 3)
    assert came.password == ticket().password
    assert SECRET.hex() not in repr(kept)
    file.remove()
    file.remove()
    assert file.read() is None
    assert list(file.path.parent.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "rejoin"
    folder.mkdir(mode=0o755)
    file = TicketFile(tmp_path, 48213)
    file.write(SERVER, ticket())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b'{"server": "\xff"}', b'{"secret": "c2VjcmV0IQ=="}']
)
def test_of_somebody_else_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    file = TicketFile(tmp_path, 48213)
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="join with a new code") as raised:
        file.read()
    assert "c2Vj" not in str(raised.value)


def test_of_another_number_is_refused(tmp_path: Path) -> None:
    TicketFile(tmp_path, 48213).write(SERVER, ticket())
    other = TicketFile(tmp_path, 48214)
    TicketFile(tmp_path, 48213).path.rename(other.path)
    with pytest.raises(ConfigurationError):
        other.read()


def test_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "rejoin").write_text("a file")
    with pytest.raises(ConfigurationError, match="--data-dir"):
        TicketFile(tmp_path, 48213).write(SERVER, ticket())


def test_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = TicketFile(tmp_path, 48213)
    file.write(SERVER, ticket())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ConfigurationError, match="No space"):
        file.write(SERVER, ticket(member=3))
    kept = file.read()
    assert kept is not None
    assert kept.ticket.member == 2
    assert list(file.path.parent.iterdir()) == [file.path]


def test_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    file = TicketFile(tmp_path, 48213)
    file.path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="can't be read"):
        file.read()
