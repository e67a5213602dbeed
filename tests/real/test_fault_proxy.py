"""The proxy that fails on command does to a connection what it says, and nothing else."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.real.fault_proxy import Cut, FaultProxy
from tests.real.meeting import WAIT_SECONDS, Background, exchange, serve_echo

MEBIBYTE = 1 << 20
STALL_BYTES = 4 * MEBIBYTE  # more than the sockets in between take


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_SECONDS)
        yield listener


@pytest.fixture
def proxy(listener: socket.socket) -> Iterator[FaultProxy]:
    with FaultProxy(listener.getsockname()[1], seed=1) as proxy:
        yield proxy


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), WAIT_SECONDS)


def connected(proxy: FaultProxy, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection through the proxy."""
    member = connect(proxy)
    server, _ = listener.accept()
    server.settimeout(WAIT_SECONDS)
    return member, server


def has_nothing_to_read(end: socket.socket) -> bool:
    end.setblocking(False)
    try:
        end.recv(1)
    except BlockingIOError:
        return True
    finally:
        end.settimeout(WAIT_SECONDS)
    return False


@pytest.fixture
def echo(listener: socket.socket) -> Iterator[None]:
    listener.settimeout(None)
    serving = Background(partial(serve_echo, listener))
    yield
    listener.shutdown(socket.SHUT_RDWR)
    serving.result()


@pytest.mark.usefixtures("echo")
class TestPassing:
    def test_changes_nothing(self, proxy: FaultProxy) -> None:
        sent = secrets.token_bytes(3 * MEBIBYTE + 1)
        assert exchange(("127.0.0.1", proxy.port), sent) == sent
        assert (proxy.accepted, proxy.cuts) == (1, 0)
        assert proxy.passed == 2 * len(sent)

    def test_in_small_pieces_changes_nothing(self, proxy: FaultProxy) -> None:
        proxy.split(7)
        sent = secrets.token_bytes(5_000)
        assert exchange(("127.0.0.1", proxy.port), sent) == sent
        proxy.split(None)
        assert exchange(("127.0.0.1", proxy.port), sent) == sent

    def test_late_changes_nothing(self, proxy: FaultProxy) -> None:
        proxy.delay(0.05)
        sent = secrets.token_bytes(3 * MEBIBYTE)
        begun = time.monotonic()
        assert exchange(("127.0.0.1", proxy.port), sent) == sent
        assert time.monotonic() - begun >= 0.1  # there and back; sooner would be no delay


class TestEnds:
    def test_of_one_side_are_passed_on(self, proxy: FaultProxy, listener: socket.socket) -> None:
        member, server = connected(proxy, listener)
        with member, server:
            member.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
            server.sendall(b"answer")
            server.shutdown(socket.SHUT_WR)
            assert member.makefile("rb").read() == b"answer"

    def test_by_reset_are_passed_on(self, proxy: FaultProxy, listener: socket.socket) -> None:
        member, server = connected(proxy, listener)
        with server:
            member.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            member.close()
            with pytest.raises(ConnectionResetError):
                server.recv(1)
        assert proxy.cuts == 0

    def test_at_a_port_where_nobody_listens_by_reset(
        self, proxy: FaultProxy, listener: socket.socket
    ) -> None:
        listener.close()
        with pytest.raises(ConnectionResetError), connect(proxy) as member:
            member.recv(1)


class TestCuts:
    def test_by_reset_are_errors_at_both_ends(
        self, proxy: FaultProxy, listener: socket.socket
    ) -> None:
        member, server = connected(proxy, listener)
        with member, server:
            assert proxy.cut() <= time.monotonic()
            for end in (member, server):
                with pytest.raises(ConnectionResetError):
                    end.recv(1)
        assert proxy.cuts == 1

    def test_by_finish_are_ends_at_both_ends(
        self, proxy: FaultProxy, listener: socket.socket
    ) -> None:
        member, server = connected(proxy, listener)
        with member, server:
            member.sendall(b"before")
            proxy.wait_for_passed(6)
            proxy.cut(Cut.FINISH)
            assert server.makefile("rb").read() == b"before"
            assert member.recv(1) == b""
            member.sendall(b"after")  # is taken, and goes nowhere
            assert server.recv(1) == b""
        assert proxy.cuts == 1
        assert proxy.passed == 6

    def test_leave_the_way_open_for_the_next(
        self, proxy: FaultProxy, listener: socket.socket
    ) -> None:
        for how in Cut:
            member, server = connected(proxy, listener)
            with member, server:
                proxy.cut(how)
        member, server = connected(proxy, listener)
        with member, server:
            member.sendall(b"x")
            assert server.recv(1) == b"x"
        assert (proxy.accepted, proxy.cuts) == (3, 2)

    @pytest.mark.parametrize("seed", range(5))
    def test_at_random_all_fall_within_the_transfer(
        self, listener: socket.socket, seed: int
    ) -> None:
        """A sender that begins a new connection where the receiver stands gets all of them."""
        size, count = 2 * MEBIBYTE, 20
        sent = secrets.token_bytes(size)
        received = bytearray()
        with FaultProxy(listener.getsockname()[1], seed=seed) as proxy:
            proxy.cut_at_random(count, size)
            while len(received) < size:
                member, server = connected(proxy, listener)
                with member, server:
                    sending = Background(partial(_send, member, sent[len(received) :]))
                    received += _receive(server)
                    sending.result()
            assert proxy.cuts == count
            assert proxy.accepted == count + 1
        assert received == sent

    def test_at_random_are_the_same_for_the_same_seed(self, listener: socket.socket) -> None:
        def places(seed: int) -> list[int]:
            found = []
            with FaultProxy(listener.getsockname()[1], seed=seed) as proxy:
                proxy.cut_at_random(3, 10_000)
                for _ in range(3):
                    member, server = connected(proxy, listener)
                    with member, server:
                        sending = Background(partial(_send, member, bytes(10_000)))
                        found.append(len(_receive(server)))
                        sending.result()
            return found

        assert places(5) == places(5) != places(6)


def _send(end: socket.socket, data: bytes) -> None:
    try:
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)
    except OSError:  # cut
        return


def _receive(end: socket.socket) -> bytes:
    received = bytearray()
    try:
        while data := end.recv(65_536):
            received += data
    except ConnectionError:
        return bytes(received)
    return bytes(received)


class TestHolding:
    def test_takes_bytes_and_passes_on_none_until_it_is_released(
        self, proxy: FaultProxy, listener: socket.socket
    ) -> None:
        member, server = connected(proxy, listener)
        sent = secrets.token_bytes(STALL_BYTES)
        with member, server:
            proxy.hold()
            member.sendall(sent)
            member.shutdown(socket.SHUT_WR)
            # Another connection works, so the first would have had its time.
            others = connected(proxy, listener)
            with others[0], others[1]:
                others[0].sendall(b"x")
                assert others[1].recv(1) == b"x"
            assert has_nothing_to_read(server)
            proxy.release()
            assert server.makefile("rb").read() == sent

    def test_hides_the_end_of_the_other_side(
        self, proxy: FaultProxy, listener: socket.socket
    ) -> None:
        member, server = connected(proxy, listener)
        with server:
            proxy.hold()
            member.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            member.close()
            others = connected(proxy, listener)
            with others[0], others[1]:
                others[0].sendall(b"x")
                assert others[1].recv(1) == b"x"
            assert has_nothing_to_read(server)
            proxy.release()
            with pytest.raises(ConnectionResetError):
                server.recv(1)


class TestRefusing:
    def test_lasts_until_it_accepts_again(
        self, proxy: FaultProxy, listener: socket.socket
    ) -> None:
        member, server = connected(proxy, listener)
        with member, server:
            for _ in range(2):
                proxy.refuse()
                with pytest.raises(ConnectionRefusedError):
                    connect(proxy)
                proxy.accept()
                others = connected(proxy, listener)
                with others[0], others[1]:
                    others[1].sendall(b"new")
                    assert others[0].recv(3) == b"new"
            server.sendall(b"old")
            assert member.recv(3) == b"old"
