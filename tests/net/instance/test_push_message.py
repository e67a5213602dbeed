"""What a push has to say."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from porttunnel.errors import RemoteProtocolError
from porttunnel.gateway.push import MAX_PUSH_BYTES
from porttunnel.net.instance.push_message import MAX_DEVICES, decode_push_asked
from tests.net.instance.fake_instance import DEVICE


def decode(**fields: Any) -> Any:
    return decode_push_asked(json.dumps({"name": "news", **fields}).encode())


def test_to_whom() -> None:
    asked = decode(devices=[DEVICE], text="hällo")
    assert (asked.devices, asked.user, asked.plaintext) == ((DEVICE,), None, "hällo".encode())
    asked = decode(user="anna", base64=base64.b64encode(b"\xff\0").decode())
    assert (asked.devices, asked.user, asked.plaintext) == (None, "anna", b"\xff\0")
    asked = decode(all=True, text="")
    assert (asked.devices, asked.user, asked.plaintext) == (None, None, b"")
    assert decode(all=True, text="x" * MAX_PUSH_BYTES).name == "news"


def test_a_push_does_not_show_itself() -> None:
    assert repr(decode(user="canary", text="canary")) == "PushAsked('news')"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "Say to whom"),
        ({"text": "x"}, "Say to whom"),
        ({"text": "x", "all": False}, "Say to whom"),
        ({"text": "x", "all": True, "user": "anna"}, "Say to whom"),
        ({"text": "x", "devices": [DEVICE], "user": "anna"}, "Say to whom"),
        ({"all": True}, "Say what"),
        ({"all": True, "text": "x", "base64": "eA=="}, "Say what"),
        ({"all": True, "base64": "not base64"}, "no push"),
        ({"all": True, "text": "x" * (MAX_PUSH_BYTES + 1)}, f"at most {MAX_PUSH_BYTES} bytes"),
        ({"all": True, "text": "x", "name": "News"}, "no push"),
        ({"all": True, "text": "x", "name": "a/b"}, "no push"),
        ({"all": True, "text": "x", "name": "x\n"}, "no push"),
        ({"text": "x", "devices": []}, "no push"),
        ({"text": "x", "devices": ["+"]}, "no push"),
        ({"text": "x", "devices": [DEVICE] * (MAX_DEVICES + 1)}, "no push"),
        ({"text": "x", "user": ""}, "no push"),
        ({"text": "x", "all": True, "colour": "red"}, "no push"),
    ],
)
def test_what_is_no_push(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        decode(**fields)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"name=news", b'{"name":"\xff"}'])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="no push"):
        decode_push_asked(body)
