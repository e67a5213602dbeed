"""porttunnel.session.directory_store"""

from __future__ import annotations

from dataclasses import fields, replace

from porttunnel.keys.credentials import derive_next_token, hash_token
from porttunnel.session.directory_store import MemberRow, NoticeRow, ServerRow, SessionRow


def test_rows_show_no_hash() -> None:
    row = MemberRow(b"s" * 16, 2, b"current", b"previous", b"salt", 0.0, False, b"p" * 16, None)
    assert "current" not in repr(row)
    assert "previous" not in repr(row)
    assert "salt" not in repr(row)
    assert "member=2" in repr(row)


def test_the_current_and_the_previous_token_are_good() -> None:
    row = MemberRow(b"s" * 16, 2, hash_token(b"new"), None, b"salt", 0.0, False, b"p" * 16, None)
    resumed = replace(row, previous_token_hash=hash_token(b"old"))
    assert [row.may_resume_with(token) for token in (b"new", b"old", b"")] == [True, False, False]
    assert [resumed.may_resume_with(token) for token in (b"new", b"old", b"")] == [
        True,
        True,
        False,
    ]


def test_the_current_token_is_renewed_and_the_previous_one_gets_the_same_answer() -> None:
    row = MemberRow(b"s" * 16, 2, hash_token(b"1"), None, b"", 0.0, False, b"p" * 16, None)
    second, token = row.renew_token(b"1", b"salt one")
    assert token == derive_next_token(b"1", b"salt one")
    assert second == replace(
        row,
        token_hash=hash_token(token),
        previous_token_hash=hash_token(b"1"),
        token_salt=b"salt one",
    )
    assert second.renew_token(b"1", b"salt two") == (second, token)
    third, next_token = second.renew_token(token, b"salt two")
    assert next_token == derive_next_token(token, b"salt two")
    assert not third.may_resume_with(b"1")
    assert third.renew_token(token, b"salt three") == (third, next_token)


def test_a_row_from_before_there_were_salts_gets_one() -> None:
    row = MemberRow(
        *(b"s" * 16, 2, hash_token(b"2"), hash_token(b"1"), b"", 0.0, False, b"p" * 16, None)
    )
    renewed, token = row.renew_token(b"1", b"salt one")
    assert token == derive_next_token(b"1", b"salt one")
    assert renewed.renew_token(b"1", b"salt two") == (renewed, token)


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
        "token_salt",
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
