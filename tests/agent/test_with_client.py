"""The client library against the real agent: what it promises holds over kills of the process."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from antiphon.agent_api.answer import Answer
from antiphon.agent_api.client import AgentClient
from antiphon.agent_api.messages import InputPart
from antiphon.clock import SystemChance, SystemClock
from antiphon.testing.agent_service import THREAD, TOKEN, AgentProcess
from antiphon.testing.engine import Act, Rule, Script


async def test_one_subscription_lives_through_two_kills_of_the_agent(tmp_path: Path) -> None:
    """The reader sees one run with one end; what it adds up to is what the agent recorded."""
    script = Script(
        (
            Rule(
                (
                    (Act(text="Look. "), Act(call=("c1", "effect", "{}"))),
                    (Act(words=9, gate="g1"), Act(text="more ", gate="g2"), Act(text="end")),
                )
            ),
        )
    )
    agent = await AgentProcess.start(tmp_path, script)
    port = {"ANTIPHON_AGENT__PORT": str(urlsplit(agent.url).port)}
    answer = Answer("r1")
    ends = 0
    try:
        async with AgentClient(
            agent.url, TOKEN, clock=SystemClock(), chance=SystemChance()
        ) as client:
            with client.start(THREAD, "r1", (InputPart("go"),)) as events:
                kills = {"w8 ": "g1", "more ": "g2"}
                async for event in events:
                    answer.apply(event)
                    ends += answer.over
                    for mark in [mark for mark in kills if mark in answer.text]:
                        await agent.kill()
                        agent.open(kills.pop(mark))
                        agent = await AgentProcess.start(tmp_path, script, port)
        assert answer.text == "Look. \n\n" + "".join(f"w{n} " for n in range(9)) + "more end"
        assert (answer.status, answer.attempt, ends) == ("success", 3, 1)
        assert sum("effect" in line for line in agent.journal()) == 1
    finally:
        await agent.kill()
