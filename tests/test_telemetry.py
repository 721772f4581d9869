"""Logs that can't be written cost a line and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
