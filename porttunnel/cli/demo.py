"""`porttunnel demo`: a whole session on this machine, made of the programs that users run."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TwistedTimeout
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone

from porttunnel.cli import text
from porttunnel.cli.child import Child, ChildFailed
from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.program import run_program
from porttunnel.cli.setting import data_dir_option
from porttunnel.cli.standard_streams import StandardStreams

__all__ = ["Demonstration", "demo"]

ANY_LOOPBACK_PORT = "tcp:0:interface=127.0.0.1"
FETCH_SECONDS = 30.0
# At Ctrl-C the terminal tells all programs at once, and one of ours may end before we hear of it.
CTRL_C_SECONDS = 2.0


class Demonstration:
    """One run of the command.

    :param reactor: the reactor.
    :param streams: where it tells what happens.
    :param folder: for everything that it makes; removed by the caller.
    """

    def __init__(self, reactor: Any, streams: StandardStreams, folder: Path) -> None:
        self._reactor = reactor
        self._streams = streams
        self._folder = folder
        self._children: list[Child] = []

    async def start(self) -> str:
        """Start everything, fetch the page; its address.

        :raises ChildFailed: something did not work; the message says what.
        """
        server = await self._start_server()
        page = self._write_page()
        sharing = self._start_share(page.parent, server)
        code = (await sharing.event("session"))["code"]
        self._say(text.DEMO_CODE.format(code=code))
        joining = self._start_join(server)
        joining.send(code)
        asked = await sharing.event("consent")
        self._say(text.DEMO_CONSENT.format(name=asked["name"]))
        sharing.send(f'{{"accept": {asked["member"]}}}')
        url: str = (await joining.event("listening"))["url"]
        await self._check(page, url)
        return url

    async def ended(self) -> None:
        """Wait until a program ends that should not.

        :raises ChildFailed: always; the message says which, and why.
        """
        first: Deferred[Child] = Deferred()

        def tell(child: Child, _exit_code: int) -> None:
            if not first.called:
                first.callback(child)

        for child in self._children:
            child.when_ended().addCallback(partial(tell, child))
        ended = await first
        await deferLater(self._reactor, CTRL_C_SECONDS)
        raise ended.failure()

    async def stop(self) -> None:
        """Stop every program, the last first."""
        for child in reversed(self._children):
            await child.stop()

    async def _start_server(self) -> str:
        self._say(text.DEMO_SERVER)
        server = self._start(
            "twistd",
            "twisted",
            "porttunnel-server",
            *("--listen", ANY_LOOPBACK_PORT, "--admin", ANY_LOOPBACK_PORT),
        )
        listening = await server.line("listening ")
        self._say(f"   {listening}")
        port = listening.split(":")[1]
        return f"ptun://127.0.0.1:{port}"

    def _write_page(self) -> Path:
        page = self._folder / "page" / "index.html"
        page.parent.mkdir()
        page.write_text(text.DEMO_PAGE_HTML, encoding="utf-8")
        self._say(text.DEMO_PAGE.format(folder=page.parent))
        return page

    def _start_share(self, folder: Path, server: str) -> Child:
        self._say(text.DEMO_SHARE)
        options = ("--server", server, "--name", "Anna", "--json", "--no-direct")
        return self._start("porttunnel", "porttunnel.cli", "share", f"web=dir:{folder}", *options)

    def _start_join(self, server: str) -> Child:
        self._say(text.DEMO_JOIN)
        options = ("--server", server, "--name", "Ben", "--code", "-", "--json", "--no-direct")
        return self._start("porttunnel", "porttunnel.cli", "join", *options)

    def _start(self, name: str, module: str, *arguments: str) -> Child:
        self._say(text.DEMO_COMMAND.format(command=" ".join((name, *arguments))))
        data_dir = self._folder / f"data-{len(self._children) + 1}"
        shown = f"{name} {arguments[0]}"
        child = Child(self._reactor, shown, module, list(arguments), data_dir)
        self._children.append(child)
        return child

    async def _check(self, page: Path, url: str) -> None:
        fetching = Deferred.fromCoroutine(_fetch(self._reactor, url))
        fetching.addTimeout(FETCH_SECONDS, self._reactor)
        try:
            came = await fetching
        except CancelledError:
            raise
        except Exception as error:
            raise ChildFailed(text.DEMO_NOT_FETCHED.format(url=url, reason=error)) from error
        if came != page.read_bytes():
            raise ChildFailed(text.DEMO_DIFFERENT)
        digest = hashlib.sha256(came).hexdigest()
        self._say(text.DEMO_CHECKED.format(size=len(came), digest=digest))

    def _say(self, line: str) -> None:
        self._streams.write(f"{line}\n")


class _Body(Protocol):
    """Collects an answer's body; Twisted's own ``readBody`` warns about Twisted's transport."""

    def __init__(self) -> None:
        self._received = b""
        self.complete: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone):
            self.complete.callback(self._received)
        else:
            self.complete.errback(reason)


async def _fetch(reactor: Any, url: str) -> bytes:
    answer: Any = await Agent(reactor).request(b"GET", url.encode())
    body = _Body()
    answer.deliverBody(body)
    return await body.complete


async def _run(
    reactor: Any, streams: StandardStreams, *, seconds: float | None, check: bool
) -> ExitCode:
    with tempfile.TemporaryDirectory(prefix="porttunnel-demo-") as folder:
        demonstration = Demonstration(reactor, streams, Path(folder))
        try:
            url = await demonstration.start()
            if not check:
                streams.write(f"{text.DEMO_LOOK.format(url=url)}\n")
                await _stay(reactor, streams, demonstration, seconds)
        except ChildFailed as error:
            streams.write(f"{error}\n")
            return ExitCode.FAILED
        except CancelledError:
            # As wanted, by Ctrl-C: the end is the same.
            pass
        finally:
            await demonstration.stop()
    streams.write(f"{text.DEMO_ENDED}\n")
    return ExitCode.DONE


async def _stay(
    reactor: Any, streams: StandardStreams, demonstration: Demonstration, seconds: float | None
) -> None:
    ending = Deferred.fromCoroutine(demonstration.ended())
    if seconds is None:
        streams.write(f"{text.DEMO_RUNNING}\n")
        await ending
        return
    streams.write(f"{text.DEMO_RUNNING_SECONDS.format(seconds=f'{seconds:g}')}\n")
    ending.addTimeout(seconds, reactor)
    with suppress(TwistedTimeout):
        await ending


@click.command(help=text.DEMO_HELP)
@click.option("--seconds", type=click.FloatRange(min=0), help=text.SECONDS_OPTION)
@click.option("--check", is_flag=True, help=text.CHECK_OPTION)
@data_dir_option
def demo(*, seconds: float | None, check: bool, data_dir: Path | None) -> int:
    """See text.DEMO_HELP. The data folder isn't touched: each program gets one of its own."""

    async def run(reactor: Any, streams: StandardStreams) -> ExitCode:
        return await _run(reactor, streams, seconds=seconds, check=check)

    return run_program(run)
