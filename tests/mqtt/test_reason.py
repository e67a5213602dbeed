"""Reason codes and return codes, and what one version's mean in the other."""

from __future__ import annotations

import pytest

from porttunnel.mqtt.reason import (
    ConnectReturnCode,
    ReasonCode,
    connect_return_code,
    reason_of_return_code,
    suback_return_code,
)


def test_every_code_of_the_table_is_there() -> None:
    assert {int(code) for code in ReasonCode} == {
        *(0x00, 0x01, 0x02, 0x04, 0x10, 0x11, 0x18, 0x19),
        *range(0x80, 0xA3),
    }


def test_nothing_has_three_names() -> None:
    assert ReasonCode.SUCCESS is ReasonCode.NORMAL_DISCONNECTION is ReasonCode.GRANTED_QOS_0


@pytest.mark.parametrize("code", ReasonCode)
def test_what_is_0x80_or_more_is_a_failure(code: ReasonCode) -> None:
    assert code.is_failure == (code >= 0x80)


@pytest.mark.parametrize("code", ConnectReturnCode)
def test_a_return_code_comes_back_from_its_reason(code: ConnectReturnCode) -> None:
    reason = reason_of_return_code(code)
    assert connect_return_code(reason) is code
    assert reason.is_failure == (code is not ConnectReturnCode.ACCEPTED)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 1),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 2),
        (ReasonCode.SERVER_BUSY, 3),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4),
        (ReasonCode.BANNED, 5),
    ],
)
def test_a_reason_has_the_nearest_return_code(reason: ReasonCode, code: int) -> None:
    assert connect_return_code(reason) == code


@pytest.mark.mqtt3("3.2.2-6")
@pytest.mark.parametrize(
    "reason",
    [
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.RETAIN_NOT_SUPPORTED,
    ],
)
def test_what_no_return_code_says_has_none(reason: ReasonCode) -> None:
    assert connect_return_code(reason) is None


@pytest.mark.mqtt3("3.9.3-2")
def test_a_suback_of_3_1_1_has_one_code_for_all_failures() -> None:
    codes = {suback_return_code(code) for code in ReasonCode if code.is_failure}
    assert codes == {ReasonCode.UNSPECIFIED_ERROR}
    for granted in (0, 1, 2):
        assert suback_return_code(ReasonCode(granted)) == granted
