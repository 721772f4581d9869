"""The surface's side of an agent that is killed in mid-answer: a real process, SIGKILL."""

from pathlib import Path

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, RunId, UserId
from antiphon.core.model import Place, Said
from antiphon.sdk.interface import Outcome, Run
from antiphon.sdk.real import open_platform
from antiphon.settings import AgentSettings, General, Secret
from antiphon.testing.agent_run import ended
from antiphon.testing.agent_service import TOKEN, AgentProcess
from antiphon.testing.engine import Act, Rule, Script
from antiphon.testing.ports import kept_port

ANNA = UserId("@anna:x")
SCRIPT = Script(
    (
        Rule(
            (
                (Act(text="I look. "), Act(call=("c1", "lookup", "{}"))),
                (Act(text="It is "), Act(gate="go"), Act(text="noon.")),
            )
        ),
    )
)


async def test_an_answer_survives_the_agents_death(tmp_path: Path) -> None:
    """Killed in the second step and started again: one answer goes on, nothing is doubled, and
    the whole step before is neither asked for again nor lost."""
    env = {"ANTIPHON_AGENT__PORT": str(kept_port())}
    agent = await AgentProcess.start(tmp_path, SCRIPT, env)
    (tmp_path / "surface").mkdir()
    try:
        async with open_platform(
            General(state_dir=str(tmp_path / "surface")),
            AgentSettings(url=agent.url, token=Secret(TOKEN)),
            answer_timeout_s=20,
            surface="matrix",
            clock=SystemClock(),
            chance=SystemChance(),
        ) as platform:
            place = Place("matrix", UserId("@bot:x"), RoomId("!room:x"))
            thread = (await platform.chat(place)).session.thread_id
            run = Run(RunId("t1.0"), thread, (Said(ANNA, "What time is it?"),))
            killed = False
            async for progress in platform.answer(run):
                last = progress
                assert progress.text.count("It is") <= 1
                if not killed and "It is " in progress.text:
                    killed = True
                    await agent.kill()
                    (tmp_path / "go").touch()
                    agent = await AgentProcess.start(tmp_path, SCRIPT, env)
        assert (last.text, ended(last)) == ("I look. \n\nIt is noon.", Outcome("success"))
        steps = [line["step"] for line in agent.journal() if "step" in line]
        assert steps == [0, 1, 1]
    finally:
        await agent.kill()
