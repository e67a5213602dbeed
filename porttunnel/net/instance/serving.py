"""An instance that is registered, put together: what comes goes to its right place."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from porttunnel.errors import GatewayError, OutcomeUnknown, PairingError
from porttunnel.gateway.event import EventName
from porttunnel.gateway.topic import RequestTopic
from porttunnel.net.gateway_client.rest import Login, RestClient
from porttunnel.net.instance.application import Application
from porttunnel.net.instance.byte_budget import ByteBudget
from porttunnel.net.instance.device_book import DeviceBook
from porttunnel.net.instance.entrance import Entrance
from porttunnel.net.instance.event import (
    GatewayConnected,
    GatewayLost,
    InstanceEvent,
    InstanceRefused,
    RestoreNoticed,
)
from porttunnel.net.instance.gateway_chore import GatewayChores
from porttunnel.net.instance.gateway_link import GatewayLink, OpenClient
from porttunnel.net.instance.group_commit import GroupCommit
from porttunnel.net.instance.pairing_desk import PairingDesk
from porttunnel.net.instance.push_desk import PushDesk
from porttunnel.net.instance.running_request import RequestPlace
from porttunnel.net.instance.store import StoreChange, StoredInstance
from porttunnel.net.instance.turns import Turns
from porttunnel.net.telling import tell

__all__ = ["Serving"]

# Of all requests together, so that devices that don't read and applications that don't take cost
# a bounded amount of memory.
MAX_RECEIVED_BYTES = 128 << 20
MAX_ANSWERED_BYTES = 128 << 20

# No device is to be erased because it was the year 2099 for a minute: the clock is believed again
# once it hasn't jumped for an hour. Counted in checks, as a reactor's time may jump with it.
TRUST_CHECKS = 240
MAX_STEP_SECONDS = 300.0  # between two checks: no more than a busy machine is late

_CONFIRMED = "confirmed"
_LOST = "The connection to the gateway was lost."


class Serving:
    """See the module.

    :param reactor: time.
    :param login: who we are.
    :param stored: what was found.
    :param tell: tells the owner.
    :param write: makes changes to the store.
    :param unix_time: seconds since 1970.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        login: Login,
        stored: StoredInstance,
        *,
        application: Application,
        tell: Callable[[InstanceEvent], None],
        rest: RestClient,
        open_client: OpenClient,
        write: Callable[[Sequence[StoreChange]], Deferred[Any]],
        unix_time: Callable[[], float],
    ) -> None:
        self.login = login
        self._reactor = reactor
        self._application = application
        self._tell = tell
        self._rest = rest
        self._has_compared = False
        self._unix_time = unix_time
        self._checked_at = unix_time()
        self._steady_checks = 0  # since the clock jumped, or we began
        self.commit = GroupCommit(write, lambda begin: reactor.callLater(0, begin))
        self.book = DeviceBook(login.user, stored.devices, self.commit, tell, self._forget)
        self.book.removals.update(stored.removals)
        self.chores = GatewayChores(
            reactor,
            self.book,
            confirm=lambda device_id: rest.confirm_device(login, device_id),
            remove=lambda device_id: rest.remove_device(login, device_id),
        )
        self.pairing = PairingDesk(self.book, unix_time, self.chores.begin)
        self.link = GatewayLink(login.user, open_client, self)
        self.turns = Turns(reactor, self.link.publish)
        self.pushing = PushDesk(self.book, self.turns, unix_time)
        place = RequestPlace(
            reactor,
            self.turns,
            application.open,
            ByteBudget(MAX_RECEIVED_BYTES),
            ByteBudget(MAX_ANSWERED_BYTES),
        )
        self.entrance = Entrance(self.book, place, self.pairing, unix_time)

    async def stop(self) -> None:
        """Cancel what runs, say goodbye, and let what was to be written be written."""
        self.entrance.cancel_all("The instance was stopped.")
        self.chores.stop()
        await self.link.stop()
        self.turns.clear(OutcomeUnknown("The instance was stopped."))
        await self.commit.when_idle()

    def check(self) -> None:
        """Look for what takes too long; now and then."""
        self.entrance.check(self._reactor.seconds())
        before, self._checked_at = self._checked_at, self._unix_time()
        is_steady = 0 <= self._checked_at - before <= MAX_STEP_SECONDS
        self._steady_checks = self._steady_checks + 1 if is_steady else 0
        self._start(self.pairing.forget_late(trusts_clock=self._steady_checks >= TRUST_CHECKS))

    # The link's owner

    def take_part(self, topic: RequestTopic, payload: bytes) -> None:
        """A part of a request came."""
        self.entrance.receive(topic.device_id, topic.request_id, payload)

    def take_event(self, name: str, device_id: str) -> None:
        """The gateway tells something about a device: hints, all of them."""
        device = self.book.find(device_id)
        if device is None:
            return
        match name:
            case EventName.DEVICE_ONLINE:
                device.is_online = True
            case EventName.DEVICE_OFFLINE:
                device.is_online = False
                device.cancel_all("The device is not connected any more.")
            case EventName.DEVICE_REMOVED:
                self._start(self.pairing.note_left(device_id))
            case EventName.SETUP_RACE:
                self._start(self.pairing.note_race(device_id))

    def take_link_event(self, happened: InstanceEvent) -> None:
        """The connection is there, or gone."""
        match happened:
            case GatewayConnected():
                self.chores.begin()
                if not self._has_compared:
                    self._start(self._compare())
            case GatewayLost() | InstanceRefused():
                self.turns.clear(OutcomeUnknown(_LOST))
                self.entrance.cancel_all(_LOST)
                for device in self.book:
                    device.is_online = False
        self._tell(happened)

    # Inside

    async def _compare(self) -> None:
        """Whether the gateway knows the same devices as we do."""
        # Also what goes or comes while the gateway answers is no news.
        ours = {device.row.device_id for device in self.book} | self.book.removals
        try:
            listed = await self._rest.list_devices(self.login)
        except GatewayError as error:
            self._log.info("the gateway's devices are not known: {error}", error=error)
            return
        self._has_compared = True
        known = {one.device_id for one in listed}
        for device in self.book:
            if device.row.is_confirmed and device.row.device_id not in known:
                await self.pairing.note_left(device.row.device_id)
        ours |= {device.row.device_id for device in self.book}
        if {one.device_id for one in listed if one.state == _CONFIRMED} - ours:
            # Paired by us, and we know nothing of it: what we know is from before.
            await self.pairing.demand_rotation()
            self._tell(RestoreNoticed())

    def _forget(self, device_id: str) -> None:
        tell(self._application.forget, device_id)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        working = Deferred.fromCoroutine(work)
        # A device that was erased meanwhile needs nothing any more.
        working.addErrback(lambda failure: failure.trap(PairingError))
        working.addErrback(lambda failure: self._log.failure("a change was not made", failure))
