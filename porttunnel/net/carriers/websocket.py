"""A carrier made of WebSocket frames on another carrier, the server's side.

Whatever runs on a carrier thus runs in WebSocket too, and is never told the difference. See
docs/websocket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from porttunnel.errors import CutOff
from porttunnel.net.carriers.interface import Carrier, Receiver
from porttunnel.net.deadline import Deadlines
from porttunnel.net.native_mask import unmask, unmasked_copy
from porttunnel.websocket.close import CloseCode
from porttunnel.websocket.connection import Limits, ServerConnection
from porttunnel.websocket.event import CloseReceived, ConnectionFailed
from porttunnel.websocket.handshake import (
    Accepted,
    Refused,
    Request,
    RequestReader,
    Terms,
    negotiate,
)
from porttunnel.websocket.state import ConnectionState

__all__ = ["BuildReceiver", "Serving", "WebSocketCarrier"]

OPENING_SECONDS = 10.0  # for a request's head to come, a few round trips of TLS included
GOODBYE_SECONDS = 5.0  # for the last bytes to go out and the peer to close

BuildReceiver = Callable[[Accepted, IAddress], Receiver | Refused]
"""Called with what was agreed on and the peer's address, once for each client that the terms let
in: gives who takes its bytes, or why it is not let in after all. The receiver's ``carrier_made``
follows at once, with a :class:`WebSocketCarrier`."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What the connections of one service have in common.

    :ivar seconds: the time.
    :ivar deadlines: calls them.
    :ivar build_receiver: see :data:`BuildReceiver`.
    :ivar terms: who is let in.
    :ivar limits: what a client may do, and when it is pinged.
    """

    seconds: Callable[[], float]
    deadlines: Deadlines
    build_receiver: BuildReceiver
    terms: Terms
    limits: Limits


class WebSocketCarrier:
    """A stream of bytes in the binary frames of one connection.

    It is a :class:`~porttunnel.net.carriers.interface.Carrier` for the receiver that
    ``build_receiver`` gives, and itself the receiver of the carrier beneath. The borders of frames
    mean nothing: what the receiver sends in one call shares a frame, up to 64 KiB, and of what one
    read brought it gets as much as possible at once, as a view that may be written to.

    To its receiver it is like any carrier, with these differences:

    - There is no half-closed state for long. After :meth:`end` the peer has 10 seconds for its own
      Close frame; until then ``carrier_received`` goes on. When the peer closes, ``carrier_ended``
      is called; what is sent before it returns still goes, and ``carrier_lost`` follows.
    - ``carrier_lost`` gets ``ConnectionDone`` after a closing handshake, whoever began it;
      ``WebSocketError`` if the peer broke the protocol or a limit; ``CutOff`` if it ended without
      a Close frame or fell silent; otherwise what the carrier beneath was lost by.
    - ``carrier_writable`` may come though all was taken.

    :param serving: what it shares with others.
    :param admitted: what was agreed on, and who takes the bytes, if the request was answered for
        already but for the answer itself.

    :ivar due: see :class:`porttunnel.net.deadline.Waiter`.
    """

    __slots__ = (
        "_admitted",
        "_carrier",
        "_closing",
        "_connection",
        "_ended",
        "_give_up_due",
        "_last_words",
        "_parting",
        "_paused",
        "_peer",
        "_peer_ended",
        "_reason",
        "_receiver",
        "_request",
        "_serving",
        "due",
    )

    def __init__(
        self, serving: Serving, admitted: tuple[Accepted, Receiver] | None = None
    ) -> None:
        self.due = inf
        self._serving = serving
        self._admitted = admitted
        self._carrier: Carrier | None = None
        self._peer: IAddress
        self._request: RequestReader | None = None  # until there is an answer
        self._last_words = b""  # why it is not let in, as far as not sent
        self._connection: ServerConnection | None = None
        self._receiver: Receiver | None = None
        self._reason: Failure | None = None  # how it ended, as far as the frames tell
        self._peer_ended = False
        self._paused = False
        self._closing = False  # the receiver has done with it
        self._parting = False
        self._ended = False  # nothing is sent to the carrier beneath any more
        self._give_up_due = inf  # when the carrier beneath is cut off, whatever happens

    # A carrier's side, for the receiver.

    @property
    def peer(self) -> IAddress:
        """The client's address, or the nearest proxy's."""
        return self._peer

    def send(self, views: Sequence[memoryview]) -> int:
        carrier, connection = self._carrier, self._connection
        if carrier is None or connection is None:
            return 0
        return connection.transmit(views, carrier.send)

    def limit_unsent(self, count: int) -> None:
        if self._carrier is not None:
            self._carrier.limit_unsent(count)

    def end(self) -> None:
        if self._connection is not None:
            self._connection.end(self._serving.seconds())
            self._settle(self._connection)

    def pause_receiving(self) -> None:
        if self._carrier is not None and self._connection is not None:
            self._paused = True
            self._connection.pause()
            self._carrier.pause_receiving()

    def resume_receiving(self) -> None:
        if self._carrier is not None and self._connection is not None and self._paused:
            self._paused = False
            self._connection.resume(self._serving.seconds())
            self._carrier.resume_receiving()
            self._settle(self._connection)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Send what was taken and a Close frame; the connection ends when the peer has answered.

        :param code: one that may stand in a Close frame.
        :param reason: for people and logs; cut to 123 bytes.
        :raises ValueError: the code may not be sent.
        """
        if self._connection is not None:
            self._closing = True
            self._connection.close(self._serving.seconds(), code, reason)
            # The answer can only be read by who reads.
            self.resume_receiving()
            self._settle(self._connection)

    def abort(self) -> None:
        self._closing = True
        if self._connection is not None:
            self._connection.discard()
        if self._carrier is not None:
            self._carrier.abort()

    # A receiver's side, for the carrier beneath.

    def carrier_made(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._peer = carrier.peer
        if self._admitted is None:
            self._request = RequestReader()
            self._give_up_after(OPENING_SECONDS)
        else:
            admitted, self._admitted = self._admitted, None
            self._open(*admitted)

    def carrier_received(self, data: memoryview) -> None:
        if self._connection is None:
            self._read_request(data)
        else:
            self._connection.receive_data(data, self._serving.seconds())

    def reading_done(self) -> None:
        # First, so that what it has to say goes before a Close frame.
        if self._receiver is not None:
            self._receiver.reading_done()
        connection = self._connection
        if connection is not None and connection.unsettled:
            self._settle(connection)

    def carrier_writable(self) -> None:
        connection = self._connection
        if connection is None:
            self._say_last_words()
            return
        connection.line_moved(self._serving.seconds())
        self._settle(connection)
        if not connection.data_to_send() and self._receiver is not None:
            self._receiver.carrier_writable()

    def carrier_ended(self) -> None:
        self._peer_ended = True
        if self._connection is not None:
            self._connection.receive_eof(self._serving.seconds())
            self._settle(self._connection)
        elif self._carrier is not None:
            self._carrier.close()

    def carrier_lost(self, reason: Failure) -> None:
        self._serving.deadlines.forget(self)
        if self._connection is not None and reason.check(ConnectionDone):
            # Not every transport tells of an end before.
            self._peer_ended = True
            self._connection.receive_eof(self._serving.seconds())
            self._note(self._connection)
        self._carrier = self._connection = None
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.carrier_lost(self._reason or reason)

    def deadline_came(self, now: float) -> float | None:
        """See :class:`porttunnel.net.deadline.Waiter`."""
        if now >= self._give_up_due:
            self.abort()
            return None
        if self._connection is not None:
            self._connection.handle_timeout(now)
            self._settle(self._connection)
        return None if self._give_up_due == inf else self._give_up_due

    def _read_request(self, data: memoryview) -> None:
        if self._request is None:
            return  # it was refused; what it sends all the same does not matter
        read = self._request.read(data)
        if read is None:
            return
        rest, self._request = self._request.rest, None
        answer = negotiate(read, self._serving.terms) if isinstance(read, Request) else read
        if isinstance(answer, Accepted):
            if self._carrier is not None:
                # Behind a proxy it is known only now that bytes have come.
                self._peer = self._carrier.peer
            receiver = self._serving.build_receiver(answer, self._peer)
            if not isinstance(receiver, Refused):
                self._open(answer, receiver)
                self.carrier_received(memoryview(rest))
                return
            answer = receiver
        self._last_words = answer.answer()
        self._give_up_after(GOODBYE_SECONDS)
        self._say_last_words()

    def _say_last_words(self) -> None:
        if self._carrier is not None and self._last_words:
            taken = self._carrier.send([memoryview(self._last_words)])
            self._last_words = self._last_words[taken:]
            if not self._last_words:
                self._carrier.end()

    def _open(self, accepted: Accepted, receiver: Receiver) -> None:
        self._give_up_due = inf
        self._receiver = receiver
        self._connection = ServerConnection(
            self._serving.seconds(),
            answer=accepted.answer(),
            limits=self._serving.limits,
            deliver=receiver.carrier_received,
            unmask=unmask,
            unmasked_copy=unmasked_copy,
        )
        self._settle(self._connection)
        receiver.carrier_made(self)

    def _settle(self, connection: ServerConnection) -> None:
        """Tell what happened, send what waits, set the clock."""
        connection.unsettled = False
        carrier = self._carrier
        if carrier is None:
            return
        self._note(connection)
        views = connection.data_to_send()
        if views:
            connection.data_sent(carrier.send(views))
        if connection.state is ConnectionState.CLOSED:
            self._part(connection, carrier)
        else:
            self._expect(connection.next_deadline())

    def _note(self, connection: ServerConnection) -> None:
        """What happened."""
        for event in connection.events():
            if isinstance(event, CloseReceived):
                self._peer_ended = True
                self._reason = Failure(ConnectionDone())
                if self._receiver is not None and not self._closing:
                    self._receiver.carrier_ended()
            elif isinstance(event, ConnectionFailed):
                self._reason = Failure(event.error)
                if isinstance(event.error, CutOff) and not self._peer_ended:
                    self._parting = self._ended = True
                    self.abort()

    def _part(self, connection: ServerConnection, carrier: Carrier) -> None:
        """Close once all has gone out. Closed at once, with bytes of the peer still unread, the
        kernel would reset the connection, and with that take our last frame away from the peer.
        """
        if not self._parting:
            self._parting = True
            self._give_up_after(GOODBYE_SECONDS)
            if self._paused:
                carrier.resume_receiving()
        if connection.data_to_send():
            return
        if self._peer_ended:
            carrier.close()
        elif not self._ended:
            self._ended = True
            carrier.end()

    def _give_up_after(self, seconds: float) -> None:
        self._give_up_due = self._serving.seconds() + seconds
        self._expect(self._give_up_due)

    def _expect(self, due: float | None) -> None:
        # What is due later is met by a call that is due before; moving it would cost more.
        if due is not None:
            self._serving.deadlines.expect(self, due)
