"""The demo's session: somebody shares a folder, somebody joins."""

from __future__ import annotations

import hashlib
from pathlib import Path

from porttunnel.cli import demo_text as text
from porttunnel.cli.child import Child, ChildFailed
from porttunnel.cli.demo_stage import Stage

__all__ = ["SessionPart"]


class SessionPart:
    """A page, who shares it, who joins.

    :param stage: where it plays.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def start(self, server: str) -> str:
        """Start everything, fetch the page; its address.

        :param server: the tunnel server's.
        :raises ChildFailed: something did not work; the message says what.
        """
        page = self._write_page()
        sharing = self._start_share(page.parent, server)
        code = (await sharing.event("session"))["code"]
        self._stage.say(text.CODE.format(code=code))
        joining = self._start_join(server)
        joining.send(code)
        asked = await sharing.event("consent")
        self._stage.say(text.CONSENT.format(name=asked["name"]))
        sharing.send(f'{{"accept": {asked["member"]}}}')
        url: str = (await joining.event("listening"))["url"]
        await self._check(page, url)
        return url

    def _write_page(self) -> Path:
        page = self._stage.folder / "page" / "index.html"
        page.parent.mkdir()
        page.write_text(text.PAGE_HTML, encoding="utf-8")
        self._stage.say(text.PAGE.format(folder=page.parent))
        return page

    def _start_share(self, folder: Path, server: str) -> Child:
        self._stage.say(text.SHARE)
        options = ("--server", server, "--name", "Anna", "--json", "--no-direct")
        return self._stage.start_command("share", f"web=dir:{folder}", *options, data="share")

    def _start_join(self, server: str) -> Child:
        self._stage.say(text.JOIN)
        options = ("--server", server, "--name", "Ben", "--code", "-", "--json", "--no-direct")
        return self._stage.start_command("join", *options, data="join")

    async def _check(self, page: Path, url: str) -> None:
        _, came = await self._stage.fetch(url)
        if came != page.read_bytes():
            raise ChildFailed(text.DIFFERENT)
        digest = hashlib.sha256(came).hexdigest()
        self._stage.say(text.CHECKED.format(size=len(came), digest=digest))
