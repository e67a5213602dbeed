"""`porttunnel demo`: everything on this machine, made of the programs that users run."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TwistedTimeout

from porttunnel.cli import demo_text as text
from porttunnel.cli.child import ChildFailed
from porttunnel.cli.demo_gateway import GatewayPart
from porttunnel.cli.demo_session import SessionPart
from porttunnel.cli.demo_stage import ANY_LOOPBACK_PORT, Stage
from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.program import run_program
from porttunnel.cli.standard_streams import StandardStreams

__all__ = ["Demonstration", "demo"]


class Demonstration:
    """One run of the command.

    :param stage: where it plays.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._gateway = GatewayPart(stage)
        self._session = SessionPart(stage)

    async def start(self) -> str:
        """Start everything, see that it works; what to tell about where to look.

        :raises ChildFailed: something did not work; the message says what.
        """
        port, status = await self._start_server()
        wiki = await self._gateway.start(f"http://127.0.0.1:{port}")
        page = await self._session.start(f"ptun://127.0.0.1:{port}")
        return text.LOOK.format(wiki=wiki, page=page, status=status)

    async def stop(self) -> None:
        """Stop everything."""
        await self._stage.stop()
        await self._gateway.stop()

    async def _start_server(self) -> tuple[int, str]:
        self._stage.say(text.SERVER)
        server = self._stage.start_service(
            "porttunnel-server",
            *("--listen", ANY_LOOPBACK_PORT, "--admin", ANY_LOOPBACK_PORT),
            data="server",
        )
        listening = await server.line("listening ")
        self._stage.say(f"   {listening}")
        admin = await server.line("admin ")
        return _port_of(listening), f"http://127.0.0.1:{_port_of(admin)}/"


def _port_of(line: str) -> int:
    return int(line.split(":")[1])


async def _run(
    reactor: Any, streams: StandardStreams, *, seconds: float | None, check: bool
) -> ExitCode:
    with tempfile.TemporaryDirectory(prefix="porttunnel-demo-") as folder:
        stage = Stage(reactor, streams, Path(folder))
        demonstration = Demonstration(stage)
        try:
            where = await demonstration.start()
            if not check:
                stage.say(where)
                await _stay(stage, seconds)
        except ChildFailed as error:
            stage.say(str(error))
            return ExitCode.FAILED
        except CancelledError:
            # As wanted, by Ctrl-C: the end is the same.
            pass
        finally:
            await demonstration.stop()
    streams.write(f"{text.ENDED}\n")
    return ExitCode.DONE


async def _stay(stage: Stage, seconds: float | None) -> None:
    ending = Deferred.fromCoroutine(stage.ended())
    if seconds is None:
        stage.say(text.RUNNING)
        await ending
        return
    stage.say(text.RUNNING_SECONDS.format(seconds=f"{seconds:g}"))
    ending.addTimeout(seconds, stage.reactor)
    with suppress(TwistedTimeout):
        await ending


@click.command(help=text.DEMO_HELP)
@click.option("--seconds", type=click.FloatRange(min=0), help=text.SECONDS_OPTION)
@click.option("--check", is_flag=True, help=text.CHECK_OPTION)
@click.option("--data-dir", metavar="DIRECTORY", expose_value=False, help=text.DATA_DIR_OPTION)
def demo(*, seconds: float | None, check: bool) -> int:
    """See text.DEMO_HELP."""

    async def run(reactor: Any, streams: StandardStreams) -> ExitCode:
        return await _run(reactor, streams, seconds=seconds, check=check)

    return run_program(run)
