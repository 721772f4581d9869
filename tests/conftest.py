"""Fixtures that every test may ask for: the real homeserver and the real PostgreSQL, each started
once per run and only when a test wants it. Whatever needs the homeserver carries the marker `live`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from antiphon.demo.synapse import Synapse
from antiphon.testing.databases import KINDS, fresh_database
from antiphon.testing.disk import NoMountError, SmallDisk, small_disk
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.js_install import JsTools, NoJsClientError, install
from antiphon.testing.postgres import NoPostgresError, PostgresServer

_LIVE = {"synapse", "synapse_limited"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `live` whatever asks for a Synapse, directly or through another fixture."""
    for item in items:
        if _LIVE.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.live)


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """What a test sets up for the logs of its process, as every command of the CLI does, ends with
    it: else the next test reads its logs at another's level."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """A real Synapse without rate limits, shared by all tests: use users and rooms of your own
    (`antiphon.testing.live.live_user`), and leave it running."""
    yield from _running(Synapse(tmp_path_factory.mktemp("synapse"), rate_limits="lifted"))


@pytest.fixture(scope="session")
def synapse_limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """As `synapse`, with the rate limits of an unprepared homeserver."""
    yield from _running(Synapse(tmp_path_factory.mktemp("synapse-limited"), rate_limits="default"))


@pytest.fixture(scope="session")
def js(request: pytest.FixtureRequest) -> JsTools:
    """What `antiphon.testing.js_client` needs, got when the first test wants it. Without it the
    test is left out, but in the project's own checks (REQUIRE_JS_CLIENT) it is an error."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", file=sys.stderr, flush=True)

    try:
        return install(say)
    except NoJsClientError as error:
        if os.environ.get("REQUIRE_JS_CLIENT"):
            raise
        pytest.skip(f"matrix-js-sdk can't be had here: {error}")


@pytest.fixture
async def homeserver() -> AsyncIterator[FakeHomeserver]:
    """A fake homeserver of this test's own, whose faults the test decides."""
    async with FakeHomeserver() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server, shared by all tests: use `fresh` for a database of your own. Left
    out only where the server can't run."""
    server = PostgresServer()
    try:
        server.start()
    except NoPostgresError as error:
        pytest.skip(f"PostgreSQL can't run here: {error}")
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh PostgreSQL database of this test's own."""
    url = postgres.fresh()
    yield url
    postgres.drop(url)


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database of this test's own; each test that asks for it runs once on SQLite and
    once on PostgreSQL."""

    def server() -> PostgresServer:
        found = request.getfixturevalue("postgres")
        assert isinstance(found, PostgresServer)
        return found

    with fresh_database(request.param, tmp_path, server) as url:
        yield url


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk of this test's own, to be filled. Left out where none can be mounted."""
    mounted = small_disk(tmp_path / "disk")
    try:
        made = mounted.__enter__()
    except NoMountError as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    yield made
    mounted.__exit__(None, None, None)


def _running(server: Synapse) -> Iterator[Synapse]:
    # Its methods need no loop of their own, so that every test's loop can use the one server.
    asyncio.run(server.start())
    try:
        yield server
    finally:
        asyncio.run(server.stop())
