"""What a gateway answers by HTTP: what was asked for, or why not.

Source: docs/gateway-protocol, section 5; RFC 9457 for why not. Fields that aren't known are passed
over: a later gateway may say more.
"""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from porttunnel.errors import GatewayRefused, GatewayUnreachable

__all__ = [
    "Answer",
    "ClaimedDevice",
    "DeviceList",
    "ListedDevice",
    "OfferedDevice",
    "RegisteredInstance",
    "decode_answer",
    "make_refusal",
]

MAX_DETAIL_CHARACTERS = 300  # of the gateway's words, which a person is shown

HexId = Annotated[str, Meta(pattern="^[0-9a-f]{32}\\Z")]
UnixSeconds = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]  # as a pairing's code has room for them

_SECONDS = re.compile("[0-9]{1,6}")  # a date, which it may be too, is nobody's here

_Form = TypeVar("_Form")

_WHAT_TO_DO = {
    401: "It does not know the id or the password; it may have been revoked.",
    403: "It is not allowed to.",
    404: "There is no such thing there; it may have expired or been removed.",
    409: "Somebody else was faster.",
    429: "Too much was asked from here; wait a while and try again.",
    503: "It can't do that just now; wait a while and try again.",
}


class Answer(NamedTuple):
    """An answer of HTTP.

    :ivar retry_after: the field of that name, or empty.
    """

    status: int
    body: bytes
    retry_after: str = ""

    def __repr__(self) -> str:
        # A new instance's password may be in it.
        return f"Answer(status={self.status}, body=<{len(self.body)} bytes>)"

    @property
    def is_success(self) -> bool:
        """Whether it says that it was done."""
        return 200 <= self.status < 300


class RegisteredInstance(msgspec.Struct, frozen=True):
    """A new instance."""

    instance_id: HexId
    instance_password: HexId

    def __repr__(self) -> str:
        return f"RegisteredInstance({self.instance_id}, <secret>)"


class OfferedDevice(msgspec.Struct, frozen=True):
    """A device that nobody is yet.

    :ivar device_setup_key: 32 hex digits: what a device shows to become it.
    :ivar expires: seconds since 1970.
    """

    device_id: HexId
    device_setup_key: HexId
    expires: UnixSeconds

    def __repr__(self) -> str:
        return f"OfferedDevice({self.device_id}, <secret>, expires={self.expires})"


class ClaimedDevice(msgspec.Struct, frozen=True):
    """Who the device is now, and whose."""

    device_id: HexId
    instance_id: HexId


class ListedDevice(msgspec.Struct, frozen=True):
    """A device as its gateway knows it.

    :ivar state: ``invited``, ``claimed`` or ``confirmed``; one day perhaps others.
    """

    device_id: HexId
    state: str = ""


class DeviceList(msgspec.Struct, frozen=True):
    """All devices of an instance."""

    devices: tuple[ListedDevice, ...]


class _Problem(msgspec.Struct, frozen=True):
    detail: str = ""
    title: str = ""
    code: str = ""


def decode_answer(answer: Answer, form: type[_Form]) -> _Form:
    """What a success says.

    :param form: one of the types of this module.
    :raises GatewayUnreachable: it says something else.
    """
    try:
        return msgspec.json.decode(answer.body, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise GatewayUnreachable(
            "What answered does not speak as a gateway. Check the address."
        ) from None


def make_refusal(answer: Answer) -> GatewayRefused | GatewayUnreachable:
    """Why it was not done.

    :param answer: no success. Without a code it is not the gateway's: a proxy in front says 404,
        or 401, of what it doesn't know, and nothing must be given up because of that.
    """
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = _Problem()
    if not problem.code:
        return GatewayUnreachable(
            f"What answered, with status {answer.status}, does not speak as a gateway: a proxy in "
            "front of it, perhaps. Check the address, and whether the gateway runs."
        )
    said = problem.detail or problem.title
    # It may be anything: a person's terminal is no place for what moves the cursor.
    shown = "".join(each if each.isprintable() else " " for each in said[:MAX_DETAIL_CHARACTERS])
    words = f" ({shown})" if shown else ""
    advice = _WHAT_TO_DO.get(answer.status, "Look into its log, or ask who runs it.")
    waits = _SECONDS.fullmatch(answer.retry_after)
    return GatewayRefused(
        f"The gateway refused with status {answer.status}{words}. {advice}",
        answer.status,
        problem.code,
        float(waits[0]) if waits else None,
    )
