"""Headless Chromium (Debian), driven as its own developer tools do it: commands and events as JSON
in a WebSocket.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.real.needed import needed_program
from tests.real.program import Program, Start

__all__ = ["Chromium", "Page", "PageFailed"]

WAIT_SECONDS = 60.0  # a deadline, not a measure
FLAGS = (
    *("--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--no-proxy-server"),
    *("--disable-component-update", "--disable-sync", "--mute-audio"),
    # Names are found nowhere but here: whatever it wanted to ask its maker for, it can't.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
# A promise that is kept once the condition holds; a new document in between breaks it.
UNTIL = """new Promise(done => {
  const look = () => { try { if (%s) return done(true) } catch (_) {} setTimeout(look, 20) };
  look();
})"""
DESTROYED = ("Execution context was destroyed", "Cannot find context", "navigated or closed")


class PageFailed(AssertionError):
    """A page did not come, or did not do what was asked of it."""


class Chromium:
    """A running browser; the fixture that starts programs stops it.

    :param folder: its own, for its profile and what it downloads; made.
    """

    def __init__(self, start: Start, folder: Path) -> None:
        name = needed_program("chromium", "chromium")
        self._downloads = folder / "downloads"
        self._downloads.mkdir(parents=True)
        # Its sandbox refuses to run as root.
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        command = (name, *FLAGS, *sandbox, f"--user-data-dir={folder / 'profile'}", "about:blank")
        self._program: Program = start("sh", "-c", 'exec "$@" 2>&1', "sh", *command)
        line = self._program.line("DevTools listening on ")
        self._held = ExitStack()
        self._socket = self._held.enter_context(
            connect(
                line.removeprefix("DevTools listening on "),
                max_size=None,
                compression=None,
                proxy=None,
            )
        )
        self._last_id = 0
        self._events: list[dict[str, Any]] = []
        self._allow_downloads()

    def close(self) -> None:
        """Let go of it, before it is stopped."""
        self._held.close()

    def open(self, url: str, *, private: bool = False) -> Page:
        """A new page.

        :param private: with cookies of its own.
        """
        where = {}
        if private:
            where = self.command("Target.createBrowserContext")
            self._allow_downloads(**where)
        target = self.command("Target.createTarget", url="about:blank", **where)["targetId"]
        attached = self.command("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"])
        page.go(url)
        return page

    def command(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and wait for what comes out.

        :raises PageFailed: it was refused.
        """
        self._last_id += 1
        command = {"id": self._last_id, "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        self._socket.send(json.dumps(command))
        deadline = time.monotonic() + WAIT_SECONDS
        while (told := self._receive(deadline)).get("id") != self._last_id:
            self._events.append(told)
        if "error" in told:
            raise PageFailed(f"{method}: {told['error']['message']}")
        result: dict[str, Any] = told["result"]
        return result

    def event(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """What comes with the next event of this kind; others are kept."""
        deadline = time.monotonic() + WAIT_SECONDS
        passed = 0
        while True:
            while passed < len(self._events):
                told = self._events[passed]
                found: dict[str, Any] = told.get("params", {})
                if (
                    told.get("method") == method
                    and told.get("sessionId") == session
                    and params.items() <= found.items()
                ):
                    del self._events[passed]
                    return found
                passed += 1
            self._events.append(self._receive(deadline))

    def forget(self, method: str, session: str | None = None) -> None:
        """Pass over all events of this kind that came so far."""
        self._events = [
            told
            for told in self._events
            if (told.get("method"), told.get("sessionId")) != (method, session)
        ]

    def downloaded(self) -> Path:
        """The file of the next download to begin, once it is whole."""
        guid = self.event("Browser.downloadWillBegin")["guid"]
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            state = self.event("Browser.downloadProgress", guid=guid)["state"]
            if state == "completed":
                return self._downloads / guid
            if state == "canceled" or time.monotonic() > deadline:
                raise PageFailed(f"the download is {state}")

    def _allow_downloads(self, **where: str) -> None:
        self.command(
            "Browser.setDownloadBehavior",
            behavior="allowAndName",
            downloadPath=str(self._downloads),
            eventsEnabled=True,
            **where,
        )

    def _receive(self, deadline: float) -> dict[str, Any]:
        try:
            told: dict[str, Any] = json.loads(
                self._socket.recv(max(0.0, deadline - time.monotonic()))
            )
        except TimeoutError:
            raise PageFailed("the browser said nothing in time") from None
        except ConnectionClosed:
            raise PageFailed("the browser has gone") from None
        return told


class Page:
    """One page of it."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self._command("Page.enable")
        self._command("Runtime.enable")

    def go(self, url: str) -> None:
        """As by the address bar; waits until all of the page is there."""
        self._browser.forget("Page.loadEventFired", self._session)
        error = self._command("Page.navigate", url=url).get("errorText")
        if error is not None:
            raise PageFailed(f"{url}: {error}")
        self._browser.event("Page.loadEventFired", self._session)

    def evaluate(self, script: str) -> Any:
        """What an expression of JavaScript comes to; a promise's outcome.

        :raises PageFailed: it threw, or the page went meanwhile.
        """
        told = self._command(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in told:
            details = told["exceptionDetails"]
            raise PageFailed(details.get("exception", {}).get("description", details["text"]))
        return told["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Until an expression of JavaScript is true, in whatever document is there then."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                self.evaluate(UNTIL % condition)
            except PageFailed as failed:
                if not any(words in str(failed) for words in DESTROYED):
                    raise
            else:
                return
        raise PageFailed(f"never: {condition}")

    @property
    def text(self) -> str:
        """What a reader sees."""
        return str(self.evaluate("document.body.innerText"))

    def click(self, selector: str) -> None:
        """On the first element of a selector, once it is there."""
        self.wait_until(f"document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def click_through(self, selector: str) -> None:
        """Click, and wait for the next page."""
        self._browser.forget("Page.loadEventFired", self._session)
        self.click(selector)
        self._browser.event("Page.loadEventFired", self._session)

    def fill(self, selector: str, text: str) -> None:
        """Put text in place of what a field holds."""
        self.wait_until(f"document.querySelector({json.dumps(selector)})")
        self.evaluate(
            f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}; null"
        )

    def choose_file(self, selector: str, path: Path) -> None:
        """As by the dialogue of a file field."""
        self.wait_until(f"document.querySelector({json.dumps(selector)})")
        root = self._command("DOM.getDocument")["root"]["nodeId"]
        found = self._command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._command("DOM.setFileInputFiles", files=[str(path)], nodeId=found)

    def _command(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.command(method, self._session, **params)
