"""porttunnel.session.directory"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from porttunnel.errors import ErrorCode, NoSuchNumber, RemoteProtocolError, SessionEnded
from porttunnel.net.store.sqlite import IN_MEMORY, SQLiteStore
from porttunnel.session.directory import (
    EXPIRY_BATCH,
    Admission,
    Directory,
    Ended,
    Lapsed,
    Moved,
    Report,
    SessionStatus,
)
from porttunnel.session.directory_store import MemberRow

HOUR = 3_600
DAY = 86_400.0
LIFETIME = 30 * 86_400


@pytest.fixture
def store() -> Iterator[SQLiteStore]:
    store = SQLiteStore(IN_MEMORY)
    yield store
    store.close()


def open_directory(store: SQLiteStore, seed: int = 1, **settings: Any) -> Directory:
    """Another server process on the same store: each seed is another one."""
    random = Random(seed)
    return Directory(store, randbelow=random.randrange, token_bytes=random.randbytes, **settings)


@pytest.fixture
def directory(store: SQLiteStore) -> Directory:
    directory = open_directory(store)
    directory.start(0.0)
    return directory


def create(directory: Directory, now: float = 0.0, max_clients: int = 5) -> Admission:
    return directory.create(LIFETIME, max_clients, LIFETIME, now)


def join(directory: Directory, session: Admission, now: float = 0.0) -> Admission:
    """A client whose handshake is done."""
    client = directory.join(session.number, now)
    directory.establish(client.session_id, client.member)
    return client


def resume(directory: Directory, member: Admission, now: float = 0.0) -> Admission:
    return directory.resume(member.session_id, member.member, member.token, now)


def drop(directory: Directory, member: Admission, now: float) -> None:
    directory.link_changed(member.session_id, member.member, False, now)


def keep_alive(directory: Directory, start: float, stop: float) -> list[Report]:
    """What a living server does all the time, once a minute."""
    reports = []
    now = start
    while now <= stop:
        reports += directory.expire(now)
        now += 60.0
    return reports


def test_create(directory: Directory) -> None:
    master = create(directory)
    other = create(directory)
    assert len(master.session_id) == 16
    assert len(master.token) == 32
    assert 10_000 <= master.number <= 99_999
    assert master.member == 1
    assert len({master.session_id, other.session_id}) == 2
    assert len({master.number, other.number}) == 2
    assert directory.status(master.session_id, 0.5) == SessionStatus((1,), False, LIFETIME)


def test_admission_shows_no_token(directory: Directory) -> None:
    master = create(directory)
    assert "token" not in repr(master)
    assert repr(master.token) not in repr(master)
    assert str(master.number) in repr(master)


def test_join(directory: Directory) -> None:
    master = create(directory)
    first = directory.join(master.number, 1.0)
    second = directory.join(master.number, 2.0)
    assert first.session_id == second.session_id == master.session_id
    assert first.number == second.number == master.number
    assert (first.member, second.member) == (2, 3)
    assert len({master.token, first.token, second.token}) == 3
    assert directory.status(master.session_id, 2.0).members == (1, 2, 3)


def no_number(directory: Directory, number: int, now: float = 10.0) -> tuple[str, ...]:
    with pytest.raises(NoSuchNumber) as caught:
        directory.join(number, now)
    return caught.value.args


def test_every_reason_for_no_such_number_reads_the_same(
    store: SQLiteStore, directory: Directory
) -> None:
    closed, locked, full, late, over, used_up = (
        create(directory, max_clients=1) for _ in "abcdef"
    )
    late = directory.create(LIFETIME, 1, 10, 0.0)
    over = directory.create(10, 1, LIFETIME, 0.0)
    directory.close(closed.session_id, "the master closed it", 0.0)
    directory.lock(locked.session_id, True)
    join(directory, full)
    with store.transaction():
        row = store.session(used_up.session_id)
        assert row is not None
        store.replace_session(replace(row, next_member=0xFFFE))
    unknown = next(
        number
        for number in range(10_000, 99_999)
        if number not in {row.number for row in (closed, locked, full, late, over, used_up)}
    )
    sessions = (closed, locked, full, late, over, used_up)
    texts = {no_number(directory, session.number) for session in sessions}
    texts.add(no_number(directory, unknown))
    texts.add(no_number(directory, 0))
    assert len(texts) == 1


def test_refused_joins_use_up_no_member_number(directory: Directory) -> None:
    master = create(directory, max_clients=1)
    client = join(directory, master)
    for _ in range(10):
        no_number(directory, master.number)
    directory.leave(master.session_id, client.member, 1.0)
    assert join(directory, master).member == 3


def test_join_until_the_last_moment(directory: Directory) -> None:
    master = directory.create(LIFETIME, 5, 600, 0.0)
    assert directory.join(master.number, 599.9).member == 2
    no_number(directory, master.number, 600.0)
    assert directory.status(master.session_id, 600.0).members == (1, 2)


def test_unlocked_again(directory: Directory) -> None:
    master = create(directory)
    directory.lock(master.session_id, True)
    assert directory.status(master.session_id, 0.0).locked
    no_number(directory, master.number)
    directory.lock(master.session_id, False)
    assert directory.join(master.number, 0.0).member == 2


def test_members_without_link_keep_their_place(directory: Directory) -> None:
    master = create(directory, max_clients=1)
    client = join(directory, master)
    drop(directory, client, 1.0)
    no_number(directory, master.number)
    no_come_back = Lapsed(master.session_id, client.member, "it did not come back")
    assert keep_alive(directory, 1.0, 601.0) == [no_come_back]
    assert join(directory, master).member == 3


def test_strangers_use_up_the_member_numbers_and_members_go_on(
    store: SQLiteStore, directory: Directory
) -> None:
    master = create(directory)
    client = join(directory, master)
    with store.transaction():
        row = store.session(master.session_id)
        assert row is not None
        store.replace_session(replace(row, next_member=0xFFFD))
    last = directory.join(master.number, 0.0)
    assert last.member == 0xFFFD
    directory.leave(master.session_id, last.member, 0.0)
    no_number(directory, master.number)
    assert resume(directory, client).member == client.member
    assert resume(directory, master).member == 1


def test_resume_gives_a_new_token(directory: Directory) -> None:
    master = create(directory)
    again = resume(directory, master)
    assert again.session_id == master.session_id
    assert again.number == master.number
    assert again.member == 1
    assert again.token != master.token


def session_ended(directory: Directory, member: Admission, now: float = 0.0) -> tuple[str, ...]:
    with pytest.raises(SessionEnded) as caught:
        resume(directory, member, now)
    return caught.value.args


def test_previous_token_lives_until_the_new_one_is_confirmed(directory: Directory) -> None:
    first = create(directory)
    second = resume(directory, first)
    third = resume(directory, second)
    session_ended(directory, first)  # two back
    fourth = resume(directory, second)  # the answer with the third got lost, or it did not
    assert fourth == third
    fifth = resume(directory, fourth)
    session_ended(directory, second)
    directory.confirm_token(first.session_id, 1, fifth.token)
    session_ended(directory, fourth)
    assert resume(directory, fifth).token != fifth.token


def test_answers_may_get_lost_again_and_again(directory: Directory) -> None:
    master = create(directory)
    lost = [resume(directory, master) for _ in range(5)]
    arrived = resume(directory, master)
    # It does not matter which of the answers comes, and which of the RESUMEs came last.
    assert {admission.token for admission in lost} == {arrived.token}
    directory.confirm_token(master.session_id, 1, arrived.token)
    session_ended(directory, master)
    assert resume(directory, arrived).member == 1


def test_a_late_packet_on_an_older_link_confirms_nothing(directory: Directory) -> None:
    """The member has the older token only: the answer with the newer one may get lost."""
    arrived = resume(directory, create(directory))
    resume(directory, arrived)
    directory.confirm_token(arrived.session_id, 1, arrived.token)
    assert resume(directory, arrived).member == 1


def test_confirming_twice_changes_nothing(directory: Directory) -> None:
    master = create(directory)
    directory.confirm_token(master.session_id, 1, master.token)
    again = resume(directory, master)
    directory.confirm_token(master.session_id, 1, again.token)
    directory.confirm_token(master.session_id, 1, again.token)
    directory.confirm_token(master.session_id, 7, again.token)
    assert resume(directory, again).member == 1


def test_every_reason_for_session_ended_reads_the_same(directory: Directory) -> None:
    closed, living = create(directory), create(directory)
    over = directory.create(10, 5, 10, 0.0)
    client, left, kicked = (join(directory, living) for _ in range(3))
    directory.leave(living.session_id, left.member, 0.0)
    directory.kick(living.session_id, kicked.member, 0.0)
    directory.close(closed.session_id, "the master closed it", 0.0)
    texts = {
        session_ended(directory, stranger, 10.0)
        for stranger in (
            closed,
            over,
            left,
            kicked,
            replace(living, session_id=bytes(16)),
            replace(living, token=bytes(32)),
            replace(living, token=b""),
            replace(living, member=2),
            replace(client, member=1),
            replace(client, member=9),
        )
    }
    assert len(texts) == 1
    assert resume(directory, client, 10.0).member == 2


def test_left_and_kicked_members_are_gone(directory: Directory) -> None:
    master = create(directory)
    left, kicked = join(directory, master), join(directory, master)
    for _ in range(2):  # idempotent
        told = directory.leave(master.session_id, left.member, 0.0)
        assert told == Lapsed(master.session_id, left.member, "it left")
        told = directory.kick(master.session_id, kicked.member, 0.0)
        assert told == Lapsed(master.session_id, kicked.member, "the master put it out")
    assert directory.status(master.session_id, 0.0).members == (1,)
    assert join(directory, master).member == 4


def test_the_master_can_not_be_put_out(directory: Directory) -> None:
    master = create(directory)
    for put_out in (directory.leave, directory.kick):
        with pytest.raises(RemoteProtocolError) as caught:
            put_out(master.session_id, 1, 0.0)
        assert caught.value.code is ErrorCode.NOT_ALLOWED
    assert directory.status(master.session_id, 0.0).members == (1,)


def test_close(directory: Directory) -> None:
    master = create(directory)
    ended = directory.close(master.session_id, "the master closed it", 0.0)
    assert ended == Ended(master.session_id, "the master closed it")
    assert directory.close(master.session_id, "once more", 0.0) is None
    for ask in (
        lambda: directory.status(master.session_id, 0.0),
        lambda: directory.lock(master.session_id, True),
        lambda: directory.kick(master.session_id, 2, 0.0),
    ):
        with pytest.raises(SessionEnded):
            ask()


def test_what_comes_late_for_a_member_that_is_gone_changes_nothing(directory: Directory) -> None:
    master = create(directory)
    client = join(directory, master)
    directory.leave(master.session_id, client.member, 0.0)
    directory.establish(master.session_id, client.member)
    directory.confirm_token(master.session_id, client.member, client.token)
    directory.link_changed(master.session_id, client.member, True, 0.0)
    drop(directory, client, 0.0)
    assert directory.status(master.session_id, 0.0).members == (1,)


def test_seconds_left_are_never_zero_while_it_lives(directory: Directory) -> None:
    master = directory.create(60, 5, 60, 0.0)
    assert directory.status(master.session_id, 59.99).ends_in_s == 1
    with pytest.raises(SessionEnded):
        directory.status(master.session_id, 60.0)


def test_lifetime(directory: Directory) -> None:
    long, short = directory.create(120, 5, 120, 0.0), directory.create(60, 5, 60, 0.0)
    assert directory.expire(59.9) == []
    assert directory.expire(60.0) == [Ended(short.session_id, "its time is over")]
    assert directory.expire(500.0) == [Ended(long.session_id, "its time is over")]
    assert directory.expire(500.0) == []


def test_joined_without_handshake(directory: Directory) -> None:
    master = create(directory)
    idle, done = directory.join(master.number, 0.0), directory.join(master.number, 0.0)
    directory.establish(done.session_id, done.member)
    directory.establish(done.session_id, done.member)
    assert directory.expire(59.9) == []
    assert directory.expire(60.0) == [
        Lapsed(master.session_id, idle.member, "it did not finish its handshake")
    ]
    session_ended(directory, idle, 60.0)


def test_client_without_link_for_ten_minutes(directory: Directory) -> None:
    master = create(directory)
    client = join(directory, master)
    drop(directory, client, 100.0)
    assert keep_alive(directory, 100.0, 699.9) == []
    assert directory.expire(700.0) == [
        Lapsed(master.session_id, client.member, "it did not come back")
    ]
    session_ended(directory, client, 700.0)


def test_master_without_link_for_a_day(directory: Directory) -> None:
    master = create(directory)
    client = join(directory, master)
    drop(directory, master, 100.0)
    assert keep_alive(directory, 100.0, 100.0 + DAY - 1.0) == []
    assert directory.expire(100.0 + DAY) == [
        Ended(master.session_id, "the master did not come back")
    ]
    session_ended(directory, client, 100.0 + DAY)


def test_grace_is_settable(store: SQLiteStore) -> None:
    directory = open_directory(
        store,
        master_grace_seconds=30.0,
        client_grace_seconds=20.0,
        handshake_grace_seconds=10.0,
    )
    directory.start(0.0)
    master = create(directory)
    client = join(directory, master)
    directory.join(master.number, 0.0)
    drop(directory, master, 0.0)
    drop(directory, client, 0.0)
    assert directory.expire(10.0) == [
        Lapsed(master.session_id, 3, "it did not finish its handshake")
    ]
    assert directory.expire(20.0) == [Lapsed(master.session_id, 2, "it did not come back")]
    assert directory.expire(30.0) == [Ended(master.session_id, "the master did not come back")]


def test_resume_and_a_new_link_stop_the_clock(directory: Directory) -> None:
    master = create(directory)
    resumed, linked = join(directory, master), join(directory, master)
    for member in (resumed, linked):
        drop(directory, member, 0.0)
    resume(directory, resumed, 500.0)
    directory.link_changed(linked.session_id, linked.member, True, 500.0)
    assert keep_alive(directory, 500.0, 5_000.0) == []
    drop(directory, linked, 5_000.0)
    assert keep_alive(directory, 5_000.0, 5_599.0) == []
    assert directory.expire(5_600.0) == [
        Lapsed(master.session_id, linked.member, "it did not come back")
    ]


def test_an_old_link_ends_in_another_process(store: SQLiteStore, directory: Directory) -> None:
    other = open_directory(store, seed=2)
    other.start(0.0)
    client = join(directory, create(directory))
    resume(other, client, 10.0)
    drop(directory, client, 11.0)
    assert directory.expire(60.0) == [Moved(client.session_id, client.member)]
    for now in range(120, 1_200, 60):
        assert directory.expire(now) == []
        assert other.expire(now) == []
    drop(other, client, 1_200.0)
    assert keep_alive(directory, 1_200.0, 1_799.0) == []
    assert directory.expire(1_800.0) == [
        Lapsed(client.session_id, client.member, "it did not come back")
    ]


def two_processes(store: SQLiteStore, directory: Directory) -> Directory:
    other = open_directory(store, seed=2)
    other.start(0.0)
    return other


def test_what_one_process_ends_the_other_hears_once(
    store: SQLiteStore, directory: Directory
) -> None:
    other = two_processes(store, directory)
    closed, living = create(directory), create(directory)
    over = directory.create(60, 5, 60, 0.0)
    left, kicked, lost = (join(directory, living) for _ in range(3))
    idle = directory.join(living.number, 0.0)
    drop(directory, lost, 0.0)
    told = [
        other.close(closed.session_id, "the master closed it", 1.0),
        other.leave(living.session_id, left.member, 1.0),
        other.kick(living.session_id, kicked.member, 1.0),
    ]
    # Nothing to tell: it was over already.
    other.close(closed.session_id, "once more", 1.0)
    other.kick(living.session_id, left.member, 1.0)
    assert other.expire(5.0) == []
    assert directory.expire(5.0) == told
    assert directory.expire(10.0) == []
    ended = [
        Ended(over.session_id, "its time is over"),
        Lapsed(living.session_id, idle.member, "it did not finish its handshake"),
    ]
    assert directory.expire(60.0) == ended
    assert other.expire(60.0) == ended
    lapsed = Lapsed(living.session_id, lost.member, "it did not come back")
    assert keep_alive(other, 120.0, 600.0) == [lapsed]
    assert directory.expire(600.0) == [lapsed]


def test_what_others_ended_counts_for_the_batch(store: SQLiteStore, directory: Directory) -> None:
    other = two_processes(store, directory)
    for _ in range(EXPIRY_BATCH + 10):
        other.close(create(other).session_id, "the master closed it", 0.0)
    assert [len(directory.expire(5.0)) for _ in range(3)] == [EXPIRY_BATCH, 10, 0]


def test_a_new_process_hears_nothing_of_what_was_before_it(
    store: SQLiteStore, directory: Directory
) -> None:
    directory.close(create(directory).session_id, "the master closed it", 0.0)
    other = two_processes(store, directory)
    assert other.expire(1.0) == []
    master = create(directory)
    ended = directory.close(master.session_id, "the master closed it", 2.0)
    assert other.expire(3.0) == [ended]


def test_notices_are_forgotten_when_nobody_can_want_them(
    store: SQLiteStore, directory: Directory
) -> None:
    directory.close(create(directory).session_id, "the master closed it", 0.0)
    directory.close(create(directory).session_id, "the master closed it", 10.0)
    for now, kept in ((179.9, 2), (180.0, 1), (190.0, 0)):
        directory.expire(now)
        with store.transaction():
            assert len(store.notices(0, b"somebody else", 9)) == kept


def test_a_member_that_resumed_elsewhere_has_moved(
    store: SQLiteStore, directory: Directory
) -> None:
    other = two_processes(store, directory)
    master = create(directory)
    gone, stays, back, without_link = (join(directory, master) for _ in range(4))
    drop(directory, without_link, 0.0)
    resume(other, gone)
    resume(directory, stays)
    back = resume(other, back)
    resume(other, without_link)
    resume(directory, back)
    assert directory.expire(5.0) == [Moved(master.session_id, gone.member)]
    assert other.expire(5.0) == [Moved(master.session_id, back.member)]
    # Also when it is no member any more: the link must go all the same.
    resume(directory, gone_again := resume(other, stays))
    other.leave(master.session_id, stays.member, 6.0)
    moved = Moved(master.session_id, gone_again.member)
    assert directory.expire(10.0) == [
        moved,
        Lapsed(master.session_id, stays.member, "it left"),
    ]


def test_a_link_that_is_noted_again_takes_nothing_from_another_process(
    store: SQLiteStore, directory: Directory
) -> None:
    """Two RESUMEs at two processes: the later one holds the link, whatever the first notes."""
    other = two_processes(store, directory)
    client = join(directory, create(directory))
    resumed = resume(other, client, 1.0)
    directory.link_changed(client.session_id, client.member, True, 2.0)
    assert directory.expire(5.0) == [Moved(client.session_id, client.member)]
    assert resumed.token
    assert other.expire(5.0) == []


def test_links_of_a_crashed_process_are_lost_after_three_minutes(
    store: SQLiteStore, directory: Directory
) -> None:
    client = join(directory, create(directory))
    directory.expire(60.0)
    # It is never heard of again; another one was there all the time.
    other = open_directory(store, seed=2)
    other.start(60.0)
    assert keep_alive(other, 60.0, 240.0 + 599.0) == []
    assert other.expire(240.0 + 600.0) == [
        Lapsed(client.session_id, client.member, "it did not come back")
    ]


def test_nobody_lapses_for_time_without_any_server(
    store: SQLiteStore, directory: Directory
) -> None:
    master = create(directory)
    linked, unlinked = join(directory, master), join(directory, master)
    drop(directory, master, 10.0)
    drop(directory, unlinked, 10.0)
    directory.expire(60.0)
    back = 7 * DAY
    other = open_directory(store, seed=2)
    other.start(back)
    assert keep_alive(other, back, back + 599.0) == []
    resume(other, linked, back + 599.0)
    assert other.expire(back + 600.0) == [
        Lapsed(master.session_id, unlinked.member, "it did not come back")
    ]
    assert keep_alive(other, back + 600.0, back + DAY - 1.0) == []
    assert other.expire(back + DAY) == [Ended(master.session_id, "the master did not come back")]


def test_nobody_lapses_in_mid_handshake_for_time_without_any_server(
    store: SQLiteStore, directory: Directory
) -> None:
    client = directory.join(create(directory).number, 0.0)
    other = open_directory(store, seed=2)
    other.start(1_000.0)
    assert other.expire(1_059.0) == []
    assert other.expire(1_060.0) == [
        Lapsed(client.session_id, client.member, "it did not finish its handshake")
    ]


def test_a_quick_restart_does_not_begin_grace_anew(
    store: SQLiteStore, directory: Directory
) -> None:
    client = join(directory, create(directory))
    drop(directory, client, 10.0)
    directory.expire(60.0)
    other = open_directory(store, seed=2)
    other.start(100.0)
    assert keep_alive(other, 100.0, 609.0) == []
    assert other.expire(610.0) == [
        Lapsed(client.session_id, client.member, "it did not come back")
    ]


def test_a_machine_that_slept_gives_grace_anew(directory: Directory) -> None:
    master = create(directory)
    client = join(directory, master)
    drop(directory, client, 10.0)
    directory.expire(60.0)
    assert keep_alive(directory, DAY, DAY + 599.0) == []
    assert directory.expire(DAY + 600.0) == [
        Lapsed(client.session_id, client.member, "it did not come back")
    ]
    # The sleeper's own links are its own matter: it will notice which of them are dead.
    assert directory.status(master.session_id, DAY + 600.0).members == (1,)


def test_expiry_is_bounded(directory: Directory) -> None:
    count = EXPIRY_BATCH + 10
    sessions = {directory.create(60, 5, 60, 0.0).session_id for _ in range(count)}
    first, second, third = (directory.expire(60.0) for _ in range(3))
    assert len(first) == EXPIRY_BATCH
    assert len(second) == 10
    assert third == []
    assert {report.session_id for report in first + second} == sessions


def test_expiry_is_bounded_over_all_reasons(store: SQLiteStore) -> None:
    directory = open_directory(store, master_grace_seconds=60.0, client_grace_seconds=60.0)
    directory.start(0.0)
    for _ in range(EXPIRY_BATCH - 2):
        directory.create(60, 5, 60, 0.0)
    *masterless, living = (create(directory) for _ in range(4))
    unfinished = [directory.join(living.number, 0.0) for _ in range(2)]
    lost = [join(directory, living) for _ in range(2)]
    for member in (*masterless, *lost):
        drop(directory, member, 0.0)
    reports = [directory.expire(60.0) for _ in range(3)]
    assert [len(batch) for batch in reports] == [EXPIRY_BATCH, 5, 0]
    ended = {report.session_id for report in reports[0] + reports[1]}
    assert {master.session_id for master in masterless} < ended
    lapsed = {report.member for report in reports[1] if isinstance(report, Lapsed)}
    assert lapsed == {client.member for client in unfinished + lost}


def test_lost_links_are_noted_in_batches(store: SQLiteStore, directory: Directory) -> None:
    count = EXPIRY_BATCH + 10
    sessions = [create(directory) for _ in range(count)]
    other = open_directory(store, seed=2)
    other.start(100.0)

    def unlinked() -> int:
        with store.transaction():
            rows = [store.member(session.session_id, 1) for session in sessions]
        return sum(row is not None and row.unlinked_since is not None for row in rows)

    other.expire(179.9)
    assert unlinked() == 0
    other.expire(180.0)
    assert unlinked() == EXPIRY_BATCH
    other.expire(181.0)
    assert unlinked() == count
    with store.transaction():
        assert store.silent_server(100.0) is None  # the lost process is forgotten
        assert store.served_since(180.0 - 1.0) == 0.0  # what it began goes on


def test_the_number_of_an_ended_session_never_comes_back(store: SQLiteStore) -> None:
    numbers = set()
    for seed in range(9):  # nine processes, one after the other
        directory = open_directory(store, seed, number_digits=(2, 3))
        directory.start(float(seed))
        for _ in range(5):
            master = directory.create(60, 5, 60, 0.0)
            assert 10 <= master.number <= 99
            numbers.add(master.number)
            directory.close(master.session_id, "the master closed it", 0.0)
    assert len(numbers) == 45
    assert open_directory(store, 10, number_digits=(2, 3)).create(60, 5, 60, 0.0).number >= 100


class Interrupted(Exception):
    pass


class FaultyStore(SQLiteStore):
    def add_member(self, member: MemberRow) -> None:
        raise Interrupted


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    with closing(SQLiteStore(path)) as store, closing(FaultyStore(path)) as faulty:
        directory, failing = open_directory(store), open_directory(faulty, seed=2)
        master = create(directory)
        with pytest.raises(Interrupted):
            create(failing)
        with pytest.raises(Interrupted):
            failing.join(master.number, 0.0)
        with store.transaction():
            assert store.issued_numbers(5) == 1
        assert directory.join(master.number, 0.0).member == 2


class FullStore(SQLiteStore):
    """A disk that is full now and then: what a transaction has changed is gone at its end."""

    is_full = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
            if self.is_full:
                raise Interrupted


def test_what_a_full_disk_kept_from_being_passed_on_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    with closing(SQLiteStore(path)) as store, closing(FullStore(path)) as full:
        directory, other = open_directory(full), open_directory(store, seed=2)
        directory.start(0.0)
        other.start(0.0)
        told = other.close(create(other).session_id, "the master closed it", 1.0)
        over = other.create(60, 5, 60, 0.0)
        full.is_full = True
        with pytest.raises(Interrupted):
            directory.expire(60.0)
        full.is_full = False
        assert directory.expire(61.0) == [told, Ended(over.session_id, "its time is over")]
        assert directory.expire(62.0) == []
