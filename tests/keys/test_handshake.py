"""porttunnel/keys/handshake.py: both sides get the same keys, or one of them gets an error."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import mlkem, rsa
from hypothesis import given
from hypothesis import strategies as st

from porttunnel import errors
from porttunnel.errors import AuthenticationFailed, LocalProtocolError, RemoteProtocolError
from porttunnel.keys.handshake import (
    ClientHandshake,
    Established,
    HandshakeMode,
    MasterHandshake,
    decode_c1,
)
from porttunnel.keys.hybrid import Encapsulation, HybridPrivateKey
from porttunnel.keys.primitives import MlkemPrivateKey, RsaPrivateKey
from tests.keys.reference import VECTORS
from tests.keys.runs import (
    MEMBER,
    PASSWORDS,
    SESSION_ID,
    answer,
    hybrid_key,
    make_client,
    make_master,
    values_of,
)

PIN, SAS, LINK, REJOIN = HandshakeMode
each_mode = pytest.mark.parametrize("mode", list(HandshakeMode))

TYPED = (RemoteProtocolError, AuthenticationFailed)
# Where a turned bit changes what the message says, and not only what it is: version to first
# length, and the lengths in the middle. All their bits are turned in every run; of the rest
# every 61st (61 has no divisor in common with 8, so each bit position has its turn).
C1_STRUCTURE = [*range(26), 58, 59, 354, 355]
M2_STRUCTURE = [*range(5), 37, 38, 71, 72, 329, 330]
STRIDE = 61

SEEN = b"the other side's words"


def run(mode: HandshakeMode) -> tuple[Established, Established]:
    """An undisturbed run: what the client and the master hold at its end."""
    client = make_client(mode)
    master = make_master(client.c1, mode)
    confirming = client.receive_m2(master.m2)
    finished = master.receive_c3(confirming.c3)
    return confirming.receive_m4(finished.m4), finished.established


class TestAgreement:
    @each_mode
    def test_both_sides_hold_the_same(self, mode: HandshakeMode) -> None:
        client, master = run(mode)
        assert values_of(client) == values_of(master)

    @each_mode
    def test_digits_are_shown_in_sas_only(self, mode: HandshakeMode) -> None:
        client, _ = run(mode)
        shown = (client.sas_client_shows, client.sas_master_shows)
        assert [len(digits) for digits in shown] == ([6, 6] if mode is SAS else [0, 0])

    @pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
    def test_messages_may_be_views(self, form: Callable[[bytes], Any]) -> None:
        client = make_client()
        master = make_master(form(client.c1))
        confirming = client.receive_m2(form(master.m2))
        finished = master.receive_c3(form(confirming.c3))
        assert values_of(confirming.receive_m4(form(finished.m4))) == values_of(
            finished.established
        )

    @given(
        number=st.integers(10_000, 99_999_999),
        session_id=st.binary(min_size=16, max_size=16),
        member=st.integers(2, 0xFFFD),
        prs=st.binary(min_size=1, max_size=80),
        random=st.lists(st.binary(min_size=32, max_size=32), min_size=4, max_size=4),
    )
    def test_with_any_values(
        self, number: int, session_id: bytes, member: int, prs: bytes, random: list[bytes]
    ) -> None:
        both: dict[str, Any] = {"number": number, "session_id": session_id, "member": member}
        both["prs"] = prs
        client = make_client(**both, scalar=random[0], nonce=random[1])
        master = make_master(
            client.c1, **both, scalar=random[2], nonce=random[3], encapsulation=answer()
        )
        confirming = client.receive_m2(master.m2)
        finished = master.receive_c3(confirming.c3)
        assert values_of(confirming.receive_m4(finished.m4)) == values_of(finished.established)

    def test_the_former_run_gives_the_next_ones_password(self) -> None:
        former, _ = run(PIN)
        prs = former.rejoin.hex().encode()
        client = make_client(REJOIN, prs=prs, former=MEMBER, member=MEMBER + 1)
        assert decode_c1(client.c1).former == MEMBER
        master = make_master(client.c1, REJOIN, prs=prs, member=MEMBER + 1)
        finished = master.receive_c3(client.receive_m2(master.m2).c3)
        assert finished.established.rejoin != former.rejoin


def load_vectors() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / "handshake.json").read_text(encoding="utf-8"))
    return loaded


def vector_key(vectors: dict[str, Any]) -> HybridPrivateKey:
    p, q, d = (int(value, 16) for value in vectors["rsa_private"])
    numbers = rsa.RSAPrivateNumbers(
        p,
        q,
        d,
        rsa.rsa_crt_dmp1(d, p),
        rsa.rsa_crt_dmq1(d, q),
        rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(65537, p * q),
    )
    seed = bytes.fromhex(vectors["mlkem_seed"])
    return HybridPrivateKey(
        RsaPrivateKey(numbers.private_key()),
        MlkemPrivateKey(mlkem.MLKEM768PrivateKey.from_seed_bytes(seed)),
    )


def start_vector(
    vectors: dict[str, Any], run_index: int
) -> tuple[ClientHandshake, Callable[[bytes], MasterHandshake]]:
    """The client of one run, and its master as a function of the C1 that arrives."""
    inputs: dict[str, Any] = {
        name: bytes.fromhex(value) if isinstance(value, str) and name != "mode" else value
        for name, value in vectors["runs"][run_index]["inputs"].items()
    }
    both = {name: inputs[name] for name in ("number", "session_id", "member", "prs")}
    both["mode"] = HandshakeMode[inputs["mode"]]
    client = ClientHandshake(
        **both,
        key=vector_key(vectors),
        scalar=inputs["client_scalar"],
        nonce=inputs["client_nonce"],
        fallback=bytes(32),
        former=inputs["former"],
    )
    rsa_secret, mlkem_secret = inputs["rsa_secret"], inputs["mlkem_secret"]
    sent = Encapsulation(
        inputs["rsa_ciphertext"],
        inputs["mlkem_ciphertext"],
        b"\0\x20" + rsa_secret + b"\0\x20" + mlkem_secret,
    )
    return client, lambda c1: MasterHandshake(
        **both,
        c1=c1,
        encapsulation=sent,
        scalar=inputs["master_scalar"],
        nonce=inputs["master_nonce"],
    )


class TestVectors:
    """tests/vectors/handshake.json, made by tests/keys/reference.py."""

    @pytest.mark.parametrize("index", range(4))
    def test_every_message_and_secret(self, index: int) -> None:
        vectors = load_vectors()
        expected = vectors["runs"][index]["expected"]
        client, start_master = start_vector(vectors, index)
        assert client.c1.hex() == expected["c1"]
        master = start_master(client.c1)
        assert master.m2.hex() == expected["m2"]
        confirming = client.receive_m2(master.m2)
        assert confirming.c3.hex() == expected["c3"]
        finished = master.receive_c3(confirming.c3)
        assert finished.m4.hex() == expected["m4"]
        for established in (confirming.receive_m4(finished.m4), finished.established):
            for name, value in values_of(established).items():
                shown = value.hex() if isinstance(value, bytes) else value
                assert shown == expected[name], name

    @pytest.mark.parametrize("failure", load_vectors()["failures"], ids=str)
    def test_every_failure(self, failure: dict[str, Any]) -> None:
        def turn(name: str, body: bytes) -> bytes:
            offset = failure["offset"] if name == failure["message"] else None
            return body if offset is None else turned(body, 8 * offset)

        client, start_master = start_vector(load_vectors(), 0)
        reached = ""
        error = getattr(errors, failure["error"])
        with pytest.raises(error):  # noqa: PT012  # the step that raises is what is checked
            reached = "master c1"
            master = start_master(turn("c1", client.c1))
            reached = "client m2"
            confirming = client.receive_m2(turn("m2", master.m2))
            reached = "master c3"
            finished = master.receive_c3(turn("c3", confirming.c3))
            reached = "client m4"
            confirming.receive_m4(turn("m4", finished.m4))
        assert reached == failure["at"]


def turned(body: bytes, bit: int) -> bytes:
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def bits_to_turn(length: int, structure: Iterable[int] = ()) -> list[int]:
    bits = {8 * byte + bit for byte in structure for bit in range(8)}
    return sorted(bits | set(range(0, 8 * length, STRIDE)))


def turn_in_c1(bit: int, mode: HandshakeMode) -> None:
    """The master must notice, at the latest at C3; then the client never gets an M4."""
    client = make_client(mode)
    with pytest.raises(TYPED):  # noqa: PT012  # wherever in the run: at the latest at C3
        master = make_master(turned(client.c1, bit), mode)
        master.receive_c3(client.receive_m2(master.m2).c3)


def turn_in_m2(bit: int, mode: HandshakeMode) -> None:
    """Either the client notices, or the master at C3."""
    client = make_client(mode)
    master = make_master(client.c1, mode, encapsulation=answer())
    with pytest.raises(TYPED):
        master.receive_c3(client.receive_m2(turned(master.m2, bit)).c3)


class TestEveryBit:
    """Whatever bit is turned on the way: never two sides with keys, always a typed error."""

    @pytest.mark.parametrize("mode", [PIN, SAS])
    def test_c1_sampled(self, mode: HandshakeMode) -> None:
        for bit in bits_to_turn(len(make_client(mode).c1), C1_STRUCTURE):
            turn_in_c1(bit, mode)

    @pytest.mark.parametrize("mode", [PIN, SAS])
    def test_m2_sampled(self, mode: HandshakeMode) -> None:
        for bit in bits_to_turn(1387, M2_STRUCTURE):
            turn_in_m2(bit, mode)

    @pytest.mark.long
    @each_mode
    def test_c1_all(self, mode: HandshakeMode) -> None:
        for bit in range(8 * len(make_client(mode).c1)):
            turn_in_c1(bit, mode)

    @pytest.mark.long
    @each_mode
    def test_m2_all(self, mode: HandshakeMode) -> None:
        for bit in range(8 * (1387 if mode is SAS else 1419)):
            turn_in_m2(bit, mode)

    @pytest.mark.parametrize("bit", range(512))
    def test_c3_all(self, bit: int) -> None:
        client = make_client(SAS)
        master = make_master(client.c1, SAS, encapsulation=answer())
        confirming = client.receive_m2(master.m2)
        with pytest.raises(AuthenticationFailed):
            master.receive_c3(turned(confirming.c3, bit))

    @pytest.mark.parametrize("bit", range(256))
    def test_m4_all(self, bit: int) -> None:
        client = make_client(SAS)
        master = make_master(client.c1, SAS, encapsulation=answer())
        confirming = client.receive_m2(master.m2)
        finished = master.receive_c3(confirming.c3)
        with pytest.raises(AuthenticationFailed):
            confirming.receive_m4(turned(finished.m4, bit))


class TestWrongPeer:
    @pytest.mark.parametrize("mode", [PIN, LINK, REJOIN])
    def test_a_wrong_password_fails_at_the_master_first(self, mode: HandshakeMode) -> None:
        """The client has sent one guess and learned nothing: no M4 exists."""
        client = make_client(mode, prs=PASSWORDS[mode][:-1] + b"0")
        master = make_master(client.c1, mode)
        confirming = client.receive_m2(master.m2)
        with pytest.raises(AuthenticationFailed):
            master.receive_c3(confirming.c3)
        assert not hasattr(master, "m4")

    def test_a_client_has_one_guess_in_a_run(self) -> None:
        """A second C3 meets nothing to be checked against, even if it were the right one."""
        client = make_client()
        master = make_master(client.c1)
        c3 = client.receive_m2(master.m2).c3
        with pytest.raises(AuthenticationFailed):
            master.receive_c3(turned(c3, 511))
        with pytest.raises(LocalProtocolError):
            master.receive_c3(c3)

    def test_a_master_has_one_guess_in_a_run(self) -> None:
        client = make_client()
        master = make_master(client.c1)
        confirming = client.receive_m2(master.m2)
        finished = master.receive_c3(confirming.c3)
        with pytest.raises(AuthenticationFailed):
            confirming.receive_m4(turned(finished.m4, 0))
        with pytest.raises(LocalProtocolError):
            confirming.receive_m4(finished.m4)

    def test_a_master_that_does_not_know_the_pin_cannot_confirm(self) -> None:
        client = make_client()
        impostor = make_master(client.c1, prs=b"604218")
        confirming = client.receive_m2(impostor.m2)
        with pytest.raises(AuthenticationFailed):
            confirming.receive_m4(SEEN.ljust(32))

    @pytest.mark.parametrize("share", [bytes(32), b"\1" + bytes(31)])
    def test_low_order_shares_abort_on_both_sides(self, share: bytes) -> None:
        c1 = bytearray(make_client().c1)
        c1[26:58] = share
        with pytest.raises(AuthenticationFailed):
            make_master(c1)
        client = make_client()
        m2 = bytearray(make_master(client.c1).m2)
        m2[39:71] = share
        with pytest.raises(AuthenticationFailed):
            client.receive_m2(m2)

    def test_a_nonce_that_was_not_committed_to_fails(self) -> None:
        """With a right mac too: in SAS a free nonce would let a relay choose the digits."""
        client = make_client(SAS)
        master = make_master(client.c1, SAS)
        client._nonce = b"C" * 32
        confirming = client.receive_m2(master.m2)
        with pytest.raises(AuthenticationFailed):
            master.receive_c3(confirming.c3)

    def test_the_clients_own_messages_sent_back(self) -> None:
        with pytest.raises(RemoteProtocolError):
            make_client().receive_m2(make_client().c1)
        client = make_client()
        confirming = client.receive_m2(make_master(client.c1).m2)
        with pytest.raises(RemoteProtocolError):
            confirming.receive_m4(confirming.c3)

    def test_the_clients_own_values_in_the_masters_messages(self) -> None:
        """A share and a mac that the client made itself prove nothing to it."""
        client = make_client()
        master = make_master(client.c1)
        m2 = bytearray(master.m2)
        m2[39:71] = client.c1[26:58]
        confirming = client.receive_m2(m2)
        with pytest.raises(AuthenticationFailed):
            confirming.receive_m4(confirming.c3[32:])

    def test_the_masters_own_messages_sent_back(self) -> None:
        master = make_master(make_client().c1)
        with pytest.raises(RemoteProtocolError):
            decode_c1(master.m2)
        with pytest.raises(RemoteProtocolError):
            master.receive_c3(master.m2)

    def test_messages_of_another_run_fail(self) -> None:
        """A recording of the very same people with the very same PIN."""
        old_client, client = make_client(), make_client(nonce=b"D" * 32)
        old_master, master = make_master(old_client.c1), make_master(client.c1)
        old_c3 = old_client.receive_m2(old_master.m2).c3
        with pytest.raises(AuthenticationFailed):
            master.receive_c3(old_c3)

    def test_another_number_fails(self) -> None:
        client = make_client(number=48214)
        master = make_master(client.c1)
        with pytest.raises(AuthenticationFailed):
            master.receive_c3(client.receive_m2(master.m2).c3)

    def test_a_forged_rsa_ciphertext_fails_like_a_wrong_pin(self) -> None:
        """No oracle: the client goes on, and the master says the one thing that it ever says."""
        client = make_client()
        master = make_master(client.c1)
        confirming = client.receive_m2(turned(master.m2, 8 * 73))
        with pytest.raises(AuthenticationFailed):
            master.receive_c3(confirming.c3)


class TestMismatch:
    @pytest.mark.parametrize(
        ("invited", "came"), [(a, b) for a in HandshakeMode for b in HandshakeMode if a is not b]
    )
    def test_a_mode_that_was_not_invited_is_refused(
        self, invited: HandshakeMode, came: HandshakeMode
    ) -> None:
        with pytest.raises(RemoteProtocolError, match="not invited"):
            make_master(make_client(came).c1, invited)

    @pytest.mark.parametrize("change", [{"member": MEMBER + 1}, {"session_id": b"X" * 16}])
    def test_another_member_or_session_is_refused(self, change: dict[str, Any]) -> None:
        with pytest.raises(RemoteProtocolError, match="another session or member"):
            make_master(make_client(**change).c1)

    def test_an_answer_for_another_member_is_refused(self) -> None:
        client = make_client()
        m2 = bytearray(make_master(client.c1).m2)
        m2[4] += 1
        with pytest.raises(RemoteProtocolError, match="another member"):
            client.receive_m2(m2)

    @pytest.mark.parametrize("offset", [0, 1, 2])
    def test_another_version_or_suite_is_refused(self, offset: int) -> None:
        client = make_client()
        master = make_master(client.c1)
        with pytest.raises(RemoteProtocolError, match="another version"):
            make_master(turned(client.c1, 8 * offset))
        with pytest.raises(RemoteProtocolError, match="another version"):
            client.receive_m2(turned(master.m2, 8 * offset))

    @pytest.mark.parametrize("length", [0, -1, 1])
    def test_wrong_sizes_end_the_run(self, length: int) -> None:
        def resized(body: bytes) -> bytes:
            return body + b"\0" if length == 1 else body[:length]

        client = make_client()
        with pytest.raises(RemoteProtocolError):
            decode_c1(resized(client.c1))
        master = make_master(client.c1)
        with pytest.raises(RemoteProtocolError):
            make_client().receive_m2(resized(master.m2))
        confirming = client.receive_m2(master.m2)
        with pytest.raises(RemoteProtocolError):
            make_master(client.c1).receive_c3(resized(confirming.c3))
        with pytest.raises(RemoteProtocolError):
            confirming.receive_m4(resized(bytes(32)))


class TestOwnMistakes:
    @pytest.mark.parametrize(
        "change",
        [
            {"session_id": bytes(15)},
            {"member": 1},
            {"member": 0xFFFE},
            {"prs": b""},
            {"scalar": bytes(31)},
            {"nonce": bytes(33)},
        ],
        ids=str,
    )
    def test_values_that_nobody_else_can_have_caused(self, change: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"bytes|password"):
            make_client(**change)
        with pytest.raises(ValueError, match=r"bytes|password"):
            make_master(make_client().c1, **change)

    @pytest.mark.parametrize(
        ("mode", "change"),
        [
            (PIN, {"former": 2}),
            (REJOIN, {"former": 0}),
            (PIN, {"fallback": b""}),
            (SAS, {"prs": b"604219"}),
        ],
    )
    def test_values_of_the_client(self, mode: HandshakeMode, change: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"REJOIN|bytes|password"):
            make_client(mode, **change)


class TestSecrecy:
    def holders(self) -> list[object]:
        client = make_client()
        master = make_master(client.c1)
        second = make_client()
        confirming = second.receive_m2(master.m2)
        finished = master.receive_c3(confirming.c3)
        return [
            make_client(),
            make_master(make_client().c1),
            confirming,
            finished,
            finished.established,
            hybrid_key(),
            answer(),
        ]

    def test_no_repr_shows_anything(self) -> None:
        assert [repr(holder) for holder in self.holders()] == [
            "<ClientHandshake (secret)>",
            "<MasterHandshake (secret)>",
            "<ClientConfirming (secret)>",
            "<MasterFinished (secret)>",
            "<Established (secret)>",
            "<HybridPrivateKey (secret)>",
            "<Encapsulation (secret)>",
        ]

    @pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_nothing_is_pickled_or_copied(self, make_copy: Callable[[Any], Any]) -> None:
        for holder in self.holders():
            with pytest.raises(TypeError, match="neither pickled nor copied"):
                make_copy(holder)

    def test_no_error_repeats_a_secret(self) -> None:
        client = make_client(prs=b"999999")
        master = make_master(client.c1)
        with pytest.raises(AuthenticationFailed) as caught:
            master.receive_c3(client.receive_m2(master.m2).c3)
        assert str(caught.value) == AuthenticationFailed.MESSAGE
        assert caught.value.__cause__ is None

    def test_a_phase_forgets_its_secrets_and_keeps_its_message(self) -> None:
        """The message is sent again, bit by bit the same, when a link comes back."""
        client = make_client()
        master = make_master(client.c1)
        confirming = client.receive_m2(master.m2)
        finished = master.receive_c3(confirming.c3)
        confirming.receive_m4(finished.m4)
        for phase, message in ((client, "c1"), (master, "m2"), (confirming, "c3")):
            assert getattr(phase, message)
            for name in set(phase.__slots__) - {message}:
                with pytest.raises(LocalProtocolError):
                    getattr(phase, name)
        assert SESSION_ID in client.c1
