"""``ssh -R``: the peer that people know, with a server, keys and settings of its own."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.contest import MissingPeer
from tests.benchmarks.processes import family
from tests.benchmarks.program import HOST, Program, free_port

__all__ = ["SSH", "Forwarded", "remote_forward"]

SSH = "ssh -R"
CIPHER = "aes256-gcm@openssh.com"  # as ours
INSTALLATION = "apt install openssh-server openssh-client"

_SYSTEM_PATH = "/usr/sbin:/usr/bin"
_PRIVILEGE_SEPARATION = Path("/run/sshd")  # sshd wants it when it runs as root
_LISTENING = re.compile("Server listening on")
_ALLOCATED = re.compile(r"Allocated port (\d+) for remote forward")


@dataclass(frozen=True)
class Forwarded:
    """A running pair.

    :ivar port: on the server's side.
    """

    port: int
    server: Program
    client: Program

    def processes(self) -> list[int]:
        return family([self.server.pid, self.client.pid])


@contextmanager
def remote_forward(
    target: int,
    folder: Path,
    *,
    address: str = HOST,
    server_prefix: Sequence[str] = (),
    client_prefix: Sequence[str] = (),
) -> Iterator[Forwarded]:
    """Forward a port of the server to a loopback port of the client.

    :param address: the server's, for the client.
    :param server_prefix: what stands before its command, so that it runs on another host.
    :param client_prefix: the client's likewise.
    """
    sshd = shutil.which("sshd", path=_SYSTEM_PATH)
    if sshd is None or shutil.which("ssh") is None:
        raise MissingPeer(INSTALLATION)
    if os.geteuid() == 0:
        _PRIVILEGE_SEPARATION.mkdir(exist_ok=True)
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True
        )
    port = free_port()
    public = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[{address}]:{port} {public}")
    with ExitStack() as stack:
        argv = [*server_prefix, *_sshd(sshd, address, port, folder)]
        server = stack.enter_context(Program(argv, folder, name="sshd"))
        server.wait_for_error(_LISTENING)
        argv = [*client_prefix, *_ssh(address, port, target, folder)]
        client = stack.enter_context(Program(argv, folder, name="ssh"))
        # The server chooses the port; ssh tells it on its standard error.
        (allocated,) = client.wait_for_error(_ALLOCATED).groups()
        yield Forwarded(int(allocated), server, client)


def _sshd(program: str, address: str, port: int, folder: Path) -> list[str | Path]:
    options = {
        "ListenAddress": address,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "StrictModes": "no",  # its folder is a temporary one
        "PidFile": "none",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
        "AllowTcpForwarding": "remote",
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [program, "-D", "-e", "-f", os.devnull, "-p", str(port), *flags]


def _ssh(address: str, port: int, target: int, folder: Path) -> list[str | Path]:
    options = {
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder / "known",
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [
        *("ssh", "-F", os.devnull, "-N", "-c", CIPHER, "-i", folder / "user", "-p", str(port)),
        *(*flags, "-R", f"{HOST}:0:{HOST}:{target}", f"{getpass.getuser()}@{address}"),
    ]
