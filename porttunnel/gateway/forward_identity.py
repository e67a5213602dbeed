"""How the web system learns which user a device belongs to.

See docs/agent, "What the agent passes on". Only the instance says it; what a device says
about it is removed (:mod:`porttunnel.gateway.forward_field`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from porttunnel.gateway.forward_path import Denial
from porttunnel.gateway.http_head import Fields, find_field_fault

__all__ = ["IdentityRules", "UserCredentials"]

MAX_USER_BYTES = 255  # as long as any web system lets a name be; it goes out with each request

_CONTROL = re.compile(rb"[\0-\x1f\x7f]")


class UserCredentials(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """With what the web system is asked for one user; its repr shows no secret.

    :ivar login: the name of HTTP's Basic; empty: the user's name.
    :ivar password: belongs to it; for Basic.
    :ivar token: for Bearer; it is used if there is one.
    """

    login: str = ""
    password: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return f"UserCredentials(login={self.login!r})"

    def format(self, user: str) -> bytes:
        """The value of the field Authorization."""
        if self.token:
            return b"Bearer " + self.token.encode()
        pair = f"{self.login or user}:{self.password}".encode()
        return b"Basic " + base64.b64encode(pair)


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """What is added to each request.

    :ivar header: the name of the field with the user's name, in lower case; empty for none.
    :ivar credentials: of each user; a user who is not among them is refused, unless there are none
        or the header tells the user.
    """

    header: bytes = b""
    credentials: Mapping[str, UserCredentials] = field(default_factory=dict)

    def fields_of(self, user: str) -> Fields | Denial:
        """What to add for this user."""
        fields = []
        if self.header:
            name = user.encode()
            if not 0 < len(name) <= MAX_USER_BYTES or _CONTROL.search(name):
                return Denial.IDENTITY
            fields.append((self.header, name))
        credentials = self.credentials.get(user)
        if credentials is not None:
            if not credentials.token and ":" in (credentials.login or user):
                return Denial.IDENTITY  # what follows would be read as the password (RFC 7617)
            fields.append((b"authorization", credentials.format(user)))
        elif self.credentials and not self.header:
            return Denial.IDENTITY
        if find_field_fault(tuple(fields)) is not None:
            return Denial.IDENTITY
        return tuple(fields)
