"""The offline assistant: what it understands, that it uses its tools, that it reads its history."""

from __future__ import annotations

import pytest

from antiphon.agent.engines.offline import OfflineEngine
from antiphon.agent.engines.offline import intents as i
from antiphon.agent.engines.port import StepDone, TextChunk, UserText
from antiphon.agent.tools.registry import default_tools
from antiphon.testing.conversation import Conversation, collect


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("what time is it?", i.AskTime()),
        ("What is the date today?", i.AskTime()),
        ("time in Tokyo", i.AskTime("Tokyo")),
        ("What time is it in New York now?", i.AskTime("New York")),
        ("what is 12*7", i.Calculate("12*7")),
        ("What is 2 plus 2?", i.Calculate("2 + 2")),
        ("what is 1,000 + 5", i.Calculate("1000 + 5")),
        ("calculate foo", i.Calculate("foo")),
        ("remember that the key is under the mat", i.Remember("the key is under the mat")),
        ("Note: buy milk", i.Remember("buy milk")),
        ("what are my notes?", i.AskNotes()),
        ("search for key", i.Search("key")),
        ("what did I say about the key?", i.Search("key")),
        ("Hi, my name is Bob.", i.Tell("name", "Bob")),
        ("My name is Ada and my favourite colour is blue.", i.Tell("name", "Ada")),
        ("what's my favourite colour?", i.Ask("favourite colour")),
        ("who am I?", i.Ask("name")),
        ("repeat hello world", i.Echo("hello world")),
        ("how many messages are there?", i.Count()),
        ("what can you do?", i.Help()),
        ("thanks!", i.Greet("thanks")),
        ("What is the capital of France?", i.Unknown()),
        ("what is the time complexity of quicksort", i.Unknown()),
        ("2026-11-22", i.Unknown()),
        ("is my name Ada?", i.Unknown()),
        ("find me a restaurant", i.Unknown()),
    ],
)
def test_understands(text: str, intent: i.Intent) -> None:
    assert i.parse(text) == intent


@pytest.fixture
def chat() -> Conversation:
    return Conversation(OfflineEngine(), tools=default_tools())


async def test_is_honest_about_being_no_model(chat: Conversation) -> None:
    """A question of knowledge gets no invented answer, and the way to a real one."""
    answer = await chat.say("What is the capital of France?")
    assert "no language model" in answer
    assert "ANTIPHON_AGENT__MODEL" in answer
    assert "Paris" not in answer


async def test_asks_for_the_clock_and_says_what_it_returned(chat: Conversation) -> None:
    assert "22 November 2026" in await chat.say("what time is it?")
    assert [call.name for call in chat.calls] == ["clock"]


async def test_calculates(chat: Conversation) -> None:
    assert await chat.say("What is 12*7?") == "12*7 = 84"
    assert await chat.say("what is 1/3") == "1/3 ≈ 0.333333333333"
    assert "divides by zero" in await chat.say("what is 1/0?")


async def test_keeps_and_reads_notes(chat: Conversation) -> None:
    assert "Kept as note 1" in await chat.say("remember that the key is under the mat")
    assert "the key is under the mat" in await chat.say("what are my notes?")


async def test_searches_earlier_messages(chat: Conversation) -> None:
    await chat.say("my cat is called Felix")
    assert "Felix" in await chat.say("what did I say about the cat?")


async def test_remembers_names_by_reading_the_history(chat: Conversation) -> None:
    await chat.say("my name is Ada")
    await chat.say("what is 2+2?")
    assert await chat.say("what is my name?") == "Your name is Ada."
    del chat.history[:-2]
    assert "not told me" in await chat.say("what is my name?")


async def test_keeps_two_people_in_one_thread_apart(chat: Conversation) -> None:
    await chat.say("my name is Ada", author="@a:x")
    await chat.say("my name is Bob", author="@b:x")
    assert "Ada" in await chat.say("what is my name?", author="@a:x")
    assert "Bob" in await chat.say("what is my name?", author="@b:x")
    assert "not told me" in await chat.say("what is my name?", author="@c:x")


async def test_the_newest_telling_counts(chat: Conversation) -> None:
    await chat.say("my name is Ada")
    await chat.say("sorry, my name is Grace")
    assert await chat.say("what is my name?") == "Your name is Grace."


async def test_answers_every_message_of_a_gathered_question(chat: Conversation) -> None:
    chat.history.append(UserText("my name is Ada"))
    chat.history.append(UserText("what is 2*3?"))
    assert await chat.say("what is my name?") == (
        "Nice to meet you, Ada.\n\n2*3 = 6\n\nYour name is Ada."
    )


async def test_says_so_when_a_tool_is_not_granted() -> None:
    chat = Conversation(OfflineEngine(), tools=default_tools()[1:])
    assert "`clock` is not granted" in await chat.say("what time is it?")
    assert await chat.say("what is 1+1?") == "1+1 = 2"


async def test_counts_and_echoes(chat: Conversation) -> None:
    assert await chat.say("repeat Hello, *world*!") == "Hello, *world*!"
    assert "2 messages from people" in await chat.say("how many messages?")


async def test_call_ids_are_never_the_same(chat: Conversation) -> None:
    """They must be unique in the thread, also after older history was left out."""
    for _ in range(3):
        await chat.say("what is 1+1?")
        chat.history.clear()
    assert len({call.call_id for call in chat.calls}) == 3


async def test_streams_word_by_word(chat: Conversation) -> None:
    chat.history.append(UserText("repeat one two three"))
    events = [event async for event in chat.engine.step(chat.request())]
    assert events == [TextChunk("one "), TextChunk("two "), TextChunk("three"), StepDone()]


async def test_a_long_answer_is_cut_and_comes_in_bounded_pieces(chat: Conversation) -> None:
    chat.history.append(UserText("repeat " + "word " * 20_000))
    events = [event async for event in chat.engine.step(chat.request(max_output_tokens=10_000))]
    assert len(events) <= 501
    assert events[-1] == StepDone(finish="length")


async def test_help_lists_what_it_can_do(chat: Conversation) -> None:
    answer = await chat.say("help")
    for word in ("time", "arithmetic", "notes", "search", "my name is"):
        assert word in answer


async def test_an_empty_history_gets_an_honest_answer() -> None:
    chat = Conversation(OfflineEngine())
    text, done = await collect(chat.engine, chat.request())
    assert "no language model" in text
    assert done == StepDone()
