"""porttunnel/gateway/forward_field.py: no spelling of a field gets around its removal."""

from __future__ import annotations

import pytest

from porttunnel.gateway.forward_field import (
    compare_name,
    find_values,
    keep_answered,
    keep_asked,
)

ORDINARY = (
    (b"accept", b"*/*"),
    (b"content-type", b"text/plain"),
    (b"if-none-match", b'"a"'),
    (b"range", b"bytes=0-"),
    (b"x-csrf-token", b"t"),
    (b"sec-websocket-protocol", b"chat"),
)


@pytest.mark.parametrize(
    "name",
    [
        b"authorization",
        b"connection",
        b"content-length",
        b"content_length",
        b"cookie",
        b"destination",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"proxy",
        b"proxy-authorization",
        b"proxy-connection",
        b"sec-websocket-key",
        b"ssl-client-s-dn",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"transfer_encoding",
        b"upgrade",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded_user",
        b"x_forwarded_host",
        b"x-http-method-override",
        b"x-original-url",
        b"x-real-ip",
        b"x_real_ip",
        b"x-remote-user",
        b"x-remote-group",
        b"x_remote_extra_scopes",
        b"remote-user",
        b"remote-groups",
        b"remote_addr",
        b"x-webauth-role",
        b"x-auth-request-email",
        b"x-authenticated-userid",
        b"client-cert",
        b"client-cert-chain",
        b"x-original-forwarded-for",
        b"x-script-name",
        b"x_remote_user",
        b"x.remote~user",
        b"x-wiki-user",
        b"x_wiki_user",
        b"X-Wiki-User",
        b":protocol",
    ],
)
def test_what_a_device_may_not_say(name: bytes) -> None:
    fields = (*ORDINARY, (name, b"root"), (b"z", b"1"))
    assert keep_asked(fields, [b"x-wiki-user"]) == (*ORDINARY, (b"z", b"1"))


def test_ordinary_fields_pass_as_they_are() -> None:
    twice = (*ORDINARY, (b"accept", b"a"), (b"remote", b""), (b"x-forward", b""))
    assert keep_asked(twice) == twice
    assert keep_answered(twice) == twice


def test_what_connection_names_goes_no_further() -> None:
    fields = ((b"connection", b"close, X-One,,"), (b"connection", b"x_two"))
    named = ((b"x-one", b"1"), (b"x_one", b"1"), (b"x-two", b"2"), (b"x-three", b"3"))
    assert keep_asked(fields + named) == named[3:]
    assert keep_answered(fields + named) == named[3:]


@pytest.mark.parametrize(
    "name",
    [
        b"alt-svc",
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"public-key-pins",
        b"set-cookie",
        b"strict-transport-security",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"www-authenticate",
    ],
)
def test_what_the_web_system_says_to_its_neighbour_only(name: bytes) -> None:
    fields = ((b"content-length", b"3"), (name, b"x"), (b"location", b"/a"), (b"etag", b"1"))
    assert keep_answered(fields) == (fields[0], *fields[2:])


def test_names_and_values() -> None:
    assert compare_name(b"X_Remote.User!") == b"x-remote-user-"
    assert find_values(((b"a", b"1"), (b"b", b"2"), (b"a", b"3")), b"a") == [b"1", b"3"]
