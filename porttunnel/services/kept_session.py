"""A session that is open as long as its service runs: another one when it has ended."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from porttunnel.errors import ConfigurationError, PorttunnelError
from porttunnel.net.code_file import CodeFile
from porttunnel.net.master import SharedSession, share
from porttunnel.net.server_address import parse_server_address
from porttunnel.services.agent_config import SessionSettings
from porttunnel.session import event

__all__ = ["CODE_NAME", "KeptSession"]

CODE_NAME = "session.code"
FIRST_WAIT_SECONDS = 1.0
LEAVE_SECONDS = 5.0  # for goodbyes
FIRST_PAUSE_SECONDS = 3_600.0  # after ten wrong tries of a million; then twice as long each time
LONGEST_PAUSE_SECONDS = 86_400.0
LONGEST_WAIT_SECONDS = 60.0  # a tunnel server that is away for a night is asked 500 times

_log = Logger()


class KeptSession:
    """Opens a session, writes each new code to a file, and opens another when it has ended.

    :param reactor: the reactor.
    :param settings: what is shared, where, and with whom.
    :param folder: where the code is written, mode 0600.
    :param announce: gets a line for each session.
    """

    def __init__(
        self,
        reactor: Any,
        settings: SessionSettings,
        folder: Path,
        announce: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._announce = announce
        self._code_file = CodeFile(folder / CODE_NAME)
        self._session: SharedSession | None = None
        self._is_linked = False
        self._running: Deferred[None] | None = None
        self._resuming: IDelayedCall | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS

    @property
    def is_open(self) -> bool:
        """Whether there is a session just now, and its tunnel server can be reached."""
        return self._session is not None and self._is_linked

    def start(self) -> None:
        """Begin.

        :raises ConfigurationError: the server's address is none, or no code can be written.
        """
        server = parse_server_address(self._reactor, self._settings.server)
        # What can't be written must fail here, and not when there is a code.
        self._code_file.write(None)
        if self._settings.accept == "nobody":
            _log.warn(
                "nobody will get into the session, as there is nobody to ask; write "
                'accept = "all" in [session], or --accept all, to let everybody in who has the '
                "code"
            )
        self._running = Deferred.fromCoroutine(self._run(server))
        self._running.addErrback(self._note_failure)

    async def stop(self) -> None:
        """Close the session; its code is void."""
        if self._running is None:
            return
        self._running.cancel()
        await self._running
        self._code_file.remove()

    async def _run(self, server: IStreamClientEndpoint) -> None:
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                session = self._session = await self._open(server)
                wait = FIRST_WAIT_SECONDS
                self._announce(f"session {session.number}")
                self._announce(f"code {self._code_file.path}")
                await session.when_done()
                _log.info("session {number} has ended", number=session.number)
            except PorttunnelError as error:
                _log.warn("the session is not open: {error}", error=str(error))
            finally:
                await self._leave()
                self._write(None)
            # Full jitter: a server that comes back is not asked by all in the same moment.
            await deferLater(self._reactor, random.uniform(0, wait))  # noqa: S311  # no secret
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    async def _open(self, server: IStreamClientEndpoint) -> SharedSession:
        settings = self._settings
        self._is_linked = True
        return await share(
            self._reactor,
            server,
            settings.offers,
            on_consent=self._decide,
            on_event=self._receive_event,
            name=settings.name or None,
            direct=settings.direct,
            remember=settings.remember,
        )

    async def _leave(self) -> None:
        session, self._session = self._session, None
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        if session is not None:
            leaving = session.close()
            # What it ended with, if it has ended already, is told elsewhere.
            leaving.addErrback(lambda failure: failure.trap(PorttunnelError))
            leaving.addCallback(lambda _: session.when_disconnected())
            # A goodbye is sent once the link is back; nobody waits for that.
            leaving.addTimeout(LEAVE_SECONDS, self._reactor)
            leaving.addErrback(lambda failure: failure.trap(TimeoutError))
            await leaving

    def _decide(self, asked: event.ConsentAsked) -> bool:
        if self._settings.accept == "nobody":
            _log.warn("{name!r} had the right code and was refused", name=asked.name)
            return False
        return True

    def _receive_event(self, happened: Any) -> None:
        match happened:
            case event.InvitationMade(code=code):
                self._write(code)
            case event.MemberJoined(member=member, name=name):
                _log.info("{name!r} has joined as member {member}", name=name, member=member)
            case event.MemberLeft(member=member):
                _log.info("member {member} has left", member=member)
            case event.LinkLost(error=error):
                if self._is_linked:
                    self._is_linked = False
                    _log.warn("the tunnel server is lost, connecting anew: {why}", why=str(error))
            case event.LinkRestored():
                self._is_linked = True
                _log.info("the tunnel server is back")
            case event.JoiningPaused(wrong_tries=wrong_tries):
                _log.warn(
                    "{wrong_tries} tries to join were wrong, somebody may be guessing: nobody can "
                    "join for {hours} hours",
                    wrong_tries=wrong_tries,
                    hours=round(self._pause_seconds / 3_600),
                )
                self._pause()

    def _pause(self) -> None:
        # Closing the session instead would let a guesser put those out who are in.
        if self._resuming is None:
            self._resuming = self._reactor.callLater(self._pause_seconds, self._resume)
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)

    def _resume(self) -> None:
        self._resuming = None
        if self._session is not None:
            self._session.allow_joining()

    def _write(self, code: Any) -> None:
        try:
            self._code_file.write(code)
        except ConfigurationError as error:
            _log.error("{error}", error=str(error))

    def _note_failure(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            _log.failure("the session can't be kept open", failure)
