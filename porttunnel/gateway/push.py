"""What an instance tells a device unasked: one part, sealed for one device and one topic.

Source: docs/gateway-protocol, section 3. That a push isn't an old one again is for
``porttunnel.gateway.replay`` to see.
"""

from __future__ import annotations

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.message_head import MessageHead
from porttunnel.gateway.message_key import DeviceKeys, Ends, bind_push
from porttunnel.gateway.part_stream import Opening, PartSender, decode_opening
from porttunnel.keys.envelope import SegmentOpener, SegmentSealer, max_plaintext_bytes
from porttunnel.keys.primitives import Buffer

__all__ = ["MAX_PUSH_BYTES", "decode_push", "open_push", "seal_push"]

MAX_PUSH_BYTES = max_plaintext_bytes(0)  # a notice; whoever wants more asks for it


def seal_push(
    ends: Ends,
    keys: DeviceKeys,
    head: MessageHead,
    name: str,
    plaintext: Buffer,
    *,
    salt: bytes,
    prefix: bytes,
) -> bytearray:
    """The payload of a push.

    :param head: with a counter of the device's pushes, and not about keys.
    :param name: the last level of its topic.
    :param plaintext: at most :data:`MAX_PUSH_BYTES`.
    :param salt: 32 fresh random bytes.
    :param prefix: 7 fresh random bytes.
    :raises LocalProtocolError: too long.
    """
    if head.about_keys:
        raise ValueError("no push is about keys")
    associated = bind_push(ends, head, name)
    sealer = SegmentSealer(keys.push, associated, salt=salt, prefix=prefix)
    return PartSender(head, sealer).send(plaintext, last=True)


def decode_push(data: Buffer) -> Opening:
    """A push before it is opened, so that the device can look up the key it needs.

    :raises RemoteProtocolError: it is none.
    """
    opening = decode_opening(data)
    if opening.head.about_keys:
        raise RemoteProtocolError("a push has a flag that it can't have")
    return opening


def open_push(ends: Ends, keys: DeviceKeys, opening: Opening, name: str) -> memoryview:
    """The plaintext.

    :param keys: of the generation in the opening's head.
    :param name: the last level of its topic.
    :raises RemoteProtocolError: it goes on, or breaks another rule.
    :raises AuthenticationFailed: not what was sealed for this device and name.
    """
    opener = SegmentOpener(keys.push, bind_push(ends, opening.head, name), opening.header)
    plaintext = opener.open(opening.segment, last_expected=True)
    opener.finish()
    return plaintext
