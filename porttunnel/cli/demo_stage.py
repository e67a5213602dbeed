"""What the parts of `porttunnel demo` have in common: programs, and what is told of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from porttunnel.cli import demo_text as text
from porttunnel.cli.child import Child, ChildFailed
from porttunnel.cli.standard_streams import StandardStreams

__all__ = ["ANY_LOOPBACK_PORT", "Stage"]

ANY_LOOPBACK_PORT = "tcp:0:interface=127.0.0.1"
FETCH_SECONDS = 30.0
# At Ctrl-C the terminal tells all programs at once, and one of ours may end before we hear of it.
CTRL_C_SECONDS = 2.0
FORM = "application/x-www-form-urlencoded"


class Stage:
    """One run of the command.

    :param reactor: the reactor.
    :param streams: where it tells what happens.
    :param folder: for everything that is made; removed by the caller.
    """

    def __init__(self, reactor: Any, streams: StandardStreams, folder: Path) -> None:
        self.reactor = reactor
        self.folder = folder
        self._streams = streams
        self._children: list[Child] = []
        self._lasting: list[Child] = []

    def say(self, line: str) -> None:
        """Tell what happens."""
        self._streams.write(f"{line}\n")

    def start_service(self, *arguments: str, data: str) -> Child:
        """`twistd -n ...`; parameters as :meth:`start_command`'s."""
        return self._start("twistd -n", "twisted", arguments, data, lasting=True, service=True)

    def start_command(self, *arguments: str, data: str, lasting: bool = True) -> Child:
        """`porttunnel ...`.

        :param data: whose data folder it has.
        :param lasting: whether it should go on until the end.
        """
        return self._start("porttunnel", "porttunnel.cli", arguments, data, lasting=lasting)

    async def ended(self) -> None:
        """Wait until a program ends that should not.

        :raises ChildFailed: always; the message says which, and why.
        """
        first: Deferred[Child] = Deferred()

        def tell(child: Child, _exit_code: int) -> None:
            if not first.called:
                first.callback(child)

        for child in self._lasting:
            child.when_ended().addCallback(partial(tell, child))
        ended = await first
        await deferLater(self.reactor, CTRL_C_SECONDS)
        raise ended.failure()

    async def stop(self) -> None:
        """Stop every program, the last first."""
        for child in reversed(self._children):
            await child.stop()

    async def fetch(self, url: str, form: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of what is at an address.

        :param form: to be sent there, or None to read.
        :raises ChildFailed: there was no answer.
        """
        fetching = Deferred.fromCoroutine(_fetch(self.reactor, url, form))
        fetching.addTimeout(FETCH_SECONDS, self.reactor)
        try:
            return await fetching
        except CancelledError:
            raise
        except Exception as error:
            raise ChildFailed(text.NOT_FETCHED.format(url=url, reason=error)) from error

    def _start(
        self,
        name: str,
        module: str,
        arguments: tuple[str, ...],
        data: str,
        *,
        lasting: bool,
        service: bool = False,
    ) -> Child:
        self.say(text.COMMAND.format(command=" ".join((name, *arguments))))
        shown = " ".join((name, *arguments[:1]))
        folder = self.folder / data
        child = Child(self.reactor, shown, module, list(arguments), folder, service=service)
        self._children.append(child)
        if lasting:
            self._lasting.append(child)
        return child


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


@implementer(IBodyProducer)
class _Form:
    """A form to be sent."""

    def __init__(self, form: bytes) -> None:
        self._form = form
        self.length = len(form)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._form)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """Everything was written at once."""

    def resumeProducing(self) -> None:
        """See above."""

    def stopProducing(self) -> None:
        """See above."""


async def _fetch(reactor: Any, url: str, form: bytes | None) -> tuple[int, bytes]:
    agent = Agent(reactor)
    if form is None:
        asking = agent.request(b"GET", url.encode())
    else:
        headers = Headers({"content-type": [FORM]})
        asking = agent.request(b"POST", url.encode(), headers, _Form(form))
    answer: Any = await asking
    body = _Body()
    answer.deliverBody(body)
    return answer.code, await body.complete
