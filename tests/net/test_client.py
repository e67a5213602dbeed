"""porttunnel.net.client"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer, threads
from twisted.internet.error import ConnectError

from porttunnel.errors import (
    AuthenticationFailed,
    CodeUsedUp,
    ConfigurationError,
    ConsentRefused,
    CutOff,
    LocalProtocolError,
    MistypedCode,
    NoSuchNumber,
    SessionEnded,
)
from porttunnel.keys.hybrid import HybridPrivateKey
from porttunnel.net import client
from porttunnel.net.client import join
from porttunnel.net.master import SharedSession
from porttunnel.session import event, request
from porttunnel.session.code import SessionCode, format_code, format_link
from porttunnel.session.packet import SERVER, PacketType, encode_packet
from tests.conformance import End, factory_of
from tests.net.in_memory import InMemoryTestCase
from tests.tunnel import shared_key


def wrong_code(shared: SharedSession) -> SessionCode:
    """Another PIN for the same number."""
    return SessionCode(shared.number, pin=f"{(int(shared.code.pin or 0) + 1) % 10**6:06}")


class JoiningTests(InMemoryTestCase):
    def test_what_is_known_then(self) -> None:
        shared = self.share("web=8000", name="Anna")
        joined = self.join(shared, name="Ben")
        self.assertEqual((joined.local_member, joined.master_name), (2, "Anna"))
        self.assertEqual([service.name for service in joined.services], ["web"])
        self.assertEqual([member.name for member in joined.members], ["Anna", "Ben"])
        self.assertEqual(len(joined.session_id), 16)
        self.join(shared, name="Carla")
        names = [member.name for member in joined.members]
        self.assertEqual(names, ["Anna", "Ben", "Carla"])

    def test_the_code_may_be_text_or_a_link(self) -> None:
        shared = self.share()
        self.join(shared, code=format_code(shared.code))
        assert shared.invitation is not None
        assert shared.invitation.link is not None
        self.join(shared, code=format_link(shared.invitation.link))

    def test_what_cannot_be_right_is_not_sent(self) -> None:
        joining = self.start(join(self.clock, self.endpoint, "4821 3604 2198"))
        self.failureResultOf(joining, MistypedCode)
        joining = self.start(join(self.clock, "ftp://host", "48213"))
        self.failureResultOf(joining, ConfigurationError)
        self.assertEqual(self.endpoint.pumps, [])

    def test_a_number_that_is_none(self) -> None:
        shared = self.share()
        other = SessionCode(shared.number % 89_999 + 10_000 + 1, pin="123456")
        self.failureResultOf(self.begin_join(shared, code=other), NoSuchNumber)

    def test_a_key_is_made_when_none_is_given(self) -> None:
        made: list[Any] = []

        def make(function: Any) -> defer.Deferred[HybridPrivateKey]:
            made.append(function)
            return defer.succeed(shared_key())

        self.patch(client, "deferToThread", make)
        shared = self.share()
        self.successResultOf(self.start(join(self.clock, self.endpoint, shared.code)))
        self.assertEqual(made, [HybridPrivateKey.generate])
        self.assertIs(threads.deferToThread.__name__, "deferToThread")

    def test_a_key_may_come_late(self) -> None:
        key: defer.Deferred[HybridPrivateKey] = defer.Deferred()
        joining = self.begin_join(self.share(), key=key)
        self.assertNoResult(joining)
        key.callback(shared_key())
        self.run_lines()
        self.successResultOf(joining)

    def test_a_no_is_told(self) -> None:
        shared = self.share(on_consent=lambda asked: False)
        asked: list[Any] = []
        joining = self.begin_join(shared, ask_again=lambda error, left: asked.append(error))
        self.failureResultOf(joining, ConsentRefused)
        # A no is an answer: it is not for the user to type again.
        self.assertEqual(asked, [])

    def test_a_session_that_ends_meanwhile(self) -> None:
        never: defer.Deferred[bool] = defer.Deferred()

        async def consent(_asked: event.ConsentAsked) -> bool:
            return await never

        shared = self.share(on_consent=consent)
        joining = self.begin_join(shared)
        shared.close("later then")
        self.run_lines()
        failed = self.failureResultOf(joining, CutOff, ConsentRefused)
        self.assertTrue(str(failed.value))

    def test_a_cancelled_join_leaves(self) -> None:
        never: defer.Deferred[bool] = defer.Deferred()

        async def consent(_asked: event.ConsentAsked) -> bool:
            return await never

        joining = self.begin_join(self.share(on_consent=consent))
        joining.cancel()
        self.run_lines()
        self.pass_time(10.0)
        self.failureResultOf(joining, defer.CancelledError)
        self.assertEqual(len(self.server.links), 1)

    def test_leaving_is_told_to_the_master(self) -> None:
        _shared, joined = self.pair()
        leaving = joined.close("bye")
        self.run_lines()
        self.pass_time(10.0)
        self.successResultOf(leaving)
        (left,) = self.happened(event.MemberLeft)
        self.assertEqual((left.member, left.cut_off), (2, False))

    def test_listens_for_the_master(self) -> None:
        shared, joined = self.pair()
        server, client = End(), End()
        self.successResultOf(joined.listen("inbox").listen(factory_of(server)))
        opening = shared.endpoint(2, "inbox").connect(factory_of(client))
        self.run_lines()
        self.successResultOf(opening)
        client.transport.write(b"for you")
        self.run_lines()
        self.assertEqual(server.data, b"for you")

    def test_has_no_streams_before_it_is_in(self) -> None:
        never: defer.Deferred[bool] = defer.Deferred()

        async def consent(_asked: event.ConsentAsked) -> bool:
            return await never

        sessions: list[Any] = []
        self.begin_join(
            self.share(on_consent=consent),
            on_event=lambda session, happened: sessions.append(session),
        )
        opening = sessions[0].endpoint("web").connect(factory_of(End()))
        self.failureResultOf(opening, LocalProtocolError)


class WrongCodeTests(InMemoryTestCase):
    def again(self, code: SessionCode | None) -> Any:
        self.left: list[int] = []

        async def ask_again(error: AuthenticationFailed, left: int) -> SessionCode | None:
            self.assertIsInstance(error, AuthenticationFailed)
            self.left.append(left)
            return code

        return ask_again

    def join_wrongly(self, shared: SharedSession, **options: Any) -> defer.Deferred[Any]:
        self.patch(client, "deferToThread", lambda function: defer.succeed(shared_key()))
        return self.begin_join(shared, code=wrong_code(shared), **options)

    def test_is_final_when_nobody_can_type(self) -> None:
        joining = self.join_wrongly(self.share())
        self.failureResultOf(joining, AuthenticationFailed)

    def test_is_final_when_the_user_gives_up(self) -> None:
        joining = self.join_wrongly(self.share(), ask_again=self.again(None))
        self.failureResultOf(joining, AuthenticationFailed)
        self.assertEqual(self.left, [2])

    def test_can_be_typed_again(self) -> None:
        shared = self.share()
        joined = self.successResultOf(self.join_wrongly(shared, ask_again=self.again(shared.code)))
        self.assertEqual(self.left, [2])
        self.assertEqual(joined.local_member, 3)

    def test_three_times_uses_the_code_up(self) -> None:
        shared = self.share()
        joining = self.join_wrongly(shared, ask_again=self.again(wrong_code(shared)))
        self.failureResultOf(joining, CodeUsedUp)
        self.assertEqual(self.left, [2, 1])

    # Whoever is in the way could cut the link when a guess was wrong, and try again.

    def test_a_link_that_breaks_after_the_guess_gives_no_second_one(self) -> None:
        # All is said again bit for bit, so the answer is the same.
        joining = self.guess_and_cut(wrong_code)
        self.assertNoResult(joining)
        self.pass_time(1.0)
        self.failureResultOf(joining, AuthenticationFailed)
        self.assertEqual(self.left, [2])
        joined = self.guess_and_cut(lambda shared: shared.code)
        self.pass_time(1.0)
        self.successResultOf(joined)
        self.assertEqual(self.left, [])

    def test_a_link_that_stays_away_after_the_guess_counts_as_one(self) -> None:
        joining = self.guess_and_cut(lambda shared: shared.code)
        self.endpoint.failure = ConnectError()
        self.pass_time(60.0)
        self.failureResultOf(joining, AuthenticationFailed)
        self.assertEqual(self.left, [2])

    def test_an_end_that_the_server_tells_after_the_guess_counts_as_one(self) -> None:
        joining, line = self.guess(lambda shared: shared.code)
        closed = request.encode(request.Closed(reason="it says"))
        driver = line.client._receiver
        packet = encode_packet(PacketType.EVENT, SERVER, driver._machine.member, closed)
        driver.carrier_received(memoryview(bytearray(packet)))
        driver.reading_done()
        self.failureResultOf(joining, SessionEnded)
        self.assertEqual(self.left, [2])

    def guess_and_cut(self, choose: Callable[[SharedSession], SessionCode]) -> defer.Deferred[Any]:
        """Join, and lose the link with the proof on it."""
        joining, _line = self.guess(choose)
        self.cut(-1)
        return joining

    def guess(
        self, choose: Callable[[SharedSession], SessionCode]
    ) -> tuple[defer.Deferred[Any], Any]:
        """Join, until the proof is on the link."""
        shared = self.share()
        key: defer.Deferred[HybridPrivateKey] = defer.Deferred()
        joining = self.begin_join(shared, code=choose(shared), key=key, ask_again=self.again(None))
        key.callback(shared_key())
        line = self.endpoint.pumps[-1]
        while not self.has_guessed(line):
            self.clock.advance(0)
            for pump in self.endpoint.pumps:
                pump.pump(advanceClock=False)
        return joining, line

    def has_guessed(self, line: Any) -> bool:
        return bool(line.client._receiver._machine.code_used_up)
