"""What can happen to the adapter, as rules for Hypothesis to choose from: people, rooms, the agent,
the adapter's process, the homeserver and time. What must be so at rest, `machine_judge` says."""

from __future__ import annotations

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from antiphon.core.chat_settings import Isolation
from antiphon.sdk.interface import Outcome
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.machine import Machine
from antiphon.testing.machine_agent import LONG, Record
from antiphon.testing.machine_judge import Judge, answers, finished_turns
from antiphon.testing.machine_people import MOST_ROOMS, People, Said

which = st.integers(0, 7)
pauses = st.sampled_from([0, 0, 0.004, 0.008, 0.03, 0.5, 3])
"""Seconds that pass after something happened, so that it is felt in the middle of what follows."""
talkers = st.sampled_from(["ada", "ada", "bob", "eve"])
OPS = (
    "send",
    "send",
    "send",
    "send",
    "send",
    "redact",
    "sync",
    "messages",
    "join",
    "joined_rooms",
    "state",
)
STRANGE = (
    None,
    7,
    {"type": "m.room.message"},
    {"event_id": "$odd", "type": "m.room.message", "sender": "@ada:hs", "content": []},
    {
        "event_id": "$odder",
        "type": "m.room.message",
        "sender": "@ada:hs",
        "content": {"msgtype": "m.text", "body": 7, "m.relates_to": "none"},
        "origin_server_ts": "soon",
    },
    {"event_id": "$oddest", "type": "m.room.redaction", "sender": "@ada:hs", "content": {}},
)


class AdapterMachine(RuleBasedStateMachine):
    """What can happen."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()

    def teardown(self) -> None:
        try:
            self.calm()
        finally:
            self.machine.close()

    @initialize(
        quick=st.booleans(),
        supervised=st.sampled_from([True, True, False]),
        isolation=st.sampled_from(["room", "room", "user"]),
    )
    def begin(self, quick: bool, supervised: bool, isolation: Isolation) -> None:
        """Whether the agent answers by itself, whether somebody starts a killed adapter, and what
        a chat is."""
        if isolation != "room":
            self.machine.isolate(isolation)
        self.machine.agent.quick = self.machine.agent.prompt = quick
        self.machine.supervised = supervised

    # --- people -----------------------------------------------------------------------------

    @rule(room=which, who=talkers, pause=pauses)
    def ask(self, room: int, who: str, pause: float = 0) -> None:
        self.people.ask(self.room(room), getattr(self.people, who))
        self.machine.pass_time(pause)

    @rule(room=which, who=talkers, count=st.integers(2, 5))
    def ask_several(self, room: int, who: str, count: int) -> None:
        for _ in range(count):
            self.ask(room, who)

    @rule(room=which, who=talkers, text=st.sampled_from(["!new", "!hepl", "!retry"]))
    def command(self, room: int, who: str, text: str) -> None:
        self.people.command(self.room(room), getattr(self.people, who), text)

    @rule(room=which, who=talkers)
    def say_stop(self, room: int, who: str) -> None:
        room_id = self.room(room)
        done = finished_turns(self.machine, room_id)
        self.people.stop(room_id, getattr(self.people, who), done)

    @rule(room=which)
    def send_file(self, room: int) -> None:
        self.people.send_file(self.room(room), self.people.ada)

    @rule(room=which, raw=st.sampled_from(STRANGE))
    def noise(self, room: int, raw: object) -> None:
        self.people.notice(self.room(room))
        self.people.malformed(self.room(room), raw)

    @precondition(lambda self: self.people.said)
    @rule(number=which, by_author=st.sampled_from([True, True, True, False]), pause=pauses)
    def edit(self, number: int, by_author: bool, pause: float) -> None:
        self.people.edit(self.message(number), by_author=by_author)
        self.machine.pass_time(pause)

    @precondition(lambda self: self.people.said)
    @rule(number=which)
    def edit_to_a_command(self, number: int) -> None:
        self.people.edit(self.message(number), text="!new")

    @precondition(lambda self: self.people.said)
    @rule(number=which, pause=pauses)
    def redact(self, number: int, pause: float) -> None:
        self.people.redact(self.message(number))
        self.machine.pass_time(pause)

    @precondition(lambda self: self.people.said)
    @rule(number=which)
    def take_down(self, number: int) -> None:
        said = self.message(number)
        answer = answers(self.machine, said.room_id).get(said.turn)
        if answer is not None and answer.parts:
            self.people.take_down(said, answer.firsts[0].event_id)

    # --- rooms ------------------------------------------------------------------------------

    @precondition(lambda self: len(self.people.room_ids) < MOST_ROOMS)
    @rule()
    def new_room(self) -> None:
        room_id = self.people.new_room(inside=False)
        self.people.ask(room_id, self.people.ada)

    @rule(room=which, who=talkers)
    def invite(self, room: int, who: str) -> None:
        self.people.invite(self.room(room), getattr(self.people, who))

    @rule(room=which, membership=st.sampled_from(["leave", "ban"]))
    def remove(self, room: int, membership: str) -> None:
        self.people.remove(self.room(room), membership)

    @rule(room=which, public=st.booleans(), honest=st.booleans())
    def upgrade(self, room: int, public: bool, honest: bool) -> None:
        self.people.upgrade(self.room(room), public=public, honest=honest)

    # --- the agent --------------------------------------------------------------------------

    @precondition(lambda self: self.machine.agent.open_runs())
    @rule(number=which, text=st.sampled_from([" more", " words", LONG]), pause=pauses)
    def chunk(self, number: int, text: str, pause: float) -> None:
        self.run_of(number).chunk(text)
        self.machine.pass_time(pause)

    @precondition(lambda self: self.machine.agent.open_runs())
    @rule(number=which, pause=pauses)
    def finish(self, number: int, pause: float) -> None:
        run = self.run_of(number)
        run.chunk(" done.")
        run.end(Outcome("success"))
        self.machine.pass_time(pause)

    @precondition(lambda self: self.machine.agent.open_runs())
    @rule(number=which)
    def fail(self, number: int) -> None:
        self.run_of(number).end(Outcome("error", "model_failed", "The model broke off."))

    @precondition(lambda self: self.machine.agent.open_runs())
    @rule(number=which)
    def rewind(self, number: int) -> None:
        self.run_of(number).rewind()

    @rule(reachable=st.booleans())
    def agent_away(self, reachable: bool) -> None:
        if reachable:
            self.machine.agent.reachable.set()
        else:
            self.machine.agent.reachable.clear()

    # --- the adapter's process --------------------------------------------------------------

    @rule()
    def start(self) -> None:
        self.machine.start()

    @rule(start=st.booleans(), cleanly=st.booleans())
    def end(self, start: bool, cleanly: bool) -> None:
        if cleanly:
            self.machine.stop()
        else:
            self.machine.kill()
        if start:
            self.machine.start()

    @rule(crossings=st.integers(1, 60))
    def kill_at(self, crossings: int) -> None:
        self.machine.kill_at(crossings)

    @rule(start=st.booleans(), pause=pauses)
    def freeze(self, start: bool, pause: float) -> None:
        self.machine.freeze()
        if start:
            self.machine.start()
        self.machine.pass_time(pause)

    @precondition(lambda self: self.machine.zombies)
    @rule()
    def thaw(self) -> None:
        self.machine.thaw()

    @rule(start=st.booleans())
    def lose_cursor(self, start: bool) -> None:
        self.machine.lose_cursor()
        if start:
            self.machine.start()

    @rule(again=st.booleans(), start=st.booleans())
    def restore(self, again: bool, start: bool) -> None:
        """A copy of the state is made, or put back where there is one."""
        if self.machine.backup is None or again:
            self.machine.back_up()
            return
        self.machine.restore()
        if start:
            self.machine.start()

    # --- the homeserver ---------------------------------------------------------------------

    @rule(
        op=st.sampled_from(OPS),
        kind=st.sampled_from(
            ["lost", "lost", "late", "slow", "never", "html", "truncated", "limited"]
        ),
        times=st.integers(1, 4),
    )
    def fault(self, op: faults.Op, kind: str, times: int) -> None:
        gate = asyncio.Event()
        made = {
            "lost": faults.lost_response(),
            "never": faults.lost_request(),
            "html": faults.html(),
            "truncated": faults.truncated(),
            "limited": faults.limited(4_500),
            "slow": faults.slow(45.0),
            "late": faults.landing_late(gate),
        }
        if kind == "late":
            self.machine.gates.append(gate)
        self.machine.server.fail(op, made[kind], times)

    @precondition(lambda self: self.machine.gates)
    @rule()
    def late_ones_land(self) -> None:
        self.machine.land()

    @rule(times=st.integers(1, 3))
    def stale_sync(self, times: int) -> None:
        self.machine.server.repeat_sync(self.people.me, times)

    @rule(number=st.integers(0, 40))
    def repeat_event(self, number: int) -> None:
        self.machine.repeat_event(number)

    @rule(limit=st.sampled_from([1, 2, 3, None]))
    def limit_timeline(self, limit: int | None) -> None:
        self.machine.server.timeline_limit = limit

    @rule(seconds=st.sampled_from([-3600, -60, -5, 60]))
    def servers_clock(self, seconds: int) -> None:
        self.machine.rooms.step(seconds * 1000)

    @rule(seconds=st.sampled_from([-3600, -60, 3600]))
    def own_clock(self, seconds: int) -> None:
        self.machine.clock.skew_ms += seconds * 1000

    # --- time -------------------------------------------------------------------------------

    @rule(turns=st.integers(1, 30))
    def tick(self, turns: int) -> None:
        self.machine.tick(turns)

    @rule(seconds=st.sampled_from([0.001, 0.003, 0.005, 0.01, 0.02, 0.05, 0.3, 1.5, 5, 40]))
    def moment(self, seconds: float) -> None:
        self.machine.pass_time(seconds)

    @rule(seconds=st.sampled_from([200, 2_000, 4 * 3600, 25 * 3600]))
    def while_(self, seconds: float) -> None:
        self.machine.pass_time(seconds)

    @rule(seconds=st.sampled_from([100, 10_000, 30 * 3600]))
    def suspend(self, seconds: float) -> None:
        self.machine.suspend(seconds)

    # --- rest -------------------------------------------------------------------------------

    @rule()
    def calm(self) -> None:
        """All comes to rest, and all is as it must be; a restart then says nothing."""
        self.machine.rest()
        self.check()
        said, asked = self.spoken(), len(self.machine.agent.records)
        self.machine.restart()
        self.check()
        assert self.spoken() == said, "a restart has sent something"
        assert len(self.machine.agent.records) == asked, "a restart has asked the agent"
        self.people.clear(self.machine.joined_by_journal())

    def check(self) -> None:
        wrongs = Judge(self.machine).judge()
        assert not wrongs, "\n".join(wrongs)

    def spoken(self) -> int:
        return len(self.machine.server.asked("send")) + len(self.machine.server.asked("redact"))

    # --- inside -----------------------------------------------------------------------------

    @property
    def people(self) -> People:
        return self.machine.people

    def room(self, number: int) -> str:
        rooms: list[str] = self.people.room_ids
        return rooms[number % len(rooms)]

    def run_of(self, number: int) -> Record:
        """One of the runs that the agent works on."""
        runs = self.machine.agent.open_runs()
        return runs[number % len(runs)]

    def message(self, number: int) -> Said:
        """One of the newest messages."""
        said: list[Said] = self.people.said
        return said[-1 - number % len(said)]
