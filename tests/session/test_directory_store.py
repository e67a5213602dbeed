"""porttunnel.session.directory_store"""

from __future__ import annotations

from dataclasses import fields, replace

from porttunnel.keys.credentials import hash_token
from porttunnel.session.directory_store import MemberRow, NoticeRow, ServerRow, SessionRow


def test_rows_show_no_hash() -> None:
    row = MemberRow(b"s" * 16, 2, b"current", b"previous", 0.0, False, b"p" * 16, None)
    assert "current" not in repr(row)
    assert "previous" not in repr(row)
    assert "member=2" in repr(row)


def test_the_current_and_the_previous_token_are_good() -> None:
    row = MemberRow(b"s" * 16, 2, hash_token(b"new"), None, 0.0, False, b"p" * 16, None)
    resumed = replace(row, previous_token_hash=hash_token(b"old"))
    assert [row.may_resume_with(token) for token in (b"new", b"old", b"")] == [True, False, False]
    assert [resumed.may_resume_with(token) for token in (b"new", b"old", b"")] == [
        True,
        True,
        False,
    ]


def test_rows_hold_nothing_that_tells_who_anybody_is() -> None:
    kept = {
        field.name
        for row in (SessionRow, MemberRow, ServerRow, NoticeRow)
        for field in fields(row)
    }
    assert kept == {
        "session_id",
        "number",
        "ends_at",
        "join_until",
        "max_clients",
        "next_member",
        "locked",
        "member",
        "token_hash",
        "previous_token_hash",
        "joined_at",
        "established",
        "linked_by",
        "unlinked_since",
        "server_id",
        "served_since",
        "seen_at",
        "written_by",
        "written_at",
        "reason",
    }
