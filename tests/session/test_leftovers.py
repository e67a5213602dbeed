"""What a master still holds of clients that came and went: their numbers, and nothing else."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from porttunnel.session import record, request
from porttunnel.session.client import ClientMachine
from porttunnel.session.code import SessionCode
from porttunnel.session.packet import MASTER
from porttunnel.session.rejoin import RejoinTicket
from tests.tunnel import MemoryTunnel

ROUNDS = 12
# Code, and what a test hands to a core: not a core's own.
NOT_COUNTED = (type, ModuleType, CodeType, BuiltinFunctionType, MemoryTunnel, random.Random)


def count_objects(root: Any) -> int:
    """How many objects somebody holds, directly or not."""
    seen: dict[int, Any] = {}
    todo = [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, NOT_COUNTED):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, FunctionType):
            todo += [cell.cell_contents for cell in thing.__closure__ or ()]
        else:
            todo += gc.get_referents(thing)
    return len(seen)


def closes(tunnel: MemoryTunnel) -> None:
    tunnel.enter().close()


def is_put_out(tunnel: MemoryTunnel) -> None:
    tunnel.master.kick(tunnel.enter().member)


def leaves_without_a_word(tunnel: MemoryTunnel) -> None:
    client = tunnel.enter()
    # Packets wait for it, here and in the broadcast.
    stream = client.streams.open("web")
    tunnel.run()
    tunnel.master.streams(client.member).accept(stream)
    tunnel.cut(client.member)
    tunnel.master.streams(client.member).write(stream, bytes(300_000))
    tunnel.master.broadcast.write(1, bytes(300_000), tunnel.now)
    tunnel.pass_time(2.0)
    del tunnel.lines[client.member]
    tunnel.tell(MASTER, request.Left(member=client.member, reason="lapsed"))


def breaks_the_protocol(tunnel: MemoryTunnel) -> None:
    hello = record.Hello(name="", capabilities=[])
    tunnel.enter().peers[MASTER].streams.send_control(record.encode_control(hello))


def is_refused(tunnel: MemoryTunnel) -> None:
    tunnel.master.refuse(tunnel.join().member, "no")


def is_never_answered(tunnel: MemoryTunnel) -> None:
    tunnel.join()
    tunnel.pass_time(400.0)


def mistypes(tunnel: MemoryTunnel) -> None:
    wrong = str((int(tunnel.code.pin or "") + 1) % 10**6).zfill(6)
    tunnel.join(SessionCode(tunnel.number, pin=wrong))
    tunnel.master.allow_joining(tunnel.now)


def comes_back_with_its_ticket(tunnel: MemoryTunnel) -> None:
    tunnel.master._remember = True
    taken = tunnel.enter().ticket
    ticket = RejoinTicket(taken.number, taken.session_id, taken.member, bytes(taken.secret))
    again = ClientMachine(
        SessionCode(tunnel.number),
        ticket=ticket,
        name="Ben",
        token_bytes=tunnel.random.randbytes,
        jitter=0.5,
    )
    tunnel.add(again)
    tunnel.run()
    tunnel.master.kick(again.member)


def resumes(tunnel: MemoryTunnel) -> None:
    for member in (2, MASTER):
        tunnel.cut(member)
        tunnel.pass_time(0.5)
        tunnel.resume(member)


def streams_come_and_go(tunnel: MemoryTunnel) -> None:
    staying: Any = tunnel.lines[2].core
    stream = staying.streams.open("web")
    tunnel.run()
    tunnel.master.streams(2).accept(stream)
    tunnel.master.streams(2).write(stream, bytes(1_000))
    tunnel.run()
    staying.streams.consumed(stream, 1_000)
    staying.streams.end(stream)
    tunnel.run()
    tunnel.master.streams(2).end(stream)


def broadcasts(tunnel: MemoryTunnel) -> None:
    tunnel.master.broadcast.write(1, bytes(100_000), tunnel.now)
    tunnel.master.broadcast.end(1, tunnel.now)


HOW: list[Callable[[MemoryTunnel], None]] = [
    closes,
    is_put_out,
    leaves_without_a_word,
    breaks_the_protocol,
    is_refused,
    is_never_answered,
    mistypes,
    comes_back_with_its_ticket,
    resumes,
    streams_come_and_go,
    broadcasts,
]


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
def test_nothing_but_a_number_is_left_of_a_client_that(
    how: Callable[[MemoryTunnel], None],
) -> None:
    tunnel = MemoryTunnel()
    staying = tunnel.enter("Ada")
    counts: dict[Any, list[int]] = {tunnel.master: [], staying: []}
    numbers = []
    for _ in range(2 * ROUNDS):
        how(tunnel)
        tunnel.pass_time(61.0)  # an epoch's key is kept for so long
        numbers.append(tunnel._next_member)
        for core, counted in counts.items():
            counted.append(count_objects(core))
    assert not tunnel.master.over
    assert not staying.over
    for counted in counts.values():
        # The first half is for what is made once, and kept for all. A number is never good again.
        assert counted[-1] - counted[ROUNDS] <= numbers[-1] - numbers[ROUNDS], counted
