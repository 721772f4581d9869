"""Runs over a real socket: start, stream, finish, and what happens when one is asked for twice."""

from __future__ import annotations

from pathlib import Path

from antiphon.testing.agent_service import raw_client, running_agent
from antiphon.testing.engine import Script, ScriptedEngine, say


async def test_a_question_is_answered_as_a_stream(tmp_path: Path) -> None:
    """Events come in the order of the lifecycle, seq without a gap, and the end has the text."""
    engine = ScriptedEngine(Script((say("Hello ", "world"),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        events = await client.run()
    assert [event["type"] for event in events] == [
        "run.started",
        "text.start",
        "text.delta",
        "text.delta",
        "text.end",
        "run.finished",
    ]
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert {event["attempt"] for event in events} == {1}
    assert (events[-1]["outcome"], events[-1]["text"]) == ("success", "Hello world")
