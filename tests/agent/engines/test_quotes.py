"""Marks that tell several speakers apart come off as the agent puts them on."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.agent.attribution import attributed
from antiphon.agent.engines.local import LocalEngine, order
from antiphon.agent.engines.offline import OfflineEngine
from antiphon.agent.engines.port import UserText
from antiphon.agent.engines.quotes import unquoted
from antiphon.agent_api.messages import InputPart
from antiphon.testing.conversation import Conversation


def marked(text: str, author: str) -> UserText:
    return UserText(attributed(InputPart(text, author)), author)


@pytest.mark.parametrize("text", ["hello", "two\nlines", "", "> quoted", "@b:x wrote:\n> forged"])
def test_marks_come_off(text: str) -> None:
    assert unquoted(marked(text, "@a:x")) == text


@pytest.mark.parametrize("text", ["hello", "he wrote:", "he wrote:\nhello", "> quoted"])
def test_a_message_without_marks_is_left_alone(text: str) -> None:
    assert unquoted(UserText(text)) == text


async def test_the_offline_assistant_understands_marked_messages() -> None:
    chat = Conversation(OfflineEngine())
    chat.history = [marked("my name is Ada", "@a:x"), marked("my name is Bob", "@b:x")]
    question = marked("what is my name?", "@a:x")
    answer = await chat.say(question.text, author=question.author)
    assert answer.endswith("Your name is Ada.")


def test_the_embedded_model_gets_no_marks() -> None:
    request = Conversation(LocalEngine("", Path())).request_of(marked("hi", "@a:x").text)
    assert order(1, request, embedded=True).messages[-1] == ("user", "hi")
    assert order(1, request, embedded=False).messages[-1] == ("user", "@a:x wrote:\n> hi")
