"""One connection after its handshake: messages or a stream of bytes, pings, the closing handshake.

It has the verbs of :class:`porttunnel.machine.Machine`, and two of its own for the hot path of a
stream of bytes, which makes no events and no queue of what its program sends: what comes is handed
straight to a callable, what goes is framed where it lies. Source: RFC 6455, sections 5 to 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from porttunnel.errors import CutOff, LocalProtocolError, WebSocketError
from porttunnel.websocket.close import CloseCode, decode_close, encode_close
from porttunnel.websocket.cut import MAX_SENT_FRAME_BYTES, cut_payload
from porttunnel.websocket.event import CloseReceived, ConnectionFailed, Event
from porttunnel.websocket.frame import FrameReader
from porttunnel.websocket.frame_head import Opcode, encode_head
from porttunnel.websocket.frame_limit import FrameLimits
from porttunnel.websocket.mask import Unmask, UnmaskedCopy, unmask
from porttunnel.websocket.message import MessageGatherer
from porttunnel.websocket.state import TRANSITIONS, ConnectionState, ConnectionStep

__all__ = ["STREAM_FRAMES", "Limits", "ServerConnection"]

JOINED_BYTES = 4_096  # below it, a frame's head and payload are joined: one view is sent sooner
PING_SECONDS = 30.0  # of silence; proxies and NATs forget a connection after a minute or more
# For anything to come after a ping. A mobile network may take ten to wake up, and what the system
# has queued for a slow line goes before the ping.
PONG_SECONDS = 30.0
CLOSE_SECONDS = 10.0  # for the peer's Close after ours; what it has sent before comes first
# Of a stream nothing is gathered: these only end what can't be meant. Whoever reads the stream has
# limits of its own; the longest packet of MQTT has a quarter of it.
STREAM_FRAMES = FrameLimits(1 << 30, 1 << 30, 1 << 24)
# Pings and pongs: each goes past what a program counts as messages, and a ping wants an answer.
MAX_PINGS_PER_SECOND = 100
# Answers to pings that the peer has not taken; 12 KiB. Who pings on and never reads is put out.
MAX_PONGS_WAITING = 100

_BINARY = int(Opcode.BINARY)
_TEXT = int(Opcode.TEXT)
_CLOSE = int(Opcode.CLOSE)
_PING = int(Opcode.PING)
_PONG = int(Opcode.PONG)
_PONG_BEGINNING = encode_head(_PONG, 0)[0]
_S, _E = ConnectionState, ConnectionStep
_SMALL_HEADS = [encode_head(_BINARY, size) for size in range(126)]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may do, and when it has to say something.

    :ivar frames: how much it may send at a time; with None for messages what ``FrameLimits`` says
        by itself, for a stream :data:`STREAM_FRAMES`.
    :ivar ping_seconds: of silence before it is pinged, or None for never.
    :ivar pong_seconds: after a ping, for anything to come.
    """

    frames: FrameLimits | None = None
    ping_seconds: float | None = PING_SECONDS
    pong_seconds: float = PONG_SECONDS


class ServerConnection:
    """See :class:`porttunnel.machine.Machine`.

    :param now: seconds, monotonic.
    :param answer: to the handshake; it is sent first.
    :param limits: what the peer may do.
    :param deliver: makes this a stream of bytes: it is called during :meth:`receive_data` with
        the payloads, views that are valid during the call and may be written to; the borders of
        frames and messages mean nothing, and text is refused. With None whole messages come as
        events, kept until they are whole.
    :param unmask: see :mod:`porttunnel.websocket.mask`; and so with ``unmasked_copy``.

    :ivar state: where it stands.
    :ivar unsettled: something is to be sent, or has happened, or another deadline holds since
        this was last set to False, by whoever runs the connection.
    """

    __slots__ = (
        "_deadline",
        "_deliver",
        "_events",
        "_gatherer",
        "_heard",
        "_last_close",
        "_limits",
        "_listening",
        "_paused",
        "_pinged_at",
        "_pings",
        "_pings_since",
        "_pongs_waiting",
        "_reader",
        "_sending",
        "_waiting",
        "state",
        "unsettled",
    )

    def __init__(
        self,
        now: float,
        *,
        answer: bytes = b"",
        limits: Limits | None = None,
        deliver: Callable[[memoryview], None] | None = None,
        unmask: Unmask = unmask,
        unmasked_copy: UnmaskedCopy | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._deliver = deliver or _discard
        frames = self._limits.frames or (STREAM_FRAMES if deliver else FrameLimits())
        self._reader = FrameReader(
            frames, text=deliver is None, unmask=unmask, unmasked_copy=unmasked_copy
        )
        self._waiting: list[memoryview] = []
        self._events: list[Event] = []
        self._gatherer = None if deliver else MessageGatherer()
        self._pongs_waiting = 0
        self._pings = 0  # and pongs, that came in the second that began then
        self._pings_since = now
        self._heard = now
        self._paused = False
        self._pinged_at: float | None = None  # and nothing has come since, as far as is known
        self._last_close = b""  # the payload of what ends it, once it is parting
        self._sending = self._listening = True  # as the state has it, for the hot path
        self.state = _S.OPEN
        self._deadline = self._silence_deadline(now)
        self.unsettled = True
        if answer:
            self._waiting.append(memoryview(answer))

    def receive_data(self, data: memoryview, now: float) -> None:
        if not self._listening:
            return
        self._heard = now
        try:
            if self._gatherer is None:
                whole, used = self._reader.take_whole(data)
                if whole:
                    self._deliver(memoryview(whole))
                if used != len(data):  # seldom
                    self._take_stream(data[used:])
            else:
                self._take_messages(data, self._gatherer)
        except WebSocketError as error:
            self._fail(error)

    def receive_eof(self, now: float) -> None:
        if self.state is not _S.CLOSED:
            self._cut_off("the connection ended without a Close frame: connect again")

    def events(self) -> Iterator[Event]:
        events, self._events = self._events, []
        return iter(events)

    def data_to_send(self) -> Sequence[memoryview]:
        if self.state is _S.PARTING:
            self._part()
        return list(self._waiting)

    def data_sent(self, count: int) -> None:
        waiting = self._waiting
        gone = 0
        for view in waiting:
            if count < len(view):
                waiting[gone] = view[count:]
                break
            count -= len(view)
            gone += 1
        del waiting[:gone]
        if not waiting:
            self._pongs_waiting = 0

    def limit_ahead(self, count: int) -> None:
        """Nothing takes turns here."""

    def next_deadline(self) -> float | None:
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        if self._deadline is None or now < self._deadline:
            return
        if self.state is _S.CLOSING:
            if not self._paused:
                self._cut_off("the peer did not answer our Close frame: connect again")
            else:
                self._deadline = now + CLOSE_SECONDS
            return
        due = self._silence_deadline(self._heard)
        if due is None or due > now:
            self._pinged_at = None
            self._deadline = due
        elif self._pinged_at is None or self._heard >= self._pinged_at:
            self._queue(_PING, b"")
            self._pinged_at = now
            self._deadline = now + self._limits.pong_seconds
        else:
            self._cut_off("nothing came from the peer, no pong either: connect again")

    def transmit(
        self, views: Sequence[memoryview], send: Callable[[Sequence[memoryview]], int]
    ) -> int:
        """Send bytes of a stream: one frame for all, as long as they fit in one.

        :param views: what the program has to send; it keeps what is not taken, as with a carrier.
        :param send: sends as much as can go now of what it is given, in order, and says how many
            bytes that was. It is not called again in this call once it took less than it was
            given.
        :returns: bytes of ``views`` taken. Of a frame that has begun to go out the rest is kept,
            with :meth:`data_to_send`, and counts as taken.
        """
        if not self._sending or (self._waiting and not self._drain(send)):
            return 0
        size = len(views[0]) if len(views) == 1 else sum(map(len, views))
        if size <= MAX_SENT_FRAME_BYTES:
            return self._send_frame(views, size, send) if size else 0
        taken = 0
        for part in cut_payload(views):
            size = sum(map(len, part))
            count = self._send_frame(part, size, send)
            taken += count
            if count < size or self._waiting:
                break
        return taken

    def send_message(self, message: str | bytes | bytearray | memoryview) -> None:
        """Queue a message: a text, or bytes, which are copied.

        :raises LocalProtocolError: the connection is a stream of bytes, or is being closed.
        """
        if not self._sending:
            raise LocalProtocolError("the connection is closed: nothing can be sent any more")
        if self._gatherer is None:
            raise LocalProtocolError("a stream of bytes has no messages: use transmit")
        if isinstance(message, str):
            self._queue(_TEXT, message.encode("utf-8"))
        else:
            self._queue(_BINARY, message)

    @property
    def waiting_bytes(self) -> int:
        """How much the peer has not taken; whoever sends messages bounds it."""
        return sum(map(len, self._waiting))

    def end(self, now: float, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin the closing handshake, once; what the peer sends before its Close still comes.

        :param code: one that may stand in a Close frame.
        :param reason: for people and logs; cut to 123 bytes.
        :raises ValueError: the code may not be sent.
        """
        if self.state is _S.OPEN:
            self._queue(_CLOSE, encode_close(code, reason))
            self._step(_E.CLOSED_LOCALLY)
            self._deadline = now + CLOSE_SECONDS
        elif self.state is _S.PARTING:
            self._part()

    def close(self, now: float, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """As :meth:`end`, and what the peer still sends is thrown away."""
        self.end(now, code, reason)
        self.discard()

    def discard(self) -> None:
        """What the peer still sends is thrown away, the rest of what came last too."""
        self._gatherer = None
        self._deliver = _discard

    def pause(self) -> None:
        """Whoever runs this takes nothing from the peer for a while: its silence means nothing."""
        self._paused = True

    def resume(self, now: float) -> None:
        """Undo :meth:`pause`; the peer gets the whole time again."""
        self._paused = False
        self._heard = now
        if self._listening:
            closing = self.state is _S.CLOSING
            self._deadline = now + CLOSE_SECONDS if closing else self._silence_deadline(now)
            self.unsettled = True

    def line_moved(self, now: float) -> None:
        """A line that was full takes bytes again: the peer is there, though it may say nothing."""
        self._heard = now

    def _take_stream(self, data: memoryview) -> None:
        for opcode, payload in self._reader.runs(data):
            if opcode == _BINARY:
                self._deliver(payload)
            else:
                self._take_control(opcode, payload)
                if not self._listening:
                    return

    def _take_messages(self, data: memoryview, gatherer: MessageGatherer) -> None:
        for opcode, ended, payload in self._reader.pieces(data):
            if opcode >= _CLOSE:
                self._take_control(opcode, payload)
                if not self._listening:
                    return
            else:
                message = gatherer.take(opcode, payload, ended=ended)
                if message is not None:
                    self._report(message)

    def _take_control(self, opcode: int, payload: memoryview) -> None:
        if opcode == _CLOSE:
            code, reason = decode_close(payload)
            self._last_close = bytes(payload[:2])
            self._step(_E.CLOSED_REMOTELY)
            self._report(CloseReceived(code, reason))
            return
        self._count_ping()
        if opcode == _PING and self.state is _S.OPEN:
            self._count_pong()
            self._queue(_PONG, payload)

    def _part(self) -> None:
        self._queue(_CLOSE, self._last_close)
        self._step(_E.CLOSED_LOCALLY)

    def _count_ping(self) -> None:
        if self._heard - self._pings_since >= 1.0:
            self._pings_since = self._heard
            self._pings = 0
        self._pings += 1
        if self._pings > MAX_PINGS_PER_SECOND:
            raise WebSocketError("too many pings in a second", CloseCode.POLICY_VIOLATION)

    def _count_pong(self) -> None:
        if self._pongs_waiting >= MAX_PONGS_WAITING:
            # Some may have gone out while other things kept waiting.
            self._pongs_waiting = sum(view[0] == _PONG_BEGINNING for view in self._waiting)
            if self._pongs_waiting >= MAX_PONGS_WAITING:
                raise WebSocketError(
                    "pings came and their answers were not taken", CloseCode.POLICY_VIOLATION
                )
        self._pongs_waiting += 1

    def _fail(self, error: WebSocketError) -> None:
        self._last_close = encode_close(error.close_code, str(error))
        self._step(_E.BROKEN_REMOTELY)
        self._report(ConnectionFailed(error))

    def _cut_off(self, text: str) -> None:
        self._waiting.clear()
        self._step(_E.CUT_OFF)
        self._report(ConnectionFailed(CutOff(text)))

    def _step(self, step: ConnectionStep) -> None:
        self.state = TRANSITIONS[self.state, step]
        self._sending = self.state in (_S.OPEN, _S.PARTING)
        self._listening = self.state in (_S.OPEN, _S.CLOSING)
        if not self._listening:
            self._deadline = None
        self.unsettled = True

    def _report(self, event: Event) -> None:
        self._events.append(event)
        self.unsettled = True

    def _queue(self, opcode: int, payload: bytes | bytearray | memoryview) -> None:
        self._waiting.append(memoryview(encode_head(opcode, len(payload)) + payload))
        self.unsettled = True

    def _silence_deadline(self, since: float) -> float | None:
        """When a peer that has been silent since then is pinged."""
        seconds = self._limits.ping_seconds
        return None if seconds is None or self._paused else since + seconds

    def _drain(self, send: Callable[[Sequence[memoryview]], int]) -> bool:
        """Send what waits before anything else; whether nothing is left of it."""
        self.data_sent(send(list(self._waiting)))
        return not self._waiting

    def _send_frame(
        self,
        views: Sequence[memoryview],
        size: int,
        send: Callable[[Sequence[memoryview]], int],
    ) -> int:
        """Send one frame, or nothing of it; the bytes of ``views`` that are taken."""
        head = _SMALL_HEADS[size] if size < len(_SMALL_HEADS) else encode_head(_BINARY, size)
        joined = size < JOINED_BYTES
        frame = [memoryview(b"".join((head, *views)))] if joined else [memoryview(head), *views]
        sent = send(frame)
        if not sent:
            return 0
        if sent < len(head) + size:
            self._waiting.append(memoryview(b"".join(frame)[sent:]))
        return size


def _discard(_payload: memoryview) -> None:
    """Nobody wants it any more."""
