"""One run over a real WebSocket: time-outs, refusals with a sentence, busy threads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from antiphon.agent_api.answer import Answer
from antiphon.agent_api.client import AgentClient, Limits
from antiphon.agent_api.messages import Attach, Error, ErrorCode, RunFinished, RunSettings, RunStart
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RunId, ThreadId, UserId
from antiphon.core.model import Said
from antiphon.errors import AgentProtocolError, AgentUnreachableError
from antiphon.sdk.agent_session import SENTENCES, AgentSession
from antiphon.sdk.interface import ChatSettings, Outcome, Progress, Run, ToolUse, Usage
from antiphon.testing.agent import FakeAgent
from antiphon.testing.agent_run import ended
from antiphon.testing.script import Crash, Cut, Late, NextStep

THREAD = ThreadId("thread-0000000001")
LIMITS = Limits(connect_s=1, verb_s=1, backoff_s=0.02, backoff_max_s=0.1)


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent() as agent:
        yield agent


@pytest.fixture
async def session(agent: FakeAgent) -> AsyncIterator[AgentSession]:
    clock, chance = SystemClock(), SystemChance()
    async with AgentClient(
        agent.url, agent.token, clock=clock, chance=chance, limits=LIMITS
    ) as client:
        yield AgentSession(client, answer_timeout_s=0.4, clock=clock, chance=chance)


def a_run(run_id: str = "t1.0", text: str = "hi", **settings: str) -> Run:
    said = (Said(UserId("@anna:x"), text), Said(UserId("@bert:x"), "and I"))
    return Run(RunId(run_id), THREAD, said, ChatSettings(**settings))  # type: ignore[arg-type]


async def last_of(session: AgentSession, run: Run) -> Progress:
    return [progress async for progress in session.answer(run)][-1]


async def test_the_question_reaches_the_agent_with_authors_and_settings(
    agent: FakeAgent, session: AgentSession
) -> None:
    """Each message with who said it; settings that are not set stay the agent's, and those that
    are the surface's stay here."""
    await last_of(session, a_run(model="offline", language="Deutsch", show_tools="names"))
    (start,) = agent.starts
    assert start.settings == RunSettings(model="offline", language="Deutsch")
    assert [(part.author, part.text) for part in start.input] == [
        ("@anna:x", "hi"),
        ("@bert:x", "and I"),
    ]


async def test_the_text_shown_is_the_text_recorded(agent: FakeAgent, session: AgentSession) -> None:
    """What streamed, joined by the shared rule, is `run.finished`'s text to the letter."""
    agent.reply(" I look.\n", ToolUse("clock", "{}", "noon", "ok"), "", NextStep(), "It is noon. ")
    texts = [progress.text async for progress in session.answer(a_run())]
    recorded = agent.threads[THREAD].log[-1]
    assert isinstance(recorded, RunFinished)
    assert texts[-1] == recorded.text
    answer = Answer("t1.0")
    for event in agent.threads[THREAD].log[:-1]:
        answer.apply(event)
    assert answer.text == recorded.text == " I look.\n\n\nIt is noon. "


async def test_silence_ends_in_unreachable_after_the_time_out(
    agent: FakeAgent, session: AgentSession
) -> None:
    """An agent that accepts the run and hangs: what there was is shown, then the error."""
    agent.reply("so f", asyncio.Event())
    seen: list[Progress] = []

    async def read() -> None:
        async for progress in session.answer(a_run()):
            seen.append(progress)

    with pytest.raises(AgentUnreachableError, match=r"no sign of the agent for 0\.4 s"):
        await read()
    assert seen[-1].text == "so f"
    assert seen[-1].outcome is None


async def test_reconnections_without_news_are_no_sign(
    agent: FakeAgent, session: AgentSession
) -> None:
    """A hanging agent whose connections are cut again and again is given up all the same."""
    agent.reply("so f", asyncio.Event())

    async def cut_often() -> None:
        while True:
            await asyncio.sleep(0.05)
            agent.cut()

    cutting = asyncio.ensure_future(cut_often())
    with pytest.raises(AgentUnreachableError):
        await last_of(session, a_run())
    cutting.cancel()
    assert agent.connections > 3


async def test_every_event_renews_the_patience(agent: FakeAgent, session: AgentSession) -> None:
    """An answer may take longer than the time-out while it goes on."""
    gates = [asyncio.Event() for _ in range(5)]
    agent.reply(*[step for n, gate in enumerate(gates) for step in (f"{n} ", gate)])
    async for progress in session.answer(a_run()):
        if progress.outcome is None and progress.text:
            await asyncio.sleep(0.15)
            gates[int(progress.text.split()[-1])].set()
        last = progress
    assert last.text == "0 1 2 3 4 "


async def test_the_readers_own_slowness_is_not_the_agents(
    agent: FakeAgent, session: AgentSession
) -> None:
    """A reader that is away longer than the time-out finds the answer waiting."""
    gate = asyncio.Event()
    agent.reply("one", gate, " two")
    async for progress in session.answer(a_run()):
        if progress.text == "one":
            await asyncio.sleep(0.5)
            asyncio.get_running_loop().call_later(0.1, gate.set)
        last = progress
    assert last.text == "one two"


async def test_an_agent_that_is_away_at_first_is_waited_for(
    agent: FakeAgent, session: AgentSession
) -> None:
    """Within the time-out it may come; beyond it the run is given up."""
    await agent.down()
    asking = asyncio.ensure_future(last_of(session, a_run()))
    await asyncio.sleep(0.1)
    await agent.up()
    assert ended(await asking) == Outcome("success")
    await agent.down()
    with pytest.raises(AgentUnreachableError):
        await last_of(session, a_run("t2.0"))


async def test_cuts_and_crashes_do_not_show(agent: FakeAgent, session: AgentSession) -> None:
    """The text never contains anything twice, and ends whole."""
    agent.reply("one ", Cut(), "two ", "three ", Crash(lost=1), "one two four")
    last = await last_of(session, a_run())
    assert last.text == "one two four"
    assert len(agent.starts) == 1


async def test_late_frames_of_an_older_attempt_are_never_shown(
    agent: FakeAgent, session: AgentSession
) -> None:
    """What an attempt that was given up still sends is dropped, and nothing is asked for again."""
    back, seen = asyncio.Event(), asyncio.Event()
    agent.reply("void ", Crash(), back, "one ", Late("no!"), "two", seen)
    shown: list[str] = []
    async for progress in session.answer(a_run()):
        if shown and not progress.text:
            back.set()  # connected again: what comes late has somebody to come to
        shown.append(progress.text)
        if progress.text == "one two":
            seen.set()
    assert shown[-1] == "one two"
    assert not any("no!" in text for text in shown)
    assert len([verb for verb in agent.verbs if isinstance(verb, RunStart)]) == 1


@pytest.mark.parametrize("code", list(ErrorCode))
async def test_a_refusal_is_a_sentence_for_a_person(
    agent: FakeAgent, session: AgentSession, code: ErrorCode
) -> None:
    """Every code has its own sentence; the agent's wording is not shown. What passes is retried
    until the patience ends."""
    retryable = code in ("thread_busy", "too_many", "shutting_down")
    agent.refusals["run.start"] = [Error(code, "SQL says no", retryable=retryable)] * 50
    with pytest.raises(AgentProtocolError) as caught:
        await last_of(session, a_run())
    assert caught.value.code == code
    assert caught.value.message == SENTENCES[code]
    tries = sum(isinstance(verb, RunStart) for verb in agent.verbs)
    assert (tries > 1) == retryable
    assert tries < 10


async def test_an_unknown_refusal_of_a_newer_agent_has_a_sentence_too(
    agent: FakeAgent, session: AgentSession
) -> None:
    """The code is kept."""
    agent.refusals["run.start"] = [Error("quota", "No.")]
    with pytest.raises(AgentProtocolError, match="Something went wrong") as caught:
        await last_of(session, a_run())
    assert caught.value.code == "quota"


async def test_a_passing_refusal_is_not_shown(agent: FakeAgent, session: AgentSession) -> None:
    """An agent that restarts while asked answers after it."""
    agent.refusals["run.start"] = [Error("shutting_down", "Bye.", retryable=True)]
    assert ended(await last_of(session, a_run())) == Outcome("success")


async def test_a_busy_thread_is_waited_for_as_long_as_its_run_shows_signs(
    agent: FakeAgent, session: AgentSession
) -> None:
    """Longer than the time-out, without asking in a loop."""
    gates = [asyncio.Event() for _ in range(6)]
    agent.reply(*[step for n, gate in enumerate(gates) for step in (f"{n} ", gate)])
    async with aclosing(session.answer(a_run("t1.0"))) as first:
        await anext(first)
    waiting = asyncio.ensure_future(last_of(session, a_run("t2.0")))
    for gate in gates:
        await asyncio.sleep(0.15)
        gate.set()
    assert (await waiting).text == "You said: hi and I"
    assert sum(isinstance(verb, RunStart) for verb in agent.verbs) <= 4


async def test_a_thread_that_stays_busy_in_silence_is_given_up(
    agent: FakeAgent, session: AgentSession
) -> None:
    """The other run hangs: the error says that an earlier question is in the way."""
    agent.reply("x", asyncio.Event())
    async with aclosing(session.answer(a_run("t1.0"))) as first:
        await anext(first)
    with pytest.raises(AgentProtocolError, match="earlier question") as caught:
        await last_of(session, a_run("t2.0"))
    assert caught.value.code == "thread_busy"
    assert sum(isinstance(verb, Attach) for verb in agent.verbs) <= 3


async def test_a_question_too_long_is_refused_before_it_is_sent(
    agent: FakeAgent, session: AgentSession
) -> None:
    """With the code and a sentence, like the agent's own refusal."""
    with pytest.raises(AgentProtocolError, match="too long") as caught:
        await last_of(session, a_run(text="x" * 200_001))
    assert caught.value.code == "input_too_large"
    assert agent.verbs == []


async def test_closing_the_answer_leaves_the_run_alone(
    agent: FakeAgent, session: AgentSession
) -> None:
    """The run goes on and ends at the agent without a reader."""
    gate = asyncio.Event()
    agent.reply("one", gate, " two")
    async with aclosing(session.answer(a_run())) as progress:
        async for now in progress:
            if now.text == "one":
                break
    gate.set()
    while not agent.threads[THREAD].runs["t1.0"].answer.over:
        await asyncio.sleep(0.005)
    assert agent.threads[THREAD].runs["t1.0"].answer.text == "one two"


async def test_the_outcome_says_what_the_run_used(agent: FakeAgent, session: AgentSession) -> None:
    """As the agent counted it, for answers and for errors; a late reader is told the same."""
    used = Usage(412, 38, 2.5, estimated=False)
    agent.reply("hello", Outcome("success", usage=used))
    for _ in range(2):
        outcome = (await last_of(session, a_run())).outcome
        assert outcome == Outcome("success", usage=used)
    agent.reply(Outcome("error", "model_failed", "No.", usage=used))
    failed = (await last_of(session, a_run("t2.0"))).outcome
    assert failed == Outcome("error", "model_failed", "No.", usage=used)
