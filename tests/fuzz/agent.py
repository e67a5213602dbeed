"""Targets: what a program of the agent's machine sends to it."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from porttunnel.net.instance.control import ControlFactory
from porttunnel.net.instance.control_desk import ControlDesk
from porttunnel.net.instance.control_message import Refused, decode_answer
from porttunnel.net.instance.push_endpoint import PushSite
from tests.fuzz.consume import FuzzedDataProvider, cut
from tests.net.instance.fake_instance import DEVICE, FakeInstance

__all__ = ["agent_commands", "agent_pushes"]

TOKEN = "0123456789abcdef" * 2
LINES = [
    b'{"command":"login","token":"%b"}' % TOKEN.encode(),
    b'{"command":"login","token":"x"}',
    b'{"command":"invite","user":"anna"}',
    b'{"command":"digits","device_id":"%b","digits":"123456"}' % DEVICE.encode(),
    b'{"command":"devices"}',
    b'{"command":"watch","device_id":"%b"}' % DEVICE.encode(),
]
BODY = b'{"name":"news","all":true,"text":"hello"}'
RIGHT_FIELDS = [
    b"Host: localhost:80",
    b"Authorization: Bearer %b" % TOKEN.encode(),
    b"Content-Type: application/json",
    b"Content-Length: %d" % len(BODY),
]
OTHER_FIELDS = [
    b"Host: evil.example",
    b"Authorization: Bearer x",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Connection: close",
]


class Line(StringTransport):
    def abortConnection(self) -> None:
        self.disconnected = True


def agent_commands(data: bytes) -> None:
    """Whatever comes, each answer is one, and without the token nothing is done."""
    source = FuzzedDataProvider(data)
    instance, clock = FakeInstance(), Clock()
    protocol = ControlFactory(clock, ControlDesk(instance), TOKEN).buildProtocol(None)
    line = Line()
    protocol.makeConnection(line)
    sent = b""
    while source.remaining_bytes():
        chosen = source.PickValueInList([*LINES, b""])
        sent += (chosen or source.ConsumeBytes(40)) + b"\n"
    for piece in cut(source, sent):
        if not line.disconnected and not line.disconnecting:
            protocol.dataReceived(piece)
    answers = [decode_answer(each) for each in line.value().splitlines()]
    if TOKEN.encode() not in sent:
        assert instance.asked == []
        assert all(isinstance(answer, Refused) for answer in answers)
    protocol.connectionLost()
    assert clock.getDelayedCalls() == []


def agent_pushes(data: bytes) -> None:
    """Whatever comes by HTTP, nothing is pushed without the token and the right host."""
    source = FuzzedDataProvider(data)
    instance, clock = FakeInstance(), Clock()
    site = PushSite(clock, instance, hosts=(b"localhost:80",), token=TOKEN)
    channel: Any = site.buildProtocol(None)
    line = Line()
    channel.makeConnection(line)
    method = source.PickValueInList([b"POST", b"POST", b"POST", b"GET"])
    fields = [each for each in RIGHT_FIELDS if source.ConsumeIntInRange(0, 7)]
    fields += [each for each in OTHER_FIELDS if not source.ConsumeIntInRange(0, 7)]
    if not source.ConsumeIntInRange(0, 3):
        fields.append(source.ConsumeBytes(30))
    body = BODY if source.ConsumeIntInRange(0, 3) else source.ConsumeBytes(len(BODY))
    asked = b"\r\n".join([b"%b /push HTTP/1.1" % method, *fields, b"", body])
    for piece in cut(source, asked):
        if not line.disconnected and not line.disconnecting:
            channel.dataReceived(piece)
    answered = line.value()
    assert answered == b"" or answered.startswith(b"HTTP/1.")
    if instance.asked:
        assert method == b"POST"
        assert b"localhost:80" in asked
        assert TOKEN.encode() in asked
    channel.connectionLost(None)
