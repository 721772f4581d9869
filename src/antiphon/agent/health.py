"""`GET /health`: whether the agent can work, for people and for probes. Says no secret."""

from __future__ import annotations

from typing import Any

from antiphon.agent.ports import EngineRegistry
from antiphon.agent.service import Service
from antiphon.agent.store import ping
from antiphon.errors import DatabaseError


async def health(
    service: Service, registry: EngineRegistry, version: str
) -> tuple[int, dict[str, Any]]:
    """The HTTP status (200; 503 when the database fails or the service stops) and the body."""
    body: dict[str, Any] = {
        "status": "ok",
        "version": version,
        "model": registry.default_model(),
        "running_runs": service.running_runs,
    }
    if service.stopping:
        return 503, body | {"status": "stopping"}
    try:
        await service.database.read(ping.answers)
    except DatabaseError:
        return 503, body | {"status": "database_failed"}
    return 200, body
