"""What became of the trials of a campaign, as values that are kept as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from antiphon.testing.checker import Violation


class Outcome(msgspec.Struct, frozen=True):
    """What became of a trial. `died_at`: crash orders that were carried out, by process;
    `sealed`: encrypted events of the bot; `undecryptable`: events that the independent client could
    not decrypt."""

    number: int
    kind: str
    order: str
    violations: tuple[Violation, ...]
    died_at: tuple[str, ...]
    questions: int
    seconds: float
    faults: dict[str, int] = {}
    notes: dict[str, float] = {}
    sealed: int = 0
    undecryptable: int = 0

    @property
    def caught(self) -> bool:
        """Whether a promise was broken, and it was not the trial or a process that broke."""
        return any(v.kind not in ("campaign", "process") for v in self.violations)

    def line(self) -> str:
        """For the terminal."""
        verdict = "ok" if not self.violations else "VIOLATED"
        died = ", ".join((*self.died_at, *(f"{n}x{c}" for n, c in self.faults.items()))) or "-"
        return (
            f"{self.number:4} {self.kind:16} {verdict:8} {self.seconds:5.1f} s  "
            f"{self.questions:2} asked  killed: {died}"
        )


class Tally(msgspec.Struct):
    """Trials, and those of them with a violation."""

    trials: int = 0
    violated: int = 0


class Result(msgspec.Struct, frozen=True):
    """A campaign. `points`: how often a process died at each crash point. `mutants`: after how
    many trials each was caught (null: it was not). `sealed`, `undecryptable`: as of an outcome."""

    seed: int
    trials: int
    questions: int
    violated: int
    seconds: float
    kinds: dict[str, Tally]
    points: dict[str, int]
    faults: dict[str, int]
    mutants: dict[str, int | None]
    bad: tuple[Outcome, ...]
    sealed: int = 0
    undecryptable: int = 0

    @classmethod
    def of(
        cls,
        seed: int,
        outcomes: Sequence[Outcome],
        seconds: float,
        mutants: dict[str, int | None] | None = None,
    ) -> Result:
        """The result of these trials."""
        kinds: dict[str, Tally] = {}
        points: Counter[str] = Counter()
        faults: Counter[str] = Counter()
        for outcome in outcomes:
            tally = kinds.setdefault(outcome.kind, Tally())
            tally.trials += 1
            tally.violated += bool(outcome.violations)
            points.update(at.partition("@")[0] for at in outcome.died_at)
            faults.update(outcome.faults)
        bad = tuple(outcome for outcome in outcomes if outcome.violations)
        return cls(
            seed=seed,
            trials=len(outcomes),
            questions=sum(outcome.questions for outcome in outcomes),
            violated=len(bad),
            seconds=round(seconds, 1),
            kinds=kinds,
            points=dict(sorted(points.items())),
            faults=dict(sorted(faults.items())),
            mutants=mutants or {},
            bad=bad,
            sealed=sum(outcome.sealed for outcome in outcomes),
            undecryptable=sum(outcome.undecryptable for outcome in outcomes),
        )

    @property
    def good(self) -> bool:
        """Whether every promise was kept and every mutant caught."""
        return not self.bad and None not in self.mutants.values()

    def summary(self) -> str:
        """For the terminal."""
        lines = [
            f"mutant {name}: " + (f"caught in trial {after}" if after else "NOT CAUGHT")
            for name, after in self.mutants.items()
        ]
        if self.trials:
            lines.append(
                f"{self.trials} trials, {self.questions} questions, {sum(self.points.values())} "
                f"kills at {len(self.points)} points, {sum(self.faults.values())} faults, "
                f"{self.violated} trials with violations, {self.seconds:.0f} s"
            )
        if self.sealed:
            lines.append(
                f"{self.sealed} encrypted events of the bots, {self.undecryptable} events that the "
                "independent client could not decrypt"
            )
        return "\n".join(lines)
