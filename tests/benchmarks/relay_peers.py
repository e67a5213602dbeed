"""Relays that pass on bytes without looking at them: nginx, HAProxy, magic-wormhole's."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.contest import MissingPeer
from tests.benchmarks.program import HOST, Program, free_port, wait_for_port

__all__ = ["HAPROXY", "NGINX", "TRANSIT", "haproxy", "nginx", "transit_relay"]

NGINX = "nginx"
HAPROXY = "haproxy, tuned"
TRANSIT = "wormhole-transit-relay"

_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # Debian keeps servers out of people's PATH
_STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

# One worker, as everybody here has one process; everything else, the buffers above all, as nginx
# has it by default.
_NGINX = """
load_module {module};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
stream {{
    server {{
        listen {host}:{port};
        proxy_pass {host}:{target};
    }}
}}
"""

# The least CPU of what was tried, buffers from 64 KiB to 4 MiB; one thread, as all have here.
_HAPROXY = """
global
    nbthread 1
    maxconn 100
    tune.bufsize {buffer_bytes}
    tune.maxrewrite 1024
defaults
    mode tcp
    timeout connect 5s
    timeout client 300s
    timeout server 300s
listen relay
    bind {host}:{port}
    server target {host}:{target}
"""
HAPROXY_BUFFER_BYTES = 1 << 20


@contextmanager
def nginx(target: int, folder: Path) -> Iterator[tuple[Program, int]]:
    """A stream proxy to ``target``."""
    program = _find("nginx", "apt install nginx-light libnginx-mod-stream")
    if not _STREAM_MODULE.exists():
        raise MissingPeer("apt install libnginx-mod-stream")
    port = free_port()
    settings = folder / "nginx.conf"
    settings.write_text(
        _NGINX.format(module=_STREAM_MODULE, folder=folder, host=HOST, port=port, target=target)
    )
    argv: list[str | Path] = [program, "-c", settings, "-e", folder / "nginx.log"]
    with Program(argv, folder, name="nginx") as started:
        wait_for_port(started, port)
        yield started, port


@contextmanager
def haproxy(target: int, folder: Path) -> Iterator[tuple[Program, int]]:
    """A TCP proxy to ``target``."""
    program = _find("haproxy", "apt install haproxy")
    port = free_port()
    settings = folder / "haproxy.cfg"
    settings.write_text(
        _HAPROXY.format(host=HOST, port=port, target=target, buffer_bytes=HAPROXY_BUFFER_BYTES)
    )
    with Program([program, "-db", "-f", settings], folder, name="haproxy") as started:
        wait_for_port(started, port)
        yield started, port


@contextmanager
def transit_relay(folder: Path) -> Iterator[tuple[Program, int]]:
    """magic-wormhole's relay, which joins two who show the same token."""
    if find_spec("wormhole_transit_relay") is None:
        raise MissingPeer("pip install magic-wormhole-transit-relay")
    port = free_port()
    twistd = Path(sys.executable).with_name("twistd")
    argv: list[str | Path] = [
        *("python", twistd, "--nodaemon", "--pidfile=", f"--logfile={folder / 'transit.log'}"),
        *("transitrelay", f"--port=tcp:{port}:interface={HOST}"),
    ]
    with Program(argv, folder, name="transit-relay") as started:
        wait_for_port(started, port)
        yield started, port


def _find(program: str, installation: str) -> str:
    found = shutil.which(program) or shutil.which(program, path=_SYSTEM_PATH)
    if found is None:
        raise MissingPeer(installation)
    return found
