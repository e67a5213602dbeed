"""Why the gateway doesn't do what it was asked for by HTTP: RFC 9457."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["PROBLEM_TYPE", "ProblemDocument", "ProblemKind", "RequestRefused"]

PROBLEM_TYPE = "application/problem+json"


class ProblemKind(Enum):
    """Status, code for programs, and what to do, for people. A code never changes its meaning."""

    MALFORMED = (400, "malformed", "The body is not the JSON that this takes; see /openapi.json.")
    WRONG_CREDENTIALS = (401, "wrong-credentials", "Send the right id and password, or token.")
    NOT_ALLOWED = (403, "not-allowed", "This is not for devices. Ask with the instance's id.")
    TLS_DEMANDED = (403, "tls-demanded", "Others on the way can read this. Use https.")
    NOT_FOUND = (404, "not-found", "There is no such thing; look at the path.")
    SETUP_REFUSED = (
        404,
        "setup-refused",
        "This setup key is not good, or not any more. Ask for a new pairing code.",
    )
    WRONG_METHOD = (405, "wrong-method", "Use one of the methods in the field Allow.")
    NOT_CLAIMED = (409, "not-claimed", "No device has used the setup key yet. Wait for it.")
    FULL = (409, "full", "There are as many as there may be. Remove some first.")
    TOO_LARGE = (413, "too-large", "The body is longer than this takes. Send less.")
    NOT_JSON = (415, "not-json", "Send the body as application/json.")
    TOO_MANY_ATTEMPTS = (
        429,
        "too-many-attempts",
        "Wait as long as the field Retry-After says, then try again.",
    )
    BROKEN = (500, "broken", "The gateway failed. Its operator finds the reason in its log.")
    BUSY = (503, "busy", "Wait as long as the field Retry-After says, then try again.")
    UNAVAILABLE = (
        503,
        "unavailable",
        "The gateway can't use its store. Its operator finds the reason in its log.",
    )

    NOT_RECORDED = (
        503,
        "not-recorded",
        "It is cut off now, but the gateway can't write that down: after a restart it could come "
        "back. Repeat this until it is done.",
    )

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail


class ProblemDocument(msgspec.Struct, frozen=True, rename={"kind": "type"}):
    """Why not.

    :ivar code: which of the reasons that this gateway knows; stays what it is.
    """

    status: Annotated[int, Meta(ge=400, le=599)]
    title: str
    code: Annotated[str, Meta(pattern="^[a-z-]+$", max_length=64)]
    detail: str
    kind: str = "about:blank"


class RequestRefused(Exception):
    """The answer to a request is a problem.

    :param kind: which.
    :param headers: further fields of the answer.
    """

    def __init__(self, kind: ProblemKind, headers: dict[str, str] | None = None) -> None:
        super().__init__(kind.detail)
        self.kind = kind
        self.headers = headers or {}

    def document(self) -> ProblemDocument:
        """What its body says."""
        kind = self.kind
        title = HTTPStatus(kind.status).phrase
        return ProblemDocument(kind.status, title, kind.code, kind.detail)
