"""Writes tests/vectors/mqtt.json::

    python -m tests.independent.mqtt_vectors

Nothing in it is drawn: the file is the same each time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.independent.mqtt import encode, frame, text, word
from tests.independent.mqtt_refused import refused

__all__ = ["PLACE", "build"]

PLACE = Path(__file__).resolve().parents[1] / "vectors" / "mqtt.json"

ABOUT = (
    "Vectors of MQTT 3.1.1 (version 4) and 5, made by tests/independent/mqtt.py, which was"
    " written from the norms alone. Bytes are hexadecimal. packets: in their shortest form."
    " other_forms: the same is meant, but nobody has to write it so. refused: the reason code"
    " of MQTT 5 with which a receiver must refuse; version null is before a CONNECT, limit the"
    " receiver's maximum packet size, answer the CONNACK that the sender of a CONNECT gets, empty"
    " where none may be sent; mqtt5 and mqtt3 the normative statements."
)

NO_WILL: dict[str, Any] = {"will": None, "user": None, "password": None, "properties": []}
WILL_3 = {"topic": "gone", "payload": "", "qos": 0, "retain": False, "properties": []}
WILL_5 = {
    "topic": "gone/ü",
    "payload": "00ff",
    "qos": 2,
    "retain": True,
    "properties": [
        (1, 1),
        (2, 3_600),
        (3, "text/plain"),
        (8, "answers"),
        (9, "0102"),
        (24, 60),
        (38, ("a", "b")),
        (38, ("a", "c")),
    ],
}
MESSAGE: dict[str, Any] = {
    "type": "PUBLISH",
    "topic": "a/b",
    "payload": "68656c6c6f",
    "qos": 0,
    "retain": False,
    "dup": False,
    "id": None,
    "properties": [],
}
REASON = [(31, "because"), (38, ("x", ""))]

CONNACK_CODES = "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f"
PUBACK_CODES = "00 10 80 83 87 90 91 97 99"
SUBACK_CODES = "00 01 02 80 83 87 8f 91 97 9e a1 a2"
UNSUBACK_CODES = "00 11 80 83 87 8f 91"
DISCONNECT_CODES = (
    "00 04 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2"
)
# Return codes of 3.1.1 and the reason codes that mean the same.
RETURN_CODES = {0: 0x00, 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}


def _connect(**changes: Any) -> dict[str, Any]:
    packet = {"type": "CONNECT", "client_id": "me", "clean": True, "keep_alive": 60}
    return packet | NO_WILL | changes


def _simple(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": name, "properties": []} | fields


def packets_of_5() -> dict[str, dict[str, Any]]:
    """MQTT 5."""
    found = {
        "CONNECT": _connect(),
        "CONNECT with nothing": _connect(client_id="", clean=False, keep_alive=0),
        "CONNECT with a password only": _connect(password="ff00"),
        "CONNECT with an empty user name": _connect(user=""),
        "CONNECT with everything": _connect(
            clean=False,
            keep_alive=0xFFFF,
            will=WILL_5,
            user="änna",
            password="736563726574",
            properties=[
                (17, 0xFFFFFFFF),
                (21, "SCRAM"),
                (22, "00"),
                (23, 0),
                (25, 1),
                (33, 10),
                (34, 5),
                (38, ("", "")),
                (39, 1_000_000),
            ],
        ),
        "CONNECT with a will that has nothing": _connect(will=WILL_3),
        "CONNACK with everything": _simple(
            "CONNACK",
            session_present=True,
            code=0,
            properties=[
                (17, 0),
                (18, "assigned"),
                (19, 30),
                (21, "SCRAM"),
                (22, ""),
                (26, "answers/7"),
                (28, "other:1883"),
                (31, "welcome"),
                (33, 20),
                (34, 0),
                (36, 1),
                (37, 0),
                (38, ("a", "b")),
                (39, 0xFFFFFFFF),
                (40, 1),
                (41, 0),
                (42, 1),
            ],
        ),
        "PUBLISH": MESSAGE,
        "PUBLISH without a payload": MESSAGE | {"payload": "", "retain": True},
        "PUBLISH with QoS 1": MESSAGE | {"qos": 1, "id": 1},
        "PUBLISH with QoS 2 again": MESSAGE | {"qos": 2, "id": 0xFFFF, "dup": True},
        "PUBLISH with everything": MESSAGE
        | {
            "qos": 1,
            "retain": True,
            "dup": True,
            "id": 258,
            "properties": [
                (1, 0),
                (2, 0),
                (3, ""),
                (8, "answers/7"),
                (9, ""),
                (11, 1),
                (11, 0x0FFFFFFF),
                (35, 1),
                (38, ("a", "b")),
            ],
        },
        "PUBLISH with an alias only": MESSAGE | {"topic": "", "properties": [(35, 0xFFFF)]},
        "PUBLISH with a topic of 200 bytes": MESSAGE | {"topic": "ä" * 100},
        "PUBLISH that is longer than 127 bytes": MESSAGE | {"payload": "00" * 122},
        "PUBLISH with a byte order mark": MESSAGE | {"topic": "\ufeffa"},
        "SUBSCRIBE": _simple("SUBSCRIBE", id=10, filters=[("a/#", 0)]),
        "SUBSCRIBE with everything": _simple(
            "SUBSCRIBE",
            id=0xFFFF,
            filters=[("+", 0b00101110), ("$share/g/a", 0b00011001), ("#", 0b00000100)],
            properties=[(11, 128), (38, ("a", "b"))],
        ),
        "SUBACK": _simple(
            "SUBACK", id=10, codes=list(bytes.fromhex(SUBACK_CODES)), properties=REASON
        ),
        "UNSUBSCRIBE": _simple("UNSUBSCRIBE", id=11, filters=["a/#", "b"]),
        "UNSUBSCRIBE with properties": _simple(
            "UNSUBSCRIBE", id=11, filters=["a"], properties=[(38, ("a", "b"))]
        ),
        "UNSUBACK": _simple(
            "UNSUBACK", id=11, codes=list(bytes.fromhex(UNSUBACK_CODES)), properties=REASON
        ),
        "PINGREQ": {"type": "PINGREQ"},
        "PINGRESP": {"type": "PINGRESP"},
        "DISCONNECT with everything": _simple(
            "DISCONNECT", code=0x9D, properties=[(17, 5), (28, "other"), *REASON]
        ),
        "AUTH": _simple("AUTH", code=0),
        "AUTH that goes on": _simple(
            "AUTH", code=0x18, properties=[(21, "SCRAM"), (22, "0102"), *REASON]
        ),
        "AUTH anew": _simple("AUTH", code=0x19, properties=[(21, "")]),
    }
    for code in bytes.fromhex(CONNACK_CODES):
        packet = _simple("CONNACK", session_present=False, code=code)
        found[f"CONNACK that says {code:#04x}"] = packet
    for code in bytes.fromhex(DISCONNECT_CODES):
        found[f"DISCONNECT that says {code:#04x}"] = _simple("DISCONNECT", code=code)
    for name in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        codes = PUBACK_CODES if name in ("PUBACK", "PUBREC") else "00 92"
        for code in bytes.fromhex(codes):
            found[f"{name} that says {code:#04x}"] = _simple(name, id=0x0102, code=code)
        found[f"{name} with properties"] = _simple(name, id=1, code=0, properties=REASON)
    return found


def packets_of_3() -> dict[str, dict[str, Any]]:
    """MQTT 3.1.1."""
    found = {
        "CONNECT": _connect(),
        "CONNECT without a client id": _connect(client_id=""),
        "CONNECT that keeps its session": _connect(clean=False),
        "CONNECT with everything": _connect(
            keep_alive=0xFFFF,
            will=WILL_3 | {"qos": 1, "retain": True, "payload": "00"},
            user="anna",
            password="",
        ),
        "CONNECT with a user name": _connect(user="anna", will=WILL_3),
        "CONNACK with a session": _simple("CONNACK", session_present=True, code=0),
        "PUBLISH": MESSAGE,
        "PUBLISH with QoS 1": MESSAGE | {"qos": 1, "id": 1},
        "PUBLISH with QoS 2 again": MESSAGE | {"qos": 2, "id": 0xFFFF, "dup": True},
        "PUBLISH that is retained": MESSAGE | {"retain": True, "payload": ""},
        "SUBSCRIBE": _simple("SUBSCRIBE", id=10, filters=[("a/#", 0), ("+", 1), ("b", 2)]),
        "SUBACK": _simple("SUBACK", id=10, codes=[0, 1, 2, 0x80]),
        "UNSUBSCRIBE": _simple("UNSUBSCRIBE", id=11, filters=["a/#", "b"]),
        "UNSUBACK": _simple("UNSUBACK", id=11, codes=[]),
        "PINGREQ": {"type": "PINGREQ"},
        "PINGRESP": {"type": "PINGRESP"},
        "DISCONNECT": _simple("DISCONNECT", code=0),
    }
    for code in RETURN_CODES:
        packet = _simple("CONNACK", session_present=False, code=code)
        found[f"CONNACK that says {code}"] = packet
    for name in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        found[name] = _simple(name, id=0x0102, code=0)
    return found


def other_forms() -> list[tuple[str, dict[str, Any], bytes]]:
    """Bytes of MQTT 5 that mean the packet and are not its shortest."""
    found: list[tuple[str, dict[str, Any], bytes]] = []
    for name in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        packet = _simple(name, id=1, code=0)
        found.append((f"{name} that says success", packet, frame(name, word(1) + b"\0")))
        found.append((f"{name} with no properties", packet, frame(name, word(1) + b"\0\0")))
    goodbye = _simple("DISCONNECT", code=0)
    found.append(("DISCONNECT that says normal", goodbye, frame("DISCONNECT", b"\0")))
    found.append(("DISCONNECT with no properties", goodbye, frame("DISCONNECT", b"\0\0")))
    later = _simple("DISCONNECT", code=4)
    found.append(("DISCONNECT with will, no properties", later, frame("DISCONNECT", b"\4\0")))
    body = text("a/b") + b"\x0e\x26\0\1a\0\1b\x23\0\1\x0b\1\x01\1hello"
    packet = MESSAGE | {"properties": [(1, 1), (11, 1), (35, 1), (38, ("a", "b"))]}
    body = text("a/b") + b"\x0e" + b"\x26\0\1a\0\1b" + b"\x23\0\1" + b"\x0b\1" + b"\x01\1hello"
    found.append(("PUBLISH with properties in another order", packet, frame("PUBLISH", body)))
    return found


def build() -> dict[str, Any]:
    """All groups."""
    found = [
        {
            "name": name,
            "version": version,
            "packet": packet,
            "bytes": encode(packet, version).hex(),
        }
        for version, packets in ((5, packets_of_5()), (4, packets_of_3()))
        for name, packet in packets.items()
    ]
    others = [
        {"name": name, "version": 5, "packet": packet, "bytes": made.hex()}
        for name, packet, made in other_forms()
    ]
    return {"about": ABOUT, "packets": found, "other_forms": others, "refused": refused()}


def main() -> None:
    PLACE.write_text(json.dumps(build(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
