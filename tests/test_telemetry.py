"""Logs that can't be written cost a line and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from antiphon import telemetry

SCRIPT = """
from antiphon import telemetry
telemetry.configure("info", "json", process="test")
for _ in range(100):
    telemetry.logger("test").error("tells much", text="x" * 1000)
print("goes on")
"""


def test_a_log_on_a_full_disk_stops_no_work() -> None:
    """What the process does goes on."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    with full.open("wb") as errors:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=errors, check=False
        )
    assert done.stdout == b"goes on\n"


@pytest.mark.parametrize("turn", ["before", "after"])
def test_a_level_that_a_test_sets_ends_with_it(turn: str) -> None:
    """Whichever runs first hides warnings, as `antiphon chat` does in its process; the other must
    see them. Else what a test reads of the logs depends on the tests before it."""
    with structlog.testing.capture_logs() as logs:
        telemetry.logger("test").warning("seen", turn=turn)
    assert [line["event"] for line in logs] == ["seen"]
    telemetry.configure("error", "json", process="test")
