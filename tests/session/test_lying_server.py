"""A tunnel server that lies: it changes, swaps, repeats, reorders, loses and invents packets.

Whatever it does, nobody shares keys with anybody but who knows the code (or read out the digits),
and no byte is delivered that the other side did not send there. What it can do is deny service.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from porttunnel.errors import (
    AuthenticationFailed,
    CutOff,
    PorttunnelError,
    RemoteProtocolError,
    SessionEnded,
)
from porttunnel.keys.handshake import (
    ClientConfirming,
    ClientHandshake,
    Established,
    HandshakeMode,
    MasterHandshake,
    decode_c1,
)
from porttunnel.keys.handshake_message import C1, C3, M2, M4
from porttunnel.keys.hybrid import HybridPrivateKey, encapsulate
from porttunnel.session import request
from porttunnel.session.client import ClientMachine
from porttunnel.session.code import SessionCode
from porttunnel.session.event import (
    BroadcastLost,
    BroadcastReceived,
    ConnectionFailed,
    ConsentAsked,
    DigitsShown,
    DigitsWrong,
    MemberJoined,
    MemberLeft,
    RunFailed,
    StreamDataReceived,
    Verified,
    Welcomed,
)
from porttunnel.session.packet import (
    FLAG_GROUP,
    FLAG_RESYNC,
    FLAG_SYNCED,
    HEADER_BYTES,
    MASTER,
    SERVER,
    TAG_BYTES,
    Header,
    PacketType,
    decode_header,
    encode_header_into,
    encode_packet,
)
from tests.tunnel import Liar, MemoryTunnel

CLIENT = 2
HANDSHAKE_LENGTHS = {
    PacketType.C1: 1_572,
    PacketType.M2: 1_419,
    PacketType.C3: 64,
    PacketType.M4: 32,
}
# Byte places of the header's fields.
FIELDS = {
    "magic": range(2),
    "version": range(2, 3),
    "type": range(3, 4),
    "suite": range(4, 6),
    "flags": range(6, 8),
    "epoch": range(8, 12),
    "sender": range(12, 14),
    "target": range(14, 16),
    "number": range(16, 24),
    "ack": range(24, 32),
    "length": range(32, 36),
}
PATIENCE_SECONDS = 200.0  # more than any wait of a handshake, or of a gap


def honest(_header: Header, packet: bytes) -> list[bytes]:
    return [packet]


class Once:
    """Lies about the first packet that fits; ``lied`` tells whether there was one."""

    def __init__(
        self, kind: PacketType, lie: Callable[[bytes], list[bytes]], *, sender: int | None = None
    ) -> None:
        self.kind = kind
        self.lie = lie
        self.sender = sender
        self.lied = False

    def __call__(self, header: Header, packet: bytes) -> list[bytes]:
        if self.lied or header.kind is not self.kind or self.sender not in (None, header.sender):
            return [packet]
        self.lied = True
        return self.lie(packet)


def flip(bit: int) -> Callable[[bytes], list[bytes]]:
    def lie(packet: bytes) -> list[bytes]:
        changed = bytearray(packet)
        changed[bit // 8] ^= 1 << bit % 8
        return [bytes(changed)]

    return lie


def errors_of(tunnel: MemoryTunnel) -> list[PorttunnelError]:
    """What ended runs, pairs and links, on all sides."""
    return [
        event.error
        for events in tunnel.events.values()
        for event in events
        if isinstance(event, ConnectionFailed | RunFailed)
    ]


def assert_no_session(tunnel: MemoryTunnel) -> None:
    """Nobody was asked about, verified or let in, and who is concerned was told why."""
    for events in tunnel.events.values():
        for event in events:
            assert not isinstance(event, ConsentAsked | Verified | MemberJoined | Welcomed)
    errors = errors_of(tunnel)
    assert errors
    assert all(
        isinstance(error, RemoteProtocolError | AuthenticationFailed | CutOff | SessionEnded)
        for error in errors
    )


def join_through(
    liar: Liar, *, sas: bool = False, seed: int = 1, code: SessionCode | None = None
) -> MemoryTunnel:
    """What becomes of a join with the right code."""
    tunnel = MemoryTunnel(sas=sas, seed=seed)
    tunnel.liar = liar
    tunnel.join(code)
    tunnel.pass_time(PATIENCE_SECONDS)
    return tunnel


def every_handshake_bit() -> Iterator[tuple[PacketType, int]]:
    for kind, length in HANDSHAKE_LENGTHS.items():
        for bit in range((HEADER_BYTES + length) * 8):
            yield kind, bit


def flip_handshake_bit(kind: PacketType, bit: int) -> None:
    liar = Once(kind, flip(bit))
    tunnel = join_through(liar)
    assert liar.lied
    assert_no_session(tunnel)


class TestHandshake:
    def test_without_a_lie_it_succeeds(self) -> None:
        tunnel = join_through(honest)
        assert tunnel.events_of(tunnel.master, ConsentAsked)
        assert errors_of(tunnel) == []

    def test_flipped_bits(self) -> None:
        bits = list(every_handshake_bit())
        # The short messages and all headers are the densest; the rest is mostly keys.
        dense = [each for each in bits if each[1] < HEADER_BYTES * 8 or each[0] is PacketType.M4]
        source = random.Random(11)
        for kind, bit in source.sample(dense, 250) + source.sample(bits, 250):
            flip_handshake_bit(kind, bit)

    @pytest.mark.long
    @pytest.mark.parametrize("kind", HANDSHAKE_LENGTHS)
    def test_every_bit_flipped(self, kind: PacketType) -> None:
        runs = 0
        for each, bit in every_handshake_bit():
            if each is kind:
                flip_handshake_bit(kind, bit)
                runs += 1
        assert runs == (HEADER_BYTES + HANDSHAKE_LENGTHS[kind]) * 8

    @pytest.mark.parametrize("kind", HANDSHAKE_LENGTHS)
    @pytest.mark.parametrize("field", FIELDS)
    def test_each_field_of_the_header(self, kind: PacketType, field: str) -> None:
        for place in FIELDS[field]:
            flip_handshake_bit(kind, place * 8)
            flip_handshake_bit(kind, place * 8 + 7)

    @pytest.mark.parametrize("kind", HANDSHAKE_LENGTHS)
    def test_cut_short_or_lengthened(self, kind: PacketType) -> None:
        for change in (lambda body: body[:-1], lambda body: body + b"\0"):

            def lie(packet: bytes, change: Callable[[bytes], bytes] = change) -> list[bytes]:
                header = decode_header(packet)
                body = change(packet[HEADER_BYTES:])
                sender, target = header.sender, header.target
                return [encode_packet(kind, sender, target, body, number=header.number)]

            assert_no_session(join_through(Once(kind, lie)))

    @pytest.mark.parametrize("kind", HANDSHAKE_LENGTHS)
    def test_lost(self, kind: PacketType) -> None:
        liar = Once(kind, lambda packet: [])
        tunnel = join_through(liar)
        assert liar.lied
        assert_no_session(tunnel)

    @pytest.mark.parametrize("kind", HANDSHAKE_LENGTHS)
    def test_repeated(self, kind: PacketType) -> None:
        tunnel = join_through(Once(kind, lambda packet: [packet, packet]))
        # As after a resumed link: the same packet has the same answer, and costs nothing.
        assert tunnel.events_of(tunnel.master, ConsentAsked)
        assert errors_of(tunnel) == []

    @pytest.mark.parametrize("kind", HANDSHAKE_LENGTHS)
    def test_reflected(self, kind: PacketType) -> None:
        def lie(header: Header, packet: bytes) -> list[bytes]:
            if header.kind is not kind:
                return [packet]
            back = bytearray(packet)
            back[12:14], back[14:16] = packet[14:16], packet[12:14]
            tunnel.deliver(header.sender, bytes(back))
            return []

        tunnel = MemoryTunnel()
        tunnel.liar = lie
        tunnel.join()
        tunnel.pass_time(PATIENCE_SECONDS)
        assert_no_session(tunnel)

    @pytest.mark.parametrize("kind", HANDSHAKE_LENGTHS)
    @pytest.mark.parametrize("same_client", [False, True])
    def test_replaced_by_another_runs(self, kind: PacketType, same_client: bool) -> None:
        former = MemoryTunnel(seed=2)
        if same_client:
            # The same code in another session of the same number.
            ours, theirs = former.master._admission, MemoryTunnel(seed=1).master._admission
            assert ours is not None
            assert theirs is not None
            ours._invitations = theirs._invitations
            former.join(MemoryTunnel(seed=1).code)
        else:
            former.join()
        old = {header.kind: packet for header, packet in former.relayed}
        assert_no_session(join_through(Once(kind, lambda packet: [old[kind]])))


class TestFields:
    """Each field of each message replaced by a value that is well-formed."""

    OTHER = HybridPrivateKey.generate()

    @staticmethod
    def swap(message: Any, **changes: Any) -> Callable[[bytes], list[bytes]]:
        def lie(packet: bytes) -> list[bytes]:
            body = packet[HEADER_BYTES:]
            decoded = (
                message.decode(body, HandshakeMode.PIN) if message is M2 else message.decode(body)
            )
            return [packet[:HEADER_BYTES] + replace(decoded, **changes).encode()]

        return lie

    @pytest.mark.parametrize(
        "changes",
        [
            {"rsa_public": OTHER.rsa_public},
            {"mlkem_public": OTHER.mlkem_public},
            {"rsa_public": OTHER.rsa_public, "mlkem_public": OTHER.mlkem_public},
            {"mode": HandshakeMode.LINK},
            {"mode": HandshakeMode.SAS, "share": b""},
            {"mode": HandshakeMode.REJOIN, "former": 3},
            {"member": 3},
            {"session_id": b"another session!"},
            {"share": bytes([9]) + bytes(31)},
            {"share": bytes(32)},
            {"commit": bytes(32)},
        ],
    )
    def test_of_c1(self, changes: dict[str, Any]) -> None:
        assert_no_session(join_through(Once(PacketType.C1, self.swap(C1, **changes))))

    @pytest.mark.parametrize(
        "changes",
        [
            {"member": 3},
            {"nonce": bytes(32)},
            {"share": bytes([9]) + bytes(31)},
            {"share": bytes(32)},
            {"rsa_ciphertext": bytes(256)},
            {"mlkem_ciphertext": bytes(1088)},
        ],
    )
    def test_of_m2(self, changes: dict[str, Any]) -> None:
        assert_no_session(join_through(Once(PacketType.M2, self.swap(M2, **changes))))

    @pytest.mark.parametrize("which", ["rsa_ciphertext", "mlkem_ciphertext", "both"])
    def test_secrets_of_the_servers_own(self, which: str) -> None:
        """It can encapsulate to the client's keys as well as the master can."""
        seen: dict[str, C1] = {}

        def lie(header: Header, packet: bytes) -> list[bytes]:
            if header.kind is PacketType.C1:
                seen["c1"] = decode_c1(packet[HEADER_BYTES:])
            if header.kind is not PacketType.M2:
                return [packet]
            own = encapsulate(seen["c1"].rsa_public, seen["c1"].mlkem_public)
            changes = {
                "rsa_ciphertext": own.rsa_ciphertext,
                "mlkem_ciphertext": own.mlkem_ciphertext,
            }
            chosen = changes if which == "both" else {which: changes[which]}
            return self.swap(M2, **chosen)(packet)

        assert_no_session(join_through(lie))

    @pytest.mark.parametrize("changes", [{"nonce": bytes(32)}, {"mac": bytes(32)}])
    def test_of_c3(self, changes: dict[str, Any]) -> None:
        assert_no_session(join_through(Once(PacketType.C3, self.swap(C3, **changes))))

    def test_of_m4(self) -> None:
        assert_no_session(join_through(Once(PacketType.M4, self.swap(M4, mac=bytes(32)))))

    @pytest.mark.parametrize("member", [SERVER, MASTER, 3, 0xFFFD, 0xFFFE, 0xFFFF])
    def test_a_client_told_another_number(self, member: int) -> None:
        """The server gives the client one member number and the master another."""

        def lie(header: Header, packet: bytes) -> list[bytes]:
            changed = bytearray(packet)
            place = 12 if header.target == MASTER else 14
            if header.kind is PacketType.C1:
                changed[place : place + 2] = member.to_bytes(2)
            return [bytes(changed)]

        assert_no_session(join_through(lie))


class TestManInTheMiddle:
    """The server shakes hands with both, as a false master and as a false client."""

    KEY = HybridPrivateKey.generate()

    @dataclass
    class Middle:
        tunnel: MemoryTunnel
        mode: HandshakeMode
        password: bytes
        key: HybridPrivateKey
        as_master: MasterHandshake | None = None
        as_client: ClientHandshake | ClientConfirming | None = None
        with_client: Established | None = None
        with_master: Established | None = None

        def __call__(self, header: Header, packet: bytes) -> list[bytes]:
            body = packet[HEADER_BYTES:]
            if header.kind is PacketType.C1:
                self.meet(body)
            elif header.kind is PacketType.M2:
                assert isinstance(self.as_client, ClientHandshake)
                self.as_client = self.as_client.receive_m2(body)
                self.tell_master(PacketType.C3, self.as_client.c3, 1)
            elif header.kind is PacketType.C3:
                self.confirm(body)
            elif header.kind is PacketType.M4:
                assert isinstance(self.as_client, ClientConfirming)
                self.with_master = self.as_client.receive_m4(body)
            return []

        def meet(self, body: bytes) -> None:
            opening = decode_c1(body)
            values: Any = {n: self.tunnel.random.randbytes(32) for n in ("scalar", "nonce")}
            number, session_id = self.tunnel.number, self.tunnel.session_id
            self.as_master = MasterHandshake(
                number,
                session_id,
                CLIENT,
                self.mode,
                self.password,
                c1=body,
                encapsulation=encapsulate(opening.rsa_public, opening.mlkem_public),
                **values,
            )
            self.as_client = ClientHandshake(
                number,
                session_id,
                CLIENT,
                self.mode,
                self.password,
                key=self.key,
                fallback=bytes(32),
                **values,
            )
            self.tell_master(PacketType.C1, self.as_client.c1, 0)
            self.tell_client(PacketType.M2, self.as_master.m2, 0)

        def confirm(self, body: bytes) -> None:
            assert self.as_master is not None
            try:
                finished = self.as_master.receive_c3(body)
            except AuthenticationFailed:
                self.tell_client(PacketType.M4, bytes(32), 1)
                return
            self.with_client = finished.established
            self.tell_client(PacketType.M4, finished.m4, 1)

        def tell_master(self, kind: PacketType, body: bytes, number: int) -> None:
            packet = encode_packet(kind, CLIENT, MASTER, body, number=number)
            self.tunnel.deliver(MASTER, packet)

        def tell_client(self, kind: PacketType, body: bytes, number: int) -> None:
            packet = encode_packet(kind, MASTER, CLIENT, body, number=number)
            self.tunnel.deliver(CLIENT, packet)

    def test_who_knows_the_pin_could(self) -> None:
        """The control: with the PIN this very attack succeeds."""
        tunnel = MemoryTunnel()
        middle = self.Middle(tunnel, HandshakeMode.PIN, tunnel.code.password, self.KEY)
        tunnel.liar = middle
        tunnel.join()
        assert middle.with_client is not None
        assert middle.with_master is not None

    @pytest.mark.parametrize("guess", [b"000000", b"999999", b"123456"])
    def test_a_guess_gives_nothing_and_is_seen(self, guess: bytes) -> None:
        tunnel = MemoryTunnel()
        assert guess != tunnel.code.password
        middle = self.Middle(tunnel, HandshakeMode.PIN, guess, self.KEY)
        tunnel.liar = middle
        client = tunnel.join()
        assert middle.with_client is None
        assert middle.with_master is None
        # One guess, seen on both sides.
        assert client.code_used_up
        assert tunnel.events_of(client, ConnectionFailed)
        assert tunnel.events_of(tunnel.master, RunFailed)
        tunnel.pass_time(PATIENCE_SECONDS)
        assert_no_session(tunnel)

    def test_the_digits_of_both_sides_differ(self) -> None:
        tunnel = MemoryTunnel(sas=True)
        middle = self.Middle(tunnel, HandshakeMode.SAS, b"", self.KEY)
        tunnel.liar = middle
        client = tunnel.join()
        assert middle.with_client is not None
        assert middle.with_master is not None
        (shown,) = tunnel.events_of(client, DigitsShown)
        for _ in range(3):
            tunnel.master.enter_digits(CLIENT, shown.digits, tunnel.now)
            tunnel.run()
        assert len(tunnel.events_of(tunnel.master, DigitsWrong)) == 2
        # The master never shows its digits, so the client's user has none to type.
        assert not tunnel.events_of(tunnel.master, DigitsShown)
        tunnel.pass_time(PATIENCE_SECONDS)
        assert_no_session(tunnel)


MESSAGE = b"attack at dawn " * 40
# More than a packet's length can be made to lie, so that a torn link shows it.
LATER = bytes(range(250)) * 200


@dataclass
class Conversation:
    """A session in which both sides talk, and a server that begins to lie."""

    tunnel: MemoryTunnel
    client: ClientMachine
    stream: int

    @classmethod
    def begin(cls) -> Conversation:
        tunnel = MemoryTunnel()
        client = tunnel.enter()
        stream = client.streams.open("web")
        tunnel.run()
        tunnel.master.streams(CLIENT).accept(stream)
        tunnel.pass_time(1.0)
        conversation = cls(tunnel, client, stream)
        for streams in conversation.ends():
            # As after a while of reading: wide windows, so that nothing here waits for credit.
            streams._streams[stream].send_credit = 1_000_000
            streams._streams[stream].receive_credit = 1_000_000
        return conversation

    def talk(self, liar: Liar) -> None:
        """Both write, one after the other, as far as they still can."""
        self.tunnel.liar = liar
        for text in (MESSAGE, LATER):
            for streams in self.ends():
                if streams.may_write(self.stream):
                    streams.write(self.stream, text)
                self.tunnel.pass_time(1.0)
        self.tunnel.liar = honest
        self.tunnel.pass_time(PATIENCE_SECONDS)

    def ends(self) -> list[Any]:
        client = [peer.streams for peer in self.client.peers if not self.client.over]
        master = [peer.streams for peer in self.tunnel.master.peers]
        return client + master

    def received(self, member: int) -> bytes:
        return b"".join(
            bytes(event.data)
            for event in self.tunnel.events[member]
            if isinstance(event, StreamDataReceived)
        )

    def assert_nothing_false(self) -> None:
        """What came is a beginning of what was sent; if not all came, somebody was told."""
        sent = MESSAGE + LATER
        complete = True
        for member in (CLIENT, MASTER):
            received = self.received(member)
            assert sent.startswith(received)
            complete = complete and received == sent
        assert complete or self.somebody_was_told()

    def somebody_was_told(self) -> bool:
        cut_off = [
            event
            for event in self.tunnel.events_of(self.tunnel.master, MemberLeft)
            if event.cut_off
        ]
        return bool(errors_of(self.tunnel) or cut_off)

    def end(self, member: int) -> None:
        """One goes, with a goodbye; the server ends the rest."""
        (self.client if member == CLIENT else self.tunnel.master).close()
        self.tunnel.pass_time(1.0)
        self.tunnel.cut(CLIENT)


SEALED = [
    (PacketType.DATA, CLIENT),
    (PacketType.DATA, MASTER),
    (PacketType.ACK, CLIENT),
    (PacketType.ACK, MASTER),
]


def flip_sealed_bit(kind: PacketType, sender: int, bit: int) -> None:
    conversation = Conversation.begin()
    liar = Once(kind, flip(bit), sender=sender)
    conversation.talk(liar)
    assert liar.lied
    conversation.assert_nothing_false()
    if kind is PacketType.DATA:
        # It was not accepted, and nothing behind it: it ended the pair, or passed for a loss, and
        # the true one came again.
        receiver = MASTER if sender == CLIENT else CLIENT
        told = bool(errors_of(conversation.tunnel))
        assert conversation.received(receiver) == (b"" if told else MESSAGE + LATER)


@pytest.mark.parametrize(("kind", "sender"), SEALED)
class TestSealed:
    def test_without_a_lie_all_arrives(self, kind: PacketType, sender: int) -> None:
        conversation = Conversation.begin()
        liar = Once(kind, lambda packet: [packet], sender=sender)
        conversation.talk(liar)
        assert liar.lied
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE + LATER
        assert errors_of(conversation.tunnel) == []

    @pytest.mark.parametrize("field", FIELDS)
    def test_each_field_of_the_header(self, kind: PacketType, sender: int, field: str) -> None:
        for place in FIELDS[field]:
            flip_sealed_bit(kind, sender, place * 8)
            flip_sealed_bit(kind, sender, place * 8 + 6)

    def test_flipped_bits_of_the_body(self, kind: PacketType, sender: int) -> None:
        length = 9 + len(MESSAGE) + TAG_BYTES if kind is PacketType.DATA else TAG_BYTES
        for bit in random.Random(5).sample(range(length * 8), 25):
            flip_sealed_bit(kind, sender, HEADER_BYTES * 8 + bit)

    @pytest.mark.long
    def test_every_bit_flipped(self, kind: PacketType, sender: int) -> None:
        length = 9 + len(MESSAGE) + TAG_BYTES if kind is PacketType.DATA else TAG_BYTES
        for bit in range((HEADER_BYTES + length) * 8):
            flip_sealed_bit(kind, sender, bit)

    def test_lost(self, kind: PacketType, sender: int) -> None:
        conversation = Conversation.begin()
        conversation.talk(Once(kind, lambda packet: [], sender=sender))
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE + LATER
        assert errors_of(conversation.tunnel) == []

    def test_repeated(self, kind: PacketType, sender: int) -> None:
        conversation = Conversation.begin()

        def lie(header: Header, packet: bytes) -> list[bytes]:
            chosen = header.kind is kind and header.sender == sender
            return [packet] * 3 if chosen else [packet]

        conversation.talk(lie)
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE + LATER
        assert errors_of(conversation.tunnel) == []

    def test_replayed_much_later(self, kind: PacketType, sender: int) -> None:
        conversation = Conversation.begin()
        conversation.talk(honest)
        tunnel = conversation.tunnel
        target = MASTER if sender == CLIENT else CLIENT
        for header, packet in list(tunnel.relayed):
            if header.kind is kind and header.sender == sender:
                tunnel.deliver(target, packet)
        tunnel.pass_time(1.0)
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE + LATER
        assert errors_of(tunnel) == []

    def test_reordered(self, kind: PacketType, sender: int) -> None:
        conversation = Conversation.begin()
        held: list[bytes] = []

        def lie(header: Header, packet: bytes) -> list[bytes]:
            if header.kind is not kind or header.sender != sender:
                return [packet]
            held.append(packet)
            return held[::-1] if len(held) == 2 else [] if len(held) == 1 else [packet]

        conversation.talk(lie)
        # The last packets may be missing, and the receiver can't know; but it never takes this
        # for a finished session.
        conversation.end(sender)
        conversation.assert_nothing_false()

    def test_reflected(self, kind: PacketType, sender: int) -> None:
        conversation = Conversation.begin()
        tunnel = conversation.tunnel
        reflected: list[bytes] = []

        def lie(header: Header, packet: bytes) -> list[bytes]:
            if header.kind is kind and header.sender == sender and not reflected:
                back = bytearray(packet)
                back[12:14], back[14:16] = packet[14:16], packet[12:14]
                reflected.append(packet)
                tunnel.deliver(sender, bytes(back))
            return [packet]

        conversation.talk(lie)
        assert reflected
        conversation.assert_nothing_false()

    def test_taken_from_another_session(self, kind: PacketType, sender: int) -> None:
        other = Conversation.begin()
        other.talk(honest)
        foreign = next(
            packet
            for header, packet in reversed(other.tunnel.relayed)
            if header.kind is kind and header.sender == sender
        )
        conversation = Conversation.begin()
        # Keys are fresh in each run, even with the same code and seed of everything else.
        conversation.talk(Once(kind, lambda packet: [foreign], sender=sender))
        conversation.assert_nothing_false()

    def test_invented(self, kind: PacketType, sender: int) -> None:
        target = MASTER if sender == CLIENT else CLIENT
        source = random.Random(9)
        for flags in (0, FLAG_GROUP if kind is PacketType.DATA else 0):
            for number in (0, 5, 2**63):
                conversation = Conversation.begin()
                length = TAG_BYTES + (100 if kind is PacketType.DATA else 0)
                packet = bytearray(HEADER_BYTES)
                encode_header_into(
                    packet,
                    kind,
                    sender,
                    target,
                    length,
                    number=number,
                    ack=source.randrange(2**64),
                    epoch=source.randrange(3),
                    flags=flags,
                )
                conversation.tunnel.deliver(target, bytes(packet) + source.randbytes(length))
                conversation.talk(honest)
                conversation.assert_nothing_false()


class TestServersOwnWords:
    """REPLY, EVENT and ERROR free no packet and change no key."""

    @pytest.mark.parametrize(
        "event",
        [
            request.Joining(member=CLIENT),
            request.Link(member=CLIENT, up=True),
            request.Left(member=9, reason="x"),
        ],
    )
    def test_hints_change_nothing(self, event: request.Event) -> None:
        conversation = Conversation.begin()
        for member in (CLIENT, MASTER):
            conversation.tunnel.tell(member, event)
        conversation.talk(honest)
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE + LATER

    def test_a_restart_that_is_announced_costs_time_only(self) -> None:
        conversation = Conversation.begin()
        tunnel = conversation.tunnel
        for member in (CLIENT, MASTER):
            tunnel.tell(member, request.GoingAway(retry_after_s=1.0))
            tunnel.resume(member)
        conversation.talk(honest)
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE + LATER
        assert errors_of(tunnel) == []

    def test_links_that_never_rest(self) -> None:
        """It says of everybody that they come and go, as often as it likes."""
        conversation = Conversation.begin()
        tunnel = conversation.tunnel
        source = random.Random(3)

        def lie(_header: Header, packet: bytes) -> list[bytes]:
            if source.random() < 0.3:
                up = source.random() < 0.5
                tunnel.tell(MASTER, request.Link(member=CLIENT, up=up))
                tunnel.tell(CLIENT, request.Link(member=MASTER, up=not up))
            return [packet]

        conversation.talk(lie)
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE + LATER
        assert errors_of(tunnel) == []

    @pytest.mark.parametrize(
        "event", [request.Closed(reason="x"), request.Left(member=2, reason="x")]
    )
    def test_an_end_that_only_the_server_tells_is_a_cut(self, event: request.Event) -> None:
        conversation = Conversation.begin()
        for member in (CLIENT, MASTER):
            conversation.tunnel.tell(member, event)
        conversation.talk(honest)
        conversation.assert_nothing_false()

    def test_answers_that_nobody_asked_for_end_the_link(self) -> None:
        conversation = Conversation.begin()
        body = request.encode(request.Joined(session_id=bytes(16), member=7, token=bytes(32)))
        packet = encode_packet(PacketType.REPLY, SERVER, CLIENT, body, number=1)
        conversation.tunnel.deliver(CLIENT, packet)
        assert conversation.client.over
        assert conversation.client.member == CLIENT
        conversation.talk(honest)
        conversation.assert_nothing_false()


class TestResync:
    """Questions and answers about what came are packets like others: sealed, numbered, once."""

    @staticmethod
    def cut_and_return(tunnel: MemoryTunnel) -> None:
        for member in (CLIENT, MASTER):
            tunnel.cut(member)
            tunnel.resume(member)
            tunnel.run()

    def test_old_questions_and_answers_lead_nowhere(self) -> None:
        conversation = Conversation.begin()
        tunnel = conversation.tunnel
        conversation.talk(honest)
        for _ in range(5):
            self.cut_and_return(tunnel)
        marked = [(h, p) for h, p in tunnel.relayed if h.flags & (FLAG_RESYNC | FLAG_SYNCED)]
        assert {header.flags for header, _ in marked} == {FLAG_RESYNC, FLAG_SYNCED}
        tunnel.relayed.clear()
        for header, packet in marked:
            tunnel.deliver(header.target, packet)
            tunnel.run()
        # Not one is answered, and nothing is sent again.
        assert tunnel.relayed == []
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE + LATER
        assert errors_of(tunnel) == []

    @pytest.mark.parametrize("flags", [FLAG_RESYNC, FLAG_SYNCED, FLAG_RESYNC | FLAG_SYNCED])
    @pytest.mark.parametrize("member", [CLIENT, MASTER])
    def test_a_mark_that_the_server_sets(self, flags: int, member: int) -> None:
        conversation = Conversation.begin()

        def lie(packet: bytes) -> list[bytes]:
            changed = bytearray(packet)
            changed[6:8] = flags.to_bytes(2)
            return [bytes(changed)]

        conversation.talk(Once(PacketType.ACK, lie, sender=member))
        conversation.assert_nothing_false()

    @pytest.mark.parametrize("flag", [FLAG_RESYNC, FLAG_SYNCED])
    def test_that_are_lost(self, flag: int) -> None:
        """Whoever hears nothing asks again; lost for good, the session stands still, and is told
        so when patience ends."""
        conversation = Conversation.begin()
        tunnel = conversation.tunnel
        lost = 0

        def lie(header: Header, packet: bytes) -> list[bytes]:
            nonlocal lost
            if header.flags & flag and lost < 6:
                lost += 1
                return []
            return [packet]

        tunnel.liar = lie
        self.cut_and_return(tunnel)
        conversation.talk(lie)
        tunnel.pass_time(PATIENCE_SECONDS)
        assert lost
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE + LATER
        assert errors_of(tunnel) == []

    def test_packets_of_an_old_link_after_the_new_one(self) -> None:
        """It keeps what was on its way, and hands it out, in any order, when both are back."""
        conversation = Conversation.begin()
        tunnel = conversation.tunnel
        kept: list[tuple[Header, bytes]] = []

        def keep(header: Header, packet: bytes) -> list[bytes]:
            kept.append((header, packet))
            return []

        conversation.tunnel.liar = keep
        for streams in conversation.ends():
            streams.write(conversation.stream, MESSAGE)
        tunnel.run()
        tunnel.liar = honest
        self.cut_and_return(tunnel)
        random.Random(2).shuffle(kept)
        for header, packet in kept:
            tunnel.deliver(header.target, packet)
            tunnel.run()
        tunnel.pass_time(3.0)
        assert conversation.received(MASTER) == conversation.received(CLIENT) == MESSAGE
        assert errors_of(tunnel) == []


class TestBroadcast:
    """A client takes what the master signed, in order, or says that something was lost."""

    PARTS = tuple(b"part %d " % number for number in range(40))

    def broadcast(self, liar: Liar, *, cut: bool = False) -> tuple[MemoryTunnel, bytes, bool]:
        tunnel = MemoryTunnel()
        client = tunnel.enter()
        tunnel.pass_time(1.0)
        tunnel.liar = liar
        for part in self.PARTS:
            tunnel.master.broadcast.write(1, part, tunnel.now)
            tunnel.pass_time(0.05)
            if cut and part is self.PARTS[20]:
                tunnel.cut(CLIENT)
                tunnel.pass_time(2.0)
                tunnel.resume(CLIENT)
        tunnel.liar = honest
        tunnel.pass_time(PATIENCE_SECONDS)
        came = b"".join(bytes(e.data) for e in tunnel.events_of(client, BroadcastReceived))
        lost = bool(tunnel.events_of(client, BroadcastLost)) or client.over
        return tunnel, came, lost

    def check(self, liar: Liar, *, cut: bool = False) -> bytes:
        _, came, lost = self.broadcast(liar, cut=cut)
        whole = b"".join(self.PARTS)
        assert whole.startswith(came)
        assert lost or came == whole
        return came

    @pytest.mark.parametrize("cut", [False, True])
    def test_without_a_lie_all_comes(self, cut: bool) -> None:
        assert self.check(honest, cut=cut) == b"".join(self.PARTS)

    @pytest.mark.parametrize("share", [0.2, 0.9])
    def test_lost(self, share: float) -> None:
        source = random.Random(6)

        def lie(header: Header, packet: bytes) -> list[bytes]:
            lost = header.flags & FLAG_GROUP and source.random() < share
            return [] if lost else [packet]

        # It comes again in the pair.
        assert self.check(lie) == b"".join(self.PARTS)

    @pytest.mark.parametrize("seed", range(4))
    def test_changed(self, seed: int) -> None:
        source = random.Random(seed)

        def lie(header: Header, packet: bytes) -> list[bytes]:
            if not header.flags & FLAG_GROUP or source.random() < 0.5:
                return [packet]
            # The fields that tell where a packet ends would only cut the link.
            bit = source.randrange(8 * len(packet))
            return [packet] if bit // 8 in FIELDS["length"] else flip(bit)(packet)

        self.check(lie)

    def test_repeated_and_reordered(self) -> None:
        source = random.Random(8)
        kept: list[bytes] = []

        def lie(header: Header, packet: bytes) -> list[bytes]:
            if not header.flags & FLAG_GROUP:
                return [packet]
            kept.append(packet)
            return source.sample(kept, min(len(kept), 4))

        assert self.check(lie) == b"".join(self.PARTS)

    def test_of_another_session(self) -> None:
        other, _, _ = self.broadcast(honest)
        foreign = [packet for header, packet in other.relayed if header.flags & FLAG_GROUP]

        def lie(header: Header, packet: bytes) -> list[bytes]:
            return [foreign[0], packet] if header.flags & FLAG_GROUP else [packet]

        assert self.check(lie) == b"".join(self.PARTS)

    def test_as_if_it_were_a_pairs(self) -> None:
        """The flag is sealed with the rest: neither kind passes for the other."""

        def lie(header: Header, packet: bytes) -> list[bytes]:
            if not header.flags & FLAG_GROUP:
                return [packet]
            changed = bytearray(packet)
            changed[6:8] = bytes(2)
            changed[14:16] = CLIENT.to_bytes(2)
            return [bytes(changed)]

        self.check(lie)
