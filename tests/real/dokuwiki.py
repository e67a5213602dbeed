"""DokuWiki (Debian), a web system that others wrote: with users, rights, editing and uploads.

The package's own tree, copied without Debian's preload, so that configuration and data lie beside
it, and served by PHP's own server: no web server, nothing of this machine's set-up is touched.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.real.needed import lacking, needed_program
from tests.real.program import Program, Start

__all__ = ["ADA", "BEN", "PASSWORDS", "SECRET_WORDS", "START_WORDS", "DokuWiki"]

PACKAGES = "php-cli php-cgi php-xml dokuwiki"  # php-cgi, or PHP would bring Apache
TREE = Path("/usr/share/dokuwiki")
CONFIGURATION = Path("/etc/dokuwiki")
LEFT_OUT = ("preload.php", "local.php", "plugins.local.php", "*.auth.php")

ADA, BEN = "ada", "ben"
PASSWORDS = {ADA: "ada's own password", BEN: "ben's own password"}
START_WORDS = "Welcome to the wiki behind the wall"
SECRET_WORDS = "Only Ada may read that the cellar floods in March"

# Folders of data/, which DokuWiki wants to find.
DATA = (
    *("attic", "cache", "index", "locks", "log", "media", "media_attic", "media_meta", "meta"),
    *("pages", "tmp"),
)
SETTINGS = """<?php
$conf['title'] = 'The wiki of the tests';
$conf['useacl'] = 1;
$conf['authtype'] = 'authplain';
$conf['disableactions'] = 'register';
$conf['savedir'] = './data';
$conf['mediarevisions'] = 0;
$conf['defer_upgrade'] = 0;
$conf['updatecheck'] = 0;
"""
# Levels: 0 nothing, 1 read, 2 edit, 4 create, 8 upload, 16 delete. Fields end with tabs.
RIGHTS = (
    ("*", "@ALL", 0),
    ("*", "@user", 8),
    ("secret:*", "@user", 0),
    ("secret:*", ADA, 8),
)
PAGES = {
    "start": f"====== Start ======\n\n{START_WORDS}.\n\n[[secret:plan]]\n",
    "secret/plan": f"====== Plan ======\n\n{SECRET_WORDS}.\n",
}
WORKERS = 4
LIMITS = ("upload_max_filesize=200M", "post_max_size=210M", "memory_limit=512M")
HASH = 'echo password_hash(stream_get_contents(STDIN), PASSWORD_BCRYPT, ["cost" => 4]);'
STARTED = re.compile(r"\(http://127\.0\.0\.1:(\d+)\) started")


class DokuWiki:
    """A running wiki. Its users may read and write all but ``secret:``, which is Ada's alone;
    whoever has not logged in may nothing.

    :param folder: its own; made.
    :ivar port: on loopback.
    :ivar url: its address.
    """

    def __init__(self, start: Start, folder: Path) -> None:
        self._php = needed_program("php", PACKAGES)
        if not TREE.exists():
            lacking(f"no DokuWiki here: apt install {PACKAGES}")
        self.folder = folder
        shutil.copytree(TREE, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        (folder / "conf").mkdir()
        for each in CONFIGURATION.iterdir():
            if each.is_file() and each.name not in ("local.php", "plugins.local.php"):
                shutil.copy(each, folder / "conf")
        for name in DATA:
            (folder / "data" / name).mkdir(parents=True)
        for name, text in PAGES.items():
            self.page(name).parent.mkdir(exist_ok=True)
            self.page(name).write_text(text, "utf-8")
        self._write_configuration()
        limits = [word for limit in LIMITS for word in ("-d", limit)]
        self.program: Program = start(
            # PHP says on standard error when it listens.
            *("sh", "-c", 'exec "$@" 2>&1', "sh"),
            *(self._php, *limits, "-S", "127.0.0.1:0", "-t", str(folder)),
            cwd=folder,
            environment={"PHP_CLI_SERVER_WORKERS": str(WORKERS)},
        )
        found = STARTED.search(self.program.line_with(" started"))
        assert found is not None
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def page(self, name: str) -> Path:
        """The file of a page; ``/`` in its name for namespaces."""
        return self.folder / "data" / "pages" / f"{name}.txt"

    def medium(self, name: str) -> Path:
        """The file of something uploaded."""
        return self.folder / "data" / "media" / name

    def _write_configuration(self) -> None:
        conf = self.folder / "conf"
        (conf / "local.php").write_text(SETTINGS, "utf-8")
        rights = "".join(f"{what}\t{who}\t{level}\n" for what, who, level in RIGHTS)
        (conf / "acl.auth.php").write_text(rights, "utf-8")
        users = "".join(
            f"{name}:{self._hashed(password)}:{name.title()}:{name}@wiki.example:user\n"
            for name, password in PASSWORDS.items()
        )
        (conf / "users.auth.php").write_text(users, "utf-8")

    def _hashed(self, password: str) -> str:
        command = [self._php, "-r", HASH]
        return subprocess.run(
            command, input=password, capture_output=True, check=True, text=True
        ).stdout
