"""The settings of the gateway in the server: the table ``[gateway]`` of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from porttunnel.errors import ConfigurationError
from porttunnel.net.gateway.account_setting import AccountSettings
from porttunnel.net.gateway.broker_policy import BrokerLimits
from porttunnel.services.server_limit_config import LimitSettings

__all__ = ["GatewaySettings"]

DRAIN_SECONDS = 5.0  # so that not all come back at the same moment
CONNECTS_PER_SECOND = 1_000  # and five times as many at once: a rush that a restart brings
DEVICE_MESSAGES_PER_SECOND = 2_000  # of 64 KiB each: more than a network gives one of many
INSTANCE_MESSAGES_PER_SECOND = 20_000  # it answers all of its devices
QUEUED_BYTES = 256 * 1_024 * 1_024  # a few hundred bytes each for as many as may connect

_Positive = Annotated[int, Meta(ge=1)]


class GatewaySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The table ``[gateway]``.

    :ivar enabled: whether there is one.
    :ivar registration_token_file: a file whose content whoever registers an instance has to show;
        empty: everybody may register.
    :ivar plain_http: whether accounts and MQTT in WebSocket are served to other machines by HTTP
        without TLS: only for a port that nobody reaches but a proxy that ends TLS.
    :ivar audit: whether an audit log is written.
    :ivar audit_dir: where; empty: in the data folder.
    :ivar drain_s: over how many seconds clients are sent away when the server is stopped.
    :ivar connects_per_second: MQTT connections of all that may begin, on average.
    :ivar device_messages_per_second: of each device, on average.
    :ivar instance_messages_per_second: of each instance, on average.
    :ivar queued_bytes: what waits for those that read slowly, in all.
    :ivar max_instances: that may be registered.
    :ivar max_devices_per_instance: with those that are only invited.
    :ivar registrations_per_minute: from one prefix, wrong tokens included.
    :ivar registrations_per_hour: likewise.
    :ivar registrations_per_second_overall: of all.
    :ivar invitations_per_minute: of one instance.
    :ivar invitations_per_hour: likewise.
    :ivar requests_per_minute: by HTTP, of one instance or device.
    :ivar requests_per_hour: likewise.
    """

    enabled: bool = True
    registration_token_file: str = ""
    plain_http: bool = False
    audit: bool = True
    audit_dir: str = ""
    drain_s: Annotated[float, Meta(ge=0)] = DRAIN_SECONDS
    connects_per_second: _Positive = CONNECTS_PER_SECOND
    device_messages_per_second: _Positive = DEVICE_MESSAGES_PER_SECOND
    instance_messages_per_second: _Positive = INSTANCE_MESSAGES_PER_SECOND
    queued_bytes: _Positive = QUEUED_BYTES
    max_instances: _Positive = AccountSettings().max_instances
    max_devices_per_instance: _Positive = AccountSettings().max_devices_per_instance
    registrations_per_minute: _Positive = AccountSettings().registrations_per_minute
    registrations_per_hour: _Positive = AccountSettings().registrations_per_hour
    registrations_per_second_overall: _Positive = (
        AccountSettings().registrations_per_second_overall
    )
    invitations_per_minute: _Positive = AccountSettings().invitations_per_minute
    invitations_per_hour: _Positive = AccountSettings().invitations_per_hour
    requests_per_minute: _Positive = AccountSettings().requests_per_minute
    requests_per_hour: _Positive = AccountSettings().requests_per_hour

    def account_settings(self) -> AccountSettings:
        """What of it is about accounts.

        :raises ConfigurationError: the file with the token can't be used.
        """
        return AccountSettings(
            registration_token=self._read_token(),
            max_instances=self.max_instances,
            max_devices_per_instance=self.max_devices_per_instance,
            registrations_per_minute=self.registrations_per_minute,
            registrations_per_hour=self.registrations_per_hour,
            registrations_per_second_overall=self.registrations_per_second_overall,
            invitations_per_minute=self.invitations_per_minute,
            invitations_per_hour=self.invitations_per_hour,
            requests_per_minute=self.requests_per_minute,
            requests_per_hour=self.requests_per_hour,
        )

    def broker_limits(self, limits: LimitSettings) -> BrokerLimits:
        """What of it is about MQTT.

        :param limits: of the whole server.
        """
        return BrokerLimits(
            connections=limits.connections,
            connections_per_prefix=limits.connections_per_prefix,
            connects_per_second=self.connects_per_second,
            device_messages_per_second=self.device_messages_per_second,
            instance_messages_per_second=self.instance_messages_per_second,
            queued_bytes=self.queued_bytes,
        )

    def _read_token(self) -> str | None:
        if not self.registration_token_file:
            return None
        path = Path(self.registration_token_file).expanduser()
        try:
            token = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"The registration token can't be read from {path} ({error}). Write one word of "
                "ASCII into that file, and let this user read it."
            ) from None
        if not token or len(token.split()) != 1:
            raise ConfigurationError(
                f"{path} holds no registration token: write one word of ASCII into it."
            )
        return token
