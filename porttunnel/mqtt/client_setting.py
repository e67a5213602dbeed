"""What a client wants of its broker, and how much it keeps.

Source: MQTT 5.0, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from porttunnel.mqtt.encode import encode
from porttunnel.mqtt.packet import Connect, Version, Will
from porttunnel.mqtt.property import EMPTY, Properties

__all__ = ["ClientSettings"]

KEEP_ALIVE_SECONDS = 60  # an idle client is noticed within a minute and a half
RECEIVE_MAXIMUM = 256  # unfinished messages of QoS 1 and 2: enough for any round trip
MAX_INFLIGHT = 256  # of ours, likewise; a broker of 3.1.1 can't say how many it takes
MAX_PACKET_BYTES = 1 << 20  # of what the broker may send: whoever expects more says so
TOPIC_ALIAS_MAXIMUM = 16  # of the broker: it costs us at most 1 MiB of topics
MAX_QUEUED_BYTES = 4 << 20  # asked for and not done yet: some seconds of a slow line
MAX_UNFINISHED_BYTES = 4 << 20  # received and not finished yet: then nothing is read for a while


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a client presents itself, and how much it keeps. What is only of MQTT 5 is ignored in
    3.1.1.

    :ivar client_id: empty: the broker chooses one.
    :ivar clean_start: begin without what the broker may still have of us. It is said at the first
        connection; later ones go on with the session, where there is one. In 3.1.1 True also says
        that no session outlives a connection. False with a new client object says: there is a
        session, but nothing of it is under way on our side.
    :ivar keep_alive_seconds: 0 to 65,535; 0: off. The broker's word counts more.
    :ivar will: what the broker publishes if we go without a goodbye.
    :ivar session_expiry_seconds: how long the broker keeps our session after a connection.
    :ivar receive_maximum: how many QoS 1 and 2 messages may be unfinished here.
    :ivar max_inflight: how many of our QoS 1 and 2 messages are under way at most.
    :ivar max_packet_bytes: the largest packet that is taken from the broker.
    :ivar topic_alias_maximum: how many aliases the broker may use.
    :ivar max_queued_bytes: how much of what was asked for may be unfinished.
    :ivar max_unfinished_bytes: how much received may be unfinished before nothing more is read.
    :ivar keep_messages: whether messages that are not done when a connection is lost go out on the
        next one. If not they fail with ``OutcomeUnknown``, and no connection goes on with a
        session: the broker would still count what we have given up.
    :ivar authentication_method: of an enhanced authentication; its data is ``properties``'s.
    :ivar properties: more of CONNECT's: user properties, request response information,
        authentication data.
    :raises LocalProtocolError: no CONNECT can say this. On a connection it would be too late: each
        try would fail by it.
    """

    version: Version = Version.V5
    client_id: str = ""
    clean_start: bool = True
    keep_alive_seconds: int = KEEP_ALIVE_SECONDS
    user_name: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    session_expiry_seconds: int = 0
    receive_maximum: int = RECEIVE_MAXIMUM
    max_inflight: int = MAX_INFLIGHT
    max_packet_bytes: int = MAX_PACKET_BYTES
    topic_alias_maximum: int = TOPIC_ALIAS_MAXIMUM
    max_queued_bytes: int = MAX_QUEUED_BYTES
    max_unfinished_bytes: int = MAX_UNFINISHED_BYTES
    keep_messages: bool = True
    authentication_method: str | None = None
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        clean_start = self.clean_start or not self.keep_messages
        encode(self.connect_packet(self.client_id, clean_start=clean_start), self.version)

    def connect_packet(self, client_id: str, *, clean_start: bool) -> Connect:
        """The first packet of a connection.

        :param client_id: ours, or the one that the broker assigned before.
        """
        properties = EMPTY
        if self.version is Version.V5:
            properties = replace(
                self.properties,
                session_expiry_interval=self.session_expiry_seconds or None,
                receive_maximum=self.receive_maximum,
                maximum_packet_size=self.max_packet_bytes,
                topic_alias_maximum=self.topic_alias_maximum or None,
                authentication_method=self.authentication_method,
            )
        return Connect(
            version=self.version,
            client_id=client_id,
            clean_start=clean_start,
            keep_alive_seconds=self.keep_alive_seconds,
            user_name=self.user_name,
            password=self.password,
            will=self.will,
            properties=properties,
        )
