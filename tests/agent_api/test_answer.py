"""The fold of a run's events: any cut, replay or snapshot ends in the same answer."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agent_api.answer import Answer, join_steps
from antiphon.agent_api.messages import (
    AnyEvent,
    RunErrored,
    RunFinished,
    RunResumed,
    RunStarted,
    Snapshot,
    TextDelta,
    ToolArgs,
    ToolResult,
    ToolStart,
)
from antiphon.agent_api.track import Track, Verdict

THREAD = "thread-00000000000"


def snapshot_of(answer: Answer) -> Snapshot:
    """What the agent would send for the state in `answer`."""
    view = answer.view()
    return Snapshot(
        thread_id=THREAD,
        run_id=answer.run_id,
        attempt=answer.attempt,
        seq=answer.seq,
        status=view.status,
        texts=view.texts,
        tools=view.tools,
        model=view.model,
        error=view.error,
    )


@st.composite
def runs(draw: st.DrawFn) -> list[AnyEvent]:
    """A run as an agent tells it: steps of text and tools, resumptions, an end."""
    events: list[AnyEvent] = []
    first = draw(st.integers(1, 50))
    attempt, step, calls = 1, 0, 0

    def base() -> dict[str, object]:
        return {
            "thread_id": THREAD,
            "run_id": "r1",
            "attempt": attempt,
            "seq": first + len(events),
        }

    def add(kind: type[AnyEvent], **fields: object) -> None:
        events.append(msgspec.convert({**base(), **fields, "type": tag(kind)}, kind))

    add(RunStarted, model="m")
    for _ in range(draw(st.integers(0, 12))):
        match draw(st.sampled_from(["text", "tool", "next", "resume"])):
            case "text":
                add(TextDelta, step=step, text=draw(st.sampled_from(["a", "b ", "\n", "", "long"])))
            case "tool":
                calls += 1
                add(ToolStart, step=step, call_id=f"c{calls}", name="clock")
                add(ToolArgs, call_id=f"c{calls}", args="{}")
                if draw(st.booleans()):
                    add(ToolResult, call_id=f"c{calls}", content="12", outcome="ok")
                step += 1
            case "next":
                step += 1
            case "resume":
                attempt += 1
                step = draw(st.integers(0, step))
                add(RunResumed, step=step)
    answer = Answer("r1")
    for event in events:
        answer.apply(event)
    match draw(st.sampled_from(["success", "cancelled", "error", "open"])):
        case "error":
            add(RunErrored, code="deadline", message="Too slow.", retryable=True)
        case "success" | "cancelled" as outcome:
            add(RunFinished, outcome=outcome, text=answer.text)
    return events


def tag(kind: type[AnyEvent]) -> str:
    return str(kind.__struct_config__.tag)


def fold(events: list[AnyEvent]) -> Answer:
    answer = Answer("r1")
    for event in events:
        answer.apply(event)
    return answer


@given(runs(), st.data())
def test_any_cut_and_replay_or_snapshot_gives_the_same_answer(
    events: list[AnyEvent], data: st.DataObject
) -> None:
    """A reader cut at any place, and served by replay (with repeats and late frames) or by a
    snapshot from there, ends where the uninterrupted reader ends."""
    whole = fold(events)
    track, answer, at = Track("r1"), Answer("r1"), 0

    def read(event: AnyEvent) -> None:
        if track.judge(event) is Verdict.TAKE:
            answer.apply(event)

    while at < len(events):
        stop = data.draw(st.integers(at, len(events)), label="cut at")
        for event in events[at:stop]:
            read(event)
        if data.draw(st.booleans(), label="repeat") and stop:
            for event in events[data.draw(st.integers(0, stop - 1)) : stop]:
                read(event)
        resumed_at = data.draw(st.integers(stop, len(events)), label="served from")
        if resumed_at > stop:
            track.disconnected()
            track.asked()
            read(snapshot_of(fold(events[:resumed_at])))
            track.answered()
        at = resumed_at if resumed_at > at else len(events)
        if at == len(events):
            for event in events[stop:]:
                read(event)
    assert answer.view() == whole.view()
    assert answer.cursor == whole.cursor


@given(runs())
def test_a_snapshot_at_any_place_stands_for_the_events_before_it(events: list[AnyEvent]) -> None:
    """Snapshot, then the rest, is the same as all events."""
    for cut in range(1, len(events) + 1):
        answer = Answer("r1")
        answer.apply(snapshot_of(fold(events[:cut])))
        for event in events[cut:]:
            answer.apply(event)
        assert answer.view() == fold(events).view()


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        ((), ""),
        (("one",), "one"),
        (("one", "two"), "one\n\ntwo"),
        (("", "one", "", " \n", "two"), "one\n\ntwo"),
    ],
)
def test_steps_are_joined_by_a_blank_line(texts: tuple[str, ...], whole: str) -> None:
    """Steps without text leave no trace."""
    assert join_steps(texts) == whole


@given(runs())
def test_what_streamed_is_what_the_agent_records(events: list[AnyEvent]) -> None:
    """The text shown before the end equals `run.finished`'s, by the shared rule."""
    if isinstance(events[-1], RunFinished):
        assert fold(events[:-1]).text == events[-1].text == fold(events).text


def test_events_of_another_run_change_nothing() -> None:
    """An answer takes only its own run's events."""
    answer = Answer("r2")
    event = TextDelta(thread_id=THREAD, run_id="r1", attempt=1, seq=1, step=0, text="no")
    assert not answer.apply(event)
    assert answer.text == ""
    assert answer.cursor is None


def test_a_run_that_is_begun_anew_voids_everything() -> None:
    """An agent restored from a backup may have lost the run: what was shown of it is gone."""
    base = {"thread_id": THREAD, "run_id": "r1", "attempt": 1, "seq": 1}
    answer = Answer("r1")
    for frame in (
        {"type": "run.started", "model": "m"},
        {"type": "text.delta", "step": 0, "text": "lost"},
        {"type": "tool.start", "step": 0, "call_id": "c1", "name": "clock"},
        {"type": "run.started", "model": "m"},
        {"type": "text.delta", "step": 0, "text": "new"},
    ):
        answer.apply(msgspec.convert({**base, **frame}, AnyEvent))
    assert (answer.text, answer.tools) == ("new", ())


def test_a_resumption_voids_texts_and_calls_of_its_step_and_above() -> None:
    """What belonged to whole steps stays, with the results of their tools."""
    base = {"thread_id": THREAD, "run_id": "r1", "attempt": 1, "seq": 1}
    answer = Answer("r1")
    for frame in (
        {"type": "text.delta", "step": 0, "text": "kept"},
        {"type": "tool.start", "step": 0, "call_id": "c1", "name": "clock"},
        {"type": "tool.result", "call_id": "c1", "content": "12"},
        {"type": "text.delta", "step": 1, "text": "void"},
        {"type": "tool.start", "step": 1, "call_id": "c2", "name": "clock"},
        {"type": "run.resumed", "step": 1, "attempt": 2},
    ):
        answer.apply(msgspec.convert({**base, **frame}, AnyEvent))
    assert answer.text == "kept"
    assert [tool.call_id for tool in answer.tools] == ["c1"]
    assert answer.attempt == 2
