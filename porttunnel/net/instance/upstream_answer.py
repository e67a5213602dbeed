"""What an instance answers itself, in the web system's place: short, and without internals."""

from __future__ import annotations

from porttunnel.gateway.forward_path import AllowList, Denial
from porttunnel.gateway.http_head import ResponseHead
from porttunnel.net.instance.application import ServedRequest

__all__ = ["deny", "say_failed"]

RETRY_SECONDS = 5  # after which a busy web system may be less so

# What is said of the web system; why, only the instance's log says.
_TEXTS = {
    400: "The request can't be passed on as it is.",
    408: "The request did not come whole in time.",
    502: "The web system can't be reached, or did not answer properly.",
    503: "The web system is busy. Try again in a moment.",
    504: "The web system did not answer in time.",
}
# Many close the connection on what is too large; then their answer, if there was one, gets lost.
_BROKE_OFF = "The web system broke off before it had the whole request. Perhaps it was too large."


def deny(request: ServedRequest, denial: Denial, allowed: AllowList) -> None:
    """Answer what is not passed on."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    if denial is Denial.METHOD:
        fields = ((b"allow", b", ".join(sorted(allowed.methods))),)
    _answer(request, denial.status, denial.value, fields)


def say_failed(request: ServedRequest, status: int, *, asking: bool = False) -> None:
    """Answer that it was not done, or that nobody knows.

    :param status: 400, 408, 502, 503 or 504.
    :param asking: whether the web system failed while the request was still being sent.
    """
    fields: tuple[tuple[bytes, bytes], ...] = ()
    if status == 503:
        fields = ((b"retry-after", b"%d" % RETRY_SECONDS),)
    _answer(request, status, _BROKE_OFF if asking else _TEXTS[status], fields)


def _answer(
    request: ServedRequest, status: int, text: str, fields: tuple[tuple[bytes, bytes], ...]
) -> None:
    body = text.encode() + b"\n"
    head = ResponseHead(
        status,
        (
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *fields,
        ),
    )
    writer = request.respond(head)
    if request.head.method != b"HEAD":
        writer.write(body)
    writer.end()
