"""porttunnel.cli.device_json: what a program reads."""

from __future__ import annotations

from typing import Any

from porttunnel.cli.device_json import JsonDeviceDialogue
from porttunnel.errors import DeviceRevoked
from porttunnel.gateway.http_head import ResponseHead
from tests.cli.device_records import WIKI_ID, make_record
from tests.cli.spoken import SpokenStreams

RECORD = make_record(
    gateway="https://gw.example.com/a#sha256-" + "A" * 43, paired=12.5, name="wiki"
)
NAME = {"device_id": WIKI_ID, "name": "wiki", "gateway": "https://gw.example.com/a"}


def make_dialogue() -> tuple[JsonDeviceDialogue, SpokenStreams]:
    streams: Any = SpokenStreams()
    return JsonDeviceDialogue(streams), streams


def test_pairing() -> None:
    dialogue, streams = make_dialogue()
    answers: list[Any] = []
    dialogue.ask_code("").addCallback(answers.append)
    streams.say("the text")
    dialogue.tell_pairing("https://gw.example.com")
    dialogue.show_digits("012345")
    dialogue.tell_paired(RECORD)
    assert answers == ["the text"]
    assert streams.events() == [
        {"event": "digits", "digits": "012345"},
        {"event": "paired", **NAME},
    ]


def test_lists_without_secrets() -> None:
    dialogue, streams = make_dialogue()
    dialogue.tell_devices([RECORD])
    assert streams.events() == [{"event": "devices", "devices": [{**NAME, "paired": 12}]}]


def test_serving() -> None:
    dialogue, streams = make_dialogue()
    dialogue.tell_listening(RECORD, 20_001)
    dialogue.tell_link(RECORD, up=True, reason="")
    dialogue.tell_link(RECORD, up=False, reason="lost")
    assert streams.events() == [
        {
            "event": "listening",
            **NAME,
            "address": "127.0.0.1:20001",
            "url": "http://127.0.0.1:20001/",
        },
        {"event": "link", "device_id": WIKI_ID, "up": True},
        {"event": "link", "device_id": WIKI_ID, "up": False, "reason": "lost"},
    ]


def test_requests() -> None:
    dialogue, streams = make_dialogue()
    dialogue.tell_response(ResponseHead(404, ((b"a", b"\xe9"),)), wanted=False)
    dialogue.tell_progress("file", 10, None)
    assert streams.events() == [
        {"event": "response", "status": 404, "fields": [["a", "é"]]},
        {"event": "progress", "name": "file", "bytes": 10, "total": None},
    ]


def test_ends() -> None:
    dialogue, streams = make_dialogue()
    answers: list[bool] = []
    dialogue.ask_revoke(RECORD).addCallback(answers.append)
    dialogue.tell_revoked(RECORD, offline=True)
    dialogue.tell_error(DeviceRevoked("Pair again."))
    dialogue.tell_done("Ended.")
    assert answers == [False]
    assert streams.events() == [
        {"event": "revoked", "device_id": WIKI_ID},
        {"event": "error", "code": "revoked", "text": "Pair again."},
        {"event": "done", "reason": "Ended."},
    ]
