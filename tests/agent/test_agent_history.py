"""What a model is sent: bounded, whole turns, no call without its result, and who said what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agent import tokens
from antiphon.agent.attribution import RULE, attributed
from antiphon.agent.engines.port import (
    AssistantStep,
    Capabilities,
    EngineError,
    HistoryItem,
    ToolReturn,
    ToolSpec,
    UserText,
)
from antiphon.agent.history import STOPPED, Prompt, build
from antiphon.agent.model import CallRow, FrozenSettings, RunStatus, StepRow, Turn
from antiphon.agent_api.messages import InputPart

SPEC = ToolSpec("lookup", "Looks something up.", {"type": "object"})


def frozen(
    history_tokens: int = 1_000, output: int = 100, prompt: str = "Be nice."
) -> FrozenSettings:
    return FrozenSettings("m", prompt, (), output, history_tokens, 16, 60.0)


def engine(context: int = 100_000) -> Capabilities:
    return Capabilities(True, context, "")


def call(call_id: str, content: str | None = "result") -> CallRow:
    return CallRow(call_id, "r", 0, 0, "lookup", "{}", "done", "ok", content)


def turn(
    question: str, answer: str, *, status: RunStatus = "success", author: str | None = None
) -> Turn:
    return Turn("r", status, (InputPart(question, author),), (StepRow(0, answer),))


def prompt(
    turns: list[Turn] | None = None,
    question: str = "now?",
    steps: tuple[StepRow, ...] = (),
    settings: FrozenSettings | None = None,
    context: int = 100_000,
    author: str | None = None,
) -> Prompt:
    return build(
        settings or frozen(),
        engine(context),
        (SPEC,),
        turns or [],
        (InputPart(question, author),),
        steps,
    )


def cost(items: tuple[HistoryItem, ...]) -> int:
    texts = [item.content if isinstance(item, ToolReturn) else item.text for item in items]
    return sum(tokens.estimate(text) for text in texts)


def test_turns_go_oldest_first_and_the_question_last() -> None:
    """`turns` come newest first."""
    made = prompt([turn("two", "2"), turn("one", "1")])
    assert [getattr(item, "text", "") for item in made.history] == ["one", "1", "two", "2", "now?"]
    assert made.system_prompt == "Be nice."


def test_the_newest_turns_that_fit_go_whole() -> None:
    """An old turn is left out whole, and everything before it too."""
    made = prompt([turn("b", "2"), turn("x" * 3_000, "no"), turn("a", "1")])
    assert [getattr(item, "text", "") for item in made.history] == ["b", "2", "now?"]


def test_an_oversized_question_is_refused_and_the_limit_is_true() -> None:
    """A question of the length that the sentence names is taken."""
    with pytest.raises(EngineError) as caught:
        prompt(question="x" * 10_000)
    assert caught.value.code == "question_too_long"
    limit = int(caught.value.message.split("about ")[1].split(" ")[0].replace(",", ""))
    assert limit > 2_000
    prompt(question="x" * limit)
    with pytest.raises(EngineError):
        prompt(question="x" * (limit + 4))


def test_a_small_context_bounds_history_and_output() -> None:
    """Whatever the settings say, history, question and answer fit the model together."""
    made = prompt(
        [turn(f"{n} " * 50, "a" * 100) for n in range(50)],
        settings=frozen(history_tokens=16_000, output=2_000),
        context=1_000,
    )
    assert made.max_output_tokens == 500
    assert cost(made.history) <= 500


def test_a_cancelled_turn_keeps_its_text_and_says_so() -> None:
    """Also where nothing had been said yet."""
    stopped = prompt([turn("q", "half", status="cancelled")]).history
    assert stopped[1] == AssistantStep(f"half\n{STOPPED}")
    nothing = prompt([Turn("r", "cancelled", (InputPart("q"),), ())]).history
    assert nothing[1] == AssistantStep(STOPPED)


def test_calls_go_with_their_results() -> None:
    """A call of which no result is recorded gets one that says so."""
    steps = (StepRow(0, "look", calls=(call("c1"), call("c2", None))),)
    history = prompt(steps=steps).history
    assert [type(item) for item in history[1:]] == [AssistantStep, ToolReturn, ToolReturn]
    assert isinstance(history[3], ToolReturn)
    assert history[3].content.startswith("outcome unknown")


def test_an_oversized_result_is_cut_with_a_note() -> None:
    """In this run less than in an earlier one."""
    steps = (StepRow(0, "", calls=(call("c1", "y" * 30_000),)),)
    now = prompt(steps=steps).history[-1]
    old = prompt([Turn("r", "success", (InputPart("q"),), steps)]).history[2]
    assert isinstance(now, ToolReturn)
    assert isinstance(old, ToolReturn)
    assert "more characters]" in now.content
    assert 30_000 > len(now.content) > len(old.content) > 0


def test_work_that_can_not_fit_ends_the_run() -> None:
    """Rather than a prompt that the model refuses."""
    steps = tuple(StepRow(n, "z" * 600, calls=(call(f"c{n}"),)) for n in range(10))
    with pytest.raises(EngineError) as caught:
        prompt(steps=steps)
    assert caught.value.code == "too_many_steps"


def test_one_author_is_left_as_it_is() -> None:
    """No marks, and no rule in the system prompt."""
    made = prompt([turn("one", "1", author="@ann:x")], author="@ann:x")
    assert made.history[0] == UserText("one", "@ann:x")
    assert RULE not in made.system_prompt


def test_several_authors_are_named_and_the_model_told_how() -> None:
    """By id; the rule is in the system prompt."""
    made = prompt([turn("one", "1", author="@ann:x")], author="@bob:x")
    assert made.history[0] == UserText("@ann:x wrote:\n> one", "@ann:x")
    assert made.history[2] == UserText("@bob:x wrote:\n> now?", "@bob:x")
    assert made.system_prompt.endswith(RULE)


LINE_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@given(
    st.text(alphabet=st.sampled_from("ab @:>wrote" + LINE_BREAKS)) | st.text(),
    st.text(alphabet=st.sampled_from("@a:x> \n\u2028")) | st.text(),
)
def test_no_text_can_look_like_another_authors_message(text: str, author: str) -> None:
    """Exactly the first line is unmarked, whatever kind of line break is tried."""
    lines = attributed(InputPart(text, author)).splitlines()
    assert not lines[0].startswith(">")
    assert lines[0].endswith(" wrote:")
    assert all(line.startswith("> ") for line in lines[1:])
    assert len(lines) > 1


texts = st.text(max_size=400)
rows = st.builds(
    lambda text, contents: StepRow(
        0, text, calls=tuple(call(f"c{n}", content) for n, content in enumerate(contents))
    ),
    texts,
    st.lists(st.none() | st.text(max_size=2_000), max_size=3),
)
turns_of_anything = st.lists(
    st.builds(
        lambda question, status, steps: Turn("r", status, (InputPart(question),), tuple(steps)),
        texts,
        st.sampled_from(["success", "cancelled"]),
        st.lists(rows, max_size=3),
    ),
    max_size=12,
)


@given(turns_of_anything, texts, st.lists(rows, max_size=3), st.integers(300, 3_000))
def test_whatever_the_thread_holds_the_prompt_is_bounded_and_well_formed(
    turns: list[Turn], question: str, steps: list[StepRow], context: int
) -> None:
    """It fits; it ends with the question or a result; each call has exactly its result after it;
    older turns never displace newer ones."""
    settings = frozen(history_tokens=1_000, output=200)
    try:
        made = build(
            settings, engine(context), (SPEC,), turns, (InputPart(question),), tuple(steps)
        )
    except EngineError as error:
        if error.code not in ("question_too_long", "too_many_steps"):
            raise
        return
    assert cost(made.history) + made.max_output_tokens <= context
    assert cost(made.history) <= settings.history_tokens
    open_calls: list[str] = []
    for item in made.history:
        if isinstance(item, ToolReturn):
            assert open_calls.pop(0) == item.call_id
        else:
            assert open_calls == []
            if isinstance(item, AssistantStep):
                open_calls = [one.call_id for one in item.calls]
    assert open_calls == []
    asked = [item.text for item in made.history if isinstance(item, UserText)]
    kept = [part.text for turn in turns[: len(asked) - 1] for part in turn.input]
    assert asked == [*reversed(kept), question]


@given(st.text(max_size=500), st.integers(0, 100))
def test_cut_fits_and_is_a_beginning(text: str, most: int) -> None:
    """And takes all where all fits."""
    kept = tokens.cut(text, most)
    assert text.startswith(kept)
    assert tokens.estimate(kept) <= most
    assert (tokens.estimate(text) > most) or kept == text


@pytest.mark.parametrize(
    ("text", "least"),
    [("", 0), ("word " * 100, 100), ("漢字" * 100, 200), ("😀" * 100, 200), ("a1-" * 100, 100)],
)
def test_the_estimate_is_conservative(text: str, least: int) -> None:
    """At least what common tokenizers give for such text."""
    assert tokens.estimate(text) >= least
