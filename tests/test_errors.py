"""porttunnel/errors.py: the tree is the one that its docstring draws."""

from __future__ import annotations

import inspect
import re

import pytest

from porttunnel import errors
from porttunnel.errors import (
    AgentError,
    AuthenticationFailed,
    BrokerRefused,
    ErrorCode,
    GatewayBusy,
    GatewayError,
    GatewayRefused,
    LimitExceeded,
    MessagingError,
    MqttError,
    PorttunnelError,
    RemoteProtocolError,
    RequestFailed,
    RequestFailureCode,
    RequestNotExecuted,
    RequestUncertain,
    StreamCode,
    StreamError,
    StreamRefused,
    StreamReset,
    UpstreamError,
    WebSocketError,
)

DRAWN = re.compile(r"^ {4}(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+)", re.MULTILINE)


def drawn_tree() -> dict[str, str]:
    """Each error of the docstring's picture and the one above it."""
    assert errors.__doc__
    parents: dict[str, str] = {}
    above: list[str] = []
    for match in DRAWN.finditer(errors.__doc__):
        depth = len(match["indent"]) // 4
        del above[depth:]
        parents[match["name"]] = above[-1] if above else "Exception"
        above.append(match["name"])
    return parents


def defined_tree() -> dict[str, str]:
    classes = inspect.getmembers(errors, inspect.isclass)
    return {name: kind.__base__.__name__ for name, kind in classes if issubclass(kind, Exception)}


def test_the_picture_shows_every_error_where_it_is() -> None:
    assert drawn_tree() == defined_tree()
    assert len(drawn_tree()) > 10


def test_everything_is_offered() -> None:
    assert set(errors.__all__) == set(defined_tree()) | {
        "ErrorCode",
        "RequestFailureCode",
        "StreamCode",
    }


def test_a_broken_websocket_has_a_close_code() -> None:
    error = WebSocketError("a frame is not masked", 1002)
    assert (str(error), error.close_code) == ("a frame is not masked", 1002)
    assert error.code is ErrorCode.MALFORMED


def test_a_broken_protocol_has_a_code_and_a_text() -> None:
    assert RemoteProtocolError("x").code is ErrorCode.MALFORMED
    error = RemoteProtocolError("too late", ErrorCode.TOO_LATE)
    assert (str(error), error.code) == ("too late", ErrorCode.TOO_LATE)


def test_a_broken_mqtt_has_a_reason_code() -> None:
    error = MqttError("a string is not UTF-8", 0x81)
    assert (str(error), error.reason) == ("a string is not UTF-8", 0x81)
    assert error.code is ErrorCode.MALFORMED


def test_a_silent_web_system_has_a_status() -> None:
    error = UpstreamError("it takes no connection", 502)
    assert (str(error), error.status) == ("it takes no connection", 502)


def test_an_exceeded_limit_is_a_broken_protocol() -> None:
    error = LimitExceeded("a record is longer than 64 KiB")
    assert isinstance(error, RemoteProtocolError)
    assert (str(error), error.code) == ("a record is longer than 64 KiB", ErrorCode.LIMIT)


def test_failed_authentication_gives_no_detail() -> None:
    assert str(AuthenticationFailed()) == AuthenticationFailed.MESSAGE
    with pytest.raises(TypeError):
        AuthenticationFailed("the third digit")


@pytest.mark.parametrize("kind", [StreamError, StreamRefused, StreamReset])
def test_a_failed_stream_has_a_code_and_a_text(kind: type[StreamError]) -> None:
    error = kind("nothing listens there", StreamCode.CONNECTION_REFUSED)
    assert isinstance(error, PorttunnelError)
    assert (str(error), error.code) == ("nothing listens there", StreamCode.CONNECTION_REFUSED)


def test_a_broker_that_refuses_gives_its_reason() -> None:
    error = BrokerRefused("it takes no such topic", 0x87)
    assert isinstance(error, MessagingError)
    assert (str(error), error.reason) == ("it takes no such topic", 0x87)


@pytest.mark.parametrize("codes", [ErrorCode, StreamCode])
def test_codes_travel_as_words(codes: type[ErrorCode] | type[StreamCode]) -> None:
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(-[a-z]+)*", code)] == []
    assert [code for code in codes if code != code.name.lower().replace("_", "-")] == []


def test_an_agent_that_says_no_gives_its_reason() -> None:
    error = AgentError("there is no such device", "pairing")
    assert (str(error), error.code) == ("there is no such device", "pairing")


def test_a_gateway_that_says_no_gives_its_reason() -> None:
    error = GatewayRefused("Wait.", 429, "too-many-attempts", 3.0)
    assert (str(error), error.status, error.code) == ("Wait.", 429, "too-many-attempts")
    assert error.retry_after_seconds == 3.0
    bare = GatewayRefused("It fell over.", 502)
    assert (bare.code, bare.retry_after_seconds) == ("", None)


def test_a_busy_gateway_says_when_and_why() -> None:
    error = GatewayBusy(2.0, too_many=True)
    assert (error.retry_seconds, error.too_many) == (2.0, True)
    assert GatewayBusy(1.0).too_many is False


@pytest.mark.parametrize("kind", [RequestNotExecuted, RequestUncertain])
def test_a_request_that_failed_gives_its_reason(kind: type[RequestFailed]) -> None:
    error = kind("Look first.", RequestFailureCode.CANCELLED)
    assert isinstance(error, GatewayError)
    assert (str(error), error.code) == ("Look first.", RequestFailureCode.CANCELLED)
