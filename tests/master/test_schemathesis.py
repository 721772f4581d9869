"""schemathesis over the whole OpenAPI, against the real service: no server error, no answer that is
not documented, nothing accepted that the document forbids or refused that it allows.

`ANTIPHON_SCHEMATHESIS=200` looks with that many examples of each operation, and at sequences."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from antiphon.master.scopes import SCOPES
from antiphon.testing.master import running_master

EXAMPLES = os.environ.get("ANTIPHON_SCHEMATHESIS", "")
CONFIG = Path(__file__).with_name("schemathesis.toml")


async def look(folder: Path, url: str, token: str, *args: str) -> tuple[int, str]:
    """Exit code and report of one run; what it leaves lies in `folder`."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{url}/openapi.json", "--checks", "all", "--no-color"),
        *("--generation-deterministic", "--continue-on-failure"),
        *args,
        cwd=folder,
        env={**os.environ, "ANTIPHON_TEST_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    return child.returncode or 0, out.decode()


@pytest.mark.timeout(3600 if EXAMPLES else 300)
async def test_the_document_and_the_service_say_the_same(tmp_path: Path) -> None:
    """Every operation with examples, each constraint at its edges, beyond them, and by chance."""
    phases = ("examples", "coverage", *(("fuzzing", "stateful") if EXAMPLES else ()))
    async with running_master(tmp_path) as master:
        client = await master.client("matrix", tuple(SCOPES))
        code, report = await look(
            tmp_path, master.url, client.token, "--phases", ",".join(phases), "-n", EXAMPLES or "1"
        )
        assert code == 0, report[-6000:]
        assert "Tested: 33" in report, report[-3000:]


async def test_an_undocumented_answer_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antiphon.master.routes import usage

    def broken(*_: object) -> object:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(usage, "used", broken)
    async with running_master(tmp_path) as master:
        client = await master.client()
        only = ("--phases", "examples,coverage", "--include-path", "/usage", "--max-failures", "1")
        code, report = await look(
            tmp_path, master.url, client.token, *only, "--include-method", "GET"
        )
    assert code == 1
    assert "Server error" in report
