"""The gateway's HTTP interface as an OpenAPI 3.1 document, made from the table of routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

import porttunnel
from porttunnel.net.gateway.problem import PROBLEM_TYPE, ProblemDocument, ProblemKind
from porttunnel.net.gateway.route import DEVICE_ID, ROUTES, Access, Route

__all__ = ["describe"]

_JSON = "application/json"
_COMPONENTS = "#/components/schemas/{name}"
_ID_SCHEMA = {"type": "string", "pattern": "^[0-9a-f]{32}$", "minLength": 32, "maxLength": 32}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds until it may be otherwise.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
# Who is told of a device can ask about it.
_LINKS = {
    route.name: {
        "operationId": route.name,
        "parameters": {"device_id": "$response.body#/device_id"},
    }
    for route in ROUTES
    if DEVICE_ID in route.path
}
# Beside the table, since they need no account: the pages of :mod:`.site` for whoever watches.
_PROBES = {
    "/healthz": ("checkHealth", "Whether the gateway runs.", ("200",)),
    "/readyz": ("checkReadiness", "Whether users may be sent here.", ("200", "503")),
}
_WAITING = (ProblemKind.TOO_MANY_ATTEMPTS, ProblemKind.BUSY)

_BODY_PROBLEMS = (
    ProblemKind.MALFORMED,
    ProblemKind.TOO_LARGE,
    ProblemKind.NOT_JSON,
)
_ACCESS_PROBLEMS = {
    Access.ANYBODY: (),
    Access.REGISTRANT: (ProblemKind.WRONG_CREDENTIALS,),
    Access.INSTANCE: (
        ProblemKind.WRONG_CREDENTIALS,
        ProblemKind.NOT_ALLOWED,
        ProblemKind.TOO_MANY_ATTEMPTS,
    ),
    Access.ACCOUNT: (ProblemKind.WRONG_CREDENTIALS, ProblemKind.TOO_MANY_ATTEMPTS),
}
_COMMON_PROBLEMS = (ProblemKind.BROKEN, ProblemKind.BUSY, ProblemKind.UNAVAILABLE)


def describe(*, needs_token: bool) -> dict[str, Any]:
    """The document.

    :param needs_token: whether the operator's token is asked of whoever registers.
    """
    documents = {kind for route in ROUTES for kind in (route.takes, route.gives) if kind}
    _, schemas = msgspec.json.schema_components(
        [*sorted(documents, key=lambda kind: kind.__name__), ProblemDocument],
        ref_template=_COMPONENTS,
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, needs_token)
    for path, (name, summary, statuses) in _PROBES.items():
        paths[path] = {"get": _probe(name, summary, statuses)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "porttunnel gateway",
            "version": porttunnel.__version__,
            "description": "Accounts of instances and devices. What they say to each other goes "
            "through MQTT, sealed.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "account": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The id of an instance or a device, and its password.",
                },
                "registration": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The operator's token.",
                },
            },
        },
    }


def _operation(route: Route, needs_token: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "security": _security(route.access, needs_token),
        "responses": _responses(route),
    }
    if DEVICE_ID in route.path:
        operation["parameters"] = [
            {"name": "device_id", "in": "path", "required": True, "schema": _ID_SCHEMA}
        ]
    if route.takes is not None:
        operation["requestBody"] = {
            "required": not route.body_may_be_empty,
            "content": {_JSON: {"schema": _reference(route.takes)}},
        }
    return operation


def _probe(name: str, summary: str, statuses: tuple[str, ...]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {
            status: {
                "description": HTTPStatus(int(status)).phrase,
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
            for status in statuses
        },
    }


def _security(access: Access, needs_token: bool) -> list[dict[str, list[str]]]:
    if access in (Access.INSTANCE, Access.ACCOUNT):
        return [{"account": []}]
    return [{"registration": []}] if access is Access.REGISTRANT and needs_token else []


def _responses(route: Route) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    if route.gives is not None:
        success["content"] = {_JSON: {"schema": _reference(route.gives)}}
        if "device_id" in route.gives.__struct_fields__:
            success["links"] = _LINKS
    kinds: dict[int, list[ProblemKind]] = {}
    # A body where none belongs is a problem too, so all routes have those of bodies.
    for kind in {
        *route.problems,
        *_ACCESS_PROBLEMS[route.access],
        *_BODY_PROBLEMS,
        *_COMMON_PROBLEMS,
    }:
        kinds.setdefault(kind.status, []).append(kind)
    problems = {str(status): _problem(kinds[status]) for status in sorted(kinds)}
    return {str(route.status): success, **problems}


def _problem(kinds: list[ProblemKind]) -> dict[str, Any]:
    codes = ", ".join(sorted(kind.code for kind in kinds))
    response: dict[str, Any] = {
        "description": f"{HTTPStatus(kinds[0].status).phrase}: {codes}.",
        "content": {PROBLEM_TYPE: {"schema": _reference(ProblemDocument)}},
    }
    if all(kind in _WAITING for kind in kinds):
        response["headers"] = _RETRY_AFTER
    return response


def _reference(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _COMPONENTS.format(name=kind.__name__)}
