"""porttunnel.net.instance.upstream, whatever happens in whatever order: each request has one end,
nothing is asked twice that may change something, and nothing is left.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.error import ConnectionRefusedError

from tests.net.instance.upstream_line import AskedInTest, Line, WebSystem

MAX_CONNECTIONS = 3
LONG_SECONDS = 100_000.0
SAID = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "
    b"ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\nhi",
    b"HTTP/1.1 200",
    b"0\r\n\r\n",
    b"cde",
    b"rubbish\r\n\r\n",
)

picks = st.integers(0, 1_000)


class Run(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.web = WebSystem(max_connections=MAX_CONNECTIONS, max_waiting=3, max_websockets=2)
        self.web.endpoint.held = True
        self.asked: list[AskedInTest] = []
        self.cancelled: set[AskedInTest] = set()
        self.dead: list[Line] = []
        self.numbers = 0

    def lines(self) -> list[Line]:
        """That are not closed at this end."""
        return [
            line
            for line in self.web.endpoint.lines
            if line not in self.dead and not line.transport.disconnecting
        ]

    def device_id(self) -> str:
        return f"{self.numbers % 3}" * 32

    def pick(self, number: int) -> AskedInTest:
        return self.asked[number % len(self.asked)]

    @rule(method=st.sampled_from([b"GET", b"HEAD", b"POST"]), whole=st.booleans())
    def ask(self, method: bytes, whole: bool) -> None:
        self.numbers += 1
        path = b"/%d" % self.numbers
        data = b"" if method != b"POST" else b"x"
        self.asked.append(
            self.web.ask(path, method, data=data if whole else None, device_id=self.device_id())
        )

    @rule()
    def ask_for_websocket(self) -> None:
        self.numbers += 1
        path = b"/%d" % self.numbers
        field = (b":protocol", b"websocket")
        self.asked.append(
            self.web.ask(path, b"CONNECT", field, data=None, device_id=self.device_id())
        )

    @precondition(lambda self: self.asked)
    @rule(number=picks, action=st.sampled_from(["send", "end", "break", "cancel"]))
    def device(self, number: int, action: str) -> None:
        asked = self.pick(number)
        body: Any = asked.body
        if action == "cancel":
            self.cancelled.add(asked)
            if asked.on_cancelled is not None:
                asked.on_cancelled()
        elif body._receiver is not None and not getattr(body, "over", False):
            if action == "send":
                body.send(b"x")
            else:
                body.over = True
                body.end() if action == "end" else body.break_off()

    @precondition(lambda self: any(asked.writer.producer for asked in self.asked))
    @rule(number=picks, go_on=st.booleans())
    def pace(self, number: int, go_on: bool) -> None:
        producers = [asked.writer.producer for asked in self.asked if asked.writer.producer]
        producer = producers[number % len(producers)]
        producer.resumeProducing() if go_on else producer.pauseProducing()

    @precondition(lambda self: self.web.endpoint._waiting)
    @rule(there=st.booleans())
    def connect(self, there: bool) -> None:
        if there:
            self.web.endpoint.accept()
        else:
            self.web.endpoint.refuse(ConnectionRefusedError())

    @precondition(lambda self: self.lines())
    @rule(number=picks, said=st.sampled_from(SAID))
    def say(self, number: int, said: bytes) -> None:
        line = self.lines()[number % len(self.lines())]
        if not line.paused:
            line.say(said)

    @precondition(lambda self: self.lines())
    @rule(number=picks, cut=st.booleans())
    def close(self, number: int, cut: bool) -> None:
        line = self.lines()[number % len(self.lines())]
        self.dead.append(line)
        line.cut() if cut else line.close()

    @rule(seconds=st.sampled_from([1.0, 5.0, 31.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.web.clock.advance(seconds)

    @invariant()
    def never_too_many(self) -> None:
        assert self.web.upstream.connections <= MAX_CONNECTIONS
        assert self.web.upstream._pool._shares.taken <= MAX_CONNECTIONS
        assert self.web.upstream._shared.websockets.taken <= 2

    @invariant()
    def what_changes_something_goes_out_once(self) -> None:
        sent = [line.transport.value() for line in self.web.endpoint.lines]
        for number in range(1, self.numbers + 1):
            assert sum(one.count(b"POST /%d " % number) for one in sent) <= 1

    def teardown(self) -> None:
        while self.web.endpoint._waiting:
            self.web.endpoint.accept()
        self.web.clock.advance(LONG_SECONDS)
        while self.web.endpoint._waiting:
            self.web.endpoint.accept()
            self.web.clock.advance(LONG_SECONDS)
        self.web.upstream.stop()
        for line in self.web.endpoint.lines:
            if line not in self.dead:
                line.close()
        for asked in self.asked:
            ends = (asked.writer.end_state is not None) + bool(asked.ended)
            assert ends == 1 or (ends == 0 and asked in self.cancelled)
            assert asked.writer.producer is None or asked in self.cancelled
        assert self.web.upstream.running == 0
        assert (self.web.upstream.connections, self.web.upstream.waiting) == (0, 0)
        assert self.web.upstream._shared.websockets.taken == 0
        assert self.web.upstream._pool._shares.taken == 0
        assert self.web.clock.getDelayedCalls() == []


TestRun = Run.TestCase
TestRun.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
