"""Which keys a device and its instance seal with, and what they bind the sealed streams to.

Source: docs/gateway-protocol, section 3. From the one secret that both know comes a key for each
direction and purpose, so nothing that was said in one place opens in another.
"""

from __future__ import annotations

from typing import NamedTuple

from porttunnel.gateway.message_head import MessageHead
from porttunnel.keys.credentials import ID_BYTES
from porttunnel.keys.primitives import KEY_BYTES, expand, extract, sha256
from porttunnel.keys.secret_holder import SecretHolder
from porttunnel.wire import encode_vec

__all__ = [
    "LABEL_PAIR_REQUEST",
    "LABEL_PAIR_RESPONSE",
    "LABEL_PUSH",
    "LABEL_REQUEST",
    "LABEL_RESPONSE",
    "DeviceKeys",
    "Ends",
    "bind_push",
    "bind_request",
    "bind_response",
]

LABEL_REQUEST = b"d>i"
LABEL_RESPONSE = b"i>d"
LABEL_PUSH = b"push"
LABEL_PAIR_REQUEST = b"pair d>i"
LABEL_PAIR_RESPONSE = b"pair i>d"

_SALT = b"ptgw1"
_BINDING = b"ptgw1 "


class Ends(NamedTuple):
    """Who speaks with whom.

    :ivar instance_id: 16 bytes.
    :ivar device_id: 16 bytes.
    """

    instance_id: bytes
    device_id: bytes


class DeviceKeys(SecretHolder):
    """The key material of one generation of one device's secret.

    :param secret: 32 bytes: the device secret, or for generation 0 the setup secret of the QR.
    :ivar request: for what the device asks; 32 bytes, as all of them.
    :ivar response: for what it is answered.
    :ivar push: for what the instance tells it unasked.
    :ivar pair_request: for its messages about keys.
    :ivar pair_response: for the answers to those.
    """

    __slots__ = ("pair_request", "pair_response", "push", "request", "response")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a device's secret has {KEY_BYTES} bytes")
        prk = extract(_SALT, secret)
        self.request = expand(prk, LABEL_REQUEST, KEY_BYTES)
        self.response = expand(prk, LABEL_RESPONSE, KEY_BYTES)
        self.push = expand(prk, LABEL_PUSH, KEY_BYTES)
        self.pair_request = expand(prk, LABEL_PAIR_REQUEST, KEY_BYTES)
        self.pair_response = expand(prk, LABEL_PAIR_RESPONSE, KEY_BYTES)

    def of_request(self, head: MessageHead) -> bytes:
        """What a request with this head is sealed with."""
        return self.pair_request if head.about_keys else self.request

    def of_response(self, head: MessageHead) -> bytes:
        """What the response with this head is sealed with."""
        return self.pair_response if head.about_keys else self.response


def bind_request(ends: Ends, head: MessageHead) -> bytes:
    """The associated data of a request."""
    return _bind(LABEL_PAIR_REQUEST if head.about_keys else LABEL_REQUEST, ends, head)


def bind_response(
    ends: Ends, head: MessageHead, request: MessageHead, request_header: bytes
) -> bytes:
    """The associated data of a response.

    :param request: the head of what it answers.
    :param request_header: the stream header of what it answers, 40 bytes. Its salt is drawn for
        each request, so a response fits one request and no other.
    """
    label = LABEL_PAIR_RESPONSE if head.about_keys else LABEL_RESPONSE
    return _bind(label, ends, head) + sha256(request.encode(), request_header)


def bind_push(ends: Ends, head: MessageHead, name: str) -> bytes:
    """The associated data of a push.

    :param name: the last level of its topic.
    """
    return _bind(LABEL_PUSH, ends, head) + encode_vec(name.encode())


def _bind(label: bytes, ends: Ends, head: MessageHead) -> bytes:
    if len(ends.instance_id) != ID_BYTES or len(ends.device_id) != ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes")
    return _BINDING + label + ends.instance_id + ends.device_id + head.encode()
