"""A tunnel server that guesses at the PIN: what `porttunnel join` lets it find out.

Each C3 is one guess, right or wrong, whatever the server makes of it afterwards. Without a limit
it could cut the link after each C3, and let the client's program try again for as long as it
takes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.independent import code
from tests.independent.fake_master import FakeMaster, Run
from tests.independent.packet import Header, encode_packet
from tests.real.program import PORTTUNNEL, Program, Start

pytestmark = pytest.mark.real

NUMBER, PIN = 48213, "604219"
CODE = code.format_pin_code(NUMBER, PIN)
TRIES = 3


def wrong_pins() -> Iterator[str]:
    for guess in range(111_111, 111_211):
        yield str(guess)
    raise AssertionError("a hundred runs with one code")


def answer_at_random(run: Run) -> None:
    run.guess()
    run.send("M4", 2, secrets.token_bytes(32), 1)
    run.answer_requests()


def send_the_confirmation_back(run: Run) -> None:
    run.guess()
    assert run.c3 is not None
    run.send("M4", 2, run.c3[32:], 1)
    run.answer_requests()


def cut_after_c3(run: Run) -> None:
    run.guess()


def reset_after_c3(run: Run) -> None:
    run.guess()
    run.reset()


def say_failed(run: Run) -> None:
    run.guess()
    run.send_error(2, "handshake-failed")
    run.answer_requests()


def say_busy(run: Run) -> None:
    run.guess()
    run.send_error(2, "busy")
    run.answer_requests()


def say_nonsense(run: Run) -> None:
    run.guess()
    run.send_bytes(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100))


def say_the_session_is_over(run: Run) -> None:
    run.guess()
    run.send_event("closed", reason="it was nice")
    run.answer_requests()


def answer_twice(run: Run) -> None:
    run.guess()
    # Another M2, that is: another guess, if the client confirmed once more.
    run.send("M2", 2, run.another_m2("222222"))
    assert run.next_confirmation() is None


ENDINGS: list[Callable[[Run], None]] = [
    answer_at_random,
    send_the_confirmation_back,
    cut_after_c3,
    reset_after_c3,
    say_failed,
    say_busy,
    say_nonsense,
    say_the_session_is_over,
    answer_twice,
]


def join_at(start: Start, fake: FakeMaster) -> Program:
    return start(*PORTTUNNEL, "join", "--json", "--server", fake.address, "--code", "-")


def type_until_it_ends(client: Program) -> list[dict[str, object]]:
    """Type the code as often as it is asked for; the events, all of them errors."""
    client.send(CODE)
    seen = []
    while (line := client.next_line()) is not None:
        event = json.loads(line)
        seen.append(event)
        if "tries_left" in event:
            client.send(CODE)
    return seen


def say_nothing(run: Run) -> None:
    run.guess()
    run.answer_requests()


class TestAFakeMaster:
    @pytest.mark.parametrize(
        "ending", [*ENDINGS, pytest.param(say_nothing, marks=pytest.mark.long)]
    )
    def test_gets_three_guesses_however_it_ends_them(
        self, start: Start, ending: Callable[[Run], None]
    ) -> None:
        with FakeMaster(NUMBER, wrong_pins(), ending) as fake:
            client = join_at(start, fake)
            events = type_until_it_ends(client)
            assert client.wait() == 1
        assert fake.failures == []
        guessed = [run.was_right() for run in fake.confirmed]
        assert guessed == [False] * TRIES
        # A cut link is told too; it changes nothing.
        events = [event for event in events if event["event"] != "link"]
        assert {event["event"] for event in events} == {"error"}
        assert len(events) == len(guessed)
        assert client.errors == ""

    @pytest.mark.parametrize(
        "ending",
        ENDINGS,
    )
    def test_is_reported_as_what_it_may_be(
        self, start: Start, ending: Callable[[Run], None]
    ) -> None:
        with FakeMaster(NUMBER, wrong_pins(), ending) as fake:
            client = join_at(start, fake)
            client.send(CODE)
            assert client.event("error")["code"] == "authentication-failed"

    def test_that_guesses_right_would_be_seen_here(self, start: Start) -> None:
        names = []

        def go_on(run: Run) -> None:
            run.guess()
            if not run.was_right():
                run.send_error(2, "handshake-failed")
                return run.answer_requests()
            pair = run.pair()
            run.greet(pair)
            names.append(run.welcome(pair, {}))

        # A control: this is what all other tests exclude.
        with FakeMaster(NUMBER, iter(["111111", PIN]), go_on) as fake:
            client = join_at(start, fake)
            client.send(CODE)
            client.event("error")
            client.send(CODE)
            assert client.event("joined")["name"] == "independent"
        assert fake.failures == []
        assert [run.was_right() for run in fake.confirmed] == [False, True]
        assert len(names) == 1

    def test_gets_one_guess_at_a_code_that_nobody_types(self, start: Start) -> None:
        with FakeMaster(NUMBER, wrong_pins(), answer_at_random) as fake:
            client = start(
                *(*PORTTUNNEL, "join", "--json", "--server", fake.address),
                environment={"PORTTUNNEL_CODE": CODE},
            )
            assert client.wait() == 1
        assert len(fake.confirmed) == 1

    def test_that_cuts_before_c3_learns_nothing(self, start: Start) -> None:
        def cut_after_c1(run: Run) -> None:
            assert run.receive().header.type == "C1"

        with FakeMaster(NUMBER, wrong_pins(), cut_after_c1) as fake:
            client = join_at(start, fake)
            type_until_it_ends(client)
            assert client.wait() == 1
        assert fake.confirmed == []
        assert client.errors == ""

    @pytest.mark.parametrize(
        "fields", [(1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=["number", "ack", "epoch"]
    )
    def test_with_a_header_field_that_is_not_0_learns_nothing(
        self, start: Start, fields: tuple[int, int, int]
    ) -> None:
        def answer(run: Run) -> None:
            run.send_bytes(encode_packet(Header("M2", 1, 2, *fields), run.first_m2()))
            assert run.next_confirmation() is None

        with FakeMaster(NUMBER, wrong_pins(), answer) as fake:
            client = join_at(start, fake)
            type_until_it_ends(client)
            assert client.wait() == 1
        assert fake.failures == []

    def test_with_a_share_of_low_order_learns_nothing(self, start: Start) -> None:
        def answer_zero(run: Run) -> None:
            run.send_m2_without_a_share()
            assert run.next_confirmation() is None
            run.answer_requests()

        with FakeMaster(NUMBER, wrong_pins(), answer_zero) as fake:
            client = join_at(start, fake)
            type_until_it_ends(client)
            assert client.wait() == 1
        assert fake.failures == []
        assert fake.confirmed == []
