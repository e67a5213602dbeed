"""A SOCKS5 proxy (RFC 1928: CONNECT, no authentication) on any transport, with an allow-list.

Authentication would add nothing: who reaches it through a session has been verified and admitted.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Any

from twisted.internet import defer
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import (
    ConnectingCancelledError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
)
from twisted.internet.error import ConnectionRefusedError as TwistedConnectionRefused
from twisted.internet.error import TimeoutError as TwistedTimeout
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from porttunnel.net.allow_list import AllowList, parse_address
from porttunnel.net.name_lookup import resolve_name
from porttunnel.net.socks_relay import RelayHalf

__all__ = ["Reply", "SocksFactory", "SocksProtocol"]

REQUEST_SECONDS = 15.0  # for greeting and request: a program sends both at once
CONNECT_SECONDS = 20.0  # to resolve and connect; a person at a browser waits no longer
MAX_ADDRESSES = 8  # of one name that are tried: the deadline leaves no time for more

_VERSION = 5
_CONNECT = 1
_NO_AUTHENTICATION = 0
_NO_METHOD = 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_HEAD = struct.Struct("!BBBB")
_PORT = struct.Struct("!H")
_log = Logger()


class Reply(IntEnum):
    """What a request is answered (RFC 1928, section 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6  # the nearest that there is to a time-out
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


class _State(Enum):
    GREETING = "the methods are to come"
    REQUEST = "the request is to come"
    CONNECTING = "the target is being connected"
    RELAYING = "bytes pass"
    DONE = "over"


class _Refusal(Exception):
    """Ends a request.

    :param reply: what the client is told.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.name)
        self.reply = reply


@implementer(IHalfCloseableProtocol)
class _TargetProtocol(RelayHalf):
    """The connection to where the client wanted."""


@implementer(IHalfCloseableProtocol)
class SocksProtocol(RelayHalf):
    """The proxy's side of one client's connection.

    :param reactor: time, names and connections.
    :param allowed: where clients may be led.
    """

    def __init__(self, reactor: Any, allowed: AllowList) -> None:
        self._reactor = reactor
        self._allowed = allowed
        self._state = _State.GREETING
        self._received = b""  # bounded: reading pauses once a request is complete
        self._connecting: defer.Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._deadline = self._reactor.callLater(REQUEST_SECONDS, self._give_up)

    def dataReceived(self, data: bytes) -> None:
        if self._state is _State.RELAYING:
            super().dataReceived(data)
        elif self._state is not _State.DONE:
            self._received += data
            self._advance()

    def readConnectionLost(self) -> None:
        if self._state is _State.RELAYING:
            super().readConnectionLost()
        elif self._state is not _State.DONE:
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _State.DONE
        self._cancel_deadline()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        super().connectionLost(reason)

    def _advance(self) -> None:
        try:
            if self._state is _State.GREETING:
                self._receive_greeting()
            if self._state is _State.REQUEST:
                self._receive_request()
        except _Refusal as refusal:
            self._refuse(refusal.reply)

    def _receive_greeting(self) -> None:
        data = self._received
        if data and data[0] != _VERSION:
            self._close()  # not SOCKS5: there is no answer that it would understand
            return
        if len(data) < 2 or len(data) < 2 + data[1]:
            return
        methods, self._received = data[2 : 2 + data[1]], data[2 + data[1] :]
        if _NO_AUTHENTICATION not in methods:
            self._write(bytes((_VERSION, _NO_METHOD)))
            self._close()
            return
        self._write(bytes((_VERSION, _NO_AUTHENTICATION)))
        self._state = _State.REQUEST

    def _receive_request(self) -> None:
        data = self._received
        if len(data) < _HEAD.size:
            return
        version, command, reserved, kind = _HEAD.unpack_from(data)
        if version != _VERSION or reserved != 0:
            raise _Refusal(Reply.GENERAL_FAILURE)
        if command != _CONNECT:
            raise _Refusal(Reply.COMMAND_NOT_SUPPORTED)
        start = _HEAD.size
        if kind == _NAME:
            if len(data) <= start:
                return
            start, length = start + 1, data[start]
        elif kind in (_IPV4, _IPV6):
            length = 4 if kind == _IPV4 else 16
        else:
            raise _Refusal(Reply.ADDRESS_TYPE_NOT_SUPPORTED)
        end = start + length
        if len(data) < end + _PORT.size:
            return
        host = _decode_host(kind, data[start:end])
        (port,) = _PORT.unpack_from(data, end)
        self._received = data[end + _PORT.size :]
        self._connect(host, port)

    def _connect(self, host: str, port: int) -> None:
        self._state = _State.CONNECTING
        self._cancel_deadline()
        # A client may send on at once; that waits where it is until the target is there.
        transport: Any = self.transport
        transport.pauseProducing()
        connecting = defer.Deferred.fromCoroutine(self._find_and_connect(host, port))
        self._connecting = connecting
        connecting.addTimeout(CONNECT_SECONDS, self._reactor)
        connecting.addErrback(self._connecting_failed)

    async def _find_and_connect(self, host: str, port: int) -> None:
        factory: Any = Factory.forProtocol(_TargetProtocol)
        factory.noisy = False
        reason: Exception = _Refusal(Reply.HOST_UNREACHABLE)
        for endpoint in await self._endpoints(host, port):
            try:
                target: Any = await endpoint.connect(factory)
            except ConnectingCancelledError:
                # What an endpoint makes of its cancellation.
                raise defer.CancelledError from None
            except (defer.CancelledError, _Refusal):
                raise
            except Exception as error:
                # The next address may be better; the last one's reason is told.
                reason = error
            else:
                self._relay(target)
                return
        raise reason

    async def _endpoints(self, host: str, port: int) -> list[IStreamClientEndpoint]:
        """Ways to the target that are allowed.

        :raises _Refusal: there is none.
        """
        reactor, allowed = self._reactor, self._allowed
        address = parse_address(host)
        if address is not None:
            found = [address] if allowed.allows_address(address, port) else []
        elif allowed.allows_name(host, port):
            return [HostnameEndpoint(reactor, host, port)]
        elif allowed.has_networks:
            texts = await resolve_name(reactor, host)
            if not texts:
                raise _Refusal(Reply.HOST_UNREACHABLE)
            resolved = [parse_address(text) for text in texts]
            found = [a for a in resolved if a is not None and allowed.allows_address(a, port)]
        else:
            # No look-up either: the proxy is no way to ask about names that are not listed.
            found = []
        if not found:
            raise _Refusal(Reply.NOT_ALLOWED)
        return [
            TCP4ClientEndpoint(reactor, str(each), port)
            if each.version == 4
            else TCP6ClientEndpoint(reactor, str(each), port)
            for each in found[:MAX_ADDRESSES]
        ]

    def _relay(self, target: RelayHalf) -> None:
        if self._state is not _State.CONNECTING:
            transport: Any = target.transport
            transport.abortConnection()
            return
        self._state = _State.RELAYING
        self._connecting = None
        self._write(_format_reply(Reply.SUCCEEDED))
        early, self._received = self._received, b""
        self.join(target)
        target.join(self)
        if early:
            super().dataReceived(early)
        transport = self.transport
        transport.resumeProducing()

    def _connecting_failed(self, reason: Failure) -> None:
        self._connecting = None
        if self._state is not _State.CONNECTING:
            return
        if isinstance(reason.value, _Refusal):
            self._refuse(reason.value.reply)
            return
        reply = _reply_to(reason)
        if reply is Reply.GENERAL_FAILURE:
            _log.failure("a connection through the SOCKS proxy", reason)
        self._refuse(reply)

    def _refuse(self, reply: Reply) -> None:
        self._write(_format_reply(reply))
        self._close()

    def _give_up(self) -> None:
        self._deadline = None
        self._close()

    def _close(self) -> None:
        self._state = _State.DONE
        self._received = b""
        self._cancel_deadline()
        if self.transport is not None:
            self.transport.loseConnection()

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()


@implementer(IProtocolFactory)
class SocksFactory(Factory):
    """Makes proxies' sides; usable on a session's stream and on any other transport.

    :param reactor: time, names and connections.
    :param allowed: where clients may be led, see
        :class:`~porttunnel.net.allow_list.AllowList`; everything else is refused.
    :raises ConfigurationError: a rule can't be read, or there is none.
    """

    noisy = False

    def __init__(self, reactor: Any, allowed: Sequence[str]) -> None:
        self._reactor = reactor
        self._allowed = AllowList(allowed)

    def buildProtocol(self, addr: IAddress | None) -> SocksProtocol:
        return SocksProtocol(self._reactor, self._allowed)


def _decode_host(kind: int, data: bytes) -> str:
    if kind != _NAME:
        return str(ipaddress.ip_address(data))
    try:
        name = data.decode("ascii")
    except UnicodeDecodeError:
        name = ""
    if not name or not name.isprintable() or " " in name:
        raise _Refusal(Reply.HOST_UNREACHABLE)
    return name


def _format_reply(reply: Reply) -> bytes:
    # The bound address is nobody's business on the other side of a tunnel: zeros.
    return _HEAD.pack(_VERSION, reply, 0, _IPV4) + bytes(4 + _PORT.size)


def _reply_to(reason: Failure) -> Reply:
    if reason.check(TwistedConnectionRefused):
        return Reply.CONNECTION_REFUSED
    if reason.check(TwistedTimeout, TCPTimedOutError, defer.TimeoutError):
        return Reply.TTL_EXPIRED
    if reason.check(NoRouteError):
        return Reply.NETWORK_UNREACHABLE
    if reason.check(DNSLookupError, OSError):
        return Reply.HOST_UNREACHABLE
    return Reply.GENERAL_FAILURE
