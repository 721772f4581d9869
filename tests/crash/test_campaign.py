"""A short slice of the crash campaign; `make crash SEED=1 TRIALS=500` is the long one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.testing.campaign import campaign, kinds_of
from antiphon.testing.campaign_kinds import SCENARIOS
from antiphon.testing.campaign_plan import BLOCK, KINDS, MIXED, RARE, plan
from antiphon.testing.campaign_result import Outcome, Result
from antiphon.testing.campaign_world import World, world
from antiphon.testing.checker import Violation
from antiphon.testing.crash_points import crash_points

SEED = 20


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def told(outcomes: list[Outcome]) -> str:
    return "\n".join(f"{o.line()} {o.violations}" for o in outcomes if o.violations)


@pytest.mark.live
@pytest.mark.timeout(300)
async def test_a_slice_of_the_campaign_breaks_no_promise(shared: World) -> None:
    """Kills at some points, of the control plane too; any violation fails."""
    kills = await campaign(shared, SEED, range(3), kinds=("kill",), jobs=2)
    assert any(outcome.died_at for outcome in kills)
    master = await campaign(shared, SEED, range(1), kinds=("master_killed",))
    assert told(kills + master) == ""


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_longer_slice_breaks_no_promise(shared: World) -> None:
    """More kills, and one trial of each quick scenario."""
    found = await campaign(shared, SEED, range(3, 6), kinds=("kill",), jobs=2)
    for kind in ("cut_agent", "five_while_down", "lost_response"):
        found += await campaign(shared, SEED, range(1), kinds=(kind,))
    assert told(found) == ""


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(300)
async def test_the_slice_would_see_a_fault(shared: World) -> None:
    """The same machinery catches an adapter that marks repeated sends as new ones."""
    found = await campaign(
        shared, SEED, range(12), kinds=("late_edit",), jobs=2, mutant="random_txn"
    )
    assert any(outcome.caught for outcome in found)


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(600)
async def test_a_slice_in_encrypted_rooms_breaks_no_promise_and_would_see_it(
    shared: World, js: object
) -> None:
    """A member who comes and goes, and encryption switched on in mid-answer; all that is judged was
    decrypted by the independent client. An adapter that sends partial edits in the clear is caught.
    """
    found: list[Outcome] = []
    for kind in ("encrypted_members", "encrypted_on"):
        found += await campaign(shared, SEED, range(1), kinds=(kind,))
    assert told(found) == ""
    assert sum(outcome.sealed for outcome in found) > 0
    assert sum(outcome.undecryptable for outcome in found) == 0
    kinds = ("encrypted_members",)
    bad = await campaign(shared, SEED, range(4), kinds=kinds, mutant="clear_edits")
    assert {v.kind for outcome in bad for v in outcome.violations} >= {"plaintext"}


def test_every_scenario_is_described_and_has_its_share_of_each_eighty_trials() -> None:
    assert set(KINDS) == {*BLOCK, *RARE}
    assert {*SCENARIOS} >= {*MIXED}
    points = crash_points()
    plans = [plan(SEED, number, points) for number in range(80, 160)]
    kinds = Counter(one.kind for one in plans)
    assert {kind: kinds[kind] for kind in BLOCK} == BLOCK
    assert sum(kinds[kind] for kind in RARE) == 1
    assert {one.play for one in plans} <= set(SCENARIOS)
    assert all(one.encrypted == one.kind.startswith("encrypted") for one in plans)


def test_a_group_of_scenarios_has_a_name() -> None:
    assert set(kinds_of("encrypted")) | set(kinds_of("plain")) == set(KINDS)
    assert kinds_of("kill,encrypted_on") == ["kill", "encrypted_on"]
    assert kinds_of("") == list(KINDS)
    with pytest.raises(SystemExit, match="kil"):
        kinds_of("kil")


def test_a_result_counts_what_happened() -> None:
    bad = (Violation("order", "!r", "Q-a-1", ""),)
    outcomes = [
        Outcome(0, "kill", "", (), ("adapter:turn.frozen@1",), 3, 1.0),
        Outcome(1, "kill", "", bad, ("adapter:turn.frozen@2", "agent:run.created@1"), 2, 1.0),
    ]
    result = Result.of(1, outcomes, 2.0)
    assert (result.trials, result.violated, result.questions, result.good) == (2, 1, 5, False)
    assert result.points == {"adapter:turn.frozen": 2, "agent:run.created": 1}
    assert [o.number for o in result.bad] == [1]
    assert Result.of(1, outcomes[:1], 1.0).good
    assert not Result.of(1, [], 1.0, {"random_txn": None}).good


def test_a_trial_that_failed_by_itself_catches_no_mutant() -> None:
    trouble = (Violation("campaign", "", "", "Traceback"),)
    assert not Outcome(0, "kill", "", trouble, (), 0, 0.0).caught
