"""porttunnel/gateway/forward_identity.py: the instance says who asks, or nothing is asked."""

from __future__ import annotations

import base64

import msgspec
import pytest

from porttunnel.gateway.forward_identity import IdentityRules, UserCredentials
from porttunnel.gateway.forward_path import Denial

ANNA = UserCredentials(password="s3cret")
BERT = UserCredentials(login="robert", password="pass:word")
CARLA = UserCredentials(token="t0ken")
ALL = {"anna": ANNA, "bert": BERT, "carla": CARLA}


def test_by_a_field() -> None:
    rules = IdentityRules(b"x-remote-user")
    assert rules.fields_of("anna") == ((b"x-remote-user", b"anna"),)
    assert rules.fields_of("jürgen") == ((b"x-remote-user", "jürgen".encode()),)
    assert rules.fields_of("x" * 255) == ((b"x-remote-user", b"x" * 255),)
    for user in ("", "x" * 256, "an\nna", "anna\r", "anna ", "a\0", "a\t", "a\x1bb", "a\x7f"):
        assert rules.fields_of(user) is Denial.IDENTITY


def test_by_credentials() -> None:
    rules = IdentityRules(credentials=ALL)
    basic = b"Basic " + base64.b64encode(b"anna:s3cret")
    assert rules.fields_of("anna") == ((b"authorization", basic),)
    other = b"Basic " + base64.b64encode(b"robert:pass:word")
    assert rules.fields_of("bert") == ((b"authorization", other),)
    assert rules.fields_of("carla") == ((b"authorization", b"Bearer t0ken"),)
    assert rules.fields_of("dora") is Denial.IDENTITY
    for credentials in (ANNA, UserCredentials(login="a:b", password="x")):
        split = IdentityRules(credentials={"a:b": credentials})
        assert split.fields_of("a:b") is Denial.IDENTITY
    broken = IdentityRules(credentials={"x": UserCredentials(token="a\r\nx: y")})
    assert broken.fields_of("x") is Denial.IDENTITY


def test_by_both_and_by_none() -> None:
    rules = IdentityRules(b"x-user", ALL)
    assert rules.fields_of("dora") == ((b"x-user", b"dora"),)
    assert rules.fields_of("carla") == (
        (b"x-user", b"carla"),
        (b"authorization", b"Bearer t0ken"),
    )
    assert IdentityRules().fields_of("anna") == ()


def test_no_secret_is_shown() -> None:
    shown = repr(IdentityRules(b"", ALL))
    assert "robert" in shown
    for secret in ("s3cret", "pass:word", "t0ken"):
        assert secret not in shown


def test_unknown_settings_are_found() -> None:
    assert msgspec.convert({"password": "x"}, UserCredentials) == UserCredentials(password="x")
    with pytest.raises(msgspec.ValidationError, match="passwd"):
        msgspec.convert({"passwd": "x"}, UserCredentials)
