"""A web site to be reached, and nginx as the reverse proxy in front of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.contest import MissingPeer
from tests.benchmarks.processes import family
from tests.benchmarks.program import HOST, Program, free_port, wait_for_port

__all__ = ["LARGE", "NGINX", "SMALL", "SMALL_BYTES", "WebServer", "nginx_site", "reverse_proxy"]

NGINX = "nginx as reverse proxy"
SMALL, LARGE = "/small", "/large"
SMALL_BYTES = 1_024

_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # Debian keeps servers out of people's PATH
_SETTINGS = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    {upstream}
    server {{
        listen {host}:{port};
        {server}
    }}
}}
"""
_UPSTREAM = "upstream site {{ server {host}:{port}; keepalive 64; }}"
_PROXY = """
        location / {
            proxy_pass http://site;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_max_temp_file_size 0;
        }
"""


@dataclass(frozen=True)
class WebServer:
    """One that runs."""

    program: Program
    port: int

    def processes(self) -> list[int]:
        return family([self.program.pid])


@contextmanager
def nginx_site(folder: Path, large_bytes: int) -> Iterator[WebServer]:
    """Two files: a small one, and a large one."""
    place = folder / "site"
    place.mkdir()
    (place / SMALL.strip("/")).write_bytes(b"s" * SMALL_BYTES)
    with (place / LARGE.strip("/")).open("wb") as file:
        file.truncate(large_bytes)
    with _nginx(folder, "site-server", f"root {place};", "") as running:
        yield running


@contextmanager
def reverse_proxy(folder: Path, target: int) -> Iterator[WebServer]:
    """Passes on to a loopback port, with connections that stay."""
    with _nginx(folder, "proxy", _PROXY, _UPSTREAM.format(host=HOST, port=target)) as running:
        yield running


@contextmanager
def _nginx(folder: Path, name: str, server: str, upstream: str) -> Iterator[WebServer]:
    found = shutil.which("nginx") or shutil.which("nginx", path=_SYSTEM_PATH)
    if found is None:
        raise MissingPeer("apt install nginx-light")
    own = folder / name
    own.mkdir()
    port = free_port()
    settings = own / "nginx.conf"
    # As another, which it would become, it could not read a temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    fields = {"user": user, "folder": own, "host": HOST, "port": port}
    settings.write_text(_SETTINGS.format(**fields, server=server, upstream=upstream))
    argv: list[str | Path] = [found, "-c", settings, "-e", own / "nginx.log"]
    with Program(argv, folder, name=name) as program:
        wait_for_port(program, port)
        yield WebServer(program, port)
