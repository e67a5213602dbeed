"""The vectors that the independent implementation made, read by this one.

tests/independent was written from docs/session-protocol alone. A disagreement here means that
one of the two did not do what the page says, or that the page does not say it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from porttunnel.errors import MistypedCode, PorttunnelError, RemoteProtocolError
from porttunnel.keys import cpace, key_schedule
from porttunnel.keys.handshake import (
    ClientHandshake,
    Established,
    HandshakeMode,
    MasterHandshake,
    decode_c1,
)
from porttunnel.keys.hybrid import Encapsulation, HybridPrivateKey, encapsulate
from porttunnel.keys.primitives import MlkemPrivateKey, RsaPrivateKey
from porttunnel.keys.sealing import GroupOpener, GroupSealer, Opener, Sealer
from porttunnel.session import record, request
from porttunnel.session.code import CodeKind, format_code, format_link, parse_code
from porttunnel.session.packet import (
    HEADER_BYTES,
    MASTER,
    TAG_BYTES,
    PacketType,
    decode_header,
    encode_header_into,
)
from porttunnel.wire import encode_vec
from tests.independent import msgpack
from tests.independent.make_vectors import build
from tests.independent.vector_inputs import Inputs
from tests.session.pairs import CLIENT, Side

VECTORS: Any = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "session.json").read_text(encoding="utf-8")
)
INPUTS: dict[str, str] = VECTORS["inputs"]
MODES = {"pin": HandshakeMode.PIN, "sas": HandshakeMode.SAS, "link": HandshakeMode.LINK}
STAGES = ["C1", "M2", "C3", "M4"]


def each(group: str) -> pytest.MarkDecorator:
    """One test for each vector of a group."""
    cases = []
    for at, case in enumerate(VECTORS[group]):
        name = case.get("name", case.get("text", str(at)))
        cases.append(pytest.param(case, id=name))
    return pytest.mark.parametrize("case", cases)


def given(name: str) -> bytes:
    """One of the inputs."""
    return bytes.fromhex(INPUTS[name])


def test_the_file_is_what_the_independent_implementation_makes() -> None:
    assert build(Inputs(**INPUTS)) == VECTORS


class TestCodes:
    @each("codes")
    def test_are_read_and_written(self, case: dict[str, Any]) -> None:
        code = parse_code(case["text"])
        assert (code.kind, code.number) == (CodeKind[case["mode"].upper()], case["number"])
        assert (code.pin or code.link_secret or "") == case["prs"]
        if code.kind is CodeKind.LINK:
            assert format_link(code) == case["text"]
        else:
            assert format_code(code).replace(" ", "") == case["text"].replace(" ", "")

    @each("refused_codes")
    def test_that_nobody_was_given_are_refused(self, case: dict[str, str]) -> None:
        with pytest.raises(MistypedCode):
            parse_code(case["text"])


class Run:
    """One handshake with the vectors' inputs; ``change`` alters a message on its way."""

    def __init__(self, case: dict[str, Any], prs: dict[str, str] | None = None) -> None:
        self.case = case
        self.prs = prs or {"client": case["prs"], "master": case["prs"]}

    def identity(self, side: str) -> tuple[int, bytes, int, HandshakeMode, bytes]:
        case = self.case
        mode = MODES[case["mode"]]
        prs = self.prs[side].encode()
        return case["number"], given("session_id"), case["member"], mode, prs

    def client(self) -> ClientHandshake:
        return ClientHandshake(
            *self.identity("client"),
            key=private_key(),
            scalar=given("client_scalar"),
            nonce=given("nonce_c"),
            fallback=bytes(32),
        )

    def master(self, c1: bytes) -> MasterHandshake:
        opening = decode_c1(c1)
        # What a master does first: it refuses keys that suite 1 can't have. Its result is random.
        encapsulate(opening.rsa_public, opening.mlkem_public)
        shared = encode_vec(given("rsa_secret")) + encode_vec(given("mlkem_secret"))
        return MasterHandshake(
            *self.identity("master"),
            c1=c1,
            encapsulation=Encapsulation(given("rsa_ct"), given("mlkem_ct"), shared),
            scalar=given("master_scalar"),
            nonce=given("nonce_m"),
        )

    def refused_at(self, change: Callable[[str, bytes], bytes]) -> str | None:
        """The message that its reader refuses."""
        stages = iter(STAGES)
        client = self.client()
        stage = next(stages)
        try:
            master = self.master(change(stage, client.c1))
            stage = next(stages)
            confirming = client.receive_m2(change(stage, master.m2))
            stage = next(stages)
            finished = master.receive_c3(change(stage, confirming.c3))
            stage = next(stages)
            confirming.receive_m4(change(stage, finished.m4))
        except PorttunnelError:
            return stage
        return None


@cache
def rsa_private_key() -> RSAPrivateKey:
    key = serialization.load_der_private_key(given("rsa_private_pkcs8_der"), None)
    assert isinstance(key, RSAPrivateKey)
    return key


def private_key() -> HybridPrivateKey:
    rsa = rsa_private_key()
    mlkem = MLKEM768PrivateKey.from_seed_bytes(given("mlkem_seed"))
    return HybridPrivateKey(RsaPrivateKey(rsa), MlkemPrivateKey(mlkem))


def secrets_of(established: Established) -> list[str]:
    secrets = (established.client_to_master, established.master_to_client)
    return [secret.hex() for secret in secrets]


class TestRuns:
    @each("runs")
    def test_have_the_same_messages_and_end_in_the_same_keys(self, case: dict[str, Any]) -> None:
        run = Run(case)
        client = run.client()
        master = run.master(client.c1)
        confirming = client.receive_m2(master.m2)
        finished = master.receive_c3(confirming.c3)
        established = confirming.receive_m4(finished.m4)
        said = (client.c1, master.m2, confirming.c3, finished.m4)
        assert [body.hex() for body in said] == [case[stage] for stage in STAGES]
        for end in (established, finished.established):
            assert secrets_of(end) == [case["client_to_master"], case["master_to_client"]]
            digits = [end.sas_client_shows, end.sas_master_shows]
            # In the other modes nobody reads them out.
            assert digits == (case["sas"] if case["mode"] == "sas" else ["", ""])

    @each("runs")
    def test_have_the_same_values_on_the_way(self, case: dict[str, Any]) -> None:
        c1, m2 = bytes.fromhex(case["C1"]), bytes.fromhex(case["M2"])
        nonce = given("nonce_c")
        assert key_schedule.derive_commit(nonce, c1[:-32]).hex() == case["commit"]
        values = case["cpace"] or {"isk": ""}
        secret = key_schedule.HandshakeSecret(
            MODES[case["mode"]],
            case["number"],
            c1=c1,
            m2=m2,
            isk=bytes.fromhex(values["isk"]),
            shared=encode_vec(given("rsa_secret")) + encode_vec(given("mlkem_secret")),
        ).bind(nonce)
        mac_c = secret.confirm_client()
        assert [mac_c.hex(), secret.confirm_master(mac_c).hex()] == [case["mac_c"], case["mac_m"]]
        assert secrets_of(secret.establish()) == [
            case["client_to_master"],
            case["master_to_client"],
        ]

    @pytest.mark.parametrize("case", [case for case in VECTORS["runs"] if case["cpace"]])
    def test_have_the_same_cpace(self, case: dict[str, Any]) -> None:
        values = {name: bytes.fromhex(value) for name, value in case["cpace"].items()}
        assert key_schedule.format_sid(given("session_id"), case["member"]) == values["sid"]
        point = cpace.generator(case["prs"].encode(), values["ci"], values["sid"])
        assert point == values["generator"]
        assert cpace.public_share(given("client_scalar"), point) == values["Ya"]
        assert cpace.public_share(given("master_scalar"), point) == values["Yb"]
        isk = cpace.derive_isk(
            given("client_scalar"),
            values["Yb"],
            values["sid"],
            ya=values["Ya"],
            ada=b"C",
            yb=values["Yb"],
            adb=b"M",
        )
        assert isk == values["isk"]

    @each("failed_runs")
    def test_that_are_changed_on_the_way_fail_at_the_same_message(
        self, case: dict[str, Any]
    ) -> None:
        changed = case["change"]

        def change(stage: str, body: bytes) -> bytes:
            if stage != changed["message"]:
                return body
            end = changed["offset"] + changed["old_length"]
            return body[: changed["offset"]] + bytes.fromhex(changed["new"]) + body[end:]

        assert Run(VECTORS["runs"][0]).refused_at(change) == case["refused_at"]

    @each("wrong_code_runs")
    def test_with_another_code_fail_on_both_sides(self, case: dict[str, Any]) -> None:
        prs = {"client": case["client_prs"], "master": case["master_prs"]}
        run = Run(VECTORS["runs"][0], prs)
        client = run.client()
        assert client.c1.hex() == case["C1"]
        if len(prs["master"]) == 6:
            master = run.master(client.c1)
            assert master.m2.hex() == case["M2"]
            with pytest.raises(PorttunnelError):
                master.receive_c3(bytes.fromhex(case["C3"]))
        confirming = client.receive_m2(bytes.fromhex(case["M2"]))
        assert confirming.c3.hex() == case["C3"]
        with pytest.raises(PorttunnelError):
            confirming.receive_m4(bytes.fromhex(case["false_M4"]))


def sealer_at(direction: str, generation: int) -> Sealer:
    sealer = Sealer(bytes.fromhex(VECTORS["runs"][0][direction]))
    for _ in range(generation):
        sealer.advance()
    return sealer


def room_for(case: dict[str, Any], plaintext: bytes) -> memoryview:
    """A packet as it lies before it is sealed."""
    packet = bytearray(HEADER_BYTES + len(plaintext) + TAG_BYTES)
    encode_header_into(
        packet,
        PacketType[case["type"]],
        case["sender"],
        case["target"],
        len(plaintext) + TAG_BYTES,
        number=case["number"],
        ack=case["ack"],
        epoch=case["epoch"],
        flags=case["flags"],
    )
    packet[HEADER_BYTES : HEADER_BYTES + len(plaintext)] = plaintext
    return memoryview(packet)


def plaintext_of(case: dict[str, Any]) -> bytes:
    return bytes(case["plaintext_zeros"]) if "tag" in case else bytes.fromhex(case["plaintext"])


class TestSealing:
    @each("sealed")
    def test_gives_the_same_bytes(self, case: dict[str, Any]) -> None:
        plaintext = plaintext_of(case)
        packet = room_for(case, plaintext)
        if case["direction"] == "group":
            group = GroupSealer(given("session_id"), case["epoch"], given("group_key"))
            group.seal_group(packet, len(plaintext), case["number"])
        else:
            sealer = sealer_at(case["direction"], case["epoch"])
            if case["type"] == "ACK":
                sealer.seal_ack(packet, case["number"])
            else:
                sealer.seal_data(packet, len(plaintext), case["number"])
        if "tag" in case:
            assert packet[-TAG_BYTES:].hex() == case["tag"]
        else:
            assert packet.hex() == case["packet"]

    @pytest.mark.parametrize(
        "case", [case for case in VECTORS["sealed"] if "packet" in case], ids=lambda c: c["name"]
    )
    def test_is_undone(self, case: dict[str, Any]) -> None:
        packet = memoryview(bytes.fromhex(case["packet"]))
        header = decode_header(packet)
        fields = (header.kind.name, header.sender, header.target, header.number, header.ack)
        assert fields == tuple(case[n] for n in ("type", "sender", "target", "number", "ack"))
        if case["direction"] == "group":
            group = GroupOpener(given("session_id"), case["epoch"], given("group_key"))
            assert group.open_group(packet, case["number"]).hex() == case["plaintext"]
            return
        opener = Opener(bytes.fromhex(VECTORS["runs"][0][case["direction"]]))
        before = Sealer(bytes.fromhex(VECTORS["runs"][0][case["direction"]]))
        for generation in range(1, case["epoch"]):
            before.advance()
            move_on(opener, before, generation)
        if header.kind is PacketType.ACK:
            opener.open_ack(packet, header.epoch, header.number)
            assert opener.generation == max(0, case["epoch"] - 1)
        else:
            opened = opener.open_data(packet, header.epoch, header.number)
            assert opened.hex() == case["plaintext"]
            assert opener.generation == case["epoch"]

    @each("unopened")
    def test_shows_what_was_changed(self, case: dict[str, Any]) -> None:
        secret = bytes.fromhex(VECTORS["runs"][0]["client_to_master"])
        opener, sealer = Opener(secret), Sealer(secret)
        for generation in range(1, case["generation"] + 1):
            sealer.advance()
            move_on(opener, sealer, generation)
        packet = memoryview(bytes.fromhex(case["packet"]))
        kind = PacketType(packet[3])
        generation, number = struct.unpack(">I4xQ", packet[8:24])
        # DATA with the generation that it was sealed with, whatever its header says.
        is_ack = kind is PacketType.ACK
        open_packet: Callable[..., object] = opener.open_ack if is_ack else opener.open_data
        with pytest.raises(PorttunnelError):
            open_packet(packet, generation if is_ack else case["generation"], number)


def move_on(opener: Opener, sealer: Sealer, generation: int) -> None:
    """Bring an opener to a generation, as a DATA packet of it does."""
    fields = {"type": "DATA", "sender": 2, "target": 1, "number": 0, "ack": 0, "flags": 0}
    packet = room_for({**fields, "epoch": generation}, b"")
    sealer.seal_data(packet, 0, 0)
    opener.open_data(packet, generation, 0)


class TestHeaders:
    @each("headers")
    def test_are_read_and_written(self, case: dict[str, Any]) -> None:
        data = bytes.fromhex(case["header"])
        header = decode_header(data)
        assert header.kind is PacketType[case["type"]]
        assert header.length == case["length"]
        names = ("sender", "target", "number", "ack", "epoch", "flags")
        assert [getattr(header, name) for name in names] == [case[name] for name in names]
        written = bytearray(HEADER_BYTES)
        encode_header_into(
            written,
            header.kind,
            case["sender"],
            case["target"],
            case["length"],
            number=case["number"],
        )
        assert written == data

    @each("refused_headers")
    def test_that_can_not_be_are_refused(self, case: dict[str, str]) -> None:
        with pytest.raises(RemoteProtocolError):
            decode_header(bytes.fromhex(case["header"]))


class TestSequences:
    @each("sequences")
    def test_are_opened_dropped_or_fatal(self, case: dict[str, Any]) -> None:
        run = VECTORS["runs"][0]
        ours, theirs = run["master_to_client"], run["client_to_master"]
        side = Side(MASTER, CLIENT, bytes.fromhex(ours), bytes.fromhex(theirs))
        for _ in range(case["sent"]):
            side.streams.open("web")
            assert len(side.packets()) == 1
        for step in case["steps"]:
            self.take(side, bytes.fromhex(step["packet"]), step["then"])

    @staticmethod
    def take(side: Side, packet: bytes, then: str) -> None:
        header = decode_header(packet)
        if then == "fatal":
            with pytest.raises(PorttunnelError):
                side.receive(header, packet, now=0.0)
            return
        plaintext = side.receive(header, packet, now=0.0)
        # Of an ACK nothing is seen; one that is dropped is followed by one that can't open.
        assert (plaintext is not None) == (then == "opened" and header.kind is PacketType.DATA)


def split_records(body: bytes) -> list[tuple[record.RecordKind, int, memoryview]]:
    found, rest = [], memoryview(body)
    while rest:
        kind, stream, length = record.RECORD_HEADER.unpack_from(rest)
        found.append((record.RecordKind(kind), stream, rest[9 : 9 + length]))
        rest = rest[9 + length :]
    return found


class TestRecords:
    @each("records")
    def test_are_written(self, case: dict[str, Any]) -> None:
        written = b"".join(
            record.encode_record(
                record.RecordKind[part["kind"]], part["stream"], bytes.fromhex(part["payload"])
            )
            for part in case["records"]
        )
        assert written.hex() == case["body"]

    @each("records")
    def test_are_read(self, case: dict[str, Any]) -> None:
        parts = split_records(bytes.fromhex(case["body"]))
        assert len(parts) == len(case["records"])
        for (kind, stream, payload), expected in zip(parts, case["records"], strict=True):
            assert (kind.name, stream) == (expected["kind"], expected["stream"])
            assert payload.hex() == expected["payload"]
            match kind:
                case record.RecordKind.OPEN:
                    service, window = record.decode_open(payload)
                    assert record.encode_open(stream, service, window)[9:] == payload
                case record.RecordKind.ACCEPT | record.RecordKind.CREDIT:
                    assert record.decode_u32(payload) == 65_536
                case record.RecordKind.REFUSE:
                    code, text = record.decode_refuse(payload)
                    assert record.encode_refuse(stream, code, text)[9:] == payload
                case record.RecordKind.RESET:
                    code = record.decode_reset(payload)
                    assert record.encode_reset(stream, code)[9:] == payload

    @each("refused_records")
    def test_that_can_not_be_are_fatal(self, case: dict[str, str]) -> None:
        side = Side(MASTER, CLIENT, b"m" * 32, b"c" * 32)

        def receive_control(payload: memoryview) -> None:
            record.decode_control(payload)

        def receive(body: bytes) -> None:
            side.streams.receive(memoryview(bytearray(body)), receive_control)

        receive(record.encode_open(1, "web", 1_000))
        side.streams.accept(1)
        assert side.streams.open("web") == 2
        with pytest.raises(RemoteProtocolError):
            receive(bytes.fromhex(case["body"]))


DECODERS: dict[str, Callable[[memoryview], Any]] = {
    "REQUEST": request.decode_request,
    "REPLY": request.decode_reply,
    "EVENT": request.decode_event,
    "ERROR": request.decode_error,
    "CONTROL": record.decode_control,
}


class TestMessages:
    @each("messages")
    def test_are_read_and_written(self, case: dict[str, Any]) -> None:
        body = bytes.fromhex(case["body"])
        message = DECODERS[case["carrier"]](memoryview(body))
        if case["carrier"] == "CONTROL":
            written = record.encode_control(message)[9:]
        else:
            written = request.encode(message)
        assert msgpack.decode(written) == msgpack.decode(body)

    @each("refused_messages")
    def test_that_can_not_be_are_refused(self, case: dict[str, str]) -> None:
        with pytest.raises(RemoteProtocolError):
            DECODERS[case["carrier"]](memoryview(bytes.fromhex(case["body"])))
