"""The adapter against everything that can happen to it, in any order, over days of virtual time.

`ANTIPHON_MACHINE_EXAMPLES=2000` runs that many random examples instead of the few that are the same
each time. And the same machine against faults put into the adapter on purpose: a test that can't
fail proves nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Connection

from antiphon.adapter.matrix import answer, runner
from antiphon.adapter.matrix.journal import outbox
from antiphon.testing import mutants
from antiphon.testing.machine_life import LIFE, Life
from antiphon.testing.machine_rules import AdapterMachine

pytestmark = pytest.mark.timeout(7200)
EXAMPLES = int(os.environ.get("ANTIPHON_MACHINE_EXAMPLES", "0"))
STEPS = 30
MUTANT_EXAMPLES = 300
LONG = {"random_txn", "not_frozen"}
"""Faults that take a minute or more to be found; a crash campaign finds them too."""

TestAdapterMachine = AdapterMachine.TestCase
TestAdapterMachine.settings = settings(
    max_examples=EXAMPLES or 25,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=not EXAMPLES,
    suppress_health_check=list(HealthCheck),
)


def not_frozen() -> None:
    """As the mutant of this name: but its memory ends with the life that it belongs to."""
    kept: dict[tuple[Life | None, str], list[Any]] = {}
    freeze, deliver, put = answer.AnswerWriter.freeze, runner.TurnRunner._deliver, outbox.put

    def freezes(self: Any, connection: Connection, *more: Any, **named: Any) -> bool:
        held = kept.setdefault((LIFE.get(), self._turn.turn_id), [])
        with patch.object(outbox, "put", lambda _, entry, now_ms: held.append((entry, now_ms))):
            return freeze(self, connection, *more, **named)

    async def delivers(self: Any, turn: Any, *more: Any) -> Any:
        def late(connection: Connection) -> None:
            for entry, now_ms in kept.pop((LIFE.get(), turn.turn_id), []):
                put(connection, entry, now_ms)

        await self._journal.write(late)
        return await deliver(self, turn, *more)

    mutants._replace(answer.AnswerWriter, "freeze", freezes)
    mutants._replace(runner.TurnRunner, "_deliver", delivers)


def _mutant(name: str) -> Any:
    skipped = pytest.mark.skipif(name in LONG and not EXAMPLES, reason="minutes long")
    return pytest.param(name, marks=skipped)


@pytest.fixture(params=[_mutant(name) for name in mutants.MUTANTS if name not in mutants.ENCRYPTED])
def mutant(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fault in the adapter while a test runs."""
    undo: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, value: object) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    with patch.object(mutants, "_replace", replace):
        (not_frozen if request.param == "not_frozen" else mutants.MUTANTS[request.param])()
        yield request.param
    for owner, name, value in reversed(undo):
        setattr(owner, name, value)


@pytest.mark.slow
def test_a_fault_put_in_on_purpose_is_found(mutant: str) -> None:
    """Each of the campaign's mutants but those of encryption, which the machine has none of, within
    a few hundred examples."""

    @seed(1)
    class Mutant(AdapterMachine):
        """The machine over the mutant."""

    with pytest.raises(BaseException, match=r"."):
        run_state_machine_as_test(
            Mutant,
            settings=settings(
                max_examples=MUTANT_EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
