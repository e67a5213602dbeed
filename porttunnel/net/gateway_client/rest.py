"""What instances and devices ask of a gateway by HTTP.

Source: docs/gateway-protocol, section 5. Each answer is bounded in bytes and in time. A connection
is made for each question: there are few.
"""

from __future__ import annotations

import base64
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import msgspec
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from porttunnel.errors import GatewayRefused, GatewayUnreachable, NotReachable
from porttunnel.net.gateway_client.address import GatewayAddress
from porttunnel.net.gateway_client.answer import (
    Answer,
    ClaimedDevice,
    DeviceList,
    ListedDevice,
    OfferedDevice,
    RegisteredInstance,
    decode_answer,
    make_refusal,
)

__all__ = ["Login", "RestClient"]

ANSWER_SECONDS = (
    30.0  # for connection and answer together, a slow line and a busy gateway included
)
MAX_ANSWER_BYTES = 4 << 20  # the list of 10,000 devices; whatever else is a few hundred

_JSON = b"application/json"
_NO_TOKEN = (
    "The gateway registers only who shows its operator's token, and none was shown, or another. "
    "Ask for it, and name the file with it as registration_token_file."
)

_Form = TypeVar("_Form")
_Fields = dict[bytes, list[bytes]]


class Login(NamedTuple):
    """Who asks: an instance or a device.

    :ivar user: its id, 32 hex digits.
    :ivar password: 32 hex digits.
    """

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, password=<secret>)"


class RestClient:
    """Asks one gateway.

    :param reactor: time and connections.
    :param address: where it is.

    Every method raises:

    :raises GatewayUnreachable: there was no connection, or no answer that is one. It may have been
        done all the same; each question may be asked again, and means the same then.
    :raises GatewayRefused: it says no.
    """

    def __init__(self, reactor: Any, address: GatewayAddress) -> None:
        self._reactor = reactor
        self._address = address

    async def register_instance(self, token: str | None = None) -> Login:
        """Make a new instance (``POST /v1/instances``).

        :param token: the operator's, if only those who have it may. Asked again it makes another
            instance.
        """
        fields = {} if token is None else {b"authorization": [b"Bearer " + token.encode()]}
        try:
            made = await self._ask("POST", "/v1/instances", RegisteredInstance, fields, {})
        except GatewayRefused as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
            raise GatewayRefused(_NO_TOKEN, error.status, error.code) from None
        return Login(made.instance_id, made.instance_password)

    async def remove_instance(self, login: Login) -> None:
        """Remove the instance that asks, and its devices (``DELETE /v1/instances/self``)."""
        await self._order("DELETE", "/v1/instances/self", _basic(login))

    async def change_password(self, login: Login, new_password: str) -> None:
        """Give the instance that asks another password, besides the old one until the new one was
        used (``POST /v1/instances/self/password``).

        :param new_password: 32 hex digits of 128 random bits, drawn and kept by the caller before.
        """
        body = {"new_password": new_password}
        await self._order("POST", "/v1/instances/self/password", _basic(login), body)

    async def offer_device(self, login: Login, expires_seconds: int = 600) -> OfferedDevice:
        """A new device of the instance that asks (``POST /v1/devices``).

        :param expires_seconds: at most a day.
        """
        body = {"expires_in": expires_seconds}
        return await self._ask("POST", "/v1/devices", OfferedDevice, _basic(login), body)

    async def list_devices(self, login: Login) -> tuple[ListedDevice, ...]:
        """The devices of the instance that asks (``GET /v1/devices``)."""
        return (await self._ask("GET", "/v1/devices", DeviceList, _basic(login))).devices

    async def read_device(self, login: Login, device_id: str) -> ListedDevice:
        """One of them, or the device that asks (``GET /v1/devices/<id>``)."""
        return await self._ask("GET", f"/v1/devices/{device_id}", ListedDevice, _basic(login))

    async def confirm_device(self, login: Login, device_id: str) -> None:
        """The right device has come: no other may take its place any more
        (``POST /v1/devices/<id>/confirm``).
        """
        await self._order("POST", f"/v1/devices/{device_id}/confirm", _basic(login))

    async def remove_device(self, login: Login, device_id: str) -> None:
        """Revoke a device, asked by its instance or by itself (``DELETE /v1/devices/<id>``)."""
        await self._order("DELETE", f"/v1/devices/{device_id}", _basic(login))

    async def claim_device(self, setup_key: bytes, client_nonce: bytes) -> ClaimedDevice:
        """Become the device of a pairing's code (``POST /v1/devices/setup``).

        :param setup_key: from the code.
        :param client_nonce: 32 random bytes: asked again, with the same.
        """
        body = {"device_setup_key": setup_key.hex(), "client_nonce": client_nonce.hex()}
        return await self._ask("POST", "/v1/devices/setup", ClaimedDevice, {}, body)

    async def _ask(
        self,
        method: str,
        path: str,
        form: type[_Form],
        fields: _Fields,
        body: dict[str, Any] | None = None,
    ) -> _Form:
        """One question, whose answer says something."""
        return decode_answer(await self._order(method, path, fields, body), form)

    async def _order(
        self, method: str, path: str, fields: _Fields, body: dict[str, Any] | None = None
    ) -> Answer:
        """One question, whose answer has to be a success."""
        headers = Headers({b"accept": [_JSON], **fields})
        producer = None
        if body is not None:
            headers.setRawHeaders(b"content-type", [_JSON])
            producer = _Body(msgspec.json.encode(body))
        asking: Deferred[Answer] = Deferred.fromCoroutine(
            self._exchange(method.encode(), path, headers, producer)
        )
        asking.addTimeout(ANSWER_SECONDS, self._reactor, _name_timeout)
        answer = await asking
        if not answer.is_success:
            raise make_refusal(answer)
        return answer

    async def _exchange(
        self, method: bytes, path: str, headers: Headers, producer: _Body | None
    ) -> Answer:
        url = (self._address.url + path).encode()
        connection = _Connection(self._reactor, self._address)
        agent: Any = Agent.usingEndpointFactory(self._reactor, connection)
        requesting: Deferred[Any] = agent.request(method, url, headers, producer)
        # What is cancelled is a Deferred of our own: of a cancelled request Twisted says that its
        # answer was cut off.
        answered: Deferred[Any] = Deferred()
        requesting.chainDeferred(answered)
        try:
            response = await answered
            gathering = _Gathering()
            response.deliverBody(gathering)
            body = await gathering.whole
        except (CancelledError, GatewayUnreachable):
            raise
        except Exception as error:
            raise GatewayUnreachable(_explain(error)) from error
        finally:
            requesting.cancel()
            connection.abort()
        retry_after = response.headers.getRawHeaders(b"retry-after", [b""])[0]
        return Answer(response.code, body, retry_after.decode("latin-1"))


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Connection:
    """Whatever the URL, it leads to the gateway, for one question."""

    def __init__(self, reactor: Any, address: GatewayAddress) -> None:
        self._reactor = reactor
        self._address = address
        self._protocol: Any = None

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        factory.noisy = False  # or each question has two lines in the log
        connecting: Deferred[Any] = self._address.endpoint(self._reactor).connect(factory)
        return connecting.addCallback(self._keep)

    def abort(self) -> None:
        """The answer is there, or not wanted any more. A goodbye would wait for the other end's,
        and who receives a body has no way to do without.
        """
        if self._protocol is not None:
            self._protocol.transport.abortConnection()

    def _keep(self, protocol: Any) -> Any:
        self._protocol = protocol
        return protocol


@implementer(IBodyProducer)
class _Body:
    """A few bytes, sent at once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All of it was written."""

    def resumeProducing(self) -> None:
        """See above."""

    def stopProducing(self) -> None:
        """See above."""


class _Gathering(Protocol):
    """Collects an answer's body.

    :ivar whole: fires with it.
    """

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._data = bytearray()

    def dataReceived(self, data: bytes) -> None:
        if len(self._data) + len(data) > MAX_ANSWER_BYTES:
            self._finish(GatewayUnreachable("The gateway's answer is too long to be one."))
            return
        self._data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        done = reason.check(ResponseDone) is not None
        self._finish(bytes(self._data) if done else reason)

    def _finish(self, result: Any) -> None:
        if not self.whole.called:
            self.whole.callback(Failure(result) if isinstance(result, Exception) else result)


def _basic(login: Login) -> dict[bytes, list[bytes]]:
    shown = base64.b64encode(f"{login.user}:{login.password}".encode())
    return {b"authorization": [b"Basic " + shown]}


def _name_timeout(_result: object, seconds: float) -> Any:
    raise GatewayUnreachable(
        f"The gateway did not answer within {seconds:.0f} seconds. Check the address and the "
        "connection, and try again."
    )


def _explain(error: Exception) -> str:
    """What a person is told; of several reasons the one that is of ours, or the last."""
    reasons = [each.value for each in getattr(error, "reasons", ())] or [error]
    for reason in reasons:
        if isinstance(reason, NotReachable):
            return str(reason)
    text = str(reasons[-1]).rstrip(".") or "its answer was cut off"
    return f"The gateway can't be reached ({text}). Check the address, and whether it runs."
