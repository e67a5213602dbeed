"""`--remember`: back without a code after the program ended, whatever ended it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.real.program import Program, Start

pytestmark = pytest.mark.real


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pages"
    found.mkdir()
    return found


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    return tmp_path / "data" / "rejoin"


def enter(master: Program, join: Start) -> tuple[Program, int]:
    """Ben has the code, is asked about, and is in."""
    session = master.event("session")
    client = join("--json", "--remember", "--name", "Ben", code=session["code"])
    master.send({"accept": master.event("consent")["member"]})
    client.event("listening")
    return client, session["number"]


def kill(client: Program) -> None:
    os.kill(client.pid, signal.SIGKILL)
    assert client.wait() == -signal.SIGKILL


def test_a_killed_client_comes_back_without_code_and_question(
    share: Start, join: Start, folder: Path, tickets: Path
) -> None:
    master = share(f"dir:{folder}", "--json", "--remember")
    client, number = enter(master, join)
    first = master.event("joined")["member"]
    former = first
    for _ in range(2):
        kill(client)
        kept = tickets / f"{number}.json"
        assert (tickets.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o600)
        ticket = json.loads(kept.read_text())
        assert ticket["member"] == former
        # Without --remember as well: what was kept is used up, and replaced.
        client = join("--json", "--name", "Ben", str(number))
        assert client.event("joining")["mode"] == "rejoin"
        assert client.event("joined")["member"] > former
        assert master.event("left", member=former)["cut_off"] is True
        again = master.event("joined")
        assert again["name"] == "Ben"
        former = again["member"]
        client.event("listening")
        assert json.loads(kept.read_text())["secret"] != ticket["secret"]
        assert ticket["secret"] not in "".join((*client.seen, *master.seen, client.errors))
    client.terminate()
    assert client.wait() == 0
    # Who left may come back too, as long as the session is there.
    assert kept.exists()
    master.terminate()
    assert master.wait() == 0
    asked = [line for line in master.seen if json.loads(line)["event"] == "consent"]
    assert len(asked) == 1


def test_the_end_of_the_session_voids_what_was_kept(
    share: Start, join: Start, folder: Path, tickets: Path
) -> None:
    master = share(f"dir:{folder}", "--json", "--remember")
    client, number = enter(master, join)
    assert (tickets / f"{number}.json").exists()
    master.send({"close": True})
    assert client.wait() == 0
    assert list(tickets.iterdir()) == []
    client = join("--json", str(number))
    assert client.event("joining")["mode"] == "sas"
    assert client.event("error")["code"] == "no-such-number"


def test_an_end_while_nobody_was_there_is_told_once(
    share: Start, join: Start, folder: Path, tickets: Path
) -> None:
    master = share(f"dir:{folder}", "--json", "--remember")
    client, number = enter(master, join)
    kill(client)
    master.send({"close": True})
    assert master.wait() == 0
    client = join("--json", str(number))
    assert client.event("error")["code"] == "not-taken-back"
    assert client.wait() == 1
    assert list(tickets.iterdir()) == []


def test_who_was_put_out_does_not_come_back(
    share: Start, join: Start, folder: Path, tickets: Path
) -> None:
    master = share(f"dir:{folder}", "--json", "--remember")
    client, number = enter(master, join)
    kept = tickets / f"{number}.json"
    content = kept.read_bytes()
    master.send({"kick": master.event("joined")["member"]})
    assert client.wait() == 3
    assert not kept.exists()
    # Somebody has kept a copy.
    kept.write_bytes(content)
    client = join("--json", str(number))
    error = client.event("error")
    assert error["code"] == "not-taken-back"
    assert "Ask for a new code" in error["text"]
    assert client.wait() == 1
    assert not kept.exists()


def test_a_master_that_does_not_remember_takes_nobody_back(
    share: Start, join: Start, folder: Path, tickets: Path
) -> None:
    master = share(f"dir:{folder}", "--json")
    client, number = enter(master, join)
    kill(client)
    client = join("--json", str(number))
    assert client.event("error")["code"] == "not-taken-back"
    assert client.wait() == 1
    assert list(tickets.iterdir()) == []
    # Nobody new came, and the session goes on.
    master.send({"members": True})
    assert len(master.event("members")["members"]) == 1


def test_a_person_is_told_which_way_is_taken(
    share: Start, join: Start, folder: Path, tickets: Path
) -> None:
    master = share(f"dir:{folder}", "--json", "--remember")
    client, number = enter(master, join)
    kill(client)
    client = join(str(number))
    assert client.line("Coming back to session")
    assert client.line("You are in.")
    client.interrupt()
    assert client.wait() == 0
    (tickets / f"{number}.json").write_text("{}")
    client = join(str(number))
    assert client.wait() == 2
    assert "Remove it and join with a new code." in " ".join(client.errors.split())


def test_once_goes_on_with_who_comes_back(share: Start, join: Start, folder: Path) -> None:
    master = share(f"dir:{folder}", "--json", "--remember", "--once")
    client, number = enter(master, join)
    kill(client)
    client = join("--json", str(number))
    client.event("listening")
    client.send({"close": True})
    assert client.wait() == 0
    assert master.wait() == 0
