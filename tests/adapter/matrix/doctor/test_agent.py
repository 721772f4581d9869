"""The agent's sign of life, and one real answer that is erased."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.adapter.matrix.doctor import agent as check
from antiphon.clock import SystemClock
from antiphon.core.ids import ThreadId
from antiphon.errors import AgentUnreachableError
from antiphon.sdk.interface import Outcome
from antiphon.testing.platform import FakePlatform

CLOCK = SystemClock()


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


async def test_an_agent_that_answers_is_ok(platform: FakePlatform) -> None:
    assert (await check.agent(platform, CLOCK)).level == "ok"


async def test_an_agent_that_is_away_or_refuses_us_is_a_failure(platform: FakePlatform) -> None:
    platform.unreachable = True
    away = await check.agent(platform, CLOCK)
    assert (away.level, "antiphon agent serve" in away.todo) == ("failure", True)
    platform.unreachable, platform.refused = False, True
    refused = await check.agent(platform, CLOCK)
    assert (refused.level, "ANTIPHON_AGENT__TOKEN" in refused.todo) == ("failure", True)


async def test_an_answer_is_ok_and_is_erased(platform: FakePlatform) -> None:
    platform.reply("ready")
    found = await check.model(platform, CLOCK)
    assert found.level == "ok"
    assert "Answered by fake; first text after" in found.detail
    (run,) = platform.runs
    assert platform.forgotten == [run.thread_id]
    assert run.settings.tools == ()


async def test_every_test_has_a_thread_of_its_own(platform: FakePlatform) -> None:
    for _ in range(2):
        await check.model(platform, CLOCK)
    assert len({run.thread_id for run in platform.runs}) == 2


async def test_a_run_that_fails_is_a_failure_with_its_sentence(platform: FakePlatform) -> None:
    platform.reply(Outcome("error", "provider_auth", "The model's provider refused the key."))
    found = await check.model(platform, CLOCK)
    assert found.level == "failure"
    assert found.detail.startswith("The model's provider refused the key. (provider_auth)")
    assert "[agent]" in found.todo
    assert len(platform.forgotten) == 1


async def test_a_cancelled_run_is_a_failure(platform: FakePlatform) -> None:
    platform.reply(Outcome("cancelled"))
    assert (await check.model(platform, CLOCK)).level == "failure"


async def test_no_answer_in_time_is_a_failure_and_the_thread_is_erased_all_the_same(
    platform: FakePlatform,
) -> None:
    platform.reply(asyncio.Event())
    found = await check.model(platform, CLOCK, within_s=0.05)
    assert (found.level, found.detail) == ("failure", "No word from fake within 0.05 s.")
    assert len(platform.forgotten) == 1
    platform.reply("half", asyncio.Event())
    found = await check.model(platform, CLOCK, within_s=0.05)
    assert "Only a part of an answer" in found.detail


async def test_an_answer_without_text_is_a_warning(platform: FakePlatform) -> None:
    platform.reply(Outcome("success"))
    assert (await check.model(platform, CLOCK)).level == "warning"


async def test_an_agent_that_refuses_the_run_is_a_failure(platform: FakePlatform) -> None:
    platform.unreachable = True
    found = await check.model(platform, CLOCK)
    assert (found.level, "does not answer" in found.detail) == ("failure", True)


class Forgetless(FakePlatform):
    """One that does not erase."""

    def __init__(self, gate: asyncio.Event | None = None):
        super().__init__()
        self.gate = gate

    async def forget(self, thread_id: ThreadId) -> None:
        if self.gate is not None:
            await self.gate.wait()
        raise AgentUnreachableError("The agent has gone.")


@pytest.mark.parametrize("waits", [False, True])
async def test_a_thread_that_could_not_be_erased_is_a_warning(waits: bool) -> None:
    platform = Forgetless(asyncio.Event() if waits else None)
    found = await check.model(platform, CLOCK, forget_s=0.05)
    assert found.level == "warning"
    assert "could not be erased" in found.detail
    assert ("no answer within" if waits else "has gone") in found.detail
