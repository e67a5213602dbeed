"""The limits of the server: the table ``[limits]`` of its file."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from porttunnel.net.tunnel_server import MAX_WAITING_BYTES
from porttunnel.session.directory import CLIENT_GRACE_SECONDS, MASTER_GRACE_SECONDS
from porttunnel.session.limit import (
    CREATES_PER_HOUR,
    CREATES_PER_MINUTE,
    FAILURES_PER_HOUR,
    FAILURES_PER_MINUTE,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_PREFIX,
)

__all__ = ["LimitSettings"]

_Positive = Annotated[int, Meta(ge=1)]


class LimitSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The table ``[limits]``; see docs/session-protocol, section 10.

    :ivar connections: open at a time, in all.
    :ivar connections_per_prefix: open at a time from one IPv4 address or IPv6 /64. Behind a proxy
        or a load balancer all come from one: then as many as in all.
    :ivar join_failures_per_minute: wrong numbers from one prefix.
    :ivar join_failures_per_hour: wrong numbers from one prefix.
    :ivar creates_per_minute: sessions opened from one prefix.
    :ivar creates_per_hour: sessions opened from one prefix.
    :ivar waiting_bytes: kept for slow members, in all.
    :ivar master_grace_s: how long a session waits for its master.
    :ivar client_grace_s: how long a client's place is kept.
    """

    connections: _Positive = MAX_CONNECTIONS
    connections_per_prefix: _Positive = MAX_CONNECTIONS_PER_PREFIX
    join_failures_per_minute: _Positive = FAILURES_PER_MINUTE
    join_failures_per_hour: _Positive = FAILURES_PER_HOUR
    creates_per_minute: _Positive = CREATES_PER_MINUTE
    creates_per_hour: _Positive = CREATES_PER_HOUR
    waiting_bytes: _Positive = MAX_WAITING_BYTES
    master_grace_s: _Positive = int(MASTER_GRACE_SECONDS)
    client_grace_s: _Positive = int(CLIENT_GRACE_SECONDS)
