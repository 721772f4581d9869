"""Two adapters on one state folder: as real processes, on a real homeserver."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.errors import EXIT_USAGE
from antiphon.settings import Secret
from antiphon.testing.processes import Pair


async def test_the_second_adapter_is_refused_until_the_first_is_dead(
    tmp_path: Path, synapse: Synapse
) -> None:
    """The lock says who holds it, and dies with its process, by kill -9 too."""
    password = Secret("a-password-of-the-test")
    user = await synapse.register_user("two-adapters", password)
    first = Pair(tmp_path, homeserver=synapse.url, user=user, password=password.reveal())
    folder = tmp_path / "second"
    folder.mkdir()
    second = Pair(folder, homeserver=synapse.url, user=user, password=password.reveal())
    for process in (first.adapter, second.adapter):
        process.set(
            ANTIPHON_STATE_DIR=str(first.state), ANTIPHON_AGENT__URL="ws://127.0.0.1:9/agent_ws/"
        )
    await first.adapter.start()
    with pytest.raises(RuntimeError) as refused:
        await second.adapter.start()
    assert f"ended with {EXIT_USAGE}" in str(refused.value)
    assert f"(process {first.adapter.pid})" in str(refused.value)
    await first.adapter.kill()
    await second.adapter.start()
    assert await second.adapter.stop() == 0
