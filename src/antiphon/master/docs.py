"""The OpenAPI of the control plane: which refusals each route may answer with, and who may ask."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from antiphon.master.front import PUBLIC
from antiphon.master.shapes.common import Envelope

REFUSALS: dict[int, tuple[str, str]] = {
    400: ("bad_request", "Path, query or body is no readable text or no JSON."),
    401: ("unauthorized", "No token, or one that is none any more."),
    403: ("forbidden", "The token lacks the scope, or is of another surface."),
    404: ("unknown_chat", "It is not there, or not this surface's."),
    409: ("conflict", "Another request had this Idempotency-Key, or the change clashes."),
    412: ("stale", "`If-Match` names an older version."),
    413: ("body_too_large", "The body has more than 256 KiB."),
    415: ("unsupported_media_type", "The body is no `application/json`."),
    422: ("bad_value", "Something in the request is not allowed: `details` say what."),
    428: ("version_needed", "`If-Match` is missing."),
    500: ("internal", "A fault of ours; the log has it."),
    503: ("unavailable", "The database does not answer, or the service stops. Try again."),
}
"""Each status of a refusal: an example of its code, and what it means."""

READING = (400, 401, 403, 422, 500, 503)
WRITING = (*READING, 408, 409, 413, 415)

ABOUT = """\
Users, chats, sessions, settings, roles and usage of every surface. Each request carries a token,
made by `antiphon master token make`; a token belongs to one surface and sees nothing of another.
Every error is one envelope, `{"error": {"code", "message", "details"?}}`. Lists come in pages:
`next_cursor` of one is `cursor` of the next. What can be changed carries an ETag, and a change
says by `If-Match` which version it means. A change with an `Idempotency-Key` is made once.
"""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of these refusals, for a route."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        code, text = REFUSALS.get(status, ("too_slow", "The body did not come in time."))
        example = {"error": {"code": code, "message": text}}
        found[status] = {
            "model": Envelope,
            "description": text,
            "content": {"application/json": {"example": example}},
        }
    return found


def reading(*more: int) -> dict[int | str, dict[str, Any]]:
    """Refusals of a route that reads."""
    return refusals(*READING, *more)


def writing(*more: int) -> dict[int | str, dict[str, Any]]:
    """Refusals of a route that writes."""
    return refusals(*WRITING, *more)


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document; made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=ABOUT, routes=app.routes
        )
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
        for path in PUBLIC:
            for operation in made["paths"].get(path, {}).values():
                operation["security"] = []
        for operations in made["paths"].values():
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    _never_null(parameter)
        app.openapi_schema = made
    return app.openapi_schema


def _never_null(parameter: dict[str, Any]) -> None:
    """A header or a query has no null: what may be left out is left out."""
    schema = parameter["schema"]
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del schema["anyOf"]
        parameter["schema"] = {**kinds[0], **schema}
