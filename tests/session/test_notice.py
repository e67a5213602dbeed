"""porttunnel.session.notice"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from porttunnel.net.store.sqlite import IN_MEMORY, SQLiteStore
from porttunnel.session.directory_store import MemberRow, SessionRow
from porttunnel.session.notice import NOTICE_SECONDS, Ended, Lapsed, Moved, Notices, Report

HERE, THERE = b"h" * 16, b"t" * 16
SESSION = b"s" * 16
REPORTS: list[Report] = [
    Lapsed(SESSION, 3, "it left"),
    Moved(SESSION, 2),
    Ended(SESSION, "its time is over"),
]


@pytest.fixture
def store() -> Iterator[SQLiteStore]:
    store = SQLiteStore(IN_MEMORY)
    with store.transaction():
        yield store
    store.close()


def member(linked_by: bytes | None) -> MemberRow:
    since = 0.0 if linked_by is None else None
    return MemberRow(SESSION, 2, b"h" * 32, None, b"salt", 0.0, True, linked_by, since)


def heard(notices: Notices, limit: int = 9) -> list[Report]:
    reports = notices.read(limit)
    notices.hear()
    return reports


def test_each_report_arrives_once_and_in_order(store: SQLiteStore) -> None:
    here, there = Notices(store, HERE), Notices(store, THERE)
    for report in REPORTS:
        there.write(report, 1.0)
    assert heard(here) == REPORTS
    assert heard(here) == []
    there.write(REPORTS[0], 2.0)
    assert heard(here) == REPORTS[:1]


def test_what_was_read_and_not_passed_on_is_read_again(store: SQLiteStore) -> None:
    here, there = Notices(store, HERE), Notices(store, THERE)
    for report in REPORTS:
        there.write(report, 1.0)
    assert here.read(1) == here.read(1) == REPORTS[:1]
    assert heard(here, 2) == REPORTS[:2]
    assert here.read(9) == here.read(9) == REPORTS[2:]


def test_own_ones_are_not_read(store: SQLiteStore) -> None:
    here, there = Notices(store, HERE), Notices(store, THERE)
    here.write(REPORTS[0], 1.0)
    there.write(REPORTS[1], 1.0)
    here.write(REPORTS[2], 1.0)
    assert heard(here) == REPORTS[1:2]
    assert heard(there) == [REPORTS[0], REPORTS[2]]


def test_however_many_are_written_the_old_ones_go(store: SQLiteStore) -> None:
    there = Notices(store, THERE)
    for second in range(1_000):
        there.write(REPORTS[0], float(second))
    assert len(store.notices(0, HERE, 1_000)) == NOTICE_SECONDS


def test_no_more_than_wanted(store: SQLiteStore) -> None:
    here, there = Notices(store, HERE), Notices(store, THERE)
    for report in REPORTS:
        there.write(report, 1.0)
    assert [heard(here, 2), heard(here, 2), heard(here, 2)] == [REPORTS[:2], REPORTS[2:], []]


def test_what_was_before_is_skipped(store: SQLiteStore) -> None:
    here, there = Notices(store, HERE), Notices(store, THERE)
    here.skip()
    there.write(REPORTS[0], 1.0)
    here.skip()
    there.write(REPORTS[2], 1.0)
    assert heard(here) == REPORTS[2:]


@pytest.mark.parametrize(
    ("linked_by", "moved"), [(HERE, []), (THERE, [Moved(SESSION, 2)]), (None, [Moved(SESSION, 2)])]
)
def test_who_has_come_back_here_has_not_moved(
    store: SQLiteStore, linked_by: bytes | None, moved: list[Report]
) -> None:
    store.issue_number(12_345)
    store.add_session(SessionRow(SESSION, 12_345, 9.0, 9.0, 3, 3, False))
    store.add_member(member(linked_by))
    here, there = Notices(store, HERE), Notices(store, THERE)
    there.write(Moved(SESSION, 2), 1.0)
    assert heard(here) == moved
    assert heard(here) == []
