"""``python -m tests.real.websocket_websockets URL``: the client of the package `websockets`.

It prints ``echoed`` and how many bytes came back right, ``pong``, and ``closed`` with the code.
"""

from __future__ import annotations

import sys

from websockets.sync.client import connect
from websockets.typing import Subprotocol

SIZES = (1, 125, 126, 65_535, 65_536, 300_000)


def main(url: str) -> None:
    sent = b"".join(bytes(number % 251 for number in range(size)) for size in SIZES)
    with connect(url, subprotocols=[Subprotocol("echo")], compression="deflate") as client:
        assert client.subprotocol == "echo"
        at = 0
        for size in SIZES:
            client.send(sent[at : at + size])
            at += size
        client.send([b"in ", b"", b"fragments"])
        sent += b"in fragments"
        answered = client.ping(b"there?")
        received = b""
        while len(received) < len(sent):
            part = client.recv()
            assert isinstance(part, bytes)
            received += part
        assert received == sent
        print("echoed", len(received))
        assert answered.wait(30)
        print("pong")
    print("closed", client.close_code)


main(sys.argv[1])
