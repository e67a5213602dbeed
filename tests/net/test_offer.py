"""porttunnel.net.offer"""

from __future__ import annotations

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.net.offer import Offer, is_service_name, parse_offer, parse_offers


@pytest.mark.parametrize(
    ("text", "offer"),
    [
        ("8000", Offer("tcp-8000", "tcp", "127.0.0.1:8000")),
        ("web=8000", Offer("web", "tcp", "127.0.0.1:8000")),
        ("intranet:80", Offer("tcp-80", "tcp", "intranet:80")),
        ("tcp:intranet:80", Offer("tcp-80", "tcp", "intranet:80")),
        ("wiki=tcp:intranet:80", Offer("wiki", "tcp", "intranet:80")),
        ("wiki=tcp:host=intranet:port=80", Offer("wiki", "tcp", "host=intranet:port=80")),
        ("wiki=tcp:\\:\\:1:80", Offer("wiki", "tcp", "\\:\\:1:80")),
        ("unix:/run/wiki", Offer("unix", "unix", "/run/wiki")),
        ("db=unix:/run/postgresql/.s=1", Offer("db", "unix", "/run/postgresql/.s=1")),
        ("dir:/srv/out", Offer("files", "dir", "/srv/out")),
        ("out=dir:/srv/a=b", Offer("out", "dir", "/srv/a=b")),
        ("socks:10.0.0.0/8,intranet:443", Offer("socks", "socks", "10.0.0.0/8,intranet:443")),
        ("65535", Offer("tcp-65535", "tcp", "127.0.0.1:65535")),
    ],
)
def test_reads_what_people_write(text: str, offer: Offer) -> None:
    assert parse_offer(text) == offer


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing to share"),
        ("web", "nothing to share"),
        ("web=", "nothing to share"),
        ("dir:", "nothing to share"),
        ("0", "no port from 1"),
        ("65536", "no port from 1"),
        ("intranet:", "nothing to share"),
        ("intranet:http", "no port from 1"),
        ("tcp:intranet", "no port from 1"),
        ("²", "nothing to share"),
        ("web=intranet:²", "no port from 1"),
    ],
)
def test_says_what_to_write_instead(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse_offer(text)


def test_each_has_a_name_of_its_own() -> None:
    assert parse_offers(("8000", "b=8000")) == [parse_offer("8000"), parse_offer("b=8000")]
    with pytest.raises(ConfigurationError, match=r"'files' would be .* NAME= before 'dir:/b'"):
        parse_offers(("dir:/a", "dir:/b"))


def test_an_equals_sign_may_belong_to_the_target() -> None:
    # Nothing before the sign that could be a name.
    assert parse_offer("dir:/srv/a=b") == Offer("files", "dir", "/srv/a=b")


@pytest.mark.parametrize("name", ["a", "web", "Web-2.old_one", "x" * 64])
def test_names_of_services(name: str) -> None:
    assert is_service_name(name)


@pytest.mark.parametrize("name", ["", "-web", "a b", "a=b", "a:b", "wéb", "x" * 65, "a\n"])
def test_what_is_no_name(name: str) -> None:
    assert not is_service_name(name)


def test_clients_do_not_see_where_it_leads() -> None:
    shown = Offer("db", "unix", "/run/secret-place").service
    assert (shown.name, shown.kind) == ("db", "tcp")
    assert "secret" not in repr(shown)
    assert Offer("out", "dir", "/srv").service.kind == "dir"
