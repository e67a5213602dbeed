"""porttunnel.net.instance.instance: from the first start to a page, and what its owner can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from porttunnel.gateway.http_head import ResponseHead
from porttunnel.gateway.pairing_rotation import Paired
from porttunnel.gateway.refusal import Refusal, RefusalReason
from porttunnel.net.instance.application import ServedRequest
from porttunnel.net.instance.device_record import DeviceState
from porttunnel.net.instance.event import (
    DevicePaired,
    DigitsWanted,
    GatewayConnected,
    InstanceRegistered,
)
from tests.net.instance.around import INSTANCE_ID, Surroundings


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


def answer_page(request: ServedRequest) -> None:
    writer = request.respond(ResponseHead(200))
    writer.write(b"a page for " + request.user.encode())
    writer.end()


def test_from_the_first_start_to_a_page(around: Surroundings) -> None:
    around.application = answer_page
    instance = around.start()
    assert instance.instance_id == INSTANCE_ID
    phone = around.invite()
    assert phone.exchange().raw
    assert phone.confirm().end == Refusal(RefusalReason.WAITING)
    assert phone.ask().end == Refusal(RefusalReason.WAITING)
    assert [record.state for record in instance.devices()] == [DeviceState.WAITING]
    assert phone.confirming is not None
    entered = around.run(instance.enter_digits(phone.device_id, phone.confirming.digits))
    assert isinstance(entered, Paired)
    phone.confirm()
    asked = phone.ask()
    assert (asked.status, asked.content, asked.end) == (200, b"a page for anna", ())
    assert around.events == [
        InstanceRegistered(INSTANCE_ID),
        GatewayConnected(),
        DigitsWanted(phone.device_id, "anna", 3),
        DevicePaired(phone.device_id, "anna"),
    ]
    assert around.rest.devices == {phone.device_id: "confirmed"}
    (record,) = instance.devices()
    assert record.state is DeviceState.PAIRED
    assert record.is_online
    around.stop()
