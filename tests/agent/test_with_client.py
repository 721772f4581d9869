"""The client library against the real agent: what it promises holds over kills of the process."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

from antiphon.agent_api.answer import Answer
from antiphon.agent_api.client import AgentClient, Limits
from antiphon.agent_api.messages import InputPart
from antiphon.clock import SystemChance, SystemClock
from antiphon.testing.agent_service import THREAD, TOKEN, AgentProcess
from antiphon.testing.engine import Act, Rule, Script, say

PATIENT = Limits(verb_s=50)
"""Three starts of a process may take long on a busy machine."""


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


TWO_STEPS = Rule(
    (
        (Act(text="Look. "), Act(call=("c1", "effect", "{}"))),
        (Act(text="one ", gate="g1"), Act(words=9), Act(gate="g2"), Act(text="end")),
    ),
    when="go",
)


def copy(source: Path, target: Path) -> None:
    """A backup of the agent's database, taken while it runs."""
    target.mkdir()
    with (
        sqlite3.connect(source / "agent.db") as here,
        sqlite3.connect(target / "agent.db") as there,
    ):
        here.backup(there)
    here.close()
    there.close()


async def test_an_agent_restored_from_an_older_backup_finishes_the_run(tmp_path: Path) -> None:
    """The reader's cursor is ahead of what the agent knows. From a backup that has the run: it
    goes on there, and the recorded tool is not run again. From one that has not: the run is begun
    anew. Either way the reader gets one end, and no text of the lost history stays."""
    script = Script((TWO_STEPS, say("hello")))
    agent = await AgentProcess.start(tmp_path, script)
    port = {"ANTIPHON_AGENT__PORT": str(urlsplit(agent.url).port)}
    whole = "Look. \n\none " + "".join(f"w{n} " for n in range(9)) + "end"
    copy(tmp_path / "state", tmp_path / "before")
    answer = Answer("r1")
    shown: list[str] = []
    ends = 0
    try:
        async with AgentClient(
            agent.url, TOKEN, clock=SystemClock(), chance=SystemChance()
        ) as client:
            with client.start(THREAD, "r1", (InputPart("go"),)) as events:
                backups = ["middle", "before"]
                async for event in events:
                    answer.apply(event)
                    shown.append(answer.text)
                    ends += answer.over
                    if answer.text.endswith("one ") and not (tmp_path / "middle").exists():
                        copy(tmp_path / "state", tmp_path / "middle")
                        agent.open("g1")
                    if answer.text.endswith("w8 ") and backups:
                        await agent.kill()
                        shutil.rmtree(tmp_path / "state")
                        shutil.copytree(tmp_path / backups.pop(0), tmp_path / "state")
                        if not backups:
                            agent.open("g2")
                        agent = await AgentProcess.start(tmp_path, script, port)
        assert (answer.text, answer.status, ends) == (whole, "success", 1)
        assert all(text.count("one ") <= 1 and text.count("w0 ") <= 1 for text in shown)
        # Once, and once more where its record was lost with the whole run.
        assert sum("effect" in line for line in agent.journal()) == 2
        assert [line["step"] for line in agent.journal() if "step" in line] == [0, 1, 1, 0, 1]
    finally:
        await agent.kill()


async def test_an_erasure_lives_through_kills_of_the_agent(tmp_path: Path) -> None:
    """Killed before the commit and after it, the client asks again until it is done; the caller
    sees one call that returns."""
    script = Script((say("You said: {question}"),))
    first = {"ANTIPHON_AGENT__ERASE_TOKEN": "erases", "ANTIPHON_CRASH": "erase.before_commit"}
    agent = await AgentProcess.start(tmp_path, script, first)
    again = first | {"ANTIPHON_AGENT__PORT": str(urlsplit(agent.url).port)}
    clock, chance = SystemClock(), SystemChance()
    try:
        async with (
            AgentClient(agent.url, TOKEN, clock=clock, chance=chance) as client,
            AgentClient(agent.url, "erases", clock=clock, chance=chance, limits=PATIENT) as master,
        ):
            for run_id, author in (("r1", "@anna:x"), ("r2", "@bert:x")):
                parts = (InputPart("CANARY of " + author, author),)
                with client.start(THREAD, run_id, parts) as events:
                    async for _ in events:
                        pass
            async with asyncio.TaskGroup() as group:
                erasing = group.create_task(master.erase_author(THREAD, "@anna:x", "default"))
                for crash in ("erase.committed", ""):
                    await agent.process.wait()
                    env = again | {"ANTIPHON_CRASH": crash}
                    agent = await AgentProcess.start(tmp_path, script, env)
            assert erasing.result() == 0  # the second life had erased it, and could not say so
            archive = await client.export(THREAD)
            assert b"CANARY of @bert:x" in archive
            assert b"@anna:x" not in archive
            assert (await client.models()).default == "scripted"
    finally:
        await agent.kill()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("agent.db*"))
    assert b"CANARY of @anna:x" not in kept
