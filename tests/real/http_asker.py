"""Requests of HTTP, and whether their answers are whole."""

from __future__ import annotations

import hashlib
import http.client
from contextlib import closing
from typing import NamedTuple

__all__ = ["Answer", "ask"]

WAIT_SECONDS = 60.0  # a deadline, not a measure


class Answer(NamedTuple):
    """What came.

    :ivar status: 0 if nothing came.
    :ivar is_whole: whether the body has come to its end.
    """

    status: int
    body: bytes
    is_whole: bool
    fields: dict[str, str]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    fields: dict[str, str] | None = None,
) -> Answer:
    """One request, on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)) as asking:
        try:
            asking.request(method, path, body, fields or {})
            response = asking.getresponse()
        except (ConnectionError, http.client.HTTPException):
            return Answer(0, b"", False, {})
        with response:
            told = {name.lower(): value for name, value in response.getheaders()}
            try:
                return Answer(response.status, response.read(), True, told)
            except http.client.IncompleteRead as broken:
                return Answer(response.status, broken.partial, False, told)
            except ConnectionError:
                return Answer(response.status, b"", False, told)
