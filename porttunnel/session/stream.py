"""One stream's state: which half is open, how much may be sent, what waits.

Source: docs/session-protocol, section 6.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from porttunnel.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["TRANSITIONS", "Stream", "StreamEvent", "StreamState"]


class StreamState(Enum):
    """Where a stream stands."""

    OPENING = "we asked for it"
    OFFERED = "the other side asked for it"
    OPEN = "both halves are open"
    LOCAL_ENDED = "we have sent our last byte"
    REMOTE_ENDED = "the other side has sent its last byte"
    CLOSED = "it is over"


class StreamEvent(Enum):
    """What can happen to a stream."""

    ACCEPTED_REMOTELY = "ACCEPT received"
    REFUSED_REMOTELY = "REFUSE received"
    ACCEPTED_LOCALLY = "ACCEPT sent"
    REFUSED_LOCALLY = "REFUSE sent"
    ENDED_LOCALLY = "END sent"
    ENDED_REMOTELY = "END received"
    RESET_LOCALLY = "RESET sent"
    RESET_REMOTELY = "RESET received"


_S, _E = StreamState, StreamEvent
TRANSITIONS: dict[tuple[StreamState, StreamEvent], StreamState] = {
    (_S.OPENING, _E.ACCEPTED_REMOTELY): _S.OPEN,
    (_S.OPENING, _E.REFUSED_REMOTELY): _S.CLOSED,
    (_S.OFFERED, _E.ACCEPTED_LOCALLY): _S.OPEN,
    (_S.OFFERED, _E.REFUSED_LOCALLY): _S.CLOSED,
    (_S.OPEN, _E.ENDED_LOCALLY): _S.LOCAL_ENDED,
    (_S.OPEN, _E.ENDED_REMOTELY): _S.REMOTE_ENDED,
    (_S.LOCAL_ENDED, _E.ENDED_REMOTELY): _S.CLOSED,
    (_S.REMOTE_ENDED, _E.ENDED_LOCALLY): _S.CLOSED,
} | {
    (state, event): _S.CLOSED
    for state in (_S.OPENING, _S.OFFERED, _S.OPEN, _S.LOCAL_ENDED, _S.REMOTE_ENDED)
    for event in (_E.RESET_LOCALLY, _E.RESET_REMOTELY)
}
_REMOTE_EVENTS = frozenset(event for event in _E if event.name.endswith("_REMOTELY"))
_SENDING = frozenset((_S.OPEN, _S.REMOTE_ENDED))
_RECEIVING = frozenset((_S.OPEN, _S.LOCAL_ENDED))


class Stream:
    """The bookkeeping of one stream; :class:`~porttunnel.session.multiplex.Multiplex` drives it.

    :param number: the id, odd if a client opened it.
    :param service: the name it was opened for.
    :param state: OPENING or OFFERED.
    :param window: bytes that the other side may have unconsumed at first.
    """

    __slots__ = (
        "end_wanted",
        "number",
        "pending",
        "pending_bytes",
        "receive_credit",
        "send_credit",
        "service",
        "starved",
        "state",
        "unconsumed",
        "waiting",
        "window",
    )

    def __init__(self, number: int, service: str, state: StreamState, window: int) -> None:
        self.number = number
        self.service = service
        self.state = state
        self.window = window
        self.receive_credit = window  # bytes that the other side may still send
        self.unconsumed = 0  # bytes received that the application has not taken yet
        self.send_credit = 0  # bytes that we may still send
        self.pending: deque[memoryview] = deque()  # written, not yet in a packet
        self.pending_bytes = 0
        self.end_wanted = False  # END follows once nothing is pending
        self.starved = False  # it had its turn and no credit
        self.waiting = False  # stands in the queue for a turn

    def apply(self, event: StreamEvent) -> None:
        """Go on to the next state.

        :raises RemoteProtocolError: the other side did what the state does not allow.
        :raises LocalProtocolError: we did.
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            text = f"{event.value} on a stream in the state {self.state.name}"
            if event in _REMOTE_EVENTS:
                raise RemoteProtocolError(text)
            raise LocalProtocolError(text)
        self.state = state

    @property
    def may_send(self) -> bool:
        """Whether our half is open."""
        return self.state in _SENDING and not self.end_wanted

    @property
    def may_receive(self) -> bool:
        """Whether the other side's half is open."""
        return self.state in _RECEIVING
