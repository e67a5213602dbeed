"""porttunnel.net.folder"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.web.server import Site
from twisted.web.test.requesthelper import DummyChannel

from porttunnel.net.folder import Folder

needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder to share, with a secret beside it and a sister whose name begins alike."""
    (tmp_path / "secret").write_text("SECRET")
    (tmp_path / "shared-not").mkdir()
    (tmp_path / "shared-not" / "page").write_text("SECRET")
    folder = tmp_path / "shared"
    (folder / "sub").mkdir(parents=True)
    (folder / "page").write_text("a page")
    (folder / "sub" / "page").write_text("another page")
    return folder


class Channel(DummyChannel):
    """Takes all that a producer has, as fast as it comes."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producing = True
        while self.producing:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producing = False


def fetch(folder: Path, path: str) -> tuple[int, str]:
    """Ask as a browser would; the status and the content."""
    site = Site(Folder(str(folder)))
    channel: Any = Channel()
    channel.site = site
    request: Any = site.requestFactory(channel, True)
    request.gotLength(0)
    request.requestReceived(b"GET", path.encode(), b"HTTP/1.1")
    content = channel.transport.written.getvalue().partition(b"\r\n\r\n")[2]
    return request.code, content.decode()


def test_what_is_inside_is_served(shared: Path) -> None:
    assert fetch(shared, "/page") == (200, "a page")
    assert fetch(shared, "/sub/page") == (200, "another page")
    assert fetch(shared, "/sub")[0] == 302
    assert fetch(shared, "/none")[0] == 404
    assert fetch(shared, "/page/none")[0] == 404


def test_a_folder_is_listed_or_shows_its_index(shared: Path) -> None:
    code, listing = fetch(shared, "/")
    assert code == 200
    assert 'href="page"' in listing
    assert 'href="sub/"' in listing
    (shared / "index.html").write_text("welcome")
    assert fetch(shared, "/") == (200, "welcome")


def test_a_folder_may_itself_be_reached_by_a_link_or_be_hidden(
    shared: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(shared)
    assert fetch(tmp_path / "link", "/page") == (200, "a page")
    shared.rename(tmp_path / ".hidden")
    assert fetch(tmp_path / ".hidden", "/sub/page") == (200, "another page")


class TestLinks:
    @pytest.mark.parametrize("target", ["../secret", "../shared-not/page", "../none", "out"])
    def test_to_elsewhere_are_not_found(self, shared: Path, target: str) -> None:
        (shared / "out").symlink_to(target)
        assert fetch(shared, "/out")[0] == 404
        assert "out" not in fetch(shared, "/")[1]

    def test_to_folders_elsewhere_are_not_entered(self, shared: Path) -> None:
        (shared / "sub" / "up").symlink_to("../..")
        assert fetch(shared, "/sub/up/")[0] == 404
        assert fetch(shared, "/sub/up/secret")[0] == 404
        # Round about and back in again.
        assert fetch(shared, "/sub/up/shared/page")[0] == 404

    def test_as_an_index_are_not_found(self, shared: Path) -> None:
        (shared / "index.html").symlink_to("../secret")
        assert fetch(shared, "/")[0] == 404

    def test_that_stay_inside_are_followed(self, shared: Path) -> None:
        (shared / "sub" / "first").symlink_to("../page")
        assert fetch(shared, "/sub/first") == (200, "a page")
        assert 'href="first"' in fetch(shared, "/sub/")[1]


class TestHiddenNames:
    def test_are_neither_served_nor_listed(self, shared: Path) -> None:
        (shared / ".env").write_text("SECRET")
        (shared / ".git").mkdir()
        (shared / ".git" / "config").write_text("SECRET")
        for path in ("/.env", "/%2eenv", "/.git/", "/.git/config", "/sub/..%2f.env"):
            assert fetch(shared, path)[0] == 404
        assert ".env" not in fetch(shared, "/")[1]
        assert ".git" not in fetch(shared, "/")[1]

    def test_are_not_reached_by_a_link(self, shared: Path) -> None:
        (shared / ".git").mkdir()
        (shared / ".git" / "config").write_text("SECRET")
        (shared / "config").symlink_to(".git/config")
        (shared / "git").symlink_to(".git")
        assert fetch(shared, "/config")[0] == 404
        assert fetch(shared, "/git/config")[0] == 404


class TestWhatIsNoFile:
    @needs_fifo
    def test_is_not_opened(self, shared: Path) -> None:
        # To open a FIFO for reading waits for a writer: nothing else would be served again.
        os.mkfifo(shared / "pipe")
        (shared / "to-pipe").symlink_to("pipe")
        assert fetch(shared, "/pipe")[0] == 404
        assert fetch(shared, "/to-pipe")[0] == 404
        assert "pipe" not in fetch(shared, "/")[1]

    @needs_fifo
    def test_is_no_index(self, shared: Path) -> None:
        os.mkfifo(shared / "index.html")
        assert fetch(shared, "/")[0] == 404

    @pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no such sockets here")
    def test_is_not_found_if_it_is_a_socket(
        self, shared: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(shared)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
            assert fetch(shared, "/socket")[0] == 404
            assert "socket" not in fetch(shared, "/")[1]


@pytest.mark.parametrize("path", ["/..", "/../secret", "/%2e%2e/secret", "/%2e%2e%2fsecret"])
def test_the_way_up_is_not_found(shared: Path, path: str) -> None:
    assert fetch(shared, path)[0] == 404


@pytest.mark.parametrize("path", ["/a%00b", "/" + "x" * 300])
def test_names_that_no_file_can_have_are_not_found(shared: Path, path: str) -> None:
    assert fetch(shared, path)[0] == 404
