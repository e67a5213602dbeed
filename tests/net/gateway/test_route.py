"""porttunnel.net.gateway.route, .document and .problem"""

from __future__ import annotations

import msgspec
import pytest

from porttunnel.net.gateway import document
from porttunnel.net.gateway.problem import ProblemKind, RequestRefused
from porttunnel.net.gateway.route import ROUTES, Access, find_place

DEVICE = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("path", "methods", "device"),
    [
        ("/v1/instances", {"POST"}, ""),
        ("/v1/instances/self", {"DELETE"}, ""),
        ("/v1/instances/self/password", {"POST"}, ""),
        ("/v1/devices", {"GET", "POST"}, ""),
        ("/v1/devices/setup", {"POST"}, ""),
        (f"/v1/devices/{DEVICE}", {"GET", "DELETE"}, DEVICE),
        (f"/v1/devices/{DEVICE}/confirm", {"POST"}, DEVICE),
    ],
)
def test_a_path_leads_to_its_routes(path: str, methods: set[str], device: str) -> None:
    place = find_place(path)
    assert place is not None
    assert set(place.routes) == methods
    assert place.device_id == device
    for other in (path + "/", path + "\n", path[1:], path.upper(), "/x" + path, path + "/x"):
        assert find_place(other) is None


@pytest.mark.parametrize("device", ["", "x", DEVICE[1:], DEVICE + "0", DEVICE.upper(), "%30" * 32])
def test_an_id_has_one_spelling(device: str) -> None:
    assert find_place(f"/v1/devices/{device}") is None


def test_names_are_given_once() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_what_gives_nothing_says_so() -> None:
    assert {route.status for route in ROUTES if route.gives is None} == {204}
    assert {route.status for route in ROUTES if route.gives is not None} == {200, 201}


def test_only_two_routes_are_open() -> None:
    is_open = {Access.ANYBODY, Access.REGISTRANT}
    assert {route.name for route in ROUTES if route.access in is_open} == {
        "registerInstance",
        "setUpDevice",
    }


def test_a_body_may_be_empty_if_it_has_nothing_to_say() -> None:
    assert {route.name for route in ROUTES if route.takes and route.body_may_be_empty} == {
        "registerInstance",
        "inviteDevice",
    }
    assert all(route.body_may_be_empty for route in ROUTES if route.takes is None)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (document.Registration, '{"name": "x"}'),
        (document.Registration, "[]"),
        (document.Registration, "null"),
        (document.Invitation, '{"expires_in": 0}'),
        (document.Invitation, '{"expires_in": 86401}'),
        (document.Invitation, '{"expires_in": 600.5}'),
        (document.Invitation, '{"expires_in": "600"}'),
        (document.Invitation, '{"expires_in": true}'),
        (document.Invitation, '{"expires_in": null}'),
        (document.Invitation, '{"expires": 600}'),
        (document.NewPassword, "{}"),
        (document.NewPassword, f'{{"new_password": "{DEVICE.upper()}"}}'),
        (document.NewPassword, f'{{"new_password": "{DEVICE}\\n"}}'),
        (document.NewPassword, f'{{"new_password": "{DEVICE[1:]}\\n"}}'),
        (document.NewPassword, f'{{"new_password": "{DEVICE}0"}}'),
        (document.Setup, f'{{"device_setup_key": "{DEVICE}"}}'),
        (document.Setup, f'{{"device_setup_key": "{DEVICE}", "client_nonce": "{DEVICE}"}}'),
    ],
)
def test_what_is_not_as_described_is_not_taken(kind: type, text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(text, type=kind)


def test_a_number_may_be_written_as_one_likes() -> None:
    for text in ("600", "600.0", "6e2", "6.0E+2"):
        read = msgspec.json.decode(f'{{"expires_in": {text}}}', type=document.Invitation)
        assert read.expires_in == 600


def test_an_invitation_has_a_default_end() -> None:
    assert msgspec.json.decode("{}", type=document.Invitation).expires_in == 600


def test_documents_with_secrets_do_not_show_them() -> None:
    shown = repr(document.NewPassword(DEVICE)) + repr(document.Setup(DEVICE, 2 * DEVICE))
    assert DEVICE not in shown
    assert "NewPassword(...)" in shown


def test_a_problem_says_what_it_is() -> None:
    refused = RequestRefused(ProblemKind.FULL, {"Allow": "GET"})
    assert msgspec.to_builtins(refused.document()) == {
        "type": "about:blank",
        "status": 409,
        "title": "Conflict",
        "code": "full",
        "detail": ProblemKind.FULL.detail,
    }
    assert refused.headers == {"Allow": "GET"}


def test_each_problem_has_its_own_code() -> None:
    assert len({kind.code for kind in ProblemKind}) == len(ProblemKind)
