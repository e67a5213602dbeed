"""Vectors of MQTT packets that every receiver refuses, and with which reason code."""

from __future__ import annotations

from typing import Any

from tests.independent.mqtt import FLAGS, TYPES, block, data, frame, length_bytes, text, word

__all__ = ["refused"]

MALFORMED, PROTOCOL_ERROR, UNSUPPORTED, BAD_CLIENT_ID, BAD_ALIAS, TOO_LARGE = (
    *(0x81, 0x82, 0x84, 0x85, 0x94, 0x95),
)

# What stands behind the remaining length of a packet that is right, in both versions.
BODIES = {
    "CONNECT": {5: "00044d5154540502000000000161", 4: "00044d51545404020000000161"},
    "CONNACK": {5: "000000", 4: "0000"},
    "PUBACK": {5: "0001", 4: "0001"},
    "PUBREC": {5: "0001", 4: "0001"},
    "PUBREL": {5: "0001", 4: "0001"},
    "PUBCOMP": {5: "0001", 4: "0001"},
    "SUBSCRIBE": {5: "00010000016100", 4: "000100016100"},
    "SUBACK": {5: "00010000", 4: "000100"},
    "UNSUBSCRIBE": {5: "000100000161", 4: "0001000161"},
    "UNSUBACK": {5: "00010000", 4: "0001"},
    "PINGREQ": {5: "", 4: ""},
    "PINGRESP": {5: "", 4: ""},
    "DISCONNECT": {5: "", 4: ""},
    "AUTH": {5: ""},
}
RESERVED_FLAGS = {
    "PUBREL": (["3.6.1-1"], ["3.6.1-1"]),
    "SUBSCRIBE": (["3.8.1-1"], ["3.8.1-1"]),
    "UNSUBSCRIBE": (["3.10.1-1"], ["3.10.1-1"]),
    "DISCONNECT": (["3.14.1-1"], ["3.14.1-1"]),
    "AUTH": (["3.15.1-1"], []),
}
NO_STRINGS = {
    "no UTF-8": (b"\xff", ["1.5.4-1"], ["1.5.3-1"]),
    "a surrogate": (b"\xed\xa0\x80", ["1.5.4-1"], ["1.5.3-1"]),
    "U+0000": (b"a\0b", ["1.5.4-2"], ["1.5.3-2"]),
}
ANSWERS = {
    (5, MALFORMED): "2003008100",
    (5, PROTOCOL_ERROR): "2003008200",
    (5, BAD_ALIAS): "",
    (4, BAD_CLIENT_ID): "20020002",
}


class Cases:
    """Collects what is refused."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        version: int | None,
        made: bytes,
        reason: int,
        *statements: list[str],
        **more: Any,
    ) -> None:
        """One.

        :param statements: those of MQTT 5, then those of 3.1.1; what the version has counts.
        """
        mqtt5, mqtt3 = (*statements, [], [])[:2]
        self.found.append(
            {
                "name": f"{name} (MQTT {version})" if version else name,
                "version": version,
                "bytes": made.hex(),
                "reason": reason,
                "mqtt5": mqtt5 if version != 4 else [],
                "mqtt3": mqtt3 if version != 5 else [],
                **more,
            }
        )

    def both(
        self,
        name: str,
        packet: str,
        bodies: tuple[bytes, bytes],
        reason: int,
        statements: tuple[list[str], list[str]] = ([], []),
        *,
        flags: int | None = None,
    ) -> None:
        """The same in both versions."""
        for version, body in zip((5, 4), bodies, strict=True):
            self.add(f"{packet} {name}", version, frame(packet, body, flags), reason, *statements)

    def connect(
        self,
        name: str,
        version: int,
        body: bytes,
        reason: int,
        *statements: list[str],
    ) -> None:
        """A CONNECT in the version that it says, before there is one."""
        made = frame("CONNECT", body)
        answer = ANSWERS.get((version, reason), "")
        self.add(f"CONNECT {name}", version, made, reason, *statements, answer=answer)
        self.found[-1]["version"] = None


def refused() -> list[dict[str, Any]]:
    """All of them."""
    cases = Cases()
    for collect in (
        _headers,
        _other_protocols,
        _connects,
        _connect_strings,
        _connacks,
        _publishes,
        _acknowledgements,
        _subscribes,
        _answers,
        _last_packets,
        _properties,
    ):
        collect(cases)
    return cases.found


def _headers(cases: Cases) -> None:
    for version in (5, 4):
        cases.add("type 0", version, b"\0\0", MALFORMED)
        for name, bodies in BODIES.items():
            if version not in bodies:
                continue
            mqtt5, mqtt3 = RESERVED_FLAGS.get(name, ([], []))
            right = FLAGS.get(name, 0)
            for flags in [flags for flags in range(16) if flags != right]:
                made = frame(name, bytes.fromhex(bodies[version]), flags)
                statements = ["2.1.3-1", *mqtt5], ["2.2.2-1", "2.2.2-2", *mqtt3]
                cases.add(f"{name} with flags {flags:04b}", version, made, MALFORMED, *statements)
    cases.add("AUTH", 4, frame("AUTH", b""), MALFORMED)
    for name in TYPES:
        if name != "CONNECT":
            body = bytes.fromhex(BODIES.get(name, {5: "00016100"})[5])
            made = frame(name, body)
            cases.add(f"{name} first", None, made, PROTOCOL_ERROR, ["3.1.0-1"], ["3.1.0-1"])
    for version in (5, 4):
        made = b"\x30\xff\xff\xff\xff\x01"
        cases.add("a length of five bytes", version, made, MALFORMED)
    for length in ("8000", "808000", "80808000"):
        made = b"\xc0" + bytes.fromhex(length)
        cases.add(f"the length {length}", 5, made, MALFORMED, ["1.5.5-1"])
    made = b"\x10" + bytes.fromhex("8e00" + BODIES["CONNECT"][5])
    cases.add("CONNECT with the length 8e00", None, made, MALFORMED, ["1.5.5-1"])
    for version in (5, 4):
        made = frame("PUBLISH", text("a") + b"\0" + bytes(200))
        cases.add("one byte too many", version, made, TOO_LARGE, limit=len(made) - 1)
        cases.add("only its length", version, made[:3], TOO_LARGE, limit=len(made) - 1)


def _other_protocols(cases: Cases) -> None:
    rest = b"\2\0\0\0\0\1a"
    levels = {3: "20020001", 0: "20020001", 2: "20020001", 6: "2003008400", 255: "2003008400"}
    for level, answer in levels.items():
        made = frame("CONNECT", text("MQTT") + bytes([level]) + rest)
        statements = (["3.1.2-2"], []) if level > 5 else ([], ["3.1.2-2"])
        cases.add(f"CONNECT of level {level}", None, made, UNSUPPORTED, *statements, answer=answer)
    names = {"MQIsdp": "20020001", "mqtt": "", "": "", "MQTT ": "", "AMQP": ""}
    for name, answer in names.items():
        for level in (3, 4, 5):
            made = frame("CONNECT", text(name) + bytes([level]) + rest)
            answer_now = "2003008400" if answer and level == 5 else answer
            statements = ["3.1.2-1"], ["3.1.2-1"]
            title = f"CONNECT of {name!r}, level {level}"
            cases.add(title, None, made, UNSUPPORTED, *statements, answer=answer_now)


def _head(version: int, flags: int, client_id: bytes = b"\0\1a") -> bytes:
    """A CONNECT up to the client id."""
    block_of_5 = b"\0" if version == 5 else b""
    return text("MQTT") + bytes([version, flags]) + word(60) + block_of_5 + client_id


def _connects(cases: Cases) -> None:
    for version in (5, 4):
        no_properties = b"\0" if version == 5 else b""
        will = no_properties + text("gone") + data(b"")
        head = _head(version, 3)
        cases.connect("with the reserved flag", version, head, MALFORMED, ["3.1.2-3"], ["3.1.2-3"])
        for qos in (1, 2, 3):
            head = _head(version, 2 + 8 * qos)
            statements = ["3.1.2-11"], ["3.1.2-11", "3.1.2-13"]
            cases.connect(f"with QoS {qos} of no will", version, head, MALFORMED, *statements)
        head = _head(version, 2 + 32)
        statements = ["3.1.2-13"], ["3.1.2-11", "3.1.2-15"]
        cases.connect("with retain of no will", version, head, MALFORMED, *statements)
        body = _head(version, 2 + 4 + 24) + will
        cases.connect("with a will of QoS 3", version, body, MALFORMED, ["3.1.2-12"], ["3.1.2-14"])
        body = _head(version, 2) + will
        cases.connect(
            "with a will and no flag", version, body, MALFORMED, ["3.1.4-1"], ["3.1.2-11"]
        )
        body = _head(version, 2) + text("anna")
        cases.connect(
            "with a user name and no flag", version, body, MALFORMED, ["3.1.2-16"], ["3.1.2-18"]
        )
        body = _head(version, 2 + 128) + text("anna") + data(b"x")
        cases.connect(
            "with a password and no flag", version, body, MALFORMED, ["3.1.2-18"], ["3.1.2-20"]
        )
        body = _head(version, 2 + 4)
        cases.connect(
            "with a flag and no will", version, body, MALFORMED, ["3.1.2-9"], ["3.1.2-9"]
        )
        body = _head(version, 2 + 128)
        cases.connect(
            "with a flag and no user name", version, body, MALFORMED, ["3.1.2-17"], ["3.1.2-19"]
        )
        body = _head(version, 2 + 128 + 64) + text("anna")
        cases.connect(
            "with a flag and no password", version, body, MALFORMED, ["3.1.2-19"], ["3.1.2-21"]
        )
        body = _head(version, 2, b"")
        cases.connect("without a client id", version, body, MALFORMED, ["3.1.3-3"], ["3.1.3-3"])
        body = _head(version, 2) + b"\0"
        cases.connect("with a byte behind it", version, body, MALFORMED, ["3.1.4-1"], ["3.1.4-1"])
    body = _head(4, 2 + 64) + data(b"x")
    cases.connect("with a password only", 4, body, MALFORMED, [], ["3.1.2-22"])
    body = _head(4, 0, b"\0\0")
    statements_of_3 = ["3.1.3-7", "3.1.3-8"]
    cases.connect("that keeps nobody's session", 4, body, BAD_CLIENT_ID, [], statements_of_3)


def _connect_strings(cases: Cases) -> None:
    for version in (5, 4):
        no_properties = b"\0" if version == 5 else b""
        for wrong, (raw, mqtt5, mqtt3) in NO_STRINGS.items():
            body = _head(version, 2, data(raw))
            statements = ["3.1.3-4", *mqtt5], ["3.1.3-4", *mqtt3]
            cases.connect(f"whose client id is {wrong}", version, body, MALFORMED, *statements)
            body = _head(version, 2 + 4) + no_properties + data(raw) + data(b"")
            statements = ["3.1.3-11", *mqtt5], ["3.1.3-10", *mqtt3]
            cases.connect(f"whose will topic is {wrong}", version, body, MALFORMED, *statements)
            body = _head(version, 2 + 128) + data(raw)
            statements = ["3.1.3-12", *mqtt5], ["3.1.3-11", *mqtt3]
            cases.connect(f"whose user name is {wrong}", version, body, MALFORMED, *statements)
        for topic in ("a/+", "#"):
            body = _head(version, 2 + 4) + no_properties + text(topic) + data(b"")
            statements = ["4.7.0-1"], ["4.7.1-1"]
            cases.connect(f"with a will to {topic}", version, body, PROTOCOL_ERROR, *statements)
        body = _head(version, 2 + 4) + no_properties + text("") + data(b"")
        statements = ["4.7.3-1"], ["4.7.3-1"]
        cases.connect("with a will to no topic", version, body, PROTOCOL_ERROR, *statements)


def _connacks(cases: Cases) -> None:
    for flags in (2, 4, 8, 16, 32, 64, 128, 3):
        bodies = bytes([flags, 0, 0]), bytes([flags, 0])
        statements: tuple[list[str], list[str]] = ["3.2.2-1"], []
        cases.both(f"with flags {flags:08b}", "CONNACK", bodies, MALFORMED, statements)
    cases.both(
        "that refuses a session it has",
        "CONNACK",
        (b"\1\x87\0", b"\1\5"),
        PROTOCOL_ERROR,
        (["3.2.2-6"], ["3.2.2-4"]),
    )
    for code in (1, 2, 0x8B, 0x92, 0xFF):
        made = frame("CONNACK", bytes([0, code, 0]))
        cases.add(f"CONNACK that says {code:#04x}", 5, made, PROTOCOL_ERROR, ["3.2.2-8"])
    for code in (6, 0x80):
        made = frame("CONNACK", bytes([0, code]))
        cases.add(f"CONNACK that says {code}", 4, made, PROTOCOL_ERROR)
    cases.both("with a byte behind it", "CONNACK", (b"\0\0\0\0", b"\0\0\0"), MALFORMED)


def _publishes(cases: Cases) -> None:
    def both(
        name: str,
        topic: bytes,
        reason: int,
        statements: tuple[list[str], list[str]],
        *,
        flags: int = 0,
        number: bytes = b"",
    ) -> None:
        bodies = topic + number + b"\0hi", topic + number + b"hi"
        cases.both(name, "PUBLISH", bodies, reason, statements, flags=flags)

    name = text("a")
    for flags in (6, 7, 14, 15):
        statements = ["3.3.1-4"], ["3.3.1-4"]
        both(f"with flags {flags:04b}", name, MALFORMED, statements, flags=flags, number=word(1))
    for flags in (8, 9):
        both(f"with flags {flags:04b}", name, MALFORMED, (["3.3.1-2"], ["3.3.1-2"]), flags=flags)
    for flags in (2, 4, 13):
        statements = ["2.2.1-3", "2.2.1-4"], ["2.3.1-1"]
        both(f"{flags:04b} of id 0", name, PROTOCOL_ERROR, statements, flags=flags, number=word(0))
    for topic in ("#", "+", "a/+/b", "a#"):
        statements = ["3.3.2-2", "4.7.0-1"], ["3.3.2-2", "4.7.1-1"]
        both(f"to {topic}", text(topic), PROTOCOL_ERROR, statements)
    for wrong, (raw, mqtt5, mqtt3) in NO_STRINGS.items():
        statements = ["3.3.2-1", *mqtt5], ["3.3.2-1", *mqtt3]
        both(f"to what is {wrong}", data(raw), MALFORMED, statements)
    both("to a topic with U+0000", data(b"\0"), MALFORMED, (["4.7.3-2"], ["4.7.3-2"]))
    both("to no topic", text(""), PROTOCOL_ERROR, (["4.7.3-1"], ["4.7.3-1"]))
    cases.both("without a topic", "PUBLISH", (b"", b""), MALFORMED, (["3.3.2-1"], ["3.3.2-1"]))


def _acknowledgements(cases: Cases) -> None:
    for name, statement in (
        ("PUBACK", "3.4.2-1"),
        ("PUBREC", "3.5.2-1"),
        ("PUBREL", "3.6.2-1"),
        ("PUBCOMP", "3.7.2-1"),
    ):
        number = word(1)
        for code in (0x01, 0x18, 0x81, 0xFF):
            for end in (b"", b"\0"):
                made = frame(name, number + bytes([code]) + end)
                title = f"{name} that says {code:#04x}{' with no properties' * len(end)}"
                cases.add(title, 5, made, PROTOCOL_ERROR, [statement])
        cases.both("of id 0", name, (word(0), word(0)), PROTOCOL_ERROR)
        cases.both("of one byte", name, (b"\1", b"\1"), MALFORMED)
        cases.both("with bytes behind it", name, (number + b"\0\0\0", number + b"\0"), MALFORMED)


def _subscribes(cases: Cases) -> None:
    one, no_properties = word(1), word(1) + b"\0"
    both = cases.both
    both(
        "of nothing",
        "SUBSCRIBE",
        (no_properties, one),
        PROTOCOL_ERROR,
        (["3.8.3-2"], ["3.8.3-3"]),
    )
    both(
        "of nothing",
        "UNSUBSCRIBE",
        (no_properties, one),
        PROTOCOL_ERROR,
        (["3.10.3-2"], ["3.10.3-2"]),
    )
    both("without options", "SUBSCRIBE", (no_properties + text("a"), one + text("a")), MALFORMED)
    for wrong, (raw, mqtt5, mqtt3) in NO_STRINGS.items():
        end = data(raw)
        bodies = no_properties + end + b"\0", one + end + b"\0"
        statements = ["3.8.3-1", *mqtt5], ["3.8.3-1", *mqtt3]
        both(f"of what is {wrong}", "SUBSCRIBE", bodies, MALFORMED, statements)
        bodies = no_properties + end, one + end
        statements = ["3.10.3-1", *mqtt5], ["3.10.3-1", *mqtt3]
        both(f"of what is {wrong}", "UNSUBSCRIBE", bodies, MALFORMED, statements)
    for options in (0x40, 0x80, 0xC1):
        made = frame("SUBSCRIBE", no_properties + text("a") + bytes([options]))
        cases.add(f"SUBSCRIBE with {options:08b}", 5, made, MALFORMED, ["3.8.3-5"])
    for options in (0b11, 0b110000, 0b111111):
        made = frame("SUBSCRIBE", no_properties + text("a") + bytes([options]))
        cases.add(f"SUBSCRIBE with {options:08b}", 5, made, PROTOCOL_ERROR)
    for options in (3, 4, 8, 16, 32, 64, 128, 0xFD):
        made = frame("SUBSCRIBE", one + text("a") + bytes([options]))
        cases.add(f"SUBSCRIBE with {options:08b}", 4, made, MALFORMED, [], ["3.8.3-4"])
    made = frame("SUBSCRIBE", no_properties + text("$share/g/a") + bytes([0b100]))
    cases.add("SUBSCRIBE, shared and no-local", 5, made, PROTOCOL_ERROR, ["3.8.3-4"])
    zero = word(0)
    for name, end in (("SUBSCRIBE", text("a") + b"\0"), ("UNSUBSCRIBE", text("a"))):
        statements = ["2.2.1-3"], ["2.3.1-1"]
        both("of id 0", name, (zero + b"\0" + end, zero + end), PROTOCOL_ERROR, statements)


def _answers(cases: Cases) -> None:
    one, no_properties = word(1), word(1) + b"\0"
    for code in (0x03, 0x11, 0x81, 0xA0, 0xFF):
        made = frame("SUBACK", no_properties + bytes([0, code]))
        cases.add(f"SUBACK that says {code:#04x}", 5, made, PROTOCOL_ERROR, ["3.9.3-2"])
    for code in (0x03, 0x7F, 0x81, 0x87):
        made = frame("SUBACK", one + bytes([0, code]))
        cases.add(f"SUBACK that says {code:#04x}", 4, made, PROTOCOL_ERROR, [], ["3.9.3-2"])
    for code in (0x01, 0x97, 0xFF):
        made = frame("UNSUBACK", no_properties + bytes([0, code]))
        cases.add(f"UNSUBACK that says {code:#04x}", 5, made, PROTOCOL_ERROR, ["3.11.3-2"])
    cases.both("that says nothing", "SUBACK", (no_properties, one), PROTOCOL_ERROR)
    cases.add("UNSUBACK that says nothing", 5, frame("UNSUBACK", no_properties), PROTOCOL_ERROR)
    cases.add("UNSUBACK with a reason", 4, frame("UNSUBACK", one + b"\0"), MALFORMED)
    zero = word(0)
    cases.both("of id 0", "SUBACK", (zero + b"\0\0", zero + b"\0"), PROTOCOL_ERROR)
    cases.both("of id 0", "UNSUBACK", (zero + b"\0\0", zero), PROTOCOL_ERROR)


def _last_packets(cases: Cases) -> None:
    for name in ("PINGREQ", "PINGRESP"):
        cases.both("with a body", name, (b"\0", b"\0"), MALFORMED)
    cases.add("DISCONNECT with a reason", 4, frame("DISCONNECT", b"\0"), MALFORMED)
    for code in (0x01, 0x10, 0x84, 0x92, 0xFF):
        for end in (b"", b"\0"):
            made = frame("DISCONNECT", bytes([code]) + end)
            title = f"DISCONNECT that says {code:#04x}{' with no properties' * len(end)}"
            cases.add(title, 5, made, PROTOCOL_ERROR, ["3.14.2-1"])
    made = frame("DISCONNECT", b"\0\0\0")
    cases.add("DISCONNECT with a byte behind it", 5, made, MALFORMED)
    method = block([(21, "x")])
    for code in (0x01, 0x80, 0x8C, 0xFF):
        made = frame("AUTH", bytes([code]) + method)
        cases.add(f"AUTH that says {code:#04x}", 5, made, PROTOCOL_ERROR, ["3.15.2-1"])
    made = frame("AUTH", b"\x18" + block([]))
    cases.add("AUTH without a method", 5, made, PROTOCOL_ERROR, ["4.12.0-5"])
    cases.add("AUTH of one byte", 5, frame("AUTH", b"\x18"), MALFORMED)
    made = frame("AUTH", b"\x18" + method + b"\0")
    cases.add("AUTH with a byte behind it", 5, made, MALFORMED)


def _properties(cases: Cases) -> None:
    def publish(raw: bytes) -> bytes:
        return frame("PUBLISH", text("a") + length_bytes(len(raw)) + raw + b"hi")

    for title, raw, reason, statements in (
        ("alias 0", b"\x23\0\0", BAD_ALIAS, ["3.3.2-8"]),
        ("two aliases", b"\x23\0\1" * 2, PROTOCOL_ERROR, []),
        ("an answer to a/#", b"\x08" + text("a/#"), PROTOCOL_ERROR, ["3.3.2-14"]),
        ("an answer to no UTF-8", b"\x08" + data(b"\xff"), MALFORMED, ["3.3.2-13"]),
        ("a content type of no UTF-8", b"\x03" + data(b"\xff"), MALFORMED, ["3.3.2-19"]),
        ("a user property's name", b"\x26" + data(b"\xff") + text(""), MALFORMED, ["1.5.7-1"]),
        ("a user property's value", b"\x26" + text("") + data(b"\0"), MALFORMED, ["1.5.7-1"]),
        ("subscription identifier 0", b"\x0b\0", PROTOCOL_ERROR, []),
        ("an identifier too long", b"\x0b\x81\0", MALFORMED, ["1.5.5-1"]),
        ("payload format 2", b"\x01\2", PROTOCOL_ERROR, []),
        ("a property of CONNECT", b"\x21\0\1", MALFORMED, []),
        ("a property that there is not", b"\x04\0", MALFORMED, []),
        ("a property that ends early", b"\x02\0\0\0", MALFORMED, []),
    ):
        cases.add(f"PUBLISH with {title}", 5, publish(raw), reason, statements)
    made = frame("PUBLISH", text("a") + b"\x05\x02\0\0\0")
    cases.add("PUBLISH with properties beyond its end", 5, made, MALFORMED)
    made = frame("PUBLISH", text("a") + b"\x80\0hi")
    cases.add("PUBLISH with a long length of none", 5, made, MALFORMED, ["1.5.5-1"])
    made = frame("SUBSCRIBE", word(1) + block([(11, 1), (11, 2)]) + text("a") + b"\0")
    cases.add("SUBSCRIBE with two identifiers", 5, made, PROTOCOL_ERROR)
    for title, raw, reason in (
        ("receive maximum 0", block([(33, 0)]), PROTOCOL_ERROR),
        ("maximum packet size 0", block([(39, 0)]), PROTOCOL_ERROR),
        ("problem information 2", block([(23, 2)]), PROTOCOL_ERROR),
        ("two expiry intervals", block([(17, 0), (17, 0)]), PROTOCOL_ERROR),
        ("data without a method", block([(22, "")]), PROTOCOL_ERROR),
        ("a property of CONNACK", block([(36, 1)]), MALFORMED),
        ("the will's delay", block([(24, 1)]), MALFORMED),
    ):
        body = text("MQTT") + b"\5\2\0\0" + raw + text("me")
        cases.connect(f"with {title}", 5, body, reason)
    will = block([(17, 1)]) + text("gone") + data(b"")
    cases.connect("whose will has another's", 5, _head(5, 2 + 4) + will, MALFORMED)
    made = frame("CONNACK", b"\0\0" + block([(36, 2)]))
    cases.add("CONNACK with maximum QoS 2", 5, made, PROTOCOL_ERROR)
