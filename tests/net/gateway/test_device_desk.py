"""porttunnel.net.gateway.device_desk"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from twisted.internet.defer import Deferred

from porttunnel.errors import ConfigurationError, GatewayBusy
from porttunnel.keys.credentials import derive_device_password
from porttunnel.net.gateway import device_desk
from porttunnel.net.gateway.account import Account
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.document import Device, DeviceList, SetUpDevice
from porttunnel.net.gateway.problem import ProblemKind, RequestRefused
from porttunnel.net.gateway.store import DeviceState
from tests.net.gateway.listening import UNIX_TIME, AccountsInMemory
from tests.net.gateway.turns import Turns

PREFIX = "192.0.2.1"
NONCE, OTHER_NONCE = b"n" * 32, b"m" * 32
NO_KEY = b"k" * 16


class Scene(AccountsInMemory):
    def __init__(self, settings: AccountSettings | None = None) -> None:
        super().__init__(settings)
        self.account, _ = self.register()
        self.instance_id = self.account.instance_id
        self.devices = self.accounts.devices

    def invite(self, expires_in: int = 600) -> tuple[str, bytes]:
        """Id and setup key."""
        invited = self.get(self.devices.invite(self.instance_id, expires_in))
        return invited.device_id, bytes.fromhex(invited.device_setup_key)

    def set_up(self, key: bytes, nonce: bytes = NONCE, prefix: str = PREFIX) -> SetUpDevice:
        return self.get(self.devices.set_up(key, nonce, prefix))

    def refusal(self, key: bytes, nonce: bytes = NONCE) -> ProblemKind:
        with pytest.raises(RequestRefused) as caught:
            self.set_up(key, nonce)
        return caught.value.kind

    def login_device(self, device_id: str, key: bytes, nonce: bytes = NONCE) -> Account | None:
        return self.login(device_id, derive_device_password(nonce, key).hex())


@pytest.fixture
def scene() -> Iterator[Scene]:
    with closing(Scene()) as opened:
        yield opened


# Invitations


def test_an_invitation_says_until_when(scene: Scene) -> None:
    invited = scene.get(scene.devices.invite(scene.instance_id, 60))
    assert invited.expires == UNIX_TIME + 60
    assert invited.device_setup_key not in repr(invited)
    assert scene.recorded[-1] == ("device-invited", scene.instance_id, invited.device_id)
    assert scene.listener.told == []


def test_who_is_gone_invites_nobody(scene: Scene) -> None:
    with pytest.raises(RequestRefused) as caught:
        scene.get(scene.devices.invite("1" * 32, 60))
    assert caught.value.kind is ProblemKind.NOT_FOUND


def test_an_instance_has_only_so_many_devices() -> None:
    with closing(Scene(AccountSettings(max_devices_per_instance=1))) as scene:
        scene.invite()
        with pytest.raises(RequestRefused) as caught:
            scene.invite()
        assert caught.value.kind is ProblemKind.FULL


def test_an_instance_invites_only_so_often() -> None:
    with closing(Scene(AccountSettings(invitations_per_minute=1))) as scene:
        scene.invite()
        with pytest.raises(GatewayBusy):
            scene.invite()
        scene.clock.advance(60.0)
        scene.invite()


# Setting up


def test_a_device_sets_itself_up(scene: Scene) -> None:
    device_id, key = scene.invite()
    assert scene.login_device(device_id, key) is None
    assert scene.set_up(key) == SetUpDevice(device_id, scene.instance_id)
    assert scene.listener.told == [("added", scene.instance_id, device_id)]
    assert scene.recorded[-1] == ("device-added", scene.instance_id, device_id)
    assert scene.login_device(device_id, key) == Account(device_id, scene.instance_id)


def test_the_same_device_may_ask_again(scene: Scene) -> None:
    device_id, key = scene.invite()
    answer = scene.set_up(key)
    for _ in range(3):
        assert scene.set_up(key) == answer
    scene.get(scene.devices.confirm(scene.instance_id, device_id))
    assert scene.set_up(key) == answer
    assert scene.listener.told == [("added", scene.instance_id, device_id)]


def test_two_devices_with_one_key_are_both_out(scene: Scene) -> None:
    device_id, key = scene.invite()
    scene.set_up(key)
    assert scene.login_device(device_id, key) is not None
    assert scene.refusal(key, OTHER_NONCE) is ProblemKind.SETUP_REFUSED
    assert scene.listener.told[1:] == [
        ("removed", scene.instance_id, device_id),
        ("race", scene.instance_id, device_id),
    ]
    for nonce in (NONCE, OTHER_NONCE):
        assert scene.login_device(device_id, key, nonce) is None
        assert scene.refusal(key, nonce) is ProblemKind.SETUP_REFUSED
    assert [event for event, *_ in scene.recorded][-2:] == ["device-removed", "setup-race"]


def test_a_second_device_comes_too_late(scene: Scene) -> None:
    device_id, key = scene.invite()
    scene.set_up(key)
    scene.get(scene.devices.confirm(scene.instance_id, device_id))
    assert scene.refusal(key, OTHER_NONCE) is ProblemKind.SETUP_REFUSED
    assert scene.listener.told[1:] == [("race", scene.instance_id, device_id)]
    assert scene.login_device(device_id, key) is not None
    assert scene.login_device(device_id, key, OTHER_NONCE) is None


def test_two_devices_at_the_same_moment_are_both_out(scene: Scene) -> None:
    """Both have found the key free before one of them has its password hashed."""
    device_id, key = scene.invite()
    cores = Turns()
    cores.are_held = True
    scene.accounts.desk._run_hash = cores.run
    first, second = (scene.devices.set_up(key, nonce, PREFIX) for nonce in (NONCE, OTHER_NONCE))
    outcomes: list[object] = []
    for each in (first, second):
        Deferred.fromCoroutine(each).addBoth(outcomes.append)
    cores.release()
    assert outcomes[0] == SetUpDevice(device_id, scene.instance_id)
    assert scene.listener.told[-1] == ("race", scene.instance_id, device_id)
    assert scene.store.device(device_id) is None


def test_all_wrong_keys_get_one_answer(scene: Scene) -> None:
    _, expired = scene.invite(expires_in=60)
    _, raced = scene.invite()
    scene.set_up(raced)
    late_id, late = scene.invite()
    scene.set_up(late)
    scene.get(scene.devices.confirm(scene.instance_id, late_id))
    scene.unix_time += 60
    texts = set()
    for key in (NO_KEY, expired, raced, late):
        with pytest.raises(RequestRefused) as caught:
            scene.set_up(key, OTHER_NONCE)
        texts.add((caught.value.document(), tuple(caught.value.headers)))
    assert len(texts) == 1


def test_an_expired_key_is_not_good_even_before_it_is_swept(scene: Scene) -> None:
    device_id, key = scene.invite(expires_in=60)
    scene.unix_time += 60
    assert scene.refusal(key) is ProblemKind.SETUP_REFUSED
    assert scene.login_device(device_id, key) is None
    assert scene.listener.told == []


def test_a_clock_that_goes_back_gives_nobody_an_account_without_a_password(scene: Scene) -> None:
    device_id, key = scene.invite(expires_in=60)
    times = iter([UNIX_TIME + 60, UNIX_TIME])
    scene.devices._unix_time = lambda: next(times)
    assert scene.refusal(key) is ProblemKind.SETUP_REFUSED
    assert scene.login_device(device_id, key) is None


def test_a_key_that_expires_while_its_password_is_hashed(scene: Scene) -> None:
    device_id, key = scene.invite(expires_in=60)
    times = iter([UNIX_TIME, UNIX_TIME + 60])
    scene.devices._unix_time = lambda: next(times)
    assert scene.refusal(key) is ProblemKind.SETUP_REFUSED
    assert scene.login_device(device_id, key) is None


def test_a_key_that_goes_while_its_password_is_hashed(scene: Scene) -> None:
    device_id, key = scene.invite()
    run_hash = scene.accounts.desk._run_hash

    def remove_and_run(*arguments: object) -> object:
        scene.store.remove_device(device_id, scene.instance_id)
        return run_hash(*arguments)

    scene.accounts.desk._run_hash = remove_and_run
    assert scene.refusal(key) is ProblemKind.SETUP_REFUSED


def test_wrong_keys_cost_no_password(scene: Scene) -> None:
    cores = Turns()
    scene.accounts.desk._run_hash = cores.run
    scene.refusal(NO_KEY)
    assert cores.count == 0


def test_wrong_keys_may_not_be_tried_often(scene: Scene) -> None:
    """Who is told so has tried in vain; good ones of neighbours are taken."""
    for _ in range(device_desk.WRONG_SETUPS_PER_MINUTE):
        assert scene.refusal(NO_KEY) is ProblemKind.SETUP_REFUSED
    for _ in range(10):
        with pytest.raises(GatewayBusy) as caught:
            scene.set_up(NO_KEY)
        assert caught.value.too_many
        assert caught.value.retry_seconds == 60.0
    with pytest.raises(RequestRefused):
        scene.set_up(NO_KEY, prefix="192.0.2.2")
    device_id, key = scene.invite()
    assert scene.set_up(key).device_id == device_id


# Devices that are there


def test_who_may_see_a_device(scene: Scene) -> None:
    device_id, key = scene.invite()
    other_id, _ = scene.invite()
    stranger, _ = scene.register()
    itself, other = Account(device_id, scene.instance_id), Account(other_id, scene.instance_id)
    read = scene.devices.read_device
    assert scene.get(read(scene.account, device_id)) == Device(device_id, DeviceState.INVITED)
    scene.set_up(key)
    assert scene.get(read(itself, device_id)) == Device(device_id, DeviceState.CLAIMED)
    scene.get(scene.devices.confirm(scene.instance_id, device_id))
    assert scene.get(read(itself, device_id)) == Device(device_id, DeviceState.CONFIRMED)
    for account, wanted in ((other, device_id), (stranger, device_id), (scene.account, "1" * 32)):
        for ask in (read, scene.devices.remove):
            with pytest.raises(RequestRefused) as caught:
                scene.get(ask(account, wanted))
            assert caught.value.kind is ProblemKind.NOT_FOUND
    assert scene.get(scene.devices.list_devices(stranger.instance_id)) == DeviceList([])
    assert scene.get(scene.devices.list_devices(scene.instance_id)) == DeviceList(
        sorted(
            [
                Device(device_id, DeviceState.CONFIRMED),
                Device(other_id, DeviceState.INVITED),
            ],
            key=lambda device: device.device_id,
        )
    )


def test_only_who_came_is_confirmed_and_only_by_its_instance(scene: Scene) -> None:
    device_id, key = scene.invite()
    stranger, _ = scene.register()
    confirm = scene.devices.confirm
    with pytest.raises(RequestRefused) as caught:
        scene.get(confirm(scene.instance_id, device_id))
    assert caught.value.kind is ProblemKind.NOT_CLAIMED
    scene.set_up(key)
    with pytest.raises(RequestRefused) as caught:
        scene.get(confirm(stranger.instance_id, device_id))
    assert caught.value.kind is ProblemKind.NOT_FOUND
    for _ in range(2):
        scene.get(confirm(scene.instance_id, device_id))
    assert scene.recorded[-1] == ("device-confirmed", scene.instance_id, device_id)


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_device_is_revoked(scene: Scene, by_itself: bool) -> None:
    device_id, key = scene.invite()
    scene.set_up(key)
    account = scene.login_device(device_id, key)
    assert account is not None
    scene.get(scene.devices.remove(account if by_itself else scene.account, device_id))
    assert scene.listener.told[-1] == ("removed", scene.instance_id, device_id)
    assert scene.recorded[-1] == ("device-removed", scene.instance_id, device_id)
    assert scene.login_device(device_id, key) is None
    with pytest.raises(RequestRefused) as caught:
        scene.get(scene.devices.remove(scene.account, device_id))
    assert caught.value.kind is ProblemKind.NOT_FOUND


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_device_that_can_not_be_erased_is_barred(scene: Scene, by_itself: bool) -> None:
    device_id, key = scene.invite()
    scene.set_up(key)
    account = Account(device_id, scene.instance_id) if by_itself else scene.account
    stranger, _ = scene.register()
    scene.fill_disk()
    told, recorded = list(scene.listener.told), list(scene.recorded)
    with pytest.raises(RequestRefused) as caught:
        scene.get(scene.devices.remove(stranger, device_id))
    assert (caught.value.kind, scene.listener.told) == (ProblemKind.NOT_FOUND, told)
    with pytest.raises(RequestRefused) as caught:
        scene.get(scene.devices.remove(account, device_id))
    assert caught.value.kind is ProblemKind.NOT_RECORDED
    assert scene.listener.told == [*told, ("barred", scene.instance_id, device_id)]
    # It isn't done, so nobody writes down that it is; and the device may ask again.
    assert scene.recorded == recorded
    assert scene.login_device(device_id, key) is not None
    scene.empty_disk()
    scene.get(scene.devices.remove(account, device_id))
    assert scene.listener.told[-1] == ("removed", scene.instance_id, device_id)
    assert scene.login_device(device_id, key) is None


def test_whose_device_it_is_has_to_be_known(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ConfigurationError("the disk is gone")

    device_id, _ = scene.invite()
    told = list(scene.listener.told)
    monkeypatch.setattr(scene.store, "remove_device", fail)
    monkeypatch.setattr(scene.store, "device", fail)
    with pytest.raises(ConfigurationError):
        scene.get(scene.devices.remove(scene.account, device_id))
    assert scene.listener.told == told
