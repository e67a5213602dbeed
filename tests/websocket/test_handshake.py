"""The opening handshake: what is read, who is let in, and what everybody else is told."""

from __future__ import annotations

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.websocket.handshake import (
    MAX_REQUEST_BYTES,
    Accepted,
    Refused,
    Request,
    RequestReader,
    Terms,
    accept_value,
    negotiate,
    parse_request,
)
from tests.websocket.client import cuts

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3
FIELDS = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
TERMS = Terms()
MQTT = Terms(subprotocols=("mqtt",))


def head(line: str = "GET /chat HTTP/1.1", *more: str, **changed: str | None) -> bytes:
    """A request that is right but for what is changed; None leaves a field out.

    :param changed: fields, with ``_`` for ``-``.
    """
    fields: dict[str, str | None] = FIELDS | {
        name.replace("_", "-"): value for name, value in changed.items()
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join((line, *lines, *more, "", "")).encode("latin-1")


def answer(data: bytes, terms: Terms = TERMS) -> Accepted | Refused:
    read = RequestReader().read(memoryview(data))
    assert read is not None
    return negotiate(read, terms) if isinstance(read, Request) else read


def accepted(data: bytes, terms: Terms = TERMS) -> Accepted:
    found = answer(data, terms)
    assert isinstance(found, Accepted), found
    return found


def refused(data: bytes, status: int, text: str, terms: Terms = TERMS) -> Refused:
    found = answer(data, terms)
    assert isinstance(found, Refused), found
    assert (found.status, text in found.text) == (status, True), found
    return found


class TestReading:
    def test_a_head_comes_in_any_pieces_and_what_follows_is_kept(self) -> None:
        data = head()
        for trailing in (b"", b"\x82", b"\x82\x80\r\n\r\n"):
            for pieces in cuts(data + trailing):
                reader = RequestReader()
                found = None
                rest = b""
                for piece in pieces:
                    if found is not None:
                        rest += piece
                        continue
                    found = reader.read(memoryview(piece))
                    rest = reader.rest
                assert isinstance(found, Request)
                assert (found.method, found.path, rest) == ("GET", "/chat", trailing)

    def test_names_any_case_values_as_they_are(self) -> None:
        found = parse_request(b"GET / HTTP/1.1\r\nHOST:\t x \r\nA:1\r\na: 2, \xe9\r\nEmpty:")
        assert isinstance(found, Request)
        assert found.values("host") == ("x",)
        assert found.values("a") == ("1", "2, \xe9")
        assert found.elements("a") == ["1", "2", "\xe9"]
        assert found.values("empty") == ("",)
        assert found.elements("empty") == found.elements("none") == []
        assert found.values("none") == ()

    def test_blanks_are_not_tried_in_two_ways(self) -> None:
        # Each in turn as the value's beginning, they would take hours.
        long = b"GET / HTTP/1.1\r\nA:" + b" " * 10_000_000
        assert isinstance(parse_request(long), Request)
        assert isinstance(parse_request(long + b"\0"), Refused)

    @pytest.mark.parametrize(
        ("target", "path", "query"),
        [
            ("/", "/", ""),
            ("/mqtt?a=b?c", "/mqtt", "a=b?c"),
            ("/mqtt%20x/?", "/mqtt%20x/", ""),
            ("http://example.org", "/", ""),
            ("https://example.org:8443/mqtt?q", "/mqtt", "q"),
            ("WSS://example.org?q", "/", "q"),
            ("*", "/", ""),
            ("example.org:443", "/", ""),
        ],
    )
    def test_paths_and_queries(self, target: str, path: str, query: str) -> None:
        found = parse_request(f"GET {target} HTTP/1.1".encode())
        assert isinstance(found, Request)
        assert (found.path, found.query) == (path, query)

    @pytest.mark.parametrize(
        "wrong",
        [
            b"",
            b"GET /",
            b"GET / HTTP/1.1 ",
            b"GET  / HTTP/1.1",
            b"GET / HTTP/2.0",
            b"GET / http/1.1",
            b"GET /a b HTTP/1.1",
            b"GET /#a HTTP/1.1",
            b"GET /\xe9 HTTP/1.1",
            b"G(T / HTTP/1.1",
            b"GET / HTTP/1.1\r\nHost",
            b"GET / HTTP/1.1\r\nHost : x",
            b"GET / HTTP/1.1\r\n: x",
            b"GET / HTTP/1.1\r\n Host: x",
            b"GET / HTTP/1.1\r\nHost: x\r\n folded",
            b"GET / HTTP/1.1\r\nHost: a\x00b",
            b"GET / HTTP/1.1\r\nHost: a\x7fb",
            b"GET / HTTP/1.1\nHost: x",
            b"GET / HTTP/1.1\r\nHost: a\rb",
            b"GET / HTTP/1.1\r\r\nHost: x",
        ],
    )
    def test_what_is_no_request(self, wrong: bytes) -> None:
        refused(wrong + b"\r\n\r\n", 400, "not a request of HTTP/1.1")
        found = parse_request(wrong)
        assert isinstance(found, Refused)

    @pytest.mark.parametrize("wrong", [b"GET / HTTP/1.1\n", b"\n", b"GET / HTTP/1.1\r\nHost: \rx"])
    def test_a_lone_line_break_is_not_waited_out(self, wrong: bytes) -> None:
        for pieces in cuts(wrong):
            reader = RequestReader()
            *before, last = (reader.read(memoryview(piece)) for piece in pieces)
            assert set(before) <= {None}
            assert isinstance(last, Refused)
            assert last.status == 400

    def test_a_head_is_bounded(self) -> None:
        def of_size(size: int) -> bytes:
            return head(Long="a" * (size - len(head(Long=""))))

        accepted(of_size(MAX_REQUEST_BYTES))
        too_long = of_size(MAX_REQUEST_BYTES + 1)
        refused(too_long, 431, "too long")
        reader = RequestReader()
        assert reader.read(memoryview(too_long[: MAX_REQUEST_BYTES - 1])) is None
        found = reader.read(memoryview(too_long[MAX_REQUEST_BYTES - 1 :]))
        assert isinstance(found, Refused)
        assert found.status == 431

    def test_what_is_secret_is_not_shown(self) -> None:
        assert "hidden" not in repr(accepted(head(Cookie="hidden", Authorization="hidden")))


class TestLettingIn:
    def test_the_example_of_the_standard(self) -> None:
        found = accepted(
            head(Origin="http://example.com", Sec_WebSocket_Protocol="chat, superchat")
        )
        assert found.subprotocol is None
        assert found.answer() == (
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
            b"\r\n"
        )

    def test_the_preferred_subprotocol(self) -> None:
        terms = Terms(subprotocols=("mqtt", "mqttv3.1"))
        for offered in ("mqttv3.1,mqtt", "mqtt", "other , mqtt"):
            found = accepted(head(Sec_WebSocket_Protocol=offered), terms)
            assert found.subprotocol == "mqtt"
            assert b"\r\nSec-WebSocket-Protocol: mqtt\r\n" in found.answer()
        found = accepted(head("GET / HTTP/1.1", "Sec-WebSocket-Protocol: mqttv3.1"), terms)
        assert found.subprotocol == "mqttv3.1"

    @pytest.mark.parametrize("offered", [None, "", "other", "MQTT", "mqtt5"])
    def test_not_without_a_common_subprotocol(self, offered: str | None) -> None:
        found = refused(head(Sec_WebSocket_Protocol=offered), 400, "Offer this", MQTT)
        assert found.text.endswith(": mqtt")

    @pytest.mark.parametrize("offered", ["mqtt, mqtt", "mqtt, a b", "mqtt;q=1"])
    def test_not_with_a_list_that_is_none(self, offered: str) -> None:
        refused(head(Sec_WebSocket_Protocol=offered), 400, "different names", MQTT)

    def test_fields_that_name_more_than_they_have_to(self) -> None:
        accepted(head(Upgrade="h2c, WebSocket", Connection="keep-alive, upgrade"))
        accepted(head("GET / HTTP/1.1", "Connection: keep-alive"))
        accepted(head(Content_Length="0", Sec_WebSocket_Extensions="permessage-deflate"))
        accepted(head("GET http://server.example.com/ HTTP/1.1"))

    def test_extensions_are_not_answered(self) -> None:
        found = accepted(head(Sec_WebSocket_Extensions="permessage-deflate"))
        assert b"Extensions" not in found.answer()

    def test_the_path(self) -> None:
        terms = Terms(path="/mqtt")
        accepted(head("GET /mqtt?token=1 HTTP/1.1"), terms)
        for path in ("/", "/mqtt/", "/mqtt/x", "/MQTT", "/m%71tt"):
            refused(head(f"GET {path} HTTP/1.1"), 404, "nothing at this path", terms)

    def test_origins(self) -> None:
        terms = Terms(origins=frozenset({"https://example.org", "http://localhost:8080", "null"}))
        for origin in (
            "https://example.org",
            "HTTPS://Example.org",
            "http://localhost:8080",
            "null",
        ):
            accepted(head(Origin=origin), terms)
        accepted(head(), terms)
        for origin in ("", "http://example.org", "https://example.org:8443", "https://evil.org"):
            refused(head(Origin=origin), 403, "origin", terms)
            accepted(head(Origin=origin))
        accepted(head(), Terms(origins=frozenset()))
        refused(head(Origin="https://a"), 403, "origin", Terms(origins=frozenset()))


class TestRefusing:
    @pytest.mark.parametrize("method", ["POST", "HEAD", "CONNECT", "get"])
    def test_another_method(self, method: str) -> None:
        found = refused(head(f"{method} / HTTP/1.1"), 405, "GET")
        answered = found.answer()
        assert b"\r\nAllow: GET\r\n" in answered
        _, _, body = answered.partition(b"\r\n\r\n")
        assert bool(body) == (method != "HEAD")
        assert b"\r\nContent-Length: %d\r\n" % len(f"{found.text}\n") in answered

    @pytest.mark.parametrize(
        "data",
        [
            head("GET / HTTP/1.0"),
            head(Upgrade=None),
            head(Upgrade="h2c"),
            head(Connection=None),
            head(Connection="close"),
            head(Connection="keep-alive", Upgrade=None, Sec_WebSocket_Key=None),
        ],
    )
    def test_what_is_no_upgrade_is_told_how(self, data: bytes) -> None:
        answered = refused(data, 426, "WebSocket client").answer()
        assert b"\r\nUpgrade: websocket\r\n" in answered
        assert b"\r\nConnection: Upgrade, close\r\n" in answered

    @pytest.mark.parametrize("version", [None, "8", "0", "14", "13, 8", "013"])
    def test_another_version_is_told_ours(self, version: str | None) -> None:
        found = refused(head(Sec_WebSocket_Version=version), 426, "version 13")
        assert b"\r\nSec-WebSocket-Version: 13\r\n" in found.answer()

    @pytest.mark.parametrize(
        "key", [None, "", "x", KEY[:-1], KEY[:-2], KEY[4:], KEY + "AAAA", f"*{KEY}", "\xe9" * 24]
    )
    def test_a_key_that_is_none(self, key: str | None) -> None:
        refused(head(Sec_WebSocket_Key=key), 400, "Sec-WebSocket-Key")

    def test_what_may_come_once_only(self) -> None:
        refused(head("GET / HTTP/1.1", f"Sec-WebSocket-Key: {KEY}"), 400, "Sec-WebSocket-Key")
        refused(head("GET / HTTP/1.1", "Sec-WebSocket-Version: 13"), 426, "version 13")
        refused(head("GET / HTTP/1.1", "Host: other"), 400, "host")
        refused(head("GET / HTTP/1.1", "Origin: null", "Origin: null"), 400, "origins")

    def test_a_request_without_a_host(self) -> None:
        refused(head(Host=None), 400, "host")

    @pytest.mark.parametrize("target", ["*", "server.example.com:443", "ftp://a/"])
    def test_a_target_that_is_no_path(self, target: str) -> None:
        refused(head(f"GET {target} HTTP/1.1"), 400, "target")

    @pytest.mark.parametrize(
        "fields",
        [{"Content_Length": "1"}, {"Content_Length": ""}, {"Transfer_Encoding": "chunked"}],
    )
    def test_a_body(self, fields: dict[str, str]) -> None:
        refused(head(**fields), 400, "body")

    def test_every_answer_is_whole_and_closes(self) -> None:
        found = refused(head(Host=None), 400, "host")
        assert found.answer() == (
            b"HTTP/1.1 400 Bad Request\r\n"
            b"Connection: close\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: 66\r\n"
            b"\r\n"
            b"The request names no host, or several. Send one Host field.\n"
        ).replace(b"66", b"%d" % len(f"{found.text}\n"))


def test_a_program_may_say_no_in_its_own_words() -> None:
    answered = Refused(503, "Service Unavailable", "Später bitte.").answer()
    head, _, body = answered.partition(b"\r\n\r\n")
    assert body == "Später bitte.\n".encode()
    assert b"\r\nContent-Length: 15" in head


class TestTerms:
    @pytest.mark.parametrize("name", ["", "a b", "mqtt,x", "ä", "a\r\n"])
    def test_a_subprotocol_is_a_token(self, name: str) -> None:
        with pytest.raises(ConfigurationError, match="token"):
            Terms(subprotocols=("mqtt", name))

    @pytest.mark.parametrize(
        "origin", ["", "example.org", "https://example.org/", "*", "https://"]
    )
    def test_an_origin_has_no_path(self, origin: str) -> None:
        with pytest.raises(ConfigurationError, match="not an origin"):
            Terms(origins=frozenset({origin}))

    @pytest.mark.parametrize("path", ["", "mqtt"])
    def test_a_path_begins_with_a_slash(self, path: str) -> None:
        with pytest.raises(ConfigurationError, match="begin with /"):
            Terms(path=path)


def test_the_accept_value_of_the_standard() -> None:
    assert accept_value(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
