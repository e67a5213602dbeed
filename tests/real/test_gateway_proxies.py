"""The gateway behind proxies that say who their clients are, set up as docs/running says."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porttunnel.mqtt.reason import ReasonCode
from porttunnel.net.certificate import load_or_create_identity
from tests.real.needed import needed_program
from tests.real.program import ROOT
from tests.real.server_port import port_to_come_back_to
from tests.services.gateway_peer import MQTTPeer, Rest, SocketLine, WebSocketLine
from tests.services.running import PATIENCE_SECONDS
from tests.services.test_server_gateway import Gateway, start, stop

pytestmark = pytest.mark.real

PER_PREFIX = 3
CONFIG = f"""
[proxy]
trusted = ["127.0.0.1"]
[limits]
connections_per_prefix = {PER_PREFIX}
"""
HAPROXY_BEGINNING = "defaults\n    timeout connect 5s\n"
NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
NGINX_BEGINNING = "daemon off;\npid {folder}/pid;\nerror_log stderr notice;\nevents {{}}\n"


def example(beginning: str, port: int, target: int, identity: Path) -> str:
    """The page's own example that begins so, with this machine's ports and files in it."""
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    found = re.search(rf"```[a-z]+\n({beginning} .*?)```", page, re.DOTALL)
    assert found is not None
    text = found[1].replace("127.0.0.1:4663", f"127.0.0.1:{target}")
    text = re.sub(r":443\b|\b443\b", lambda m: m[0].replace("443", str(port)), text)
    return re.sub(r"/etc/ssl/private/\S+?\.pem", str(identity), text)


class Proxied:
    """A gateway, and the port of a proxy before it."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.port = port
        self.rest = Rest(port, tls=True)


@contextlib.contextmanager
def proxied(
    folder: Path, command: Callable[[Path, int, int, Path], list[str]], ready: str
) -> Iterator[Proxied]:
    """A gateway behind a proxy.

    :param ready: what the proxy says once it takes connections.
    """
    load_or_create_identity(folder / "proxy")
    identity = folder / "proxy" / "server-identity.pem"
    gateway = start(folder, CONFIG)
    port = port_to_come_back_to()
    process = subprocess.Popen(
        command(folder, port, gateway.port, identity), stderr=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(PATIENCE_SECONDS, process.kill)
    watchdog.start()
    try:
        assert process.stderr is not None
        said = []
        while ready not in (line := process.stderr.readline()):
            said.append(line)
            assert line, said
        yield Proxied(gateway, port)
    finally:
        watchdog.cancel()
        process.terminate()
        process.communicate()
        stop(gateway)


def haproxy(folder: Path, port: int, target: int, identity: Path) -> list[str]:
    config = folder / "haproxy.cfg"
    text = HAPROXY_BEGINNING + example("frontend", port, target, identity)
    config.write_text(text, encoding="utf-8")
    return [needed_program("haproxy", "haproxy"), "-W", "-f", str(config)]


def nginx(folder: Path, port: int, target: int, identity: Path) -> list[str]:
    program = needed_program("nginx", "nginx libnginx-mod-stream")
    config = folder / "nginx.conf"
    load = f"load_module {NGINX_MODULE};\n" if NGINX_MODULE.exists() else ""
    text = load + NGINX_BEGINNING.format(folder=folder) + example("stream", port, target, identity)
    config.write_text(text, encoding="utf-8")
    return [program, "-c", str(config), "-p", str(folder), "-e", "stderr"]


def test_behind_haproxy(tmp_path: Path) -> None:
    with proxied(tmp_path, haproxy, "Loading success") as there:
        owner = there.rest.register()
        account = there.rest.add_device(owner)
        instance = MQTTPeer(WebSocketLine(there.port, tls=True))
        # HAProxy says that its clients came in TLS.
        device = MQTTPeer(SocketLine(there.port, tls=True, source="127.0.0.5"))
        there.gateway.peers += [instance, device]
        assert instance.log_in(owner).reason is ReasonCode.SUCCESS
        instance.listen(owner)
        assert device.log_in(account).reason is ReasonCode.SUCCESS
        assert device.publish(f"device/{account.name}/request/12345678", b"x") == 0
        assert_limits_count_the_clients(there)


def test_behind_nginx(tmp_path: Path) -> None:
    with proxied(tmp_path, nginx, "start worker processes") as there:
        owner = there.rest.register()
        instance = MQTTPeer(WebSocketLine(there.port, tls=True))
        # nginx does not say whether its clients came in TLS.
        plain = MQTTPeer(SocketLine(there.port, tls=True, source="127.0.0.5"))
        there.gateway.peers += [instance, plain]
        assert instance.log_in(owner).reason is ReasonCode.SUCCESS
        assert plain.log_in(owner).reason is ReasonCode.NOT_AUTHORIZED
        assert_limits_count_the_clients(there)


def assert_limits_count_the_clients(there: Proxied) -> None:
    """Not the proxy, for whom all of them would be one."""
    with contextlib.ExitStack() as stack:

        def answer(source: str) -> bytes:
            line = SocketLine(there.port, tls=True, source=source)
            stack.callback(line.close)
            line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                return line.receive()[:15]
            except OSError:
                return b""

        ok = b"HTTP/1.1 200 OK"
        for source in ("127.0.0.6", "127.0.0.7"):
            assert [answer(source) for _ in range(PER_PREFIX + 1)] == [ok] * PER_PREFIX + [b""]
