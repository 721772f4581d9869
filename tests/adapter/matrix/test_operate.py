"""The operations port: what an operator's probe and Prometheus read."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from antiphon.errors import SettingsError
from antiphon.settings import MatrixSettings
from antiphon.testing.adapter import AdapterUnderTest
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.platform import FakePlatform


def adapter(server: FakeHomeserver, folder: Path, **settings: Any) -> AdapterUnderTest:
    bot = server.account("bot")
    return AdapterUnderTest(
        server.url,
        bot,
        server.token(bot),
        FakePlatform(),
        folder,
        settings=MatrixSettings(allow=("*",), **settings),
    )


async def get(url: str) -> tuple[int, Any, str]:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        text = await response.text()
        json = await response.json() if "json" in response.content_type else None
        return response.status, json, text


async def test_health_says_what_it_knows(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    bot = adapter(homeserver, tmp_path)
    async with bot.running():
        status, report, _ = await get(bot.operations + "/health")
        assert (status, report["status"]) == (200, "ok")
        assert report["user_id"] == bot.user_id
        assert report["last_sync_age_s"] < 60
        assert isinstance(bot.platform, FakePlatform)
        bot.platform.unreachable = True
        status, report, _ = await get(bot.operations + "/health")
        assert (status, report["status"]) == (200, "degraded")


async def test_metrics_count_turns_and_sends(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    bot = adapter(homeserver, tmp_path)
    ada = homeserver.account("ada")
    room = homeserver.room(ada, bot.user_id)
    async with bot.running():
        homeserver.say(room, ada, "hi")
        await homeserver.until(lambda: len(homeserver.messages(room, bot.user_id)) >= 2)
        await homeserver.until(lambda: bool(homeserver.messages(room, bot.user_id)))
        _, _, text = await get(bot.operations + "/metrics")
    assert 'antiphon_matrix_events_total{as="turn"} 1.0' in text
    assert 'antiphon_matrix_sends_total{class="first",result="ok"} 1.0' in text
    assert "antiphon_matrix_outbox_pending" in text
    assert ada not in text
    assert room not in text


async def test_metrics_say_what_the_start_found(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    bot = adapter(homeserver, tmp_path)
    homeserver.room(homeserver.account("ada"), bot.user_id)
    async with bot.running():
        _, _, first = await get(bot.operations + "/metrics")
    async with bot.running():
        _, _, second = await get(bot.operations + "/metrics")
    assert 'antiphon_matrix_reconcile_found{what="adopted"} 1.0' in first
    assert 'antiphon_matrix_reconcile_found{what="adopted"} 0.0' in second
    assert 'antiphon_matrix_reconcile_found{what="device_changed"} 0.0' in second
    assert "antiphon_matrix_reconcile_timestamp_seconds" in second


async def test_a_port_in_use_is_named_with_what_to_do(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        bot = adapter(homeserver, tmp_path, port=port)
        with pytest.raises(SettingsError, match=f"{port}.*ANTIPHON_MATRIX__PORT"):
            async with bot.running():
                pass
