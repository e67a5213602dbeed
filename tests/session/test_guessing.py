"""What guessing a PIN is worth: one chance for each run, three runs for each PIN.

With PINs of three digits, so that guessing succeeds often enough to be counted. Everything else
is the real handshake; only the RSA key and the encapsulation to it are reused, since making a key
for each attacker would take an hour.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from porttunnel.errors import AuthenticationFailed, ErrorCode
from porttunnel.keys.handshake import ClientHandshake, HandshakeMode
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.session import invitation, request
from porttunnel.session.admission import HANDSHAKE_SECONDS, Admission, Proven
from porttunnel.session.code import SessionCode
from porttunnel.session.event import (
    ConnectionFailed,
    InvitationMade,
    JoiningPaused,
    StreamDataReceived,
)
from porttunnel.session.packet import MASTER, Header, PacketType
from porttunnel.session.rejoin import RejoinBook
from tests.keys.runs import NUMBER, SESSION_ID, answer, hybrid_key, make_client, make_master
from tests.tunnel import MemoryTunnel

PINS = 1_000  # three digits
SAMPLE = 2_000
MANY = 100_000  # expected: 100 right guesses
ONCE_IN = 1_000_000  # runs of a right program may fail at a bound that is asserted here


class OneKey(HybridPrivateKey):
    """Opens the one encapsulation once and for all."""

    __slots__ = ()

    def __init__(self) -> None:
        key = hybrid_key()
        super().__init__(key._rsa, key._mlkem)

    def decapsulate(self, *ciphertexts: bytes) -> bytes:
        assert ciphertexts[:2] == (answer().rsa_ciphertext, answer().mlkem_ciphertext)
        return answer().shared


def probability_above(successes: int, tries: int) -> float:
    """Of more than so many right guesses among independent ones, each 1 in :data:`PINS`."""
    p = 1 / PINS
    below = sum(
        math.exp(
            math.lgamma(tries + 1)
            - math.lgamma(k + 1)
            - math.lgamma(tries - k + 1)
            + k * math.log(p)
            + (tries - k) * math.log1p(-p)
        )
        for k in range(successes + 1)
    )
    return 1 - below


def most_successes(tries: int) -> int:
    """What guessing exceeds by chance less often than once in :data:`ONCE_IN` runs."""
    return next(n for n in range(tries) if probability_above(n, tries) < 1 / ONCE_IN)


def draw_pin(source: random.Random) -> bytes:
    return f"{source.randrange(PINS):03}".encode()


def attack_the_master(guess: bytes, pin: bytes, source: random.Random) -> bool:
    """An attacker who joins; whether it gets keys."""
    attacker = make_client(
        prs=guess, key=OneKey(), scalar=source.randbytes(32), nonce=source.randbytes(32)
    )
    master = make_master(
        attacker.c1,
        prs=pin,
        encapsulation=answer(),
        scalar=source.randbytes(32),
        nonce=source.randbytes(32),
    )
    confirming = attacker.receive_m2(master.m2)
    try:
        finished = master.receive_c3(confirming.c3)
    except AuthenticationFailed:
        # One bit: that it was wrong. There is no M4 that could be compared with something.
        return False
    confirming.receive_m4(finished.m4)
    return True


def attack_a_client(guess: bytes, pin: bytes, source: random.Random) -> bool:
    """An attacker who answers in the master's place; whether the client believes it."""
    client = make_client(
        prs=pin, key=OneKey(), scalar=source.randbytes(32), nonce=source.randbytes(32)
    )
    attacker = make_master(
        client.c1,
        prs=guess,
        encapsulation=answer(),
        scalar=source.randbytes(32),
        nonce=source.randbytes(32),
    )
    confirming = client.receive_m2(attacker.m2)
    try:
        m4 = attacker.receive_c3(confirming.c3).m4
    except AuthenticationFailed:
        # Our code refuses to answer then. A dishonest one has nothing better than a guess.
        m4 = source.randbytes(32)
    try:
        confirming.receive_m4(m4)
    except AuthenticationFailed:
        return False
    return True


def successes(attack: Any, tries: int, seed: int) -> int:
    source = random.Random(seed)
    count = 0
    for _ in range(tries):
        guess, pin = draw_pin(source), draw_pin(source)
        succeeded = attack(guess, pin, source)
        assert succeeded == (guess == pin)
        count += succeeded
    return count


class TestOneGuessInOneRun:
    def test_the_bounds_mean_what_they_say(self) -> None:
        assert 2 < most_successes(SAMPLE) < 20
        assert probability_above(most_successes(SAMPLE), SAMPLE) < 1 / ONCE_IN
        assert probability_above(most_successes(SAMPLE) - 1, SAMPLE) >= 1 / ONCE_IN
        assert probability_above(0, 1) == pytest.approx(1 / PINS)

    def test_a_sample_of_attackers(self) -> None:
        assert successes(attack_the_master, SAMPLE, 1) <= most_successes(SAMPLE)

    def test_a_sample_of_false_masters(self) -> None:
        tries = SAMPLE // 4
        assert successes(attack_a_client, tries, 2) <= most_successes(tries)

    @pytest.mark.long
    def test_a_hundred_thousand_attackers(self) -> None:
        expected = MANY / PINS
        sigma = math.sqrt(expected * (1 - 1 / PINS))
        assert abs(successes(attack_the_master, MANY, 3) - expected) <= 3 * sigma

    @pytest.mark.long
    def test_a_hundred_thousand_false_masters(self) -> None:
        expected = MANY / PINS
        sigma = math.sqrt(expected * (1 - 1 / PINS))
        assert abs(successes(attack_a_client, MANY, 4) - expected) <= 3 * sigma

    def test_an_answer_does_not_depend_on_the_guess(self) -> None:
        """Of two masters with the same random values, one opening gets M2s that differ in the
        PIN's share only, so that there is nothing else to learn from them.
        """
        c1 = make_client(prs=b"042", key=OneKey()).c1
        one, other = (make_master(c1, prs=pin, encapsulation=answer()).m2 for pin in (b"1", b"2"))
        different = [place for place in range(len(one)) if one[place] != other[place]]
        assert len(one) == len(other)
        assert max(different) - min(different) < 32


class Door:
    """A master's way in, with PINs of three digits, and attackers in front of it."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.events: list[Any] = []
        self.packets: list[tuple[PacketType, int, bytes]] = []
        self.now = 0.0
        self.next_member = 2
        self.guesses: Counter[int] = Counter()
        """How many C3s the master has looked at, for each PIN that it drew, in their order."""
        self.admission = Admission(
            NUMBER,
            SESSION_ID,
            sas=False,
            former=RejoinBook(),
            token_bytes=self.source.randbytes,
            randbelow=self.source.randrange,
            encapsulate=lambda rsa, mlkem: answer(),
            send=self.send,
            events=self.events,
        )

    def send(self, kind: PacketType, target: int, body: bytes, number: int = 0) -> None:
        self.packets.append((kind, target, bytes(body)))

    @property
    def made(self) -> list[InvitationMade]:
        return [event for event in self.events if isinstance(event, InvitationMade)]

    @property
    def pin(self) -> str:
        pin = self.made[-1].code.pin
        assert pin is not None
        return pin

    def receive(self, kind: PacketType, member: int, body: bytes) -> Proven | None:
        number = 1 if kind is PacketType.C3 else 0
        header = Header(kind, 0, 0, member, MASTER, number, 0, len(body))
        return self.admission.receive(header, body, self.now)

    def open(self, guess: str) -> tuple[int, ClientHandshake]:
        """A new attacker sends its C1."""
        member = self.next_member
        self.next_member += 1
        attacker = make_client(
            HandshakeMode.PIN,
            member=member,
            prs=guess.encode(),
            key=OneKey(),
            scalar=self.source.randbytes(32),
            nonce=self.source.randbytes(32),
        )
        self.receive(PacketType.C1, member, attacker.c1)
        return member, attacker

    def answers(self, member: int) -> list[tuple[PacketType, bytes]]:
        """All that the master has ever sent to this number."""
        return [(kind, body) for kind, target, body in self.packets if target == member]

    def guess(self, guess: str) -> Proven | None:
        """A whole attack, as far as the master lets it come."""
        member, attacker = self.open(guess)
        kind, m2 = self.answers(member)[-1]
        if kind is not PacketType.M2:
            return None
        c3 = attacker.receive_m2(m2).c3
        self.guesses[len(self.made)] += 1
        return self.receive(PacketType.C3, member, c3)

    def a_guess(self) -> str:
        return f"{self.source.randrange(PINS):06}"


@pytest.fixture(autouse=True)
def _three_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitation, "draw_pin", lambda randbelow: f"{randbelow(PINS):06}")


class TestThreeGuessesForOnePin:
    def test_a_flood_gets_three_and_then_another_pin(self) -> None:
        door = Door(5)
        proven = pauses = 0
        for _ in range(600):
            proven += door.guess(door.a_guess()) is not None
            if isinstance(door.events[-2], JoiningPaused):
                # Only their user can go on.
                assert door.guess(door.pin) is None
                pauses += 1
                door.admission.allow_joining(door.now)
        tries = sum(door.guesses.values())
        assert tries == 600
        assert max(door.guesses.values()) == 3
        assert pauses == (tries - proven) // 10
        assert proven <= most_successes(tries)

    def test_without_their_user_ten_are_all(self) -> None:
        door = Door(6)
        assert not any(door.guess("999999") for _ in range(100))
        assert sum(door.guesses.values()) == 10
        assert sorted(door.guesses.values()) == [1, 3, 3, 3]
        assert [e.wrong_tries for e in door.events if isinstance(e, JoiningPaused)] == [10]

    def test_no_pin_is_tried_more_often_by_many_at_once(self) -> None:
        door = Door(7)
        runs = [door.open("999999") for _ in range(9)]
        looked_at: Counter[int] = Counter()
        for member, attacker in runs:
            kind, m2 = door.answers(member)[-1]
            if kind is not PacketType.M2:
                continue
            looked_at[len(door.made)] += 1
            assert door.receive(PacketType.C3, member, attacker.receive_m2(m2).c3) is None
        # Who waited with a C1 for the burnt PIN is refused with it.
        assert looked_at == {1: 3}
        assert [door.answers(member)[-1][0] for member, _ in runs] == [PacketType.ERROR] * 9

    def test_who_breaks_off_learns_nothing_and_pays_nothing(self) -> None:
        """Without C3 there was no guess: the master has said nothing that depends on one."""
        door = Door(8)
        first = door.pin
        for place in range(60):
            member, _ = door.open("999999")
            if place % 2:
                door.now += HANDSHAKE_SECONDS
                door.admission.handle_timeout(door.now)
            else:
                report = request.ErrorReport(code=ErrorCode.INTERNAL, text="")
                door.receive(PacketType.ERROR, member, request.encode(report))
            kinds = [kind for kind, _ in door.answers(member)]
            assert kinds[0] is PacketType.M2
            assert set(kinds[1:]) <= {PacketType.ERROR}
        assert door.pin == first
        assert door.guess(first) is not None

    def test_a_wrong_guess_is_told_one_bit(self) -> None:
        """Near or far, first or third, all that comes is the same ERROR, and nothing after it."""
        door = Door(9)
        right = int(door.pin)
        last = set()
        for wrong in (right ^ 1, (right + 500) % PINS, 999_999):
            member = door.next_member
            assert door.guess(f"{wrong:06}") is None
            (kind, _), error = door.answers(member)
            assert kind is PacketType.M2
            last.add(error)
            for again in (PacketType.C1, PacketType.C3):
                door.receive(again, member, bytes(64))
            assert len(door.answers(member)) == 2
        assert len(last) == 1
        assert {kind for kind, _ in last} == {PacketType.ERROR}


def book_entries(thing: Any, seen: set[int] | None = None) -> int:
    """How many entries all containers have that a core of ours can reach."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, str | bytes | bytearray | memoryview | int | float):
        return 0
    seen.add(id(thing))
    if isinstance(thing, dict):
        return len(thing) + sum(book_entries(value, seen) for value in thing.values())
    if isinstance(thing, list | set | frozenset | tuple) or type(thing).__name__ == "deque":
        return len(thing) + sum(book_entries(value, seen) for value in thing)
    if not type(thing).__module__.startswith("porttunnel."):
        return 0
    names = {
        name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())
    } | set(getattr(thing, "__dict__", ()))
    return sum(book_entries(getattr(thing, name, None), seen) for name in names)


def test_a_flood_of_wrong_pins_never_ends_a_running_session() -> None:
    tunnel = MemoryTunnel(seed=10)
    client = tunnel.enter()
    stream = client.streams.open("web")
    tunnel.run()
    tunnel.master.streams(client.member).accept(stream)
    tunnel.run()
    wrong = SessionCode(tunnel.number, pin="999999")
    sent = b""
    entries = []
    for attacker in range(1, 501):
        core = tunnel.join(wrong, name="Mallory")
        assert isinstance(tunnel.events[core.member][-1], ConnectionFailed)
        del tunnel.lines[core.member]
        if attacker % 100 == 0:
            line = b"still here after %d" % attacker
            sent += line
            client.streams.write(stream, line)
            tunnel.run()
            entries.append(book_entries(tunnel.master))
    heard = tunnel.events_of(tunnel.master, StreamDataReceived)
    assert b"".join(bytes(event.data) for event in heard) == sent
    assert [event.wrong_tries for event in tunnel.events_of(tunnel.master, JoiningPaused)] == [10]
    # Each stranger leaves its number behind, of which a session has 65,532, and nothing else.
    assert [after - before for before, after in pairwise(entries)] == [100] * 4
    # Nobody comes in now, not even with the right code, until the master's user says so.
    late = tunnel.join()
    assert isinstance(tunnel.events[late.member][-1], ConnectionFailed)
    tunnel.master.allow_joining(tunnel.now)
    tunnel.run()
    assert tunnel.enter().member == late.member + 1
    assert not tunnel.events_of(tunnel.master, ConnectionFailed)
    assert not tunnel.events_of(client, ConnectionFailed)
