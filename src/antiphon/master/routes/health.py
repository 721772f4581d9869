"""`GET /health` and `GET /openapi.json`: public, and without a secret."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import Field

from antiphon.errors import DatabaseError
from antiphon.master.calls import Parts
from antiphon.master.docs import refusals
from antiphon.master.problems import JSON
from antiphon.master.shapes.common import Given
from antiphon.records import ping

router = APIRouter(tags=["health"])
VERSION = version("antiphon")


class Health(Given):
    """Whether the control plane can work."""

    status: Literal["ok", "stopping", "database_failed"]
    version: str = Field(examples=["0.1.0"])


@router.get(
    "/health",
    response_model=Health,
    summary="Whether the control plane can work",
    responses={503: {"model": Health, "description": "It can't, now."}, **refusals(400, 500)},
)
async def health(request: Request) -> Response:
    """For people and for probes; 503 when the database fails or the service stops."""
    parts: Parts = request.app.state.parts
    status: Literal["ok", "stopping", "database_failed"] = "ok"
    if parts.stopping.is_set():
        status = "stopping"
    else:
        try:
            await parts.database.read(ping.answers)
        except DatabaseError:
            status = "database_failed"
    body = Health(status=status, version=VERSION).model_dump_json()
    return Response(body, 200 if status == "ok" else 503, media_type=JSON)


@router.get(
    "/openapi.json",
    response_model=dict[str, Any],
    summary="This document",
    responses=refusals(400, 500),
)
async def openapi(request: Request) -> Response:
    """OpenAPI 3.1."""
    return Response(msgspec.json.encode(request.app.openapi()), media_type=JSON)
