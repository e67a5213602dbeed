"""porttunnel.net.gateway.password_desk"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from porttunnel.errors import ConfigurationError, GatewayBusy
from porttunnel.keys import credentials
from porttunnel.net.gateway import password_desk
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.password_desk import PasswordDesk
from porttunnel.net.gateway.sqlite_store import SQLiteGatewayStore
from porttunnel.net.store.sqlite_file import IN_MEMORY
from tests.net.gateway.turns import Turns

INSTANCE, DEVICE, NOBODY = "1" * 32, "d" * 32, "f" * 32
PASSWORD, NEXT, DEVICE_PASSWORD, WRONG = (digit.encode() * 32 for digit in "pnqw")
HOUR = 3_600.0


def hashed(password: bytes) -> str:
    return credentials.hash_password(password, b"s" * 16, 1)  # its cost is another's test


class Scene:
    def __init__(self, store: SQLiteGatewayStore) -> None:
        self.store = store
        self.disk = Turns()
        self.cores = Turns()
        self.promoted: list[str] = []
        self.desk = PasswordDesk(
            store, self.disk.run, self.cores.run, on_promoted=self.promoted.append
        )
        self.now = 0.0

    def check(
        self, user: str = INSTANCE, password: bytes = PASSWORD, prefix: str = "a"
    ) -> Deferred[Account | None]:
        return self.desk.check(user, password, prefix, self.now)

    def known(self, user: str = INSTANCE, password: bytes = PASSWORD) -> Account | None:
        return self.desk.known(user, password, self.now)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with closing(SQLiteGatewayStore(IN_MEMORY)) as store:
        store.add_instance(INSTANCE, hashed(PASSWORD), 10)
        store.add_device(DEVICE, INSTANCE, b"k" * 32, 600.0, 10)
        store.claim(b"k" * 32, b"n" * 32, hashed(DEVICE_PASSWORD), 1.0)
        yield Scene(store)


def result(deferred: Deferred[Account | None]) -> Account | None:
    results: list[Account | None] = []
    deferred.addCallback(results.append)
    assert len(results) == 1, "it is not done, or failed"
    return results[0]


def failure(deferred: Deferred[Account | None]) -> Exception:
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    assert len(failures) == 1, "it did not fail"
    error = failures[0].value
    assert isinstance(error, Exception)
    return error


# Right and wrong


def test_a_right_password_opens_its_account(scene: Scene) -> None:
    account = result(scene.check())
    assert account == Account(INSTANCE, INSTANCE)
    assert not account.is_device
    device = result(scene.check(DEVICE, DEVICE_PASSWORD))
    assert device == Account(DEVICE, INSTANCE)
    assert device.is_device


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (INSTANCE, WRONG),
        (INSTANCE, b""),
        (INSTANCE, DEVICE_PASSWORD),
        (DEVICE, PASSWORD),
        (NOBODY, PASSWORD),
        ("", PASSWORD),
        ("1" * 31, PASSWORD),
        (INSTANCE.upper() + "\n", PASSWORD),
        (INSTANCE, PASSWORD * 5),
    ],
)
def test_a_wrong_password_opens_nothing(scene: Scene, user: str, password: bytes) -> None:
    assert result(scene.check(user, password)) is None
    assert scene.known(user, password) is None


def test_who_is_unknown_costs_as_much_as_who_is_known(scene: Scene) -> None:
    assert result(scene.check(INSTANCE, WRONG)) is None
    known = scene.disk.count, scene.cores.count
    assert result(scene.check(NOBODY, WRONG)) is None
    assert (scene.disk.count, scene.cores.count) == (2 * known[0], 2 * known[1])
    assert scene.desk._no_hash.split("$")[1] == str(credentials.PASSWORD_ITERATIONS)


def test_what_can_be_no_account_costs_nothing(scene: Scene) -> None:
    result(scene.check("nobody"))
    result(scene.check(INSTANCE, b"p" * 1_000))
    assert (scene.disk.count, scene.cores.count) == (0, 0)


def test_a_hash_has_the_full_cost(scene: Scene) -> None:
    made: list[str] = []
    Deferred.fromCoroutine(scene.desk.hash(PASSWORD)).addCallback(made.append)
    assert made[0].startswith(f"pbkdf2-sha256${credentials.PASSWORD_ITERATIONS}$")
    assert credentials.verify_password(PASSWORD, made[0])
    assert scene.cores.count == 1


# What is known again


def test_what_was_right_is_known_for_an_hour(scene: Scene) -> None:
    assert scene.known() is None
    result(scene.check())
    cost = scene.cores.count
    scene.now = HOUR - 1
    assert scene.known() == Account(INSTANCE, INSTANCE)
    assert result(scene.check()) == Account(INSTANCE, INSTANCE)
    assert scene.cores.count == cost
    scene.now = HOUR
    assert scene.known() is None
    assert result(scene.check()) == Account(INSTANCE, INSTANCE)
    assert scene.cores.count == cost + 1


def test_what_was_right_of_one_is_wrong_of_another(scene: Scene) -> None:
    result(scene.check())
    assert scene.known(DEVICE, PASSWORD) is None
    assert scene.known(INSTANCE, WRONG) is None


def test_the_password_itself_is_not_kept(scene: Scene) -> None:
    result(scene.check())
    assert PASSWORD not in repr(scene.desk._proofs).encode()
    assert PASSWORD.decode() not in repr(vars(scene.desk))


def test_what_is_forgotten_is_looked_up_again(scene: Scene) -> None:
    result(scene.check(DEVICE, DEVICE_PASSWORD))
    scene.store.remove_device(DEVICE, INSTANCE)
    scene.desk.forget(DEVICE)
    assert scene.known(DEVICE, DEVICE_PASSWORD) is None
    assert result(scene.check(DEVICE, DEVICE_PASSWORD)) is None
    scene.desk.forget(NOBODY)


def test_only_so_much_is_known_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_desk, "MAX_KNOWN", 1)
    result(scene.check())
    result(scene.check(DEVICE, DEVICE_PASSWORD))
    assert scene.known() is None
    assert scene.known(DEVICE, DEVICE_PASSWORD) is not None


def test_what_is_over_is_not_kept(scene: Scene) -> None:
    result(scene.check())
    scene.now = HOUR
    result(scene.check(DEVICE, DEVICE_PASSWORD))
    assert list(scene.desk._proofs) == [DEVICE]


# Limits


def make_suspect(scene: Scene) -> None:
    for number in range(password_desk.WRONG_PER_MINUTE):
        assert result(scene.check(f"{number:032x}")) is None


def assert_too_many(deferred: Deferred[Account | None]) -> None:
    error = failure(deferred)
    assert isinstance(error, GatewayBusy)
    assert error.too_many
    assert error.retry_seconds == 60.0


@pytest.mark.parametrize("user", [NOBODY, "nobody"])
def test_after_wrong_ones_nobody_looks_for_a_while(scene: Scene, user: str) -> None:
    make_suspect(scene)
    cost = scene.cores.count
    for _ in range(10):
        assert_too_many(scene.check(user))
    assert scene.cores.count == cost
    assert result(scene.check(user, prefix="b")) is None
    scene.now = 60.0
    assert result(scene.check(user)) is None


def test_wrong_ones_keep_no_neighbour_out(scene: Scene) -> None:
    """A whole office comes from one address, or all the world from one proxy."""
    make_suspect(scene)
    assert result(scene.check()) is not None
    assert result(scene.check(DEVICE, DEVICE_PASSWORD)) is not None


def test_a_neighbour_is_not_tried_often_then(scene: Scene) -> None:
    make_suspect(scene)
    cost = scene.cores.count
    for _ in range(password_desk.WRONG_PER_MINUTE_OF_ONE):
        assert_too_many(scene.check(INSTANCE, WRONG))
    assert scene.cores.count == cost + password_desk.WRONG_PER_MINUTE_OF_ONE
    assert_too_many(scene.check(INSTANCE, WRONG))
    assert_too_many(scene.check())
    assert scene.cores.count == cost + password_desk.WRONG_PER_MINUTE_OF_ONE
    # Who is somewhere else is not touched by it, nor is another user.
    assert result(scene.check(prefix="b")) is not None
    assert result(scene.check(DEVICE, DEVICE_PASSWORD)) is not None
    # Who is known is let in: that costs nothing.
    assert result(scene.check()) is not None


def test_right_ones_count_for_nothing(scene: Scene) -> None:
    for _ in range(password_desk.WRONG_PER_HOUR + 1):
        assert result(scene.check()) is not None
        scene.desk.forget(INSTANCE)


def test_only_so_many_wait(scene: Scene) -> None:
    scene.disk.are_held = True
    waiting = [
        scene.check(f"{n:032x}", WRONG, f"prefix {n}") for n in range(password_desk.MAX_WAITING)
    ]
    assert scene.disk.waiting() == password_desk.MAX_WAITING == 64
    error = failure(scene.check())
    assert isinstance(error, GatewayBusy)
    assert not error.too_many
    scene.disk.release()
    assert [result(each) for each in waiting] == [None] * len(waiting)
    assert result(scene.check()) is not None


def test_a_flood_of_unknown_users_costs_no_others_time(scene: Scene) -> None:
    scene.cores.are_held = True
    for number in range(10 * password_desk.MAX_WAITING):
        scene.check(f"{number:032x}", WRONG, f"prefix {number}")
    assert scene.cores.waiting() == password_desk.MAX_QUIET
    checking = scene.check()
    assert scene.cores.waiting() == password_desk.MAX_QUIET + 1
    scene.cores.release()
    assert result(checking) is not None


def test_one_prefix_does_not_fill_all_places(scene: Scene) -> None:
    scene.disk.are_held = True
    waiting = [
        scene.check(f"{n:032x}", WRONG) for n in range(password_desk.MAX_WAITING_PER_PREFIX)
    ]
    assert isinstance(failure(scene.check()), GatewayBusy)
    other = scene.check(prefix="b")
    scene.disk.release()
    assert result(other) is not None
    assert len(waiting) < password_desk.MAX_WAITING


def test_who_shows_the_same_at_the_same_time_pays_once(scene: Scene) -> None:
    scene.cores.are_held = True
    checking = [scene.check(prefix=f"prefix {n}") for n in range(500)]
    wrong = [scene.check(INSTANCE, WRONG) for _ in range(500)]
    assert scene.cores.waiting() == 2
    checking[7].cancel()
    failure(checking.pop(7))
    scene.cores.release()
    assert {result(each) for each in checking} == {Account(INSTANCE, INSTANCE)}
    assert {result(each) for each in wrong} == {None}
    assert scene.cores.count == 2
    assert scene.desk._looks == {}


def test_who_waits_with_others_hears_of_a_failure_too(scene: Scene) -> None:
    scene.store.set_next_password(INSTANCE, "nonsense")
    scene.cores.are_held = True
    checking = [scene.check(INSTANCE, WRONG) for _ in range(2)]
    scene.cores.release()
    assert [type(failure(each)) for each in checking] == [ConfigurationError] * 2


def test_a_store_that_fails_is_no_wrong_password(scene: Scene) -> None:
    scene.store.set_next_password(INSTANCE, "nonsense")
    for _ in range(password_desk.WRONG_PER_MINUTE + 1):
        assert isinstance(failure(scene.check(INSTANCE, WRONG)), ConfigurationError)
    assert scene.desk._looks == {}
    assert result(scene.check()) is not None


# Another password


def test_the_old_password_is_good_until_the_new_one_came(scene: Scene) -> None:
    result(scene.check())
    scene.store.set_next_password(INSTANCE, hashed(NEXT))
    scene.desk.forget(INSTANCE)
    assert result(scene.check()) == Account(INSTANCE, INSTANCE)
    assert scene.promoted == []
    assert result(scene.check(password=NEXT)) == Account(INSTANCE, INSTANCE)
    assert scene.promoted == [INSTANCE]
    assert scene.known() is None
    assert scene.known(password=NEXT) is not None
    assert result(scene.check()) is None
    assert result(scene.check(password=NEXT)) is not None
    assert scene.promoted == [INSTANCE]


def test_a_wrong_password_is_neither_the_old_nor_the_new(scene: Scene) -> None:
    scene.store.set_next_password(INSTANCE, hashed(NEXT))
    assert result(scene.check(password=WRONG)) is None
    assert scene.promoted == []


def test_a_new_password_that_is_replaced_while_it_logs_in(scene: Scene) -> None:
    scene.store.set_next_password(INSTANCE, hashed(NEXT))
    scene.cores.are_held = True
    checking = scene.check(password=NEXT)
    scene.cores.release_one()  # the old one: it is not that
    scene.store.set_next_password(INSTANCE, hashed(WRONG))
    scene.desk.forget(INSTANCE)
    scene.cores.release()
    assert result(checking) is None
    assert scene.promoted == []
    assert scene.known(password=NEXT) is None


def test_a_new_password_that_another_process_replaces(scene: Scene) -> None:
    scene.store.set_next_password(INSTANCE, hashed(NEXT))
    scene.cores.are_held = True
    checking = scene.check(password=NEXT)
    scene.cores.release_one()
    scene.store.set_next_password(INSTANCE, hashed(WRONG))
    scene.cores.release()
    assert result(checking) is None


def test_an_old_password_that_is_looked_at_while_the_new_one_logs_in(scene: Scene) -> None:
    """What was read of it is not so any more: it must not be known for an hour."""
    scene.store.set_next_password(INSTANCE, hashed(NEXT))
    scene.cores.are_held = True
    new = scene.check(password=NEXT)
    scene.cores.release_one()  # it is not the old one
    old = scene.check()
    scene.cores.release_one()  # but the new one
    assert scene.promoted == [INSTANCE]
    scene.cores.release()
    assert result(old) is None
    assert scene.known() is None
    assert result(new) is not None
    assert scene.known(password=NEXT) is not None


def test_who_is_revoked_while_his_password_is_looked_at_is_not_let_in(scene: Scene) -> None:
    scene.cores.are_held = True
    checking = scene.check(DEVICE, DEVICE_PASSWORD)
    also = scene.check(DEVICE, DEVICE_PASSWORD)
    stranger = scene.check()
    scene.store.remove_device(DEVICE, INSTANCE)
    scene.desk.forget(DEVICE)
    scene.cores.release()
    assert result(checking) is None
    assert result(also) is None
    assert result(stranger) is not None
    assert scene.known(DEVICE, DEVICE_PASSWORD) is None
    assert scene.desk._looks == {}
