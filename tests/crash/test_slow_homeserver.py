"""A homeserver that takes two seconds for every send."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.fault_proxy import FaultProxy, Rule
from antiphon.testing.homeserver_faults import Fault
from antiphon.testing.live import live_user
from antiphon.testing.model_server import ModelServer
from antiphon.testing.processes import Pair

SLOW_S = 2.0


@pytest.mark.slow
async def test_first_words_and_finals_come_and_edits_are_shed(
    tmp_path: Path, synapse: Synapse
) -> None:
    """First words, then the whole answer; no more edits than the homeserver can take."""
    rule = Rule(("send",), Fault(delay_s=SLOW_S))
    async with (
        FaultProxy(synapse.url, rules=[rule]) as proxy,
        ModelServer(words=60, gap=0.1) as model,
        live_user(synapse, "ada") as ada,
        live_user(synapse, "slow-bot") as bot,
    ):
        agent = {"MODEL": "openai:fake", "BASE_URL": model.url, "API_KEY": "k"}
        pair = Pair(
            tmp_path,
            homeserver=proxy.url,
            user=bot.user_id,
            password=bot.password.reveal(),
            agent=agent,
            matrix={"EDIT_INTERVAL_S": "0.2"},
        )
        async with pair:
            room = await ada.room(bot.user_id)
            await ada.say(room, "Q-slow-1")
            began = time.monotonic()
            shown = await ada.until(room, lambda all_: any(m.sender == bot.user_id for m in all_))
            first_s = time.monotonic() - began
            shown = await ada.until(
                room, lambda all_: all_[-1].body.endswith("END:Q-slow-1"), timeout_s=30
            )
            whole_s = time.monotonic() - began
    answer = shown[-1]
    assert [m.sender for m in shown].count(bot.user_id) == 1
    assert first_s < SLOW_S + 4
    assert whole_s < 60 * 0.1 + 2 * SLOW_S + 6
    assert answer.edits <= whole_s / SLOW_S + 1
