"""The client's protocol core, fed by hand: order, repeats, gaps, reconnections. No sockets."""

import json
from typing import Any

import msgspec
import pytest

from antiphon.agent_api.frames import UnknownEvent, encode_frame
from antiphon.agent_api.messages import (
    AnyEvent,
    AnyVerb,
    Attach,
    Cursor,
    Detach,
    Error,
    InputPart,
    Ok,
    RunCancel,
    RunStart,
)
from antiphon.agent_api.protocol import (
    MAX_GAPS,
    Answered,
    ClientProtocol,
    Delivered,
    Failed,
    Opened,
    Received,
)
from antiphon.agent_api.track import Track, Verdict
from antiphon.agent_api.verbs import BadVerbError, decode_verb

THREAD = "thread-0000000001"


def event(kind: str, seq: int, run_id: str = "r1", attempt: int = 1, **fields: Any) -> AnyEvent:
    """An event of THREAD, with what its type needs."""
    needed: dict[str, dict[str, Any]] = {
        "run.started": {"model": "m"},
        "run.resumed": {"step": 0},
        "text.delta": {"step": 0, "text": "x"},
        "run.finished": {"outcome": "success", "text": "x"},
        "run.error": {"code": "deadline", "message": "Late."},
        "snapshot": {"status": "running"},
    }
    base = {"thread_id": THREAD, "run_id": run_id, "attempt": attempt, "seq": seq, "type": kind}
    made: AnyEvent = msgspec.convert({**base, **needed[kind], **fields}, AnyEvent)
    return made


def verdicts(track: Track, *events: AnyEvent | UnknownEvent) -> list[str]:
    return [track.judge(event).value for event in events]


def test_events_come_in_order_and_once() -> None:
    """Joining on is taken, what was there is a repeat, what is missing is a gap."""
    track = Track("r1")
    assert verdicts(
        track,
        event("run.started", 5),
        event("text.delta", 6),
        event("text.delta", 6),
        event("run.started", 5),
        event("text.delta", 8),
        event("text.delta", 7),
    ) == ["take", "take", "repeat", "repeat", "gap", "take"]
    assert track.cursor == Cursor("r1", 1, 7)


def test_an_older_attempt_is_late_whatever_its_number() -> None:
    """After a resumption the dead attempt's frames are dropped, even where they would join on."""
    track = Track("r1", Cursor("r1", 2, 10))
    late = [event("text.delta", n) for n in (9, 10, 11, 12)]
    assert verdicts(track, *late) == ["late"] * 4


def test_a_resumption_may_count_again_what_was_never_committed() -> None:
    """Sent deltas that died with the agent are counted again, by a higher attempt only."""
    track = Track("r1", Cursor("r1", 1, 8))
    assert verdicts(
        track,
        event("text.delta", 7, attempt=2),
        event("run.resumed", 6, attempt=2),
        event("text.delta", 7, attempt=2),
        event("text.delta", 9, attempt=1),
    ) == ["gap", "take", "take", "late"]


def test_a_resumption_that_leaves_a_hole_is_a_gap() -> None:
    """Events between the cursor and the resumption are missing."""
    assert verdicts(Track("r1", Cursor("r1", 1, 8)), event("run.resumed", 10, attempt=2)) == ["gap"]


def test_the_next_run_follows_and_the_last_one_is_past() -> None:
    """A thread's next run goes on counting; frames of the run before it are late."""
    track = Track(None, Cursor("r1", 3, 8))
    assert verdicts(
        track,
        event("run.finished", 9, attempt=3),
        event("run.started", 10, "r2"),
        event("text.delta", 11, "r1", attempt=4),
        event("text.delta", 11, "r2"),
    ) == ["take", "take", "late", "take"]


def test_the_cursor_of_another_run_with_the_same_numbers_is_told_apart() -> None:
    """(attempt, seq) alone would be ambiguous: an event of a new run is no repeat of the old."""
    track = Track(None, Cursor("r1", 1, 3))
    track.asked()
    assert verdicts(track, event("snapshot", 3, "r2", status="running")) == ["take"]
    assert track.cursor == Cursor("r2", 1, 3)


def test_while_an_attach_is_on_its_way_what_does_not_join_on_is_early() -> None:
    """No second attach is asked for; a snapshot counts wherever it stands, once."""
    track = Track("r1", Cursor("r1", 1, 50))
    track.asked()
    assert verdicts(track, event("text.delta", 60)) == ["early"]
    track.answered()
    assert verdicts(
        track,
        event("snapshot", 30),
        event("snapshot", 20),
        event("snapshot", 30),
        event("text.delta", 31),
        event("snapshot", 40),
        event("text.delta", 60),
    ) == ["take", "late", "repeat", "take", "take", "gap"]


def test_before_its_run_begins_a_subscription_ignores_the_thread() -> None:
    """Events of an earlier run are another's; a run may begin and end in one event."""
    track = Track("r2")
    assert verdicts(
        track,
        event("text.delta", 7, "r1"),
        event("snapshot", 8, "r1"),
        event("text.delta", 9, "r2"),
        event("run.finished", 9, "r2", outcome="cancelled"),
    ) == ["other", "other", "gap", "take"]


def test_an_unknown_event_takes_its_place_in_the_order() -> None:
    """It moves the cursor, so that what follows joins on."""
    track = Track("r1", Cursor("r1", 1, 3))
    assert track.judge(UnknownEvent("mood", THREAD, "r1", 1, 4)) is Verdict.TAKE
    assert track.judge(event("text.delta", 5)) is Verdict.TAKE


# --- the protocol core --------------------------------------------------------------------------


class Wire:
    """A ClientProtocol with a hand on both ends."""

    def __init__(self) -> None:
        self.protocol = ClientProtocol()

    def sent(self) -> list[AnyVerb]:
        return [decode_verb(frame) for frame in self.protocol.outgoing()]

    def get(self, *frames: Any) -> list[Received]:
        received: list[Received] = []
        for frame in frames:
            received += self.protocol.receive(encode_frame(frame))
        return received


@pytest.fixture
def wire() -> Wire:
    return Wire()


def a_start(run_id: str = "r1") -> RunStart:
    return RunStart("-", THREAD, run_id=run_id, input=(InputPart("hi"),))


def test_nothing_goes_out_before_a_connection_is_there(wire: Wire) -> None:
    """Then everything that is open does: subscriptions first, then verbs."""
    assert wire.protocol.is_idle
    wire.protocol.start(a_start())
    wire.protocol.call(RunCancel("c1", THREAD, run_id="r0"))
    assert wire.sent() == []
    wire.protocol.connected()
    assert [type(verb) for verb in wire.sent()] == [RunStart, RunCancel]
    assert wire.sent() == []


def test_an_unanswered_start_is_repeated_and_an_answered_one_attaches(wire: Wire) -> None:
    """A cut before the `ok` repeats the question; after it, the cursor is enough."""
    key = wire.protocol.start(a_start())
    wire.protocol.connected()
    wire.sent()
    wire.protocol.disconnected()
    wire.protocol.connected()
    (again,) = wire.sent()
    assert isinstance(again, RunStart)
    assert wire.get(Ok(again.id), event("run.started", 4)) == [
        Opened(key),
        Delivered(key, event("run.started", 4)),
    ]
    wire.protocol.disconnected()
    wire.protocol.connected()
    (attach,) = wire.sent()
    assert isinstance(attach, Attach)
    assert (attach.run_id, attach.cursor) == ("r1", Cursor("r1", 1, 4))


def test_a_start_that_was_cut_after_its_first_event_goes_on_from_there(wire: Wire) -> None:
    """Events before the `ok` count: the repeated start carries their cursor."""
    wire.protocol.start(a_start())
    wire.protocol.connected()
    wire.get(event("run.started", 4))
    wire.protocol.disconnected()
    wire.protocol.connected()
    (again,) = wire.sent()[-1:]
    assert isinstance(again, RunStart)
    assert again.cursor == Cursor("r1", 1, 4)


def test_an_old_answer_means_nothing_on_a_new_connection(wire: Wire) -> None:
    """Ids are never used twice."""
    wire.protocol.start(a_start())
    wire.protocol.connected()
    (first,) = wire.sent()
    wire.protocol.disconnected()
    wire.protocol.connected()
    assert wire.get(Ok(first.id), Error("conflict", "No.", first.id)) == []


def test_a_gap_asks_again_from_the_cursor_and_gives_up_after_a_few(wire: Wire) -> None:
    """One attach per gap; if that never brings anything new, the subscription fails."""
    key = wire.protocol.follow(THREAD, "r1", Cursor("r1", 1, 3))
    wire.protocol.connected()
    (attach,) = wire.sent()
    wire.get(Ok(attach.id))
    for _ in range(MAX_GAPS):
        assert wire.get(event("text.delta", 9), event("text.delta", 10)) == []
        (attach,) = wire.sent()
        assert isinstance(attach, Attach)
        assert attach.cursor == Cursor("r1", 1, 3)
        wire.get(Ok(attach.id))
    (failed,) = wire.get(event("text.delta", 11))
    assert isinstance(failed, Failed)
    assert (failed.key, failed.error.code) == (key, "gap")
    assert [type(verb) for verb in wire.sent()] == [Detach]
    assert wire.protocol.is_idle


def test_a_replay_after_a_gap_is_delivered_without_repeats(wire: Wire) -> None:
    """What was early comes again in its place."""
    key = wire.protocol.follow(THREAD, "r1", Cursor("r1", 1, 3))
    wire.protocol.connected()
    wire.get(Ok(wire.sent()[0].id), event("text.delta", 6))
    received = wire.get(Ok(wire.sent()[0].id), *[event("text.delta", n) for n in (4, 5, 6, 6, 7)])
    delivered = [item for item in received if isinstance(item, Delivered)]
    assert [(item.key, item.event.seq) for item in delivered] == [(key, n) for n in (4, 5, 6, 7)]


def test_two_subscriptions_of_a_thread_do_not_disturb_each_other(wire: Wire) -> None:
    """The replay for one is a repeat for the other; the last one to leave detaches."""
    ahead = wire.protocol.follow(THREAD, "r1", Cursor("r1", 1, 5))
    behind = wire.protocol.follow(THREAD, "r1", Cursor("r1", 1, 3))
    wire.protocol.connected()
    for verb in wire.sent():
        wire.get(Ok(verb.id))
    received = wire.get(*[event("text.delta", n) for n in (4, 5, 6)])
    assert [(r.key, r.event.seq) for r in received if isinstance(r, Delivered)] == [
        (behind, 4),
        (behind, 5),
        (ahead, 6),
        (behind, 6),
    ]
    wire.protocol.unfollow(ahead)
    assert wire.sent() == []
    wire.protocol.unfollow(behind)
    wire.protocol.unfollow(behind)
    assert [type(verb) for verb in wire.sent()] == [Detach]


def test_a_paused_subscription_takes_nothing_and_resumes_from_where_it_stood(wire: Wire) -> None:
    """What came meanwhile is asked for, not kept."""
    key = wire.protocol.follow(THREAD, "r1", Cursor("r1", 1, 3))
    wire.protocol.connected()
    wire.get(Ok(wire.sent()[0].id))
    wire.protocol.pause(key)
    assert wire.get(event("text.delta", 4), event("text.delta", 5)) == []
    wire.protocol.disconnected()
    wire.protocol.connected()
    assert wire.sent() == []
    wire.protocol.resume(key)
    (attach,) = wire.sent()
    assert isinstance(attach, Attach)
    assert attach.cursor == Cursor("r1", 1, 3)


def test_verbs_are_answered_by_id_and_those_given_up_are_not_repeated(wire: Wire) -> None:
    """Ok, error, and nobody waiting any more."""
    wire.protocol.connected()
    for verb_id in ("c1", "c2", "c3"):
        wire.protocol.call(RunCancel(verb_id, THREAD, run_id="r1"))
    assert wire.protocol.outstanding() == ("c1", "c2", "c3")
    wire.protocol.give_up("c3")
    first, second = wire.get(Ok("c1"), Error("internal", "Full.", "c2", retryable=True))
    assert first == Answered("c1", None, Ok("c1"))
    assert isinstance(second, Answered)
    assert second.error is not None
    assert (second.error.code, second.error.retryable) == ("internal", True)
    assert wire.get(Ok("c3"), Error("bad_frame", "What?")) == []
    wire.sent()
    wire.protocol.disconnected()
    wire.protocol.connected()
    assert wire.sent() == []


def test_a_refused_start_ends_its_subscription(wire: Wire) -> None:
    """The agent's code comes out; nothing of it goes out again."""
    key = wire.protocol.start(a_start())
    wire.protocol.connected()
    (failed,) = wire.get(Error("thread_busy", "Busy.", wire.sent()[0].id, retryable=True))
    assert isinstance(failed, Failed)
    assert (failed.key, failed.error.code) == (key, "thread_busy")
    assert wire.protocol.is_idle


def test_a_run_that_the_agent_lost_is_started_again_without_its_cursor(wire: Wire) -> None:
    """`not_found` for an accepted run means an older backup: the question goes out again."""
    wire.protocol.start(a_start())
    wire.protocol.connected()
    wire.get(Ok(wire.sent()[0].id), event("run.started", 4))
    wire.protocol.disconnected()
    wire.protocol.connected()
    assert wire.get(Error("not_found", "No.", wire.sent()[0].id)) == []
    (again,) = wire.sent()
    assert isinstance(again, RunStart)
    assert again.cursor is None
    (failed,) = wire.get(Error("not_found", "No.", again.id))
    assert isinstance(failed, Failed)


def test_a_verb_that_can_not_be_sent_changes_nothing(wire: Wire) -> None:
    """The caller gets the error, and the core stays idle."""
    with pytest.raises(BadVerbError):
        wire.protocol.call(RunCancel("c1", THREAD, run_id="no id"))
    with pytest.raises(BadVerbError):
        wire.protocol.follow("short")
    assert wire.protocol.is_idle


def test_frames_of_unknown_kinds_and_threads_are_skipped(wire: Wire) -> None:
    """Nothing is delivered and nothing fails."""
    wire.protocol.connected()
    assert wire.protocol.receive(json.dumps({"type": "hello"})) == []
    assert wire.get(event("text.delta", 1)) == []
