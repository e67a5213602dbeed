"""The file with the code for the next client."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from porttunnel.errors import ConfigurationError, MistypedCode
from porttunnel.net.code_file import MAX_FILE_BYTES, CodeFile
from porttunnel.session.code import SessionCode

CODE = SessionCode(48213, pin="604219")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "code"


def test_is_read_as_it_was_written(path: Path) -> None:
    CodeFile(path).write(CODE)
    assert path.read_text() == "4821 3604 2197\n"
    assert CodeFile(path).read() == CODE


def test_is_for_its_owner_only(path: Path) -> None:
    path.write_text("before")
    path.chmod(0o666)
    CodeFile(path).write(CODE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_is_replaced_and_leaves_nothing_beside(path: Path) -> None:
    file = CodeFile(path)
    file.write(None)
    file.write(CODE)
    other = SessionCode(48213, pin="000000")
    file.write(other)
    assert file.read() == other
    assert list(path.parent.iterdir()) == [path]


def test_may_hold_a_link(path: Path) -> None:
    path.write_text("  porttunnel:48213#ABCDEFGHIJKLMNOPQRSTUVWXYA \n")
    assert CodeFile(path).read() == SessionCode(48213, link_secret="ABCDEFGHIJKLMNOPQRSTUVWXYA")


def test_that_is_missing_says_so(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is that program running"):
        CodeFile(path).read()


def test_that_is_empty_says_so(path: Path) -> None:
    CodeFile(path).write(None)
    with pytest.raises(ConfigurationError, match="still empty"):
        CodeFile(path).read()


@pytest.mark.parametrize("content", ["4821 3604 2198", "hello", "1" * (MAX_FILE_BYTES + 1)])
def test_that_holds_no_code_says_so(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(MistypedCode):
        CodeFile(path).read()


def test_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be written"):
        CodeFile(tmp_path / "missing" / "code").write(CODE)


def test_that_is_no_file_keeps_its_place(path: Path) -> None:
    path.symlink_to("elsewhere")
    with pytest.raises(ConfigurationError, match="would be replaced"):
        CodeFile(path).write(CODE)
    assert path.is_symlink()


def test_that_can_not_be_replaced_leaves_nothing_beside(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ConfigurationError, match="can't be written"):
        CodeFile(folder).write(CODE)
    assert list(tmp_path.iterdir()) == [folder]


def test_is_removed_once(path: Path) -> None:
    file = CodeFile(path)
    file.write(CODE)
    file.remove()
    file.remove()
    assert not path.exists()
