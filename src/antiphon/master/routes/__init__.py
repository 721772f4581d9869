"""The routes of the HTTP API, one module for each noun."""

from __future__ import annotations

from antiphon.master.routes import health

ROUTERS = (health.router,)
