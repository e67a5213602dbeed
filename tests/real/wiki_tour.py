"""What somebody does with the wiki in a browser: reads, edits, uploads, downloads."""

from __future__ import annotations

from pathlib import Path

from tests.real.chromium import Chromium, Page

__all__ = ["download", "edit", "read", "upload"]


def read(page: Page, address: str, name: str) -> str:
    """What a page of the wiki shows.

    :param address: of the wiki, as the browser reaches it.
    """
    page.go(f"{address}/doku.php?id={name}")
    return page.text


def edit(page: Page, address: str, name: str, text: str) -> str:
    """Write a page with the wiki's own editor; what it shows then."""
    page.go(f"{address}/doku.php?id={name}&do=edit")
    page.fill("#wiki__text", text)
    page.click_through("#edbtn__save")
    return page.text


def upload(page: Page, address: str, path: Path) -> None:
    """By the wiki's own page for files, which sends with JavaScript."""
    page.go(f"{address}/lib/exe/mediamanager.php?ns=&tab_files=upload")
    page.choose_file("input[type=file]", path)
    page.click("#mediamanager__upload_button")
    page.wait_until("document.querySelector('.qq-upload-success')")


def download(browser: Chromium, page: Page, address: str, name: str) -> Path:
    """By a click on a link to the file."""
    target = f"{address}/lib/exe/fetch.php?media={name}"
    page.evaluate(
        f"{{const link = document.createElement('a'); link.href = {target!r};"
        " link.id = 'take'; document.body.append(link); null}"
    )
    page.click("#take")
    return browser.downloaded()
