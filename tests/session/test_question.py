"""Questions under way, and when to ask again."""

from __future__ import annotations

from porttunnel.session.event import PathKind
from porttunnel.session.outbox import SlotPool
from porttunnel.session.path import Path
from porttunnel.session.question import MAX_RESYNC_SECONDS, RESYNC_SECONDS, Questions

NOW = 100.0
LINK = Path(PathKind.RELAY, SlotPool())
DIRECT = Path(PathKind.DIRECT, SlotPool())


def test_at_first_nothing_is_asked() -> None:
    questions = Questions()
    assert LINK not in questions
    assert questions.sealed_at(LINK) is None
    assert questions.deadline is None
    assert questions.repeat(NOW + 1e9) == []


def test_each_path_has_its_own() -> None:
    questions = Questions()
    questions.note(LINK, 3, NOW)
    questions.note(DIRECT, 5, NOW + 0.5)
    assert (questions.sealed_at(LINK), questions.sealed_at(DIRECT)) == (3, 5)
    assert questions.deadline == NOW + RESYNC_SECONDS
    questions.forget(LINK)
    assert LINK not in questions
    assert DIRECT in questions
    assert questions.deadline == NOW + RESYNC_SECONDS
    assert questions.repeat(NOW + RESYNC_SECONDS) == [DIRECT]
    questions.forget(DIRECT)
    assert questions.deadline is None
    questions.forget(DIRECT)


def test_are_repeated_with_more_and_more_patience() -> None:
    questions = Questions()
    questions.note(LINK, 3, NOW)
    now, waited = NOW, []
    while len(waited) < 8:
        due = questions.deadline
        assert due is not None
        assert questions.repeat(due - 0.001) == []
        assert questions.repeat(due) == [LINK]
        waited.append(due - now)
        now = due
    assert waited == [1, 2, 4, 8, 16, 30, 30, 30]
    assert waited[-1] == MAX_RESYNC_SECONDS
    # What had been sealed at the first is what counts: the answer may be that one's.
    assert questions.sealed_at(LINK) == 3


def test_only_an_answer_brings_back_the_first_patience() -> None:
    questions = Questions()
    questions.note(LINK, 0, NOW)
    questions.repeat(NOW + RESYNC_SECONDS)
    questions.forget(LINK)
    questions.note(LINK, 0, NOW)
    assert questions.deadline == NOW + 2 * RESYNC_SECONDS
    questions.succeed(LINK)
    assert LINK not in questions
    assert questions.deadline is None
    questions.note(LINK, 0, NOW)
    assert questions.deadline == NOW + RESYNC_SECONDS


def test_all_can_be_dropped() -> None:
    questions = Questions()
    questions.note(LINK, 0, NOW)
    questions.note(DIRECT, 0, NOW)
    questions.clear()
    assert LINK not in questions
    assert DIRECT not in questions
    assert questions.deadline is None
