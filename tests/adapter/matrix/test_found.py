"""What the state machine has found, each as the shortest story that showed it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from antiphon.sdk.interface import Outcome
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.machine import Machine
from antiphon.testing.machine_agent import LONG, Record
from antiphon.testing.machine_judge import Judge, answers
from antiphon.testing.machine_people import People, Said

AWAY: tuple[faults.Op, ...] = (
    "send",
    "redact",
    "sync",
    "messages",
    "join",
    "joined_rooms",
    "state",
)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.close()


def at_rest(machine: Machine) -> None:
    """All comes to rest and is as it must be."""
    machine.rest()
    assert Judge(machine).judge() == []


def asked(machine: Machine) -> tuple[People, Said]:
    """A question in the first room."""
    people = machine.people
    people.ask(people.room_ids[0], people.ada)
    return people, people.said[-1]


def root_of(machine: Machine, said: Said) -> str:
    """The event that opens its answer."""
    return answers(machine, said.room_id)[said.turn].firsts[0].event_id


def test_a_question_taken_back_stays_so_when_an_older_state_is_restored(machine: Machine) -> None:
    """It comes without its text then, so nothing but its redaction tells of it."""
    machine.back_up()
    people, said = asked(machine)
    machine.rest()
    machine.kill()
    people.redact(said)
    machine.restore()
    at_rest(machine)


def test_an_answer_taken_down_is_not_given_again_when_an_older_state_is_restored(
    machine: Machine,
) -> None:
    """Its root has lost its mark; its transaction id still says what it was."""
    machine.back_up()
    people, said = asked(machine)
    machine.rest()
    people.take_down(said, root_of(machine, said))
    machine.rest()
    machine.kill()
    machine.pass_time(25 * 3600)  # so that the homeserver has forgotten the transaction id
    machine.restore()
    at_rest(machine)


def test_an_edit_that_comes_after_a_stop_is_answered(machine: Machine) -> None:
    """Both in one batch: the command ends what was asked before it, not what comes after."""
    people, said = asked(machine)
    machine.rest()
    machine.stop()
    people.stop(said.room_id, people.ada, {said.turn: 1})
    people.edit(said)
    at_rest(machine)
    assert "q2" in answers(machine, said.room_id)[said.turn].texts[0]


def test_a_stop_counts_when_an_older_state_is_restored(machine: Machine) -> None:
    """Its reply stands in the room, and what it ended is not begun again."""
    machine.back_up()
    machine.kill()
    people, said = asked(machine)
    people.stop(said.room_id, people.ada, {})
    machine.rest()
    runs = len(machine.agent.records)
    machine.restore()
    at_rest(machine)
    assert len(machine.agent.records) == runs
    assert said.turn not in answers(machine, said.room_id)


def test_an_event_delivered_twice_around_a_gap_keeps_its_place(machine: Machine) -> None:
    """The second copy is seen first; the first one is read back later."""
    machine.stop()
    people = machine.people
    room_id = people.room_ids[0]
    first = people.server.rooms.position
    people.command(room_id, people.ada, "!new")
    people.ask(room_id, people.ada)
    event = people.server.rooms.stream[first]
    people.server.repeat_event(room_id, event.raw["event_id"])
    machine.server.timeline_limit = 1
    machine.start()
    machine.pass_time(10)
    at_rest(machine)


def streaming(machine: Machine) -> Record:
    """The run that the agent works on."""
    machine.pass_time(5)
    (record,) = machine.agent.open_runs()
    return record


def shortened(machine: Machine) -> Said:
    """A question whose answer had begun in two messages and came out as one."""
    _, said = asked(machine)
    record = streaming(machine)
    record.chunk(LONG)
    machine.pass_time(30)
    assert len(answers(machine, said.room_id)[said.turn].parts) == 2
    record.rewind()
    record.end(Outcome("success"))
    at_rest(machine)
    return said


def test_an_answer_that_came_out_shorter_survives_an_edit_of_its_question(
    machine: Machine,
) -> None:
    """The redaction of its second message is our own, and is no redaction of the answer."""
    said = shortened(machine)
    machine.people.edit(said)
    at_rest(machine)


def test_an_answer_that_came_out_shorter_can_become_long_again(machine: Machine) -> None:
    """Its second message is a new one: the old one is redacted and shows no edits."""
    said = shortened(machine)
    machine.people.edit(said)
    streaming(machine).chunk(LONG)
    machine.pass_time(30)
    at_rest(machine)
    assert len(answers(machine, said.room_id)[said.turn].parts) == 2


def test_what_was_said_since_the_invite_is_answered_though_the_timeline_shows_the_join_alone(
    machine: Machine,
) -> None:
    """The invite stands before the part of the timeline that a sync shows: it is read back to."""
    people = machine.people
    room_id = people.new_room(inside=False)
    people.ask(room_id, people.ada)  # history
    machine.stop()
    people.invite(room_id, people.ada)
    for _ in range(3):
        people.ask(room_id, people.ada)
    machine.server.timeline_limit = 2
    machine.start()
    machine.pass_time(10)
    at_rest(machine)


def test_what_was_said_while_kicked_is_not_answered_after_the_cursor_was_lost(
    machine: Machine,
) -> None:
    """The room is read back to what was seen last, and no further than to where we came back."""
    people, said = asked(machine)
    machine.rest()
    people.remove(said.room_id, "leave")
    people.ask(said.room_id, people.ada)  # nobody hears it
    machine.stop()
    people.invite(said.room_id, people.ada)
    machine.server.rooms.member(said.room_id, machine.me, "join", by=machine.me)
    people.ask(said.room_id, people.ada)
    machine.lose_cursor()
    at_rest(machine)


def test_an_old_answer_to_a_first_sync_closes_no_room(machine: Machine) -> None:
    """What it leaves out is not gone: the list of our rooms says what is."""
    _, said = asked(machine)
    machine.pass_time(5)
    machine.server.repeat_sync(machine.me)
    machine.lose_cursor()
    at_rest(machine)
    assert answers(machine, said.room_id)[said.turn].finished


def test_a_homeserver_that_is_away_for_an_hour_is_caught_up_with_in_order(machine: Machine) -> None:
    """What was begun is finished in its message, and what was said meanwhile is answered."""
    people, first = asked(machine)
    machine.agent.quick = False
    machine.pass_time(5)
    run = machine.agent.open_runs()[0]
    run.chunk("It begins")
    machine.pass_time(5)
    root = root_of(machine, first)
    for op in AWAY:
        machine.server.fail(op, faults.lost_request(), 100_000)
    run.chunk(" and ends.")
    run.end(Outcome("success"))
    for _ in range(6):
        machine.pass_time(600)
        people.ask(first.room_id, people.ada)
    assert not answers(machine, first.room_id)[first.turn].finished
    at_rest(machine)
    found = answers(machine, first.room_id)
    assert len(found) == 7
    assert all(answer.finished for answer in found.values())
    assert found[first.turn].firsts[0].event_id == root
