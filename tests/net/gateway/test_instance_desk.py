"""porttunnel.net.gateway.instance_desk"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from porttunnel.errors import GatewayBusy
from porttunnel.net.gateway import instance_desk
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.problem import ProblemKind, RequestRefused
from tests.net.gateway.listening import AccountsInMemory

PREFIX = "192.0.2.1"
NEXT = "e" * 32


@pytest.fixture
def scene() -> Iterator[AccountsInMemory]:
    with closing(AccountsInMemory()) as opened:
        yield opened


def refusal(scene: AccountsInMemory, token: bytes | None = None) -> ProblemKind:
    with pytest.raises(RequestRefused) as caught:
        scene.get(scene.accounts.instances.register(token, PREFIX))
    return caught.value.kind


def test_an_instance_registers(scene: AccountsInMemory) -> None:
    made = scene.get(scene.accounts.instances.register(None, PREFIX))
    other = scene.get(scene.accounts.instances.register(None, PREFIX))
    assert made.instance_id != other.instance_id
    assert made.instance_password != other.instance_password
    assert made.instance_password not in repr(made)
    account = scene.login(made.instance_id, made.instance_password)
    assert account is not None
    assert not account.is_device
    assert scene.recorded[0] == ("instance-registered", made.instance_id, None)
    credential = scene.store.credential(made.instance_id)
    assert credential is not None
    assert credential.password_hash.startswith("pbkdf2-sha256$100000$")


def test_with_a_token_only_who_has_it_registers() -> None:
    with closing(AccountsInMemory(AccountSettings(registration_token="sesame"))) as scene:
        for token in (None, b"", b"sesam", b"sesamee"):
            assert refusal(scene, token) is ProblemKind.WRONG_CREDENTIALS
        scene.get(scene.accounts.instances.register(b"sesame", PREFIX))
        assert "sesame" not in repr(scene.accounts.settings)


def test_one_place_registers_only_so_many() -> None:
    settings = AccountSettings(registrations_per_minute=2, registration_token="sesame")
    with closing(AccountsInMemory(settings)) as scene:
        register = scene.accounts.instances.register
        scene.get(register(b"sesame", PREFIX))
        refusal(scene, b"wrong")
        with pytest.raises(GatewayBusy):
            scene.get(register(b"sesame", PREFIX))
        scene.get(register(b"sesame", "192.0.2.2"))
        scene.clock.advance(60.0)
        scene.get(register(b"sesame", PREFIX))


def test_all_places_together_register_only_so_many() -> None:
    with closing(AccountsInMemory(AccountSettings(registrations_per_second_overall=2))) as scene:
        register = scene.accounts.instances.register
        for number in range(2):
            scene.get(register(None, f"192.0.2.{number}"))
        with pytest.raises(GatewayBusy):
            scene.get(register(None, PREFIX))


def test_a_gateway_has_only_so_many_instances() -> None:
    with closing(AccountsInMemory(AccountSettings(max_instances=1))) as scene:
        scene.register()
        assert refusal(scene) is ProblemKind.FULL


def test_an_instance_removes_itself(scene: AccountsInMemory) -> None:
    account, password = scene.register()
    assert scene.login(account.user_name, password) == account
    invited = scene.get(scene.accounts.devices.invite(account.instance_id, 600))
    scene.get(scene.accounts.instances.remove(account.instance_id))
    assert scene.listener.told == [("instance removed", account.instance_id)]
    assert scene.recorded[-1] == ("instance-removed", account.instance_id, None)
    assert scene.login(account.user_name, password) is None
    assert scene.store.device(invited.device_id) is None
    with pytest.raises(RequestRefused) as caught:
        scene.get(scene.accounts.instances.remove(account.instance_id))
    assert caught.value.kind is ProblemKind.NOT_FOUND


def test_an_instance_that_can_not_be_erased_is_barred(scene: AccountsInMemory) -> None:
    account, password = scene.register()
    scene.fill_disk()
    with pytest.raises(RequestRefused) as caught:
        scene.get(scene.accounts.instances.remove(account.instance_id))
    assert caught.value.kind is ProblemKind.NOT_RECORDED
    assert scene.listener.told == [("instance barred", account.instance_id)]
    assert len(scene.recorded) == 1
    assert scene.login(account.user_name, password) == account
    scene.empty_disk()
    scene.get(scene.accounts.instances.remove(account.instance_id))
    assert scene.listener.told[1:] == [("instance removed", account.instance_id)]


def test_with_an_instance_its_devices_are_forgotten(scene: AccountsInMemory) -> None:
    account, _ = scene.register()
    scene.store.add_device("d" * 32, account.instance_id, b"k" * 32, 1e10, 10)
    hashed = scene.get(scene.accounts.desk.hash(b"password"))
    scene.store.claim(b"k" * 32, b"n" * 32, hashed, 1.0)
    assert scene.login("d" * 32, "password") is not None
    scene.get(scene.accounts.instances.remove(account.instance_id))
    assert scene.login("d" * 32, "password") is None


def test_a_password_changes_when_the_new_one_logs_in(scene: AccountsInMemory) -> None:
    account, password = scene.register()
    assert scene.login(account.user_name, password) == account
    change = scene.accounts.instances.change_password
    for _ in range(2):  # the first answer was lost
        scene.get(change(account.instance_id, NEXT))
    assert scene.accounts.desk.known(account.user_name, password.encode(), 0.0) is None
    assert scene.login(account.user_name, password) == account
    assert scene.listener.told == []
    assert scene.login(account.user_name, NEXT) == account
    assert scene.listener.told == [("password", account.user_name)]
    assert scene.login(account.user_name, password) is None
    scene.get(change(account.instance_id, NEXT))  # it comes once more, late
    assert scene.login(account.user_name, NEXT) == account
    assert scene.listener.told == [("password", account.user_name)]
    events = [event for event, *_ in scene.recorded]
    assert events.count("password-changed") == 1
    assert events.count("password-offered") == 3


def test_who_is_gone_changes_no_password(scene: AccountsInMemory) -> None:
    with pytest.raises(RequestRefused) as caught:
        scene.get(scene.accounts.instances.change_password("1" * 32, NEXT))
    assert caught.value.kind is ProblemKind.NOT_FOUND


def test_passwords_change_only_so_often(scene: AccountsInMemory) -> None:
    account, _ = scene.register()
    change = scene.accounts.instances.change_password
    for _ in range(instance_desk.CHANGES_PER_MINUTE):
        scene.get(change(account.instance_id, NEXT))
    with pytest.raises(GatewayBusy):
        scene.get(change(account.instance_id, NEXT))
    other, _ = scene.register()
    scene.get(change(other.instance_id, NEXT))
