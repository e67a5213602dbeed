"""One stream's state: which half is open, how much may be sent, what waits.

Source: docs/session-protocol, section 6.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from porttunnel.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["TRANSITIONS", "Stream", "StreamEvent", "StreamNumbers", "StreamState"]


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
# Looked through by identity; a set would ask each time for the hash of an Enum, which is slow.
_SENDING = (_S.OPEN, _S.REMOTE_ENDED)
_RECEIVING = (_S.OPEN, _S.LOCAL_ENDED)


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

    def keep(self, data: memoryview) -> None:
        """Copy what can't be sent yet."""
        self.pending.append(memoryview(bytes(data)))
        self.pending_bytes += len(data)

    def move_kept(self, room: memoryview) -> int:
        """Move the oldest kept bytes into ``room``, as far as they lie together; how many."""
        data = self.pending[0]
        count = min(len(room), len(data))
        room[:count] = data[:count]
        self.pending_bytes -= count
        if count == len(data):
            self.pending.popleft()
        else:
            self.pending[0] = data[count:]
        return count

    @property
    def may_send(self) -> bool:
        """Whether our half is open."""
        return self.state in _SENDING and not self.end_wanted

    @property
    def may_receive(self) -> bool:
        """Whether the other side's half is open."""
        return self.state in _RECEIVING


class StreamNumbers:
    """The ids of a pair's streams: each side counts its own, so that both can open at once.

    :param is_client: clients open odd ids, the master even ones.
    """

    __slots__ = ("_next_local", "_next_remote")

    def __init__(self, is_client: bool) -> None:
        self._next_local = 1 if is_client else 2
        self._next_remote = 2 if is_client else 1

    def draw_local(self) -> int:
        """The id of the next stream that we open."""
        number = self._next_local
        self._next_local += 2
        return number

    def take_remote(self, number: int) -> None:
        """The other side opens this id; :raises RemoteProtocolError: it is not the next."""
        if number != self._next_remote:
            raise RemoteProtocolError("a stream was opened with an id out of order")
        self._next_remote += 2

    def check_known(self, number: int) -> None:
        """Records may cross with our REFUSE or RESET, or follow the other side's own.

        :raises RemoteProtocolError: there never was such a stream.
        """
        following = self._next_local if number % 2 == self._next_local % 2 else self._next_remote
        if not 0 < number < following:
            raise RemoteProtocolError("a record for a stream that was never opened")
