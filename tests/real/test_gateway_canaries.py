"""What must not be known to the gateway is nowhere that it writes or shows: not in its database,
files, logs, audit log, metrics or pages, however it is spelt.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.independent.device import Device
from tests.independent.device_request import Refused, Secret
from tests.real.gateway_site import GatewaySite, PairedDevice
from tests.real.http_asker import ask
from tests.real.program import Start
from tests.real.upstream import Upstream

pytestmark = pytest.mark.real

REQUESTS = 1_000
AT_A_TIME = 8
USER = "Wilhelmina.Canary"
FOLDER = "her-own-telephone"
# An address that nobody else on this machine has.
SOURCE = "127.83.41.207"
PAGES = ("/metrics", "/healthz", "/readyz", "/")


def spellings(value: bytes) -> set[bytes]:
    """How it could stand somewhere."""
    encoded = base64.b64encode(value), base64.urlsafe_b64encode(value)
    return {
        value,
        value.hex().encode(),
        value.hex().upper().encode(),
        quote(value).encode(),
        *(
            each.rstrip(b"=")[:-1] for each in encoded
        ),  # the last character depends on what follows
        hashlib.sha256(value).digest(),
        hashlib.sha256(value).hexdigest().encode(),
    }


class Traffic:
    """Somebody whose traces are looked for.

    :ivar canaries: what must be nowhere, by what it is.
    :ivar known: what the gateway does know, so that the search is seen to find something.
    """

    def __init__(self, site: GatewaySite, upstream: Upstream) -> None:
        self._site = site
        self.words = {name: secrets.token_hex(12) for name in ("path", "query", "field", "body")}
        self.canaries: dict[str, bytes] = {
            "the user": USER.encode(),
            "the folder": FOLDER.encode(),
            "the web system": upstream.url.removeprefix("http://").encode(),
            **{f"a {name}": word.encode() for name, word in self.words.items()},
        }
        self.known = {"the instance": site.instance_id.encode()}

    def add_secret(self, name: str, secret: Secret) -> None:
        self.canaries[f"{name}, generation {secret.generation}"] = secret.value

    def ask_by_program(self, device: PairedDevice) -> None:
        port = device.serve().port
        words = self.words
        path = f"/echo/{words['path']}?{words['query']}"

        def once(number: int) -> int:
            body = f"{words['body']} {number}".encode()
            return ask(port, "POST", path, body, {"X-Own": words["field"]}).status

        with ThreadPoolExecutor(AT_A_TIME) as pool:
            assert set(pool.map(once, range(REQUESTS))) == {200}

    def ask_from_afar(self) -> Device:
        """A device whose secrets can be looked at, and whose address is its own."""
        inviting = self._site.instance("invite", "--user", USER, "--json")
        device = Device(inviting.event("invitation")["code"], source=SOURCE).set_up()
        self.canaries["the address"] = SOURCE.encode()
        self.canaries["the setup secret"] = device.code.setup_secret
        self.canaries["the setup key"] = device.code.setup_key
        self.canaries["the password"] = device.password.encode()
        with closing(device.connect()):
            digits = device.exchange_keys()
            with pytest.raises(Refused):
                device.confirm()
            inviting.event("digits-asked")
            inviting.send({"digits": digits})
            inviting.event("paired")
            device.confirm()
            self.add_secret("the device's secret", device.secret)
            told = device.request("GET", f"/echo/{self.words['path']}").whole()
            assert told.heads[-1][0] == 200
            device.exchange_keys()
            device.confirm()
            self.add_secret("the device's secret", device.secret)
        self.known["the device"] = device.user_name.encode()
        return device


@pytest.fixture(scope="module")
def site(
    start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> GatewaySite:
    return GatewaySite(start_for_module, tmp_path_factory.mktemp("site"), upstream.url)


def pages_of(site: GatewaySite) -> Iterable[tuple[str, bytes]]:
    for port in (site.admin_port, site.port):
        for path in PAGES:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                connection.request("GET", path)
                with connection.getresponse() as response:
                    yield f"page {port}{path}", response.read()


def files_of(folder: Path) -> Iterable[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield f"file {path.name}", path.read_bytes()


def test_no_trace_is_left(site: GatewaySite, upstream: Upstream) -> None:
    traffic = Traffic(site, upstream)
    traffic.ask_by_program(site.pair(USER, FOLDER))
    device = traffic.ask_from_afar()
    shown = dict(pages_of(site))
    shown |= {f"running: {name}": data for name, data in files_of(site.gateway_folder)}
    device.revoke()
    site.gateway.terminate()
    site.gateway.wait()
    shown |= dict(files_of(site.gateway_folder))
    shown["the log"] = "\n".join(site.gateway.rest()).encode()
    shown["standard error"] = site.gateway.errors.encode()
    for name, value in traffic.known.items():
        assert any(value in data for data in shown.values()), f"{name} is known to the gateway"
    found = [
        (name, where)
        for name, value in traffic.canaries.items()
        for spelling in spellings(value)
        for where, data in shown.items()
        if spelling in data
    ]
    # A setup key's hash is what the gateway keeps of it, until it expires.
    key_hash = {("the setup key", where) for where in shown if "gateway.sqlite" in where}
    assert set(found) <= key_hash
