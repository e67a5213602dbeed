"""What docs/security says about the gateway's disk is what stands there."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from porttunnel.net.gateway.sqlite_store import SQLiteGatewayStore

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"
ROW = re.compile(r"\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|")


def test_names_every_column_of_the_database(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    SQLiteGatewayStore(path).close()
    with closing(sqlite3.connect(path)) as file:
        tables = [
            name for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type='table'")
        ]
        real = {
            table: [
                column
                for (column,) in file.execute("SELECT name FROM pragma_table_info(?)", (table,))
            ]
            for table in tables
        }
    written = {
        table: re.findall(r"\w+", columns)
        for table, columns in ROW.findall(PAGE.read_text(encoding="utf-8"))
    }
    assert written == real
