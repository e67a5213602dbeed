"""A tunnel server of one session whose links are pipes.

It keeps the real rules about packets (:class:`porttunnel.session.relay.RelayLink`), and tokens in
a dict as the directory does. It answers when it is told to, and can be told to lie.
"""

from __future__ import annotations

from random import Random

from porttunnel.errors import ErrorCode
from porttunnel.session import request
from porttunnel.session.packet import MASTER, SERVER, PacketSplitter, PacketType, encode_packet
from porttunnel.session.relay import (
    AnswerReady,
    FirstPacketReceived,
    RelayLink,
    RequestReceived,
    Run,
    encode_error,
)
from tests.session.pipe import Pipe

__all__ = ["PipeServer", "ServerSide"]

SESSION_ID = bytes(range(16))
NUMBER = 48213
KEPT_SEALED = 40  # packets that a lying server may say again


class ServerSide:
    """The tunnel server's side of a link.

    :ivar token: was given out, and isn't known to have arrived.
    """

    def __init__(self, now: float, out: Pipe, into: Pipe) -> None:
        self.core = RelayLink(now)
        self.out = out
        self.into = into
        self.token = b""
        self.over = False


class PipeServer:
    """See the module.

    :param random: makes tokens.
    :ivar now: seconds; whoever has the clock sets it.
    :ivar ends: its side of each link that is not over.
    :ivar asked: what waits for its answer.
    :ivar holds_news: tell nobody yet who comes and goes.
    :ivar held: that, and to whom.
    :ivar to_swallow: so many sealed packets are not relayed.
    """

    def __init__(self, random: Random, now: float) -> None:
        self.now = now
        self.ends: list[ServerSide] = []
        self.asked: list[tuple[ServerSide, RequestReceived]] = []
        self.holds_news = False
        self.held: list[tuple[ServerSide, bytes]] = []
        self.to_swallow = 0
        self._random = random
        self._links: dict[int, ServerSide] = {}
        self._tokens: dict[int, tuple[bytes, bytes]] = {}
        self._loses_answer: set[int] = set()
        self._sealed: list[tuple[int, bytes]] = []

    def link_of(self, member: int) -> ServerSide | None:
        """The server's side of a member's link."""
        return self._links.get(member)

    def behave(self) -> None:
        """Tell all news, and lose nothing on purpose any more."""
        self.holds_news = False
        self.release_news()
        self.to_swallow = 0
        self._loses_answer.clear()

    def crash(self, *, told: bool) -> None:
        """All links break at once. The server has a store: it begins again with its tokens."""
        for end in self.ends:
            end.over = True
            for pipe in (end.out, end.into):
                pipe.break_off(told=told)
        self._forget_links()

    def drain(self) -> None:
        """Stop in good order."""
        for end in self.ends:
            going = request.encode(request.GoingAway(retry_after_s=0.5))
            end.out.put(encode_packet(PacketType.EVENT, SERVER, end.core.member, going))
            end.out.end()
            end.over = True
        self._forget_links()

    def _forget_links(self) -> None:
        self._links.clear()
        self.ends.clear()
        self.held.clear()
        self.asked.clear()

    def lose_answer(self, member: int) -> None:
        """The link breaks when this member's next RESUME has been answered."""
        self._loses_answer.add(member)

    def handle_timeouts(self) -> None:
        """Close links on which nothing was heard."""
        for end in list(self.ends):
            failed = end.core.handle_timeout(self.now)
            if failed is not None:
                assert failed.error.code is ErrorCode.TOO_LATE
                end.out.put(failed.goodbye)
                self._lose(end)

    def receive(self, end: ServerSide, data: bytes | None) -> None:
        """Bytes of a link, or its end."""
        if end.over:
            return
        if data is None:
            self._lose(end)
            return
        for item in end.core.receive_data(memoryview(data), self.now):
            match item:
                case Run():
                    self._relay(item)
                case AnswerReady():
                    end.out.put(item.packet)
                case FirstPacketReceived():
                    current, _ = self._tokens[end.core.member]
                    if end.token == current:
                        self._tokens[end.core.member] = (current, b"")
                case RequestReceived():
                    # Its directory takes its time: meanwhile more may come.
                    self.asked.append((end, item))
                case _:
                    raise AssertionError(f"the server ends a link of an honest member: {item}")
            if end.over:
                end.core.end()
                return

    def _relay(self, run: Run) -> None:
        target = self._links.get(run.target)
        for header, packet in PacketSplitter().split(run.packets):
            if header.kind in (PacketType.DATA, PacketType.ACK):
                self._sealed.append((run.target, bytes(packet)))
                if self.to_swallow:
                    self.to_swallow -= 1
                    continue
            if target is not None:
                target.out.put(bytes(packet))
        del self._sealed[:-KEPT_SEALED]

    def say_again(self, index: int) -> None:
        """A lying server relays a sealed packet once more."""
        if self._sealed:
            target, packet = self._sealed[index % len(self._sealed)]
            end = self._links.get(target)
            if end is not None:
                end.out.put(packet)

    def answer(self) -> None:
        """The server answers what was asked first."""
        end, asked = self.asked.pop(0)
        if not end.over:
            self._answer(end, asked)

    def _answer(self, end: ServerSide, asked: RequestReceived) -> None:
        message = asked.request
        end.core.request_answered()
        if isinstance(message, request.Create):
            limits = request.Limits(waiting_bytes=8 << 20, master_grace_s=60, client_grace_s=60)
            reply: request.Reply = request.Created(
                session_id=SESSION_ID, number=NUMBER, token=self._new_token(1), limits=limits
            )
            member = MASTER
        elif isinstance(message, request.Join):
            member = max(self._tokens) + 1
            reply = request.Joined(
                session_id=SESSION_ID, member=member, token=self._new_token(member)
            )
        elif isinstance(message, request.Resume):
            member = message.member
            current, previous = self._tokens[member]
            if message.token not in (current, previous):
                # Of a link that its member gave up long ago; a member that waits would fail.
                ended = encode_error(member, ErrorCode.SESSION_ENDED, "ended", asked.number)
                end.out.put(ended)
                end.core.refuse(self.now)
                return
            if message.token == current:
                current, previous = self._random.randbytes(32), current
                self._tokens[member] = (current, previous)
            if member in self._loses_answer:
                self._loses_answer.remove(member)
                end.out.break_off(told=True)
                end.into.break_off(told=False)
                end.over = True
                self.ends.remove(end)
                return
            end.token = current
            reply = request.Resumed(token=current)
        else:
            assert isinstance(message, request.Status), f"nobody asked for {message}"
            report = request.StatusReport(
                members=sorted(self._tokens),
                linked=sorted(self._links),
                locked=False,
                ends_in_s=3600,
            )
            body = request.encode(report)
            end.out.put(encode_packet(PacketType.REPLY, SERVER, MASTER, body, number=asked.number))
            return
        self._admit(end, member, reply, asked.number, resumed=isinstance(message, request.Resume))

    def _admit(
        self, end: ServerSide, member: int, reply: request.Reply, number: int, *, resumed: bool
    ) -> None:
        replaced = self._links.pop(member, None)
        if replaced is not None:
            replaced.out.put(encode_error(member, ErrorCode.REPLACED, "replaced"))
            replaced.out.end()
            replaced.over = True
            self.ends.remove(replaced)
        end.core.admit(member, resumed=resumed)
        body = request.encode(reply)
        end.out.put(encode_packet(PacketType.REPLY, SERVER, member, body, number=number))
        self._links[member] = end
        if resumed:
            self._announce(member, request.Link(member=member, up=True))
        elif member != MASTER:
            self._announce(member, request.Joining(member=member))

    def _new_token(self, member: int) -> bytes:
        token = self._random.randbytes(32)
        self._tokens[member] = (token, b"")
        return token

    def _lose(self, end: ServerSide) -> None:
        end.over = True
        end.out.end()
        self.ends.remove(end)
        member = end.core.member
        if self._links.get(member) is end:
            del self._links[member]
            self._announce(member, request.Link(member=member, up=False))

    def _announce(self, member: int, event: request.Event) -> None:
        for other in list(self._links):
            if other != member and MASTER in (other, member):
                packet = encode_packet(PacketType.EVENT, SERVER, other, request.encode(event))
                self.held.append((self._links[other], packet))
        if not self.holds_news:
            self.release_news()

    def release_news(self) -> None:
        """Who waits for news gets it, if it still has the link that the news was for."""
        held, self.held = self.held, []
        for end, packet in held:
            end.out.put(packet)
