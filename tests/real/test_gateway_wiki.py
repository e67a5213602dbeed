"""A wiki behind a firewall, read and edited in a browser, by way of a gateway that knows nothing.

DokuWiki and Chromium of Debian; nobody logs in: each device is somebody's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.real.chromium import Chromium, Page
from tests.real.dokuwiki import ADA, BEN, PASSWORDS, SECRET_WORDS, START_WORDS, DokuWiki
from tests.real.gateway_site import GatewaySite, Serving
from tests.real.program import Start
from tests.real.web_site import page_chunks
from tests.real.wiki_tour import download, edit, read, upload

pytestmark = pytest.mark.real

ATTACHMENT_BYTES = 50 << 20
FORBIDDEN = "Permission Denied"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wiki")


@pytest.fixture(scope="module")
def wiki(start_for_module: Start, folder: Path) -> DokuWiki:
    return DokuWiki(start_for_module, folder / "tree")


@pytest.fixture(scope="module")
def site(start_for_module: Start, folder: Path, wiki: DokuWiki) -> GatewaySite:
    users = "".join(
        f'[upstream.users.{user}]\npassword = "{password}"\n'
        for user, password in PASSWORDS.items()
    )
    return GatewaySite(start_for_module, folder / "site", wiki.url, settings=users)


@pytest.fixture(scope="module")
def serving(site: GatewaySite) -> dict[str, Serving]:
    """Where each user's device serves the wiki."""
    return {user: site.pair(user).serve() for user in (ADA, BEN)}


@pytest.fixture(scope="module")
def browser(start_for_module: Start, folder: Path) -> Iterator[Chromium]:
    with closing(Chromium(start_for_module, folder / "browser")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(browser: Chromium, serving: dict[str, Serving]) -> dict[str, Page]:
    """Two users, each with a browser of their own."""
    return {user: browser.open(each.url, private=True) for user, each in serving.items()}


def test_each_sees_what_they_may(pages: dict[str, Page], serving: dict[str, Serving]) -> None:
    for user, page in pages.items():
        shown = read(page, serving[user].url, "start")
        assert START_WORDS in shown
        assert f"({user})" in shown, "the wiki knows who reads"
    assert SECRET_WORDS in read(pages[ADA], serving[ADA].url, "secret:plan")
    denied = read(pages[BEN], serving[BEN].url, "secret:plan")
    assert FORBIDDEN in denied
    assert SECRET_WORDS not in denied


def test_what_one_writes_the_other_reads(
    wiki: DokuWiki, pages: dict[str, Page], serving: dict[str, Serving]
) -> None:
    words = "Ünlocked from **outside**: 中文, and 1 < 2"
    assert "Ünlocked from outside: 中文" in edit(pages[ADA], serving[ADA].url, "news", words)
    assert wiki.page("news").read_text("utf-8").strip() == words
    assert "Ünlocked from outside: 中文" in read(pages[BEN], serving[BEN].url, "news")


def test_a_large_attachment_there_and_back(
    wiki: DokuWiki,
    browser: Chromium,
    pages: dict[str, Page],
    serving: dict[str, Serving],
    tmp_path: Path,
) -> None:
    path, digest = tmp_path / "large.zip", hashlib.sha256()
    with path.open("wb") as file:
        for chunk in page_chunks(50, ATTACHMENT_BYTES):
            digest.update(chunk)
            file.write(chunk)
    upload(pages[ADA], serving[ADA].url, path)
    with wiki.medium("large.zip").open("rb") as stored:
        assert hashlib.file_digest(stored, "sha256").hexdigest() == digest.hexdigest()
    back = download(browser, pages[BEN], serving[BEN].url, "large.zip")
    with back.open("rb") as taken:
        assert hashlib.file_digest(taken, "sha256").hexdigest() == digest.hexdigest()


def test_both_systems_side_by_side_in_one_browser(
    browser: Chromium, serving: dict[str, Serving]
) -> None:
    """Cookies of 127.0.0.1 belong to all ports: one user must not become the other."""
    page = browser.open(serving[ADA].url)
    for user in (ADA, BEN, ADA):
        assert f"({user})" in read(page, serving[user].url, "start")
