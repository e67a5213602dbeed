"""`porttunnel instance invite` and `confirm`: a pairing from its code to its digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredQueue
from twisted.python.failure import Failure

from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.instance_dialogue import InstanceDialogue
from porttunnel.cli.instance_picture import write_picture
from porttunnel.errors import AgentError, ConfigurationError
from porttunnel.net.instance.control_client import ControlClient
from porttunnel.net.instance.control_message import (
    DeviceEntry,
    DigitsChecked,
    EnterDigits,
    Invitation,
    Invite,
    Progress,
    Revoke,
)

__all__ = ["Pairing"]

FAILED = "pairing-failed"  # how the end of a pairing is called in JSON


class Pairing:
    """One run of a command.

    :param dialogue: with whoever started it.
    :param control: the agent.
    """

    def __init__(self, dialogue: InstanceDialogue, control: ControlClient) -> None:
        self._dialogue = dialogue
        self._control = control
        self._news: DeferredQueue[Any] = DeferredQueue()
        self._asked = False
        self._waiting_told = False

    async def invite(
        self, user: str, expires_seconds: int, pictures: Mapping[str, Path], *, immediate: bool
    ) -> ExitCode:
        """Make a code and see it used.

        :param pictures: where to draw it, by the kind of picture.
        :raises PorttunnelError: it did not succeed.
        """
        invitation: Any = await self._control.ask(Invite(user, immediate, expires_seconds))
        await self._draw(invitation, pictures)
        paths = list(pictures.values())
        self._dialogue.tell_invitation(invitation, user, paths, immediate=immediate)
        return await self._follow(invitation.device_id, user, confirm=not immediate)

    async def confirm(self, device: DeviceEntry) -> ExitCode:
        """See a code used that was made before.

        :raises PorttunnelError: it did not succeed.
        """
        return await self._follow(device.device_id, device.user, confirm=True)

    async def _draw(self, invitation: Invitation, pictures: Mapping[str, Path]) -> None:
        try:
            for kind, path in pictures.items():
                write_picture(path, invitation.code, kind)
        except ConfigurationError:
            # Nobody sees this code.
            await self._control.ask(Revoke(invitation.device_id))
            raise

    async def _follow(self, device_id: str, user: str, *, confirm: bool) -> ExitCode:
        watched = Deferred.fromCoroutine(self._control.watch(device_id, self._news.put))
        watched.addErrback(self._put_error)
        try:
            while True:
                happened = await self._news.get()
                if isinstance(happened, Exception):
                    raise happened
                if isinstance(happened, Progress):
                    paired = self._progress(device_id, happened, confirm=confirm)
                elif happened is None:
                    break  # nobody will type anything here
                else:
                    paired = await self._enter(device_id, happened)
                if paired:
                    self._dialogue.tell_paired(device_id, user)
                    self._dialogue.tell_done("")
                    return ExitCode.DONE
        except CancelledError:  # Ctrl-C
            pass
        finally:
            watched.cancel()
        self._dialogue.tell_left_open(device_id)
        self._dialogue.tell_done("")
        return ExitCode.DONE

    def _progress(self, device_id: str, progress: Progress, *, confirm: bool) -> bool:
        if progress.state == "ended":
            raise AgentError(progress.reason, FAILED)
        if progress.state == "invited" and not self._waiting_told:
            self._waiting_told = True
            self._dialogue.tell_waiting()
        if progress.state == "waiting" and confirm and not self._asked:
            self._ask(device_id, progress.tries_left)
        return progress.state == "paired"

    def _ask(self, device_id: str, tries_left: int | None) -> None:
        self._asked = True
        typed = self._dialogue.ask_digits(device_id, tries_left)
        typed.addCallbacks(self._news.put, self._put_error)

    def _put_error(self, failure: Failure) -> None:
        # As it is: a queue takes a Failure for its own.
        self._news.put(failure.value)

    async def _enter(self, device_id: str, digits: str) -> bool:
        try:
            checked: Any = await self._control.ask(EnterDigits(device_id, digits[:32]))
        except AgentError as error:
            if error.code != FAILED:
                raise
            # No six digits; if the pairing has ended meanwhile that is told next.
            self._dialogue.tell_not_taken(error)
            self._ask(device_id, None)
            return False
        return self._receive_checked(device_id, checked)

    def _receive_checked(self, device_id: str, checked: DigitsChecked) -> bool:
        if checked.outcome == "ended":
            raise AgentError(checked.reason, FAILED)
        if checked.outcome == "wrong":
            self._dialogue.tell_wrong_digits(device_id, checked.tries_left)
            self._ask(device_id, checked.tries_left)
        return checked.outcome == "paired"
