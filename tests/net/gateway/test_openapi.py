"""porttunnel.net.gateway.openapi"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from porttunnel.net.gateway.openapi import describe
from porttunnel.net.gateway.route import ROUTES

PROBES = {("GET", "/healthz"), ("GET", "/readyz")}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(describe(needs_token=False)))
    return found


def test_every_route_is_described_and_nothing_else(described: dict[str, Any]) -> None:
    operations = {
        (method.upper(), path): operation
        for path, item in described["paths"].items()
        for method, operation in item.items()
    }
    assert set(operations) == {(route.method, route.path) for route in ROUTES} | PROBES
    for route in ROUTES:
        operation = operations[route.method, route.path]
        assert operation["operationId"] == route.name
        assert str(route.status) in operation["responses"]
        assert ("requestBody" in operation) == (route.takes is not None)
        assert ("parameters" in operation) == ("{device_id}" in route.path)


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert references >= {"Setup", "SetUpDevice", "ProblemDocument", "DeviceState"}
    assert references <= set(described["components"]["schemas"])


def test_who_is_told_of_a_device_can_ask_about_it(described: dict[str, Any]) -> None:
    links = described["paths"]["/v1/devices"]["post"]["responses"]["201"]["links"]
    assert set(links) == {"readDevice", "removeDevice", "confirmDevice"}
    assert "links" not in described["paths"]["/v1/devices"]["get"]["responses"]["200"]


def test_every_problem_has_the_type_of_problems(described: dict[str, Any]) -> None:
    for path, item in described["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for operation in item.values():
            problems = {s: r for s, r in operation["responses"].items() if s >= "400"}
            assert {"400", "413", "415", "500", "503"} <= set(problems)
            for response in problems.values():
                assert list(response["content"]) == ["application/problem+json"]


def test_who_must_say_who_he_is(described: dict[str, Any]) -> None:
    paths = described["paths"]
    assert paths["/v1/devices"]["get"]["security"] == [{"account": []}]
    assert paths["/v1/devices/setup"]["post"]["security"] == []
    assert paths["/v1/instances"]["post"]["security"] == []
    strict = describe(needs_token=True)["paths"]["/v1/instances"]["post"]
    assert strict["security"] == [{"registration": []}]


def test_what_is_refused_is_described_as_refused(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    for name in ("Registration", "NewPassword", "Invitation", "Setup"):
        assert schemas[name]["additionalProperties"] is False


def test_waiting_has_a_time(described: dict[str, Any]) -> None:
    responses = described["paths"]["/v1/devices"]["get"]["responses"]
    assert "Retry-After" in responses["429"]["headers"]
    assert "headers" not in responses["401"]
