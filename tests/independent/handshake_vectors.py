"""Vectors of section 5: runs that succeed, runs that must not, and the keys that follow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from tests.independent import cpace
from tests.independent.code import link_text
from tests.independent.handshake import (
    MODES,
    Client,
    HandshakeFailed,
    Identity,
    Master,
    group_key,
)
from tests.independent.packet import Generation
from tests.independent.vector_inputs import Inputs

__all__ = ["Change", "failed_runs", "group_keys", "key_generations", "runs", "wrong_code_runs"]

GENERATIONS = 3
FORBIDDEN_MODE = 4


class Change(NamedTuple):
    """What becomes of a message on its way."""

    message: str
    offset: int
    new: bytes
    old_length: int

    def apply(self, body: bytes) -> bytes:
        """The changed message."""
        return body[: self.offset] + self.new + body[self.offset + self.old_length :]

    def fields(self) -> dict[str, Any]:
        """As it stands in the file: at ``offset`` stand ``new`` in place of so many bytes."""
        fields = {"offset": self.offset, "new": self.new.hex(), "old_length": self.old_length}
        return {"message": self.message, **fields}


def _identities(inputs: Inputs) -> dict[str, Identity]:
    session_id, pin = inputs.raw("session_id"), inputs.pin.encode()
    link = link_text(inputs.raw("link")).encode()
    return {
        "pin": Identity("pin", 48213, session_id, 2, pin),
        "link": Identity("link", 10000, session_id, 3, link),
        "sas": Identity("sas", 99999, session_id, 4),
        "last member of a long number": Identity("pin", 12345678, session_id, 0xFFFD, b"000000"),
    }


def _given(identity: Identity) -> dict[str, Any]:
    return {
        "mode": identity.mode,
        "mode_number": MODES[identity.mode],
        "number": identity.number,
        "member": identity.member,
        "prs": identity.prs.decode(),
    }


def runs(inputs: Inputs) -> list[dict[str, Any]]:
    """Runs that succeed, with every value on the way."""
    found = []
    for name, identity in _identities(inputs).items():
        client, master = Client(identity, inputs.client), Master(identity)
        m2 = master.answer(client.c1, inputs.master)
        c3 = client.answer(m2)
        m4, keys = master.finish(c3)
        assert client.finish(m4) == keys
        schedule = client.schedule
        assert schedule is not None
        found.append(
            {
                "name": name,
                **_given(identity),
                "cpace": _cpace(identity, inputs, schedule.isk),
                "commit": client.c1[-32:].hex(),
                "C1": client.c1.hex(),
                "M2": m2.hex(),
                "C3": c3.hex(),
                "M4": m4.hex(),
                "T2": schedule.t2.hex(),
                "HS": schedule.hs.hex(),
                "T3": schedule.t3.hex(),
                "mac_c": schedule.mac_c.hex(),
                "mac_m": schedule.mac_m.hex(),
                "MS": schedule.ms.hex(),
                "sas": list(keys.sas),
                "client_to_master": keys.client_to_master.secret.hex(),
                "master_to_client": keys.master_to_client.secret.hex(),
            }
        )
    return found


def _cpace(identity: Identity, inputs: Inputs, isk: bytes) -> dict[str, str] | None:
    if identity.mode == "sas":
        return None
    point = cpace.generator(identity.prs, identity.ci, identity.sid)
    Ya = cpace.multiply(inputs.raw("client_scalar"), point)
    Yb = cpace.multiply(inputs.raw("master_scalar"), point)
    K = cpace.multiply(inputs.raw("client_scalar"), Yb)
    values = {"sid": identity.sid, "ci": identity.ci, "generator": point, "Ya": Ya, "Yb": Yb}
    return {name: value.hex() for name, value in (values | {"K": K, "isk": isk}).items()}


def key_generations(inputs: Inputs) -> list[dict[str, Any]]:
    """Keys of the first generations of both directions of the first run."""
    run = runs(inputs)[0]
    found = []
    for direction in ("client_to_master", "master_to_client"):
        generation = Generation(bytes.fromhex(run[direction]))
        for _ in range(GENERATIONS):
            (key, iv), (ack_key, ack_iv) = generation.data, generation.ack
            values = {"key": key, "iv": iv, "ack_key": ack_key, "ack_iv": ack_iv}
            found.append(
                {
                    "direction": direction,
                    "generation": generation.number,
                    "secret": generation.secret.hex(),
                    **{name: value.hex() for name, value in values.items()},
                    "next_secret": generation.following().secret.hex(),
                }
            )
            generation = generation.following()
    return found


def group_keys(inputs: Inputs) -> list[dict[str, Any]]:
    """Keys of group epochs."""
    found = []
    for epoch in (1, 2, 0xFFFFFFFF):
        key, iv = group_key(inputs.raw("session_id"), epoch, inputs.raw("group_key"))
        found.append({"epoch": epoch, "key": key.hex(), "iv": iv.hex()})
    return found


def _changes(inputs: Inputs) -> Iterator[tuple[str, str, Change]]:
    """Name, where it is refused, and the change; all in the run "pin"."""
    identity = _identities(inputs)["pin"]
    c1 = Client(identity, inputs.client).c1
    m2 = Master(identity).answer(c1, inputs.master)
    bodies = {"C1": c1, "M2": m2, "C3": bytes(64), "M4": bytes(32)}

    def replace(message: str, offset: int, new: bytes) -> Change:
        return Change(message, offset, new, len(new))

    def flip(message: str, offset: int, bits: int = 1) -> Change:
        return Change(message, offset, bytes([bodies[message][offset] ^ bits]), 1)

    # Offsets: the fields of section 5, added up.
    yield "C1: another version", "C1", flip("C1", 0, 3)
    yield "C1: another suite", "C1", flip("C1", 2, 3)
    yield "C1: a mode that nobody invited with", "C1", replace("C1", 3, bytes([MODES["link"]]))
    yield "C1: the reserved mode", "C1", replace("C1", 3, bytes([FORBIDDEN_MODE]))
    yield "C1: mode 0", "C1", replace("C1", 3, b"\0")
    yield "C1: another member", "C1", flip("C1", 5)
    yield "C1: a former number", "C1", flip("C1", 7)
    yield "C1: another session", "C1", flip("C1", 8)
    yield "C1: Ya without bytes", "C1", Change("C1", 24, b"\0\0", 34)
    yield "C1: Ya with another length", "C1", flip("C1", 25)
    yield "C1: Ya is 0, so is K", "C1", replace("C1", 26, bytes(32))
    yield "C1: Ya is 1, so K is 0", "C1", replace("C1", 26, b"\1" + bytes(31))
    yield "C1: Ya is p, so K is 0", "C1", replace("C1", 26, b"\xed" + b"\xff" * 30 + b"\x7f")
    yield "C1: another length of the RSA key", "C1", flip("C1", 59)
    yield "C1: no DER", "C1", flip("C1", 60)
    yield "C1: exponent 65539", "C1", flip("C1", 353, 2)
    yield "C1: another length of the ML-KEM key", "C1", flip("C1", 355)
    yield "C1: an ML-KEM key above the modulus", "C1", replace("C1", 356, b"\xff" * 3)
    yield "C1: a byte is missing", "C1", Change("C1", len(c1) - 1, b"", 1)
    yield "C1: a byte too many", "C1", Change("C1", len(c1), b"\0", 0)
    yield "C1: nothing", "C1", Change("C1", 0, b"", len(c1))
    yield "C1: a bit of Ya", "C3", flip("C1", 26)
    yield "C1: a bit of the RSA modulus", "C3", flip("C1", 200)
    yield "C1: a bit of the ML-KEM seed", "C3", flip("C1", 356 + 1183)
    yield "C1: a bit of the commitment", "C3", flip("C1", len(c1) - 1)
    yield "M2: another version", "M2", flip("M2", 0, 3)
    yield "M2: another suite", "M2", flip("M2", 2, 3)
    yield "M2: another member", "M2", flip("M2", 4)
    yield "M2: Yb with another length", "M2", flip("M2", 38)
    yield "M2: Yb is 0, so is K", "M2", replace("M2", 39, bytes(32))
    yield "M2: another length of the RSA ciphertext", "M2", flip("M2", 72)
    yield "M2: another length of the ML-KEM ciphertext", "M2", flip("M2", 330)
    yield "M2: a byte is missing", "M2", Change("M2", len(m2) - 1, b"", 1)
    yield "M2: a byte too many", "M2", Change("M2", len(m2), b"\0", 0)
    yield "M2: a bit of nonce_m", "C3", flip("M2", 5)
    yield "M2: a bit of Yb", "C3", flip("M2", 39)
    yield "M2: a bit of the RSA ciphertext", "C3", flip("M2", 200)
    yield "M2: an RSA secret of 31 bytes", "C3", replace("M2", 73, inputs.raw("short_rsa_ct"))
    yield "M2: a bit of the ML-KEM ciphertext", "C3", flip("M2", 331)
    yield "C3: another nonce_c", "C3", replace("C3", 0, bytes(32))
    yield "C3: another mac_c", "C3", replace("C3", 32, bytes(32))
    yield "C3: a byte is missing", "C3", Change("C3", 63, b"", 1)
    yield "C3: a byte too many", "C3", Change("C3", 64, b"\0", 0)
    yield "M4: another mac_m", "M4", replace("M4", 0, bytes(32))
    yield "M4: a byte is missing", "M4", Change("M4", 31, b"", 1)
    yield "M4: a byte too many", "M4", Change("M4", 32, b"\0", 0)


def failed_runs(inputs: Inputs) -> list[dict[str, Any]]:
    """Runs that fail, each with the message that its reader refuses."""
    identities = _identities(inputs)
    identity = identities["pin"]
    found: list[dict[str, Any]] = []
    for name, refused_at, change in _changes(inputs):
        assert _run_changed(inputs, identity, change) == refused_at, name
        found.append({"name": name, "refused_at": refused_at, "change": change.fields()})
    client, master = Client(identity, inputs.client), Master(identity)
    mac_c = client.answer(master.answer(client.c1, inputs.master))[32:]
    change = Change("M4", 0, mac_c, 32)
    assert _run_changed(inputs, identity, change) == "M4"
    found.append({"name": "M4: mac_c sent back", "refused_at": "M4", "change": change.fields()})
    return found


def wrong_code_runs(inputs: Inputs) -> list[dict[str, Any]]:
    """Runs in which both sides have different codes.

    The master refuses C3. A false one goes on nevertheless, with the M4 of its own keys: the
    client refuses that.
    """
    found = []
    for name, wrong in {
        "the next PIN": wrong_pin(inputs.pin),
        "the PIN and a zero": f"{inputs.pin}0",
        "no PIN": "",
    }.items():
        identity = _identities(inputs)["pin"]
        other = identity._replace(prs=wrong.encode())
        client, master = Client(identity, inputs.client), Master(other)
        m2 = master.answer(client.c1, inputs.master)
        c3 = client.answer(m2)
        with suppress(HandshakeFailed):
            master.finish(c3)
            raise AssertionError("the master took another code")
        assert master.schedule is not None
        m4 = master.schedule.mac_m
        with suppress(HandshakeFailed):
            client.finish(m4)
            raise AssertionError("the client took another code")
        given = {"client_prs": identity.prs.decode(), "master_prs": wrong}
        bodies = {"C1": client.c1, "M2": m2, "C3": c3, "false_M4": m4}
        found.append({"name": name, **given, **{key: body.hex() for key, body in bodies.items()}})
    return found


def wrong_pin(pin: str) -> str:
    """The next one."""
    return f"{(int(pin) + 1) % 10**6:06}"


def _run_changed(inputs: Inputs, identity: Identity, change: Change) -> str:
    """Which message is refused."""

    def on_the_way(message: str, body: bytes) -> bytes:
        return change.apply(body) if message == change.message else body

    client, master = Client(identity, inputs.client), Master(identity)
    message, body = "C1", client.c1
    try:
        m2 = master.answer(on_the_way("C1", body), inputs.master)
        message = "M2"
        c3 = client.answer(on_the_way("M2", m2))
        message = "C3"
        m4, _ = master.finish(on_the_way("C3", c3))
        message = "M4"
        client.finish(on_the_way("M4", m4))
    except HandshakeFailed:
        return message
    raise AssertionError("nobody refused it")
