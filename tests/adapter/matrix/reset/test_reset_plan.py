"""The plan of a reset: pure, so every case is a value."""

from __future__ import annotations

import pytest

from antiphon.adapter.matrix.journal.forgetting import RoomHeld
from antiphon.adapter.matrix.reset.plan import Action, Known, Mode, Options, RoomSight, make_plan
from antiphon.adapter.matrix.reset.record import command_of
from antiphon.adapter.matrix.reset.result import Refused, Result
from antiphon.adapter.matrix.reset.text import plan_lines, result_lines
from antiphon.core.ids import RoomId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.errors import SettingsError
from antiphon.sdk.interface import KeptChat

ME = UserId("@bot:hs")
HERE, GONE, ASKED, NEW = (RoomId(f"!{name}") for name in ("here", "gone", "asked", "new"))
LOCAL, SERVER = Options(Mode.LOCAL_ONLY), Options(Mode.SERVER_LEAVE_FORGET)


def held(room: RoomId, membership: str, turns: int = 0, thread: str = "") -> RoomHeld:
    return RoomHeld(
        room_id=room,
        membership=membership,
        encrypted=False,
        rows={"turns": turns} if turns else {},
        open_turns=min(turns, 1),
        threads=(ThreadId(thread),) if thread else (),
    )


def chat(room: RoomId, *threads: str) -> KeptChat:
    return KeptChat(Place("matrix", ME, room), tuple(ThreadId(thread) for thread in threads))


def known(*, server: bool = True, resumes: bool = False) -> Known:
    """We are in `here` and `new` (which the journal does not know), were in `gone`, and are asked
    into `asked`."""
    sights = (
        RoomSight(HERE, "Here", ("@ada:hs", ME)),
        RoomSight(NEW, None, ("@bob:hs", ME)),
        RoomSight(ASKED, "Asked", ("@eve:hs",), invited=True),
    )
    return Known(
        user_id=ME,
        device_id="DEV",
        state_folder="/state",
        device_files=("/state/matrix-login.json",),
        held=(
            held(HERE, "join", 3, "t1"),
            held(GONE, "leave", 1, "t3"),
            held(ASKED, "invite"),
        ),
        chats=(chat(HERE, "t1", "t2"),),
        server=sights if server else None,
        resumes=resumes,
    )


def test_local_only_forgets_all_rooms_and_leaves_invitations_alone() -> None:
    plan = make_plan(LOCAL, known())
    assert plan.with_action(Action.FORGET) == (GONE, HERE, NEW)
    assert len(plan.rooms) == 3
    assert (plan.rows, plan.open_turns, plan.sessions) == ({"turns": 4}, 2, 2)
    assert plan.erased_threads == 3


def test_without_a_homeserver_it_is_planned_from_what_is_here() -> None:
    plan = make_plan(LOCAL, known(server=False))
    assert plan.with_action(Action.FORGET) == (GONE, HERE)
    assert not plan.asked_homeserver
    assert all(not room.members for room in plan.rooms)


def test_on_the_server_it_leaves_declines_and_forgets() -> None:
    plan = make_plan(SERVER, known())
    assert plan.with_action(Action.LEAVE) == (HERE, NEW)
    assert plan.with_action(Action.DECLINE) == (ASKED,)
    assert plan.with_action(Action.FORGET) == (GONE,)


def test_rooms_can_be_chosen_and_unknown_ones_are_refused() -> None:
    plan = make_plan(Options(Mode.SERVER_LEAVE_FORGET, (HERE,)), known())
    assert [room.room_id for room in plan.rooms] == [HERE]
    assert plan.erased_threads == 2
    with pytest.raises(SettingsError, match="!nowhere"):
        make_plan(Options(Mode.LOCAL_ONLY, (RoomId("!nowhere"),)), known())


def test_memory_and_device_are_kept_or_not_as_asked() -> None:
    plan = make_plan(Options(Mode.LOCAL_ONLY, keep_memory=True, include_device=True), known())
    assert (plan.erased_threads, plan.kept_threads) == (0, 3)
    assert plan.removed_files == ("/state/matrix-login.json",)
    assert not any("device" in line for line in plan.stays)
    assert any("device DEV" in line for line in make_plan(LOCAL, known()).stays)


def test_a_plan_says_each_room_and_no_control_characters() -> None:
    """A room's name is what somebody typed."""
    evil = RoomSight(HERE, "Ops\x1b[2J\n  Stays: all \u202e" + "x" * 100, ("@ada:hs\x07",))
    plan = make_plan(SERVER, Known(ME, "DEV", "/state", (), (), (), (evil,)))
    text = "\n".join(plan_lines(plan))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert HERE in text
    assert all(len(line) < 200 for line in text.splitlines())
    assert text.count("Stays:") == 2
    assert [line for line in text.splitlines() if line.startswith("Stays:")] == ["Stays:"]


def test_what_is_left_to_do_is_said() -> None:
    result = Result(
        left=1, refused=[Refused(HERE, "Forbidden.")], still_joined=[HERE], owed=2, backup="/b"
    )
    text = "\n".join(result_lines(result))
    assert not result.whole
    assert "NOT left: !here: Forbidden." in text
    assert "Run the same reset again" in text
    assert "antiphon matrix restore /b" in text
    assert "It has not confirmed 2 yet" in text


def test_the_command_to_go_on_with() -> None:
    options = Options(Mode.SERVER_LEAVE_FORGET, (HERE,), keep_memory=True, include_device=True)
    assert command_of(options) == (
        "antiphon matrix reset --mode server-leave-forget --room '!here' --keep-memory "
        "--include-device"
    )
