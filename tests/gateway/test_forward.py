"""porttunnel/gateway/forward.py: a request and its response, from one side to the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porttunnel.gateway.binary_http import Framing, MessageWriter
from porttunnel.gateway.binary_http_reader import MAX_FIELDS, MessageEnded, MessageReader
from porttunnel.gateway.forward import ForwardedRequest, ForwardRules
from porttunnel.gateway.forward_identity import IdentityRules, UserCredentials
from porttunnel.gateway.forward_origin import Origin
from porttunnel.gateway.forward_path import AllowList, Denial
from porttunnel.gateway.http_head import Fields, RequestHead, ResponseHead

ORIGIN = Origin(b"http", b"wiki.example", 8080)
RULES = ForwardRules(
    AllowList.parse(["GET", "POST"], ["/wiki"]),
    ORIGIN,
    frozenset({Origin(b"https", b"wiki.example", 443)}),
    IdentityRules(b"x-remote-user"),
)
ASKED = RequestHead(b"GET", b"http", b"127.0.0.1:40123", b"/wiki/start", ((b"accept", b"*/*"),))
UPGRADE = replace(
    ASKED,
    method=b"CONNECT",
    fields=(
        (b":protocol", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-protocol", b"chat"),
        (b"content-length", b"7"),
    ),
)


def ask(head: RequestHead, cookie: bytes | None = None) -> ForwardedRequest | Denial:
    return RULES.forward_request(head, "anna", {b"/wiki/start": cookie}.get)


def sent(head: RequestHead, cookie: bytes | None = None) -> ForwardedRequest:
    asked = ask(head, cookie)
    assert isinstance(asked, ForwardedRequest)
    return asked


class TestARequest:
    def test_has_the_host_the_user_and_the_cookies_that_we_say(self) -> None:
        fields = (
            (b"host", b"evil"),
            (b"x_remote_user", b"root"),
            (b"cookie", b"session=stolen"),
            (b"accept", b"*/*"),
        )
        assert sent(replace(ASKED, fields=fields), b"session=own") == ForwardedRequest(
            b"GET",
            b"/wiki/start",
            (
                (b"host", b"wiki.example:8080"),
                (b"accept", b"*/*"),
                (b"x-remote-user", b"anna"),
                (b"cookie", b"session=own"),
            ),
            None,
            False,
        )
        assert b"cookie" not in dict(sent(ASKED).fields)

    def test_comes_from_where_the_web_system_is(self) -> None:
        here = b"http://127.0.0.1:40123"
        fields = ((b"origin", here), (b"referer", here + b"/wiki/a"), (b"accept", here))
        given = dict(sent(replace(ASKED, fields=fields)).fields)
        assert given[b"origin"] == b"http://wiki.example:8080"
        assert given[b"referer"] == b"http://wiki.example:8080/wiki/a"
        assert given[b"accept"] == here
        nowhere = replace(ASKED, authority=b"", fields=fields)
        assert dict(sent(nowhere).fields)[b"origin"] == here

    @pytest.mark.parametrize(
        ("fields", "length"),
        [
            ((), None),
            (((b"content-length", b"0"),), 0),
            (((b"content-length", b"12"), (b"content-length", b"12")), 12),
        ],
    )
    def test_may_say_how_long_it_is(self, fields: Fields, length: int | None) -> None:
        head = replace(ASKED, method=b"POST", fields=fields)
        assert sent(head).length == length
        assert b"content-length" not in dict(sent(head).fields)

    @pytest.mark.parametrize(
        "fields",
        [
            ((b"content-length", b"1"), (b"content-length", b"2")),
            ((b"content-length", b"1"), (b"content_length", b"2")),
            ((b"content-length", b"1, 1"),),
            ((b"content-length", b"-1"),),
            ((b"content-length", b""),),
            ((b"content-length", b"9" * 19),),
        ],
    )
    def test_is_refused_if_it_is_not_clear_how_long_it_is(self, fields: Fields) -> None:
        assert ask(replace(ASKED, fields=fields)) is Denial.MALFORMED

    @pytest.mark.parametrize("octet", [b"\x01", b"\x0b", b"\x1b", b"\x7f"])
    def test_has_no_control_characters(self, octet: bytes) -> None:
        assert ask(replace(ASKED, fields=((b"a", b"x" + octet),))) is Denial.MALFORMED
        assert sent(replace(ASKED, fields=((b"a", b"x\ty\xfc"),))).fields[1] == (b"a", b"x\ty\xfc")

    def test_is_refused_for_other_reasons(self) -> None:
        assert ask(replace(ASKED, path=b"/admin")) is Denial.PATH
        assert ask(replace(ASKED, path=b"/wiki/../admin")) is Denial.AMBIGUOUS_PATH
        assert ask(replace(ASKED, method=b"DELETE")) is Denial.METHOD
        assert ask(replace(ASKED, method=b"CONNECT")) is Denial.METHOD
        assert RULES.forward_request(ASKED, "an\nna", lambda _: None) is Denial.IDENTITY

    def test_for_a_websocket(self) -> None:
        asked = sent(UPGRADE)
        assert (asked.method, asked.websocket, asked.length) == (b"GET", True, None)
        assert asked.fields == (
            (b"host", b"wiki.example:8080"),
            (b"sec-websocket-protocol", b"chat"),
            (b"x-remote-user", b"anna"),
        )
        assert ask(replace(UPGRADE, path=b"/admin")) is Denial.PATH
        other = ((b":protocol", b"connect-udp"), *UPGRADE.fields[1:])
        assert ask(replace(UPGRADE, fields=other)) is Denial.METHOD
        late = (*UPGRADE.fields[1:], UPGRADE.fields[0])
        assert ask(replace(UPGRADE, fields=late)) is Denial.METHOD
        assert ask(replace(UPGRADE, path=b"*")) is Denial.METHOD

    def test_trailers_set_no_user_either(self) -> None:
        trailers = ((b"x-remote-user", b"root"), (b"x-sum", b"1"))
        assert RULES.keep_asked(trailers) == trailers[1:]
        basic = replace(RULES, identity=IdentityRules(b"", {"a": UserCredentials(password="b")}))
        assert basic.keep_asked(trailers) == trailers[1:]


class TestAResponse:
    def test_stays_inside_and_keeps_its_cookies(self) -> None:
        fields = (
            (b"content-length", b"3"),
            (b"location", b"http://wiki.example:8080/a"),
            (b"content-location", b"https://wiki.example/b"),
            (b"refresh", b"5; url=https://wiki.example/c"),
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2; path=/"),
            (b"strict-transport-security", b"max-age=1"),
            (b"link", b"<http://wiki.example:8080/a>"),
        )
        given = RULES.forward_response(302, fields)
        assert given is not None
        assert given.head == ResponseHead(
            302,
            (
                (b"content-length", b"3"),
                (b"location", b"/a"),
                (b"content-location", b"/b"),
                (b"refresh", b"5; url=/c"),
                (b"link", b"<http://wiki.example:8080/a>"),
            ),
        )
        assert given.cookies == (b"a=1", b"b=2; path=/")
        assert not given.clears_cookies

    @pytest.mark.parametrize(
        ("said", "left", "clears"),
        [
            (b'"cookies"', None, True),
            (b'"cache", "cookies"', b'"cache"', True),
            (b'"*"', b'"cache", "storage"', True),
            (b'"storage" , "executionContexts"', b'"storage"', False),
            (b"cookies", None, False),
        ],
    )
    def test_clears_the_jar_and_not_the_cookies_of_other_ports(
        self, said: bytes, left: bytes | None, clears: bool
    ) -> None:
        given = RULES.forward_response(200, ((b"clear-site-data", said),))
        assert given is not None
        assert given.clears_cookies is clears
        assert dict(given.head.fields).get(b"clear-site-data") == left

    def test_has_no_length_that_does_not_count(self) -> None:
        fields = ((b"content-length", b"3"), (b"transfer-encoding", b"chunked"), (b"a", b"b"))
        given = RULES.forward_response(200, fields)
        assert given is not None
        assert given.head.fields == ((b"a", b"b"),)

    def test_is_none_that_a_device_would_refuse(self) -> None:
        most = ((b"a", b""),) * MAX_FIELDS
        assert RULES.forward_response(200, most) is not None
        assert RULES.forward_response(200, (*most, (b"a", b""))) is None
        assert RULES.forward_response(200, ((b"a", b"x" * 65_527),)) is not None
        assert RULES.forward_response(200, ((b"a", b"x" * 65_528),)) is None

    def test_the_largest_that_passes_is_taken(self) -> None:
        for fields in (((b"a", b"x" * 65_527),), ((b"a", b"x" * 119),) * MAX_FIELDS):
            given = RULES.forward_response(200, fields)
            assert given is not None
            writer, reader = MessageWriter(Framing.RESPONSE), MessageReader(request=False)
            data = writer.write_head(given.head) + writer.end(RULES.forward_trailers(fields))
            assert [*reader.read(data), *reader.finish()] == [given.head, MessageEnded(fields)]

    def test_trailers(self) -> None:
        trailers = ((b"x-sum", b"1"), (b"set-cookie", b"a=b"))
        assert RULES.forward_trailers(trailers) == trailers[:1]
        assert RULES.forward_trailers(((b"x", b"\0"),)) == ()
        assert RULES.forward_trailers(((b"x", b""),) * (MAX_FIELDS + 1)) == ()

    def test_that_can_be_none_is_none(self) -> None:
        assert RULES.forward_response(99, ()) is None
        assert RULES.forward_response(200, ((b"a", b"\0"),)) is None
        assert RULES.forward_response(200, ((b"connection", b"a"), (b"a", b"\0"))) is not None
