"""Says in the log what fails, and not once for each stranger who finds that out."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from porttunnel.errors import ConfigurationError

__all__ = ["Complaint"]

COMPLAINT_SECONDS = 60.0  # between two lines about the same: a log on a full disk fills it up


class Complaint:
    """See the module.

    :param seconds: a clock that does not go back.
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._due: dict[object, float] = {}  # by the kind of error
        self._untold = 0

    def tell(self, failure: Failure) -> None:
        """Something was not done because of this, and who asked for it knows that."""
        now = self._seconds()
        if now < self._due.get(failure.type, now):
            self._untold += 1
            return
        self._due[failure.type] = now + COMPLAINT_SECONDS
        untold, self._untold = self._untold, 0
        if failure.check(ConfigurationError):
            self._log.error(
                "the gateway's store can't be used: {error} ({untold} times more before)",
                error=failure.value,
                untold=untold,
            )
        else:
            self._log.failure(
                "the gateway could not do something ({untold} times more before)",
                failure,
                untold=untold,
            )
