"""The dialogue with a person: lines, prompts, the code in a box, its link as a QR code."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import click
import segno
from twisted.internet.defer import Deferred

from porttunnel.cli import text
from porttunnel.cli.dialogue import Commands
from porttunnel.cli.interruption import Interruptions
from porttunnel.cli.member_list import MemberState
from porttunnel.cli.service_address import format_address, format_services
from porttunnel.cli.standard_streams import StandardStreams
from porttunnel.cli.wording import format_bytes, is_yes, printable
from porttunnel.errors import LocalProtocolError, PorttunnelError
from porttunnel.session.code import CodeKind, SessionCode, format_code, format_link
from porttunnel.session.event import PathKind
from porttunnel.session.record import Service

__all__ = ["TerminalDialogue"]

NOBODY = 0  # a question that belongs to no member
SERVER = -1  # what no answer has come from yet
QUIET_ZONE_MODULES = 2  # around the QR code; phones read it with less than the standard's four


@dataclass(eq=False)
class _Question:
    prompt: str
    member: int
    answered: Deferred[str | None]
    fresh: bool  # what was typed before it is no answer


class TerminalDialogue:
    """See :class:`porttunnel.cli.dialogue.Dialogue`.

    :param reactor: time.
    :param streams: standard input and output.
    :param server: what the other person must give as ``--server``; None if it is the default.
    :param shared: what is shared; None for `join`, where no commands can be typed.
    """

    def __init__(
        self,
        reactor: Any,
        streams: StandardStreams,
        server: str | None = None,
        shared: str | None = None,
    ) -> None:
        self._streams = streams
        self._interruptions = Interruptions(reactor, self._say)
        self._commands: Commands | None = None
        self._server = "" if server is None else f" --server {server}"
        self._shared = shared
        self._questions: deque[_Question] = deque()
        self._current: _Question | None = None
        self._reading = False
        self._invited = False
        self._colours = (
            streams.output_is_terminal
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    def begin(self, commands: Commands) -> None:
        """To leave, a person has Ctrl-C; who shares can type the rest."""
        if self._shared is not None and self._streams.interactive:
            self._commands = commands
            self._say(self._dim(text.COMMANDS_HINT))
            self._read()

    # of both

    def tell_connecting(self, server: str) -> None:
        self._interruptions.begin(SERVER, text.CONNECTING.format(server=printable(server)))

    def show_digits(self, member: int, digits: str, *, first: bool) -> None:
        self._interruptions.forget(SERVER)
        line = text.SAS_READ_OUT_FIRST if first else text.SAS_READ_OUT
        self._say(line.format(digits=self._bold(f"{digits[:3]} {digits[3:]}")))

    def ask_digits(self, member: int, *, first: bool) -> Deferred[str | None]:
        prompt = text.SAS_MASTER_ASKS if first else text.SAS_CLIENT_ASKS
        answered = self._ask(prompt, member)
        return answered.addCallback(lambda line: line and "".join(line.split()))

    def tell_wrong_digits(self, member: int, tries_left: int) -> None:
        self._say(text.SAS_WRONG.format(tries_left=tries_left))

    def tell_link(self, *, up: bool, reason: str) -> None:
        if up:
            self._interruptions.end(NOBODY, text.BACK)
        else:
            self._interruptions.begin(NOBODY, text.RECONNECTING.format(reason=printable(reason)))

    def tell_away(self, member: int, name: str, *, away: bool) -> None:
        name = printable(name)
        if away:
            self._interruptions.begin(member, text.MEMBER_AWAY.format(name=name))
        else:
            self._interruptions.end(member, text.MEMBER_BACK.format(name=name))

    def tell_path(self, member: int, name: str, path: PathKind, reason: str) -> None:
        line = text.PATH_DIRECT if path is PathKind.DIRECT else text.PATH_RELAY
        self._say(line.format(name=printable(name), reason=printable(reason)))

    def tell_error(self, error: PorttunnelError) -> None:
        self._interruptions.stop()
        self._say(self._red(printable(str(error))))

    def tell_done(self, reason: str) -> None:
        self._interruptions.stop()
        self._say(printable(reason))

    # of `share`

    def tell_session(self, code: SessionCode, link: SessionCode | None) -> None:
        self._interruptions.forget(SERVER)
        sas = code.kind is CodeKind.SAS
        if not self._invited:
            self._say(text.SESSION_OPEN.format(number=code.number, shared=self._shared))
            self._say(text.CODE_INTRODUCTION_SAS if sas else text.CODE_INTRODUCTION)
        elif sas:
            return  # the number is the same for everybody
        else:
            self._say(text.CODE_CHANGED)
        self._say_boxed(format_code(code))
        if not self._invited:
            hint = text.JOIN_HINT_SAS if sas else text.JOIN_HINT
            self._say(hint.format(number=code.number, server=self._server))
        if link is not None:
            self._say(text.LINK_HINT.format(link=format_link(link)))
            self._say_qr(format_link(link))
        if not self._invited:
            self._say(text.WAITING)
        self._invited = True

    def ask_consent(self, member: int, name: str) -> Deferred[bool]:
        prompt = text.CONSENT.format(name=self._bold(printable(name)))
        asked = self._ask(prompt, member, fresh=True)
        return asked.addCallback(self._receive_consent, printable(name))

    def tell_decided(self, name: str, *, once: bool) -> None:
        self._say((text.ONLY_ONE if once else text.ALLOWED).format(name=printable(name)))

    def tell_joined(self, member: int, name: str) -> None:
        self._say(text.MEMBER_JOINED.format(name=printable(name)))

    def tell_left(self, member: int, name: str | None, reason: str, *, cut_off: bool) -> None:
        self._interruptions.forget(member)
        reason = printable(reason)
        if name is None:
            self._say(text.JOINER_GONE.format(reason=reason))
        else:
            line = text.MEMBER_CUT_OFF if cut_off else text.MEMBER_LEFT
            self._say(line.format(name=printable(name), reason=reason))

    def tell_failed_run(self, member: int) -> None:
        self._say(self._red(text.RUN_FAILED))

    def tell_members(self, members: Iterable[MemberState], *, locked: bool) -> None:
        lines = [_format_member(state) for state in members]
        if locked:
            lines.append(text.LOCKED)
        self._say("\n".join(lines or [text.NO_MEMBERS]))

    def tell_locked(self, locked: bool) -> None:
        self._say(text.LOCKED if locked else text.UNLOCKED)

    def tell_too_slow(self, member: int, name: str, error: PorttunnelError) -> None:
        self._say(self._red(text.MEMBER_TOO_SLOW.format(name=printable(name), text=error)))

    def tell_broadcast(self, *, ended: bool) -> None:
        self._say(text.BROADCAST_DONE if ended else text.BROADCASTING)

    def ask_resume(self, wrong_tries: int) -> Deferred[bool]:
        prompt = text.JOINING_PAUSED.format(wrong_tries=wrong_tries)
        return self._ask(prompt, NOBODY, fresh=True).addCallback(is_yes)

    def forget(self, member: int) -> None:
        for question in [q for q in self._questions if q.member == member]:
            self._questions.remove(question)
            question.answered.callback(None)
        current = self._current
        if current is not None and current.member == member:
            self._current = None
            self._streams.write("\n")
            current.answered.callback(None)
            self._put_next()

    # of `join`

    def ask_code(self, why: str, tries_left: int | None) -> Deferred[str | None]:
        self._interruptions.forget(SERVER)
        if tries_left is not None:
            self._say(text.TYPE_AGAIN.format(text=why, tries_left=tries_left))
        elif why:
            self._say(why)
        return self._ask(text.ASK_CODE if self._streams.interactive else "", NOBODY)

    def tell_way(self, number: int, *, rejoin: bool) -> None:
        self._say((text.COMING_BACK if rejoin else text.JOINING_SAS).format(number=number))

    def tell_verified(self, name: str) -> None:
        self._interruptions.forget(SERVER)
        self._say(text.VERIFIED.format(name=printable(name) or text.OTHER_SIDE))

    def tell_welcome(self, member: int, name: str, services: Sequence[Service]) -> None:
        self._interruptions.forget(SERVER)
        shared = printable(format_services(services))
        self._say(text.JOINED.format(name=self._bold(printable(name)), shared=shared))

    def tell_listening(self, service: Service, host: str, port: int) -> None:
        address = self._bold(format_address(service, host, port))
        self._say(text.LISTENING.format(service=printable(service.name), address=address))

    def tell_not_forwarded(self, service: Service) -> None:
        self._say(text.NOT_FORWARDED.format(service=printable(service.name)))

    def tell_refused(self, service: str, error: PorttunnelError) -> None:
        line = text.STREAM_REFUSED.format(service=service, text=error)
        self._say(self._red(printable(line)))

    # Inside

    def _say(self, line: str) -> None:
        if self._current is None:
            self._streams.write(f"{line}\n")
        else:
            # The question stands on the last line; it is put again below the news.
            self._streams.write(f"\n{line}\n{self._current.prompt}")

    def _say_boxed(self, code: str) -> None:
        width = len(code) + 4
        self._say(f"\n    ┌{'─' * width}┐")
        self._say(f"    │  {self._bold(code)}  │")
        self._say(f"    └{'─' * width}┘\n")

    def _say_qr(self, link: str) -> None:
        if self._streams.output_is_terminal:
            drawn = StringIO()
            segno.make(link, micro=False).terminal(drawn, border=QUIET_ZONE_MODULES, compact=True)
            self._say(drawn.getvalue())

    def _dim(self, words: str) -> str:
        return click.style(words, dim=True) if self._colours else words

    def _bold(self, words: str) -> str:
        return click.style(words, bold=True) if self._colours else words

    def _red(self, words: str) -> str:
        return click.style(words, fg="red") if self._colours else words

    def _ask(self, prompt: str, member: int, *, fresh: bool = False) -> Deferred[str | None]:
        question = _Question(prompt, member, Deferred(), fresh)
        self._questions.append(question)
        self._put_next()
        return question.answered

    def _put_next(self) -> None:
        if self._current is None and self._questions:
            question = self._current = self._questions.popleft()
            if question.fresh:
                self._streams.discard_typed()
            self._streams.write(question.prompt)
        self._read()

    def _read(self) -> None:
        asked = self._current is not None
        if self._reading:
            if asked:
                self._streams.insist()
        elif asked or self._commands is not None:
            self._reading = True
            self._streams.read_line(patient=not asked).addCallback(self._receive_line)

    def _receive_consent(self, line: str | None, name: str) -> bool:
        if line is not None and not is_yes(line):
            self._say(text.REFUSED.format(name=name))
        return is_yes(line)

    def _receive_line(self, line: str | None) -> None:
        self._reading = False
        question, self._current = self._current, None
        if question is not None:
            if line is None or not self._streams.interactive:
                self._streams.write("\n")
            if line is None and question.fresh and question.member != NOBODY:
                self._say(text.NOBODY_ANSWERS)
            question.answered.callback(line)
        elif line is None:
            self._commands = None
        elif self._commands is not None and line.strip():
            self._obey(self._commands, line.strip())
        self._put_next()

    def _obey(self, commands: Commands, line: str) -> None:
        try:
            match line.lower().split():
                case ["members"]:
                    commands.list_members()
                case ["kick", member] if member.isdecimal():
                    commands.kick(int(member))
                case ["lock" | "unlock" as word]:
                    commands.lock(word == "lock")
                case ["help"]:
                    self._say(text.COMMANDS_HELP)
                case _:
                    self._say(text.UNKNOWN_COMMAND.format(line=printable(line)))
        except LocalProtocolError:
            self._say(text.NO_SUCH_MEMBER.format(member=line.rsplit(maxsplit=1)[-1]))


def _format_member(state: MemberState) -> str:
    line = text.MEMBER_LINE.format(
        member=state.member,
        name=printable(state.name),
        path=text.PATHS[state.path],
        sent=format_bytes(state.sent_bytes),
        received=format_bytes(state.received_bytes),
    )
    return text.MEMBER_LINE_AWAY.format(line=line) if state.away else line
