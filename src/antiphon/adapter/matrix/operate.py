"""The operations port: `/health` and `/metrics`, for the operator's machines only."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from antiphon.adapter.matrix.journal import outbox
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.clock import Clock
from antiphon.errors import AntiphonError, SettingsError
from antiphon.sdk.interface import Platform

STALE_S = 120
"""A sync older than this (four polls) is a failure of the whole."""


class Operations:
    """Serves the two pages on a socket of its own."""

    def __init__(
        self, user_id: str, journal: Journal, platform: Platform, metrics: Metrics, clock: Clock
    ):
        self._user_id = user_id
        self._journal = journal
        self._platform = platform
        self._metrics = metrics
        self._clock = clock
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> str:
        """Listens; the base URL. Raises SettingsError when the port can't be had."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._expose)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(
                f"Can't listen on {host}:{port}: {error.strerror}. Stop what uses it, or set "
                "[matrix] port (ANTIPHON_MATRIX__PORT) to another one; 0 takes any free port."
            ) from error
        address: Any = self._runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http://{shown}:{address[1]}"

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        report: dict[str, Any] = {"status": "ok", "user_id": self._user_id}
        try:
            pending, _oldest = await self._journal.read(outbox.backlog)
            report["outbox_pending"] = pending
        except AntiphonError as error:
            report.update(status="failed", database=error.message)
        age = self._clock.now_ms() / 1000 - self._metrics.last_sync_s
        report["last_sync_age_s"] = round(age, 1) if self._metrics.last_sync_s else None
        if not self._metrics.last_sync_s or age > STALE_S:
            report.update(status="failed", sync="no answer from the homeserver")
        agent = await self._platform.check()
        report["agent"] = agent.detail
        if not agent.ok and report["status"] == "ok":
            report["status"] = "degraded"
        state = await self._platform.state_health()
        report["state"] = state.detail
        if not state.ok and report["status"] == "ok":
            report["status"] = "degraded"
        return web.json_response(report, status=503 if report["status"] == "failed" else 200)

    async def _expose(self, _: web.Request) -> web.Response:
        pending, oldest = await self._journal.read(outbox.backlog)
        self._metrics.outbox_pending.set(pending)
        age = 0.0 if oldest is None else (self._clock.now_ms() - oldest) / 1000
        self._metrics.outbox_age.set(max(0.0, age))
        return web.Response(
            body=self._metrics.expose(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )
