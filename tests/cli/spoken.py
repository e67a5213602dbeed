"""Standard streams that a test speaks to."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, succeed

__all__ = ["SpokenStreams"]


class SpokenStreams:
    """Stands in for :class:`porttunnel.cli.standard_streams.StandardStreams`.

    :param terminal: whether a person is at both ends.
    """

    def __init__(self, *, terminal: bool = False) -> None:
        self.interactive = terminal
        self.output_is_terminal = terminal
        self.written = ""
        self.discarded = 0
        self.patient = False
        self._wanted: Deferred[str | None] | None = None
        self._ended = False

    def write(self, text: str) -> None:
        self.written += text

    def read_line(self, *, patient: bool = False) -> Deferred[str | None]:
        assert self._wanted is None, "one at a time"
        self.patient = patient
        if self._ended:
            return succeed(None)
        self._wanted = Deferred()
        return self._wanted

    def discard_typed(self) -> None:
        self.discarded += 1

    def insist(self) -> None:
        self.patient = False

    # What the test does

    @property
    def reading(self) -> bool:
        return self._wanted is not None

    def say(self, line: str | dict[str, Any]) -> None:
        wanted, self._wanted = self._wanted, None
        assert wanted is not None, "nobody reads"
        wanted.callback(line if isinstance(line, str) else json.dumps(line))

    def end(self) -> None:
        self._ended = True
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.callback(None)

    def take(self) -> str:
        """What was written since the last call."""
        written, self.written = self.written, ""
        return written

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.take().splitlines()]
