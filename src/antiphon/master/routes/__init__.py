"""The routes of the HTTP API, one module for each noun."""

from __future__ import annotations

from antiphon.master.routes import (
    chats,
    erasing,
    health,
    roles,
    rules,
    sessions,
    settings,
    threads,
    usage,
    users,
)

ROUTERS = (
    health.router,
    users.router,
    erasing.router,
    chats.router,
    sessions.router,
    threads.router,
    settings.router,
    roles.router,
    rules.router,
    usage.router,
)
