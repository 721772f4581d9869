"""The client against a real WebSocket server that cuts, repeats, loses, reorders and refuses."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import pytest

from antiphon.agent_api.answer import Answer
from antiphon.agent_api.client import AgentClient, Limits, backoff
from antiphon.agent_api.messages import (
    MAX_INPUT_CHARS,
    Attach,
    Detach,
    Error,
    InputPart,
    RunCancel,
    ThreadDelete,
)
from antiphon.agent_api.subscription import Buffer, Subscription
from antiphon.clock import SystemChance, SystemClock
from antiphon.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    AntiphonError,
    SettingsError,
)
from antiphon.testing.agent import FakeAgent
from antiphon.testing.script import Crash, Cut, Late, Lose, Raw, Repeat, Rewind, Step, Strange, Swap

THREAD = "thread-0000000001"
OTHER = "thread-0000000002"
QUICK = Limits(connect_s=2, verb_s=2, backoff_s=0.02, backoff_max_s=0.1, refused_s=0.2)


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with FakeAgent() as agent:
        yield agent


def client_of(agent: FakeAgent, limits: Limits = QUICK, token: str = "") -> AgentClient:
    return AgentClient(
        agent.url,
        token or agent.token,
        clock=SystemClock(),
        chance=SystemChance(),
        limits=limits,
    )


@pytest.fixture
async def client(agent: FakeAgent) -> AsyncIterator[AgentClient]:
    async with client_of(agent) as client:
        yield client


def start(
    client: AgentClient, text: str = "hi", run_id: str = "r1", thread_id: str = THREAD
) -> Subscription:
    return client.start(thread_id, run_id, [InputPart(text, "@anna:x")])


async def fold(subscription: Subscription, run_id: str = "r1") -> Answer:
    answer = Answer(run_id)
    with subscription as events:
        async for event in events:
            answer.apply(event)
    return answer


async def test_a_run_is_asked_for_and_followed_to_its_end(
    agent: FakeAgent, client: AgentClient
) -> None:
    """Nothing connects before something is wanted; then one connection serves."""
    assert agent.connections == 0
    answer = await fold(start(client))
    assert (answer.text, answer.status) == ("You said: hi", "success")
    assert agent.starts[0].input == (InputPart("hi", "@anna:x"),)
    assert agent.connections == 1


@pytest.mark.parametrize(
    "script",
    [
        ("one ", Cut(), "two ", "three"),
        ("one ", "two ", Repeat(3), "three", Repeat(9)),
        ("one ", Lose(1), "two ", "three"),
        ("one ", Lose(2), "two ", "three"),
        ("one ", Swap(), "two ", "three"),
        ("void", Rewind(0), Late("no!"), "one ", "two ", Late("no!"), "three"),
        ("one ", "void", "void", Crash(lost=2), "one two ", "three"),
        ("void", Crash(), Late("no!"), "one two three"),
        ("one ", Raw("garbage"), "two three"),
        ("one ", Raw('{"type":"text.delta","thread_id":7}'), "two three"),
        ("one ", Raw('{"type":"never.heard.of","x":1}'), "two three"),
        (Cut(), "one ", Cut(), "two ", Cut(), "three", Cut()),
    ],
    ids=lambda script: "-".join(type(s).__name__ for s in script if not isinstance(s, str)),
)
@pytest.mark.parametrize("forgetful", [False, True], ids=["replay", "snapshot"])
async def test_no_fault_of_the_wire_changes_the_answer(
    agent: FakeAgent, client: AgentClient, script: tuple[Step, ...], forgetful: bool
) -> None:
    """Cut, repeated, lost, reordered, late, half-committed or broken: the same answer, once."""
    agent.forgetful = forgetful
    agent.reply(*script)
    answer = await fold(start(client))
    assert answer.text == answer.text.strip() == "one two three"
    assert answer.status == "success"
    assert len(agent.starts) == 1


async def test_a_new_event_type_of_a_newer_agent_leaves_no_gap(
    agent: FakeAgent, client: AgentClient
) -> None:
    """An unknown event counts in the order and is skipped; nothing is asked for again."""
    agent.reply("one ", Strange(), "two")
    assert (await fold(start(client))).text == "one two"
    assert not [verb for verb in agent.verbs if isinstance(verb, Attach)]


async def test_threads_share_a_connection_and_do_not_mix(
    agent: FakeAgent, client: AgentClient
) -> None:
    """Twenty threads at once over one socket; each gets its own words."""
    answers = await asyncio.gather(
        *(fold(start(client, f"canary-{n}", thread_id=f"thread-{n:012d}")) for n in range(20))
    )
    assert [answer.text for answer in answers] == [f"You said: canary-{n}" for n in range(20)]
    assert agent.connections == 1


async def test_a_slow_reader_blocks_nobody_and_loses_nothing(agent: FakeAgent) -> None:
    """While one reader sleeps over a full buffer another finishes; then the first catches up."""
    async with client_of(agent, Limits(buffer=Buffer(events=5), backoff_s=0.02)) as client:
        agent.reply(*[f"{n} " for n in range(500)])
        with start(client) as slow:
            await slow.news()
            assert (await fold(start(client, thread_id=OTHER))).status == "success"
            answer = Answer("r1")
            async for event in slow:
                answer.apply(event)
    assert answer.text == "".join(f"{n} " for n in range(500))
    assert sum(isinstance(verb, Attach) for verb in agent.verbs) >= 1


async def test_verbs_that_were_not_answered_go_out_again_after_a_cut(
    agent: FakeAgent, client: AgentClient
) -> None:
    """A cancel whose answer was lost is repeated on the next connection, and returns once."""
    agent.mute = {"run.cancel"}
    asked = asyncio.ensure_future(client.cancel(THREAD, "r1"))
    await until(lambda: any(isinstance(v, RunCancel) for v in agent.verbs))
    agent.mute = set()
    agent.cut()
    await asked
    assert sum(isinstance(verb, RunCancel) for verb in agent.verbs) == 2


async def test_a_cancel_before_its_start_ends_the_run_at_once(
    agent: FakeAgent, client: AgentClient
) -> None:
    """The tombstone holds: the run begins and is cancelled."""
    await client.cancel(THREAD, "r1")
    assert (await fold(start(client))).status == "cancelled"


async def test_a_deleted_thread_refuses_what_comes_later(
    agent: FakeAgent, client: AgentClient
) -> None:
    """The agent's code comes out of the subscription."""
    await client.delete(THREAD)
    await client.delete(THREAD)
    assert sum(isinstance(verb, ThreadDelete) for verb in agent.verbs) == 2
    with pytest.raises(AgentProtocolError) as caught:
        await fold(start(client))
    assert caught.value.code == "thread_gone"


async def test_another_body_under_the_same_id_is_a_conflict(
    agent: FakeAgent, client: AgentClient
) -> None:
    """The same body attaches; another is refused with the agent's code."""
    await fold(start(client))
    assert (await fold(start(client))).text == "You said: hi"
    with pytest.raises(AgentProtocolError) as caught:
        await fold(start(client, "something else"))
    assert caught.value.code == "conflict"
    assert len(agent.starts) == 1


async def test_the_agents_refusal_of_a_verb_comes_out_with_its_code(
    agent: FakeAgent, client: AgentClient
) -> None:
    """Code, sentence and whether trying again makes sense."""
    agent.refusals["run.cancel"].append(Error("internal", "The disk is full.", retryable=True))
    with pytest.raises(AgentProtocolError, match="disk is full") as caught:
        await client.cancel(THREAD, "r1")
    assert (caught.value.code, caught.value.retryable) == ("internal", True)


async def test_a_wrong_token_is_told_to_everybody_and_not_tried_in_a_loop(
    agent: FakeAgent,
) -> None:
    """Calls and subscriptions fail with the cause; one attempt, and a good while before the next;
    when the agent knows the token again, all goes on."""
    async with client_of(agent, token="wrong") as client:
        for _ in range(5):
            with pytest.raises(AgentRefusedError, match="ANTIPHON_AGENT__TOKEN") as caught:
                await client.cancel(THREAD, "r1")
            with pytest.raises(AgentRefusedError):
                await fold(start(client))
        assert "wrong" not in caught.value.message
        assert agent.refused == 1
        agent.token = "wrong"
        await until(lambda: client.is_ready)
        await client.cancel(THREAD, "r1")


async def test_verbs_fail_after_a_bound_when_nobody_is_there(agent: FakeAgent) -> None:
    """Unreachable: the error says where and why, and the verb is not sent later by itself."""
    await agent.down()
    async with client_of(agent, Limits(verb_s=0.2, backoff_s=0.02)) as client:
        with pytest.raises(AgentUnreachableError, match="can't be reached"):
            await client.cancel(THREAD, "r1")
        with pytest.raises(AgentUnreachableError, match="Is it running"):
            await client.check()
        await agent.up()
        await client.check()
        await fold(start(client))
    assert not [verb for verb in agent.verbs if isinstance(verb, RunCancel)]


async def test_a_subscription_waits_for_an_agent_that_comes_later(
    agent: FakeAgent, client: AgentClient
) -> None:
    """Down at the start and once more in the middle: the reader only sees the answer."""
    await agent.down()
    gate = asyncio.Event()
    agent.reply("one ", gate, "two")
    reading = asyncio.ensure_future(fold(start(client)))
    await asyncio.sleep(0.05)
    await agent.up()
    await until(lambda: bool(agent.starts))
    await agent.down()
    gate.set()
    await agent.up()
    assert (await reading).text == "one two"


async def test_an_agent_that_lost_its_record_is_asked_anew(
    agent: FakeAgent, client: AgentClient
) -> None:
    """Restored from a backup older than the run: the run is begun again, and its answer whole."""
    agent.reply("old ", asyncio.Event())
    agent.reply("new answer")
    answer = Answer("r1")
    with start(client) as events:
        async for event in events:
            answer.apply(event)
            if answer.text == "old ":
                agent.lose_memory()
                agent.cut()
    assert (answer.text, answer.status) == ("new answer", "success")


async def test_leaving_a_subscription_detaches_and_leaves_the_run_alone(
    agent: FakeAgent, client: AgentClient
) -> None:
    """The run goes on; whoever comes later gets all of it."""
    gate = asyncio.Event()
    agent.reply("one ", gate, "two")
    with start(client) as events:
        await events.news()
    await until(lambda: any(isinstance(v, Detach) for v in agent.verbs))
    gate.set()
    assert (await fold(client.attach(THREAD, "r1"))).text == "one two"


async def test_something_else_at_the_address_is_named(agent: FakeAgent) -> None:
    """An HTTP error that is not about the token is no refusal, and says what to check."""
    agent.status = HTTPStatus.NOT_FOUND
    async with client_of(agent) as client:
        with pytest.raises(AgentUnreachableError, match=r"HTTP 404.*ANTIPHON_AGENT__URL"):
            await client.check()


async def test_a_redirect_is_not_followed(agent: FakeAgent) -> None:
    """Questions and the token go to the address of the settings and to no other, wherever what
    answers there points; within one host too."""
    elsewhere: list[str] = []

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        elsewhere.append((await reader.read(65_536)).decode(errors="replace"))
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for target in (f"ws://localhost:{port}/agent_ws/", f"http://127.0.0.1:{port}/", "/other"):
        agent.redirect = target
        async with client_of(agent) as client:
            with pytest.raises(AgentUnreachableError, match=r"HTTP 307.*ANTIPHON_AGENT__URL"):
                await client.check()
            with pytest.raises(AgentUnreachableError):
                await client.cancel(THREAD, "r1")
    assert elsewhere == []
    server.close()
    await server.wait_closed()


async def test_changes_of_the_connection_are_told(agent: FakeAgent) -> None:
    """One call when it is there and one, with the reason, when it is lost."""
    heard: list[AntiphonError | None] = []
    client = AgentClient(
        agent.url,
        agent.token,
        clock=SystemClock(),
        chance=SystemChance(),
        limits=QUICK,
        on_change=heard.append,
    )
    async with client:
        agent.reply("one ", Cut(), "two")
        await fold(start(client))
    assert [error and error.code for error in heard] == [None, "agent_unreachable", None]


async def test_a_question_that_can_not_be_sent_is_refused_here(client: AgentClient) -> None:
    """Too long, or no valid id: an error with a code before anything is sent."""
    with pytest.raises(AgentProtocolError) as caught, start(client, "x" * (MAX_INPUT_CHARS + 1)):
        pass
    assert caught.value.code == "input_too_large"
    with pytest.raises(AgentProtocolError) as caught:
        await client.cancel(THREAD, "no such id")
    assert caught.value.code == "bad_frame"


async def test_leaving_the_client_ends_what_waits(agent: FakeAgent) -> None:
    """Open calls fail instead of hanging, and no task stays behind."""
    agent.mute = {"run.cancel"}
    async with client_of(agent) as client:
        asked = asyncio.ensure_future(client.cancel(THREAD, "r1"))
        await until(lambda: bool(agent.verbs))
    with pytest.raises(AgentUnreachableError, match="stopping"):
        await asked


async def test_an_error_in_the_block_comes_out_as_it_is(agent: FakeAgent) -> None:
    """The client's tasks do not wrap it in a group."""
    with pytest.raises(KeyError):
        async with client_of(agent):
            raise KeyError


def test_the_wait_before_connecting_again_grows_to_a_bound_and_is_spread() -> None:
    """Doubling from the first to the longest wait; jitter takes up to half of it away."""
    limits = Limits(backoff_s=0.1, backoff_max_s=5)
    assert [backoff(n, 0.999999, limits) for n in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.4])
    assert backoff(500, 0.999999, limits) == pytest.approx(5)
    assert backoff(500, 0, limits) == pytest.approx(2.5)


@contextmanager
def _refused_settings(says: str) -> Iterator[None]:
    with pytest.raises(SettingsError, match=says):
        yield


def test_a_wrong_address_or_token_is_refused_at_once() -> None:
    """Before anything connects; see test_address.py for the rest."""
    with _refused_settings("ANTIPHON_AGENT__URL"):
        AgentClient("ftp://x", "t", clock=SystemClock(), chance=SystemChance())
    with _refused_settings("ANTIPHON_AGENT__TOKEN"):
        AgentClient("ws://x", "", clock=SystemClock(), chance=SystemChance())


async def until(true: object) -> None:
    """Returns when `true()` is; the test's own time-out bounds it."""
    assert callable(true)
    while not true():
        await asyncio.sleep(0.005)


async def test_the_models_are_asked_for_once_for_each_connection(
    agent: FakeAgent, client: AgentClient
) -> None:
    """Asking again costs nothing; after a cut another agent may be there."""
    agent.models = ("openai:a", "offline")
    for _ in range(3):
        told = await client.models()
        assert (told.default, told.allowed) == ("openai:a", ("openai:a", "offline"))
    assert len(agent.verbs) == 1
    agent.models = ("local", "offline")
    await agent.down()
    await agent.up()
    await client.cancel(THREAD, "r1")
    assert (await client.models()).default == "local"


async def test_an_agent_that_does_not_know_the_verb_says_so(
    agent: FakeAgent, client: AgentClient
) -> None:
    """An older one; nothing hangs."""
    agent.refusals["models.list"] = [Error("unknown_type", "There is no verb of this type.")]
    with pytest.raises(AgentProtocolError) as caught:
        await client.models()
    assert caught.value.code == "unknown_type"
    assert (await client.models()).default == "fake"


async def test_what_an_author_asked_is_erased_and_counted(
    agent: FakeAgent, client: AgentClient
) -> None:
    """Once."""
    await fold(start(client))
    await fold(start(client, run_id="r2"), "r2")
    assert await client.erase_author(THREAD, "@bert:x") == 0
    assert await client.erase_author(THREAD, "@anna:x") == 2
    assert await client.erase_author(THREAD, "@anna:x") == 0


async def test_a_token_that_may_only_erase_names_the_surface(agent: FakeAgent) -> None:
    """Everything else is forbidden to it, and another surface to an ordinary one."""
    agent.erase_token = "erases"
    async with client_of(agent) as client, client_of(agent, token="erases") as master:
        await fold(start(client))
        attempts = [
            master.models(),
            master.delete(THREAD),
            master.erase_author(THREAD, "@anna:x"),
            master.export(THREAD),
            master.cancel(THREAD, "r1"),
            client.delete(THREAD, "another"),
            client.erase_author(THREAD, "@anna:x", "another"),
        ]
        for attempt in attempts:
            with pytest.raises(AgentProtocolError) as caught:
                await attempt
            assert caught.value.code == "forbidden"
        with pytest.raises(AgentProtocolError) as caught:
            await fold(master.attach(THREAD, "r1"))
        assert caught.value.code == "forbidden"
        assert await master.erase_author(THREAD, "@anna:x", "another") == 0
        assert await master.erase_author(THREAD, "@anna:x", "default") == 1
        await master.delete(THREAD, "default")
        assert agent.threads[THREAD].gone
