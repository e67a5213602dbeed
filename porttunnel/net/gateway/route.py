"""What can be asked of the gateway by HTTP: the one table that answers, and that describes itself.

Source: docs/gateway-protocol, section 5.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.accounts import GatewayAccounts
from porttunnel.net.gateway.document import (
    Device,
    DeviceList,
    Invitation,
    InvitedDevice,
    NewPassword,
    RegisteredInstance,
    Registration,
    Setup,
    SetUpDevice,
)
from porttunnel.net.gateway.problem import ProblemKind

__all__ = ["DEVICE_ID", "ROUTES", "Access", "Place", "Question", "Route", "find_place"]

DEVICE_ID = "{device_id}"  # in a path, where an id stands

_ID_FORM = "[0-9a-f]{32}"


class Access(Enum):
    """Who may ask."""

    ANYBODY = "anybody"
    REGISTRANT = "who has the operator's token, if there is one"
    INSTANCE = "an instance"
    ACCOUNT = "an instance or a device"


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, once it is known by whom.

    :ivar prefix: where from: :func:`~porttunnel.session.limit.prefix_of`.
    :ivar account: who asks; for INSTANCE and ACCOUNT.
    :ivar token: what was shown; for REGISTRANT.
    :ivar device_id: from the path.
    :ivar document: the body, as what the route takes.
    """

    prefix: str
    account: Account
    token: bytes | None
    device_id: str
    document: Any


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    :ivar path: with :data:`DEVICE_ID` where an id stands.
    :ivar name: for programs; stays what it is.
    :ivar takes: what the body has to be; None: there is none.
    :ivar gives: what the answer's body is; None: there is none.
    :ivar status: of the answer.
    :ivar problems: what may be wrong besides what may be wrong with all.
    """

    method: str
    path: str
    name: str
    summary: str
    access: Access
    answer: Callable[[GatewayAccounts, Question], Awaitable[Any]]
    takes: type[msgspec.Struct] | None = None
    gives: type[msgspec.Struct] | None = None
    status: int = 200
    problems: tuple[ProblemKind, ...] = ()

    @property
    def body_may_be_empty(self) -> bool:
        """Whether there is nothing that the body has to say."""
        return self.takes is None or not any(
            field.required for field in msgspec.structs.fields(self.takes)
        )


ROUTES = (
    Route(
        "POST",
        "/v1/instances",
        "registerInstance",
        "Become an instance.",
        Access.REGISTRANT,
        lambda accounts, asked: accounts.instances.register(asked.token, asked.prefix),
        takes=Registration,
        gives=RegisteredInstance,
        status=201,
        problems=(ProblemKind.FULL, ProblemKind.TOO_MANY_ATTEMPTS),
    ),
    Route(
        "DELETE",
        "/v1/instances/self",
        "removeInstance",
        "Remove the instance that asks, with all of its devices.",
        Access.INSTANCE,
        lambda accounts, asked: accounts.instances.remove(asked.account.instance_id),
        status=204,
        problems=(ProblemKind.NOT_FOUND, ProblemKind.NOT_RECORDED),
    ),
    Route(
        "POST",
        "/v1/instances/self/password",
        "changePassword",
        "Another password for the instance that asks. The one before is good until this one has "
        "logged in. May be repeated.",
        Access.INSTANCE,
        lambda accounts, asked: accounts.instances.change_password(
            asked.account.instance_id, asked.document.new_password
        ),
        takes=NewPassword,
        status=204,
        problems=(ProblemKind.NOT_FOUND,),
    ),
    Route(
        "GET",
        "/v1/devices",
        "listDevices",
        "The devices of the instance that asks.",
        Access.INSTANCE,
        lambda accounts, asked: accounts.devices.list_devices(asked.account.instance_id),
        gives=DeviceList,
    ),
    Route(
        "POST",
        "/v1/devices",
        "inviteDevice",
        "A device of the instance that asks, and the setup key with which it is to come.",
        Access.INSTANCE,
        lambda accounts, asked: accounts.devices.invite(
            asked.account.instance_id, int(asked.document.expires_in)
        ),
        takes=Invitation,
        gives=InvitedDevice,
        status=201,
        problems=(ProblemKind.FULL, ProblemKind.NOT_FOUND),
    ),
    Route(
        "POST",
        "/v1/devices/setup",
        "setUpDevice",
        "Become the device of a setup key. May be repeated with the same nonce.",
        Access.ANYBODY,
        lambda accounts, asked: accounts.devices.set_up(
            bytes.fromhex(asked.document.device_setup_key),
            bytes.fromhex(asked.document.client_nonce),
            asked.prefix,
        ),
        takes=Setup,
        gives=SetUpDevice,
        status=201,
        problems=(ProblemKind.SETUP_REFUSED, ProblemKind.TOO_MANY_ATTEMPTS),
    ),
    Route(
        "GET",
        "/v1/devices/{device_id}",
        "readDevice",
        "One device, for its instance and for itself.",
        Access.ACCOUNT,
        lambda accounts, asked: accounts.devices.read_device(asked.account, asked.device_id),
        gives=Device,
        problems=(ProblemKind.NOT_FOUND,),
    ),
    Route(
        "DELETE",
        "/v1/devices/{device_id}",
        "removeDevice",
        "Revoke a device, by its instance or by itself.",
        Access.ACCOUNT,
        lambda accounts, asked: accounts.devices.remove(asked.account, asked.device_id),
        status=204,
        problems=(ProblemKind.NOT_FOUND, ProblemKind.NOT_RECORDED),
    ),
    Route(
        "POST",
        "/v1/devices/{device_id}/confirm",
        "confirmDevice",
        "Say that the right device has come: no other can take its place. May be repeated.",
        Access.INSTANCE,
        lambda accounts, asked: accounts.devices.confirm(
            asked.account.instance_id, asked.device_id
        ),
        status=204,
        problems=(ProblemKind.NOT_FOUND, ProblemKind.NOT_CLAIMED),
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A path of the table.

    :ivar routes: by their methods.
    :ivar device_id: that stands in it, or empty.
    """

    routes: Mapping[str, Route]
    device_id: str


def find_place(path: str) -> Place | None:
    """The routes of a path; None if there are none.

    :param path: as it came: nothing in it needs escapes.
    """
    for form, routes in _PLACES:
        found = form.fullmatch(path)
        if found is not None:
            return Place(routes, found[1] if found.groups() else "")
    return None


def _collect() -> list[tuple[re.Pattern[str], dict[str, Route]]]:
    by_path: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        by_path.setdefault(route.path, {})[route.method] = route
    return [
        (re.compile(re.escape(path).replace(re.escape(DEVICE_ID), f"({_ID_FORM})")), routes)
        for path, routes in by_path.items()
    ]


_PLACES = _collect()
