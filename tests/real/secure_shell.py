"""An OpenSSH server of the tests' own, and how its clients reach it by another way."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.real.needed import needed_program
from tests.real.program import Start
from tests.real.server_port import port_to_come_back_to

__all__ = ["SecureShell", "start_sshd"]

PACKAGE = "openssh-server openssh-client"
_PRIVILEGE_SEPARATION = Path("/run/sshd")  # sshd wants it when it runs as root


class SecureShell(NamedTuple):
    """A running server.

    :ivar port: where it listens on loopback.
    """

    port: int
    folder: Path

    def client(self, program: str, port: int, *arguments: str) -> list[str]:
        """A command of ``ssh`` or ``scp`` that goes by way of another loopback port."""
        options = {
            "IdentityFile": self.folder / "user",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.folder / "known",
            "HostKeyAlias": "behind-the-tunnel",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        port_flag = "-P" if program == "scp" else "-p"
        path = needed_program(program, "openssh-client")
        return [path, "-F", os.devnull, port_flag, str(port), *flags, *arguments]

    @property
    def place(self) -> str:
        """``user@host`` for the clients."""
        return f"{getpass.getuser()}@127.0.0.1"


def start_sshd(start: Start, folder: Path) -> SecureShell:
    """Start a server with keys of its own."""
    sshd = needed_program("sshd", PACKAGE)
    keygen = needed_program("ssh-keygen", PACKAGE)
    if os.geteuid() == 0:
        _PRIVILEGE_SEPARATION.mkdir(exist_ok=True)
    folder.mkdir()
    for key in ("host", "user"):
        subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True
        )
    public = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"behind-the-tunnel {public}")
    port = port_to_come_back_to()
    options = {
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "StrictModes": "no",  # its folder is a temporary one
        "PidFile": "none",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
        "Subsystem": "sftp internal-sftp",  # how scp copies
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    command = [sshd, "-D", "-e", "-f", os.devnull, "-p", str(port), *flags]
    # It says on its standard error when it listens; a Program's lines are its standard output.
    start("sh", "-c", 'exec "$@" 2>&1', "sh", *command).line("Server listening")
    return SecureShell(port, folder)
