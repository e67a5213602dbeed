"""Giving out session numbers, each once and never again.

Source: docs/session-protocol, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from porttunnel.errors import ConfigurationError
from porttunnel.session.directory_store import DirectoryStore

__all__ = ["NUMBER_DIGITS", "issue_number"]

NUMBER_DIGITS = (5, 6, 7, 8)  # five are read out easily; eight give 45 million sessions
MAX_DRAWS = 128  # at half use each draw fails with 1/2: all of them with 2^-128


def issue_number(
    store: DirectoryStore,
    randbelow: Callable[[int], int],
    number_digits: Sequence[int] = NUMBER_DIGITS,
) -> int:
    """A random number that was never given out before; called inside a transaction.

    :param store: remembers it for ever.
    :param randbelow: a secure random number from 0 to its argument, exclusive.
    :param number_digits: the lengths of numbers; the next begins when half of one is used.
    :raises ConfigurationError: half of the last length is used.
    """
    for digits in number_digits:
        lowest: int = 10 ** (digits - 1)
        count = 9 * lowest
        # Beyond half of a length drawing gets slow, and what a stranger guesses gets likely.
        if 2 * store.issued_numbers(digits) >= count:
            continue
        for _ in range(MAX_DRAWS):
            number = lowest + randbelow(count)
            if store.issue_number(number):
                return number
    raise ConfigurationError(
        "every session number has been given out; numbers are never used twice, so start another "
        "tunnel server, with its own name and its own data folder"
    )
