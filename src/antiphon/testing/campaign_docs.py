"""Writes the generated parts of `docs/reliability.md`: the crash points, each fault with its test,
and what the last campaign found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from antiphon.testing.campaign_plan import KINDS
from antiphon.testing.campaign_result import Result, Tally
from antiphon.testing.campaign_rows import ROWS, Row
from antiphon.testing.crash_points import Point, crash_points

PAGE = Path(__file__).parents[3] / "docs" / "reliability.md"
LATER = "comes with the feature"


def section(page: str, name: str, text: str) -> str:
    """`page` with the generated part `name` replaced. Raises ValueError where it has none."""
    begin, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no part {name!r}")
    return f"{head}{begin}{text.rstrip()}\n{end}{tail}"


def points_table(points: Sequence[Point], killed: dict[str, int] | None = None) -> str:
    """Every crash point, where it stands and how often a process died there."""
    lines = ["| point | stands in | kills |", "| --- | --- | --- |"]
    for point in points:
        where = ", ".join(f"`{module}`" for module in point.modules)
        count = sum(
            (killed or {}).get(f"{process}:{point.name}", 0)
            for process in ("adapter", "agent", "master")
        )
        lines.append(f"| `{point.name}` | {where} | {count if killed is not None else '-'} |")
    return "\n".join(lines)


def faults_table(rows: Sequence[Row], kinds: dict[str, Tally]) -> str:
    """Every fault that must be survived: its tests, and the campaign's trials of it."""
    lines = ["| fault | test | trials | violations |", "| --- | --- | --- | --- |"]
    for row in rows:
        tests = ", ".join(f"`{test}`" for test in row.tests) or ("" if row.kinds else LATER)
        campaign = ", ".join(f"campaign `{kind}`" for kind in row.kinds)
        tallies = [kinds[kind] for kind in row.kinds if kind in kinds]
        trials = str(sum(t.trials for t in tallies)) if tallies else "-"
        bad = str(sum(t.violated for t in tallies)) if tallies else "-"
        where = "; ".join(filter(None, (tests, campaign)))
        lines.append(f"| {row.fault} | {where} | {trials} | {bad} |")
    return "\n".join(lines)


def kinds_table(result: Result) -> str:
    """Trials by scenario."""
    lines = ["| scenario | what is done | trials | violations |", "| --- | --- | --- | --- |"]
    for kind, what in KINDS.items():
        tally = result.kinds.get(kind, Tally())
        lines.append(f"| `{kind}` | {what} | {tally.trials} | {tally.violated} |")
    return "\n".join(lines)


def merged(results: Sequence[Result]) -> Result:
    """Several campaigns (of other seeds, or of mutants alone) as one."""
    total = Result.of(results[0].seed, [], sum(r.seconds for r in results))
    for result in results:
        for kind, tally in result.kinds.items():
            sum_of = total.kinds.setdefault(kind, Tally())
            sum_of.trials += tally.trials
            sum_of.violated += tally.violated
        for mine, theirs in ((total.points, result.points), (total.faults, result.faults)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        total.mutants.update(result.mutants)
    return Result(
        seed=total.seed,
        trials=sum(r.trials for r in results),
        questions=sum(r.questions for r in results),
        violated=sum(r.violated for r in results),
        seconds=total.seconds,
        kinds=total.kinds,
        points=total.points,
        faults=total.faults,
        mutants=total.mutants,
        bad=tuple(outcome for r in results for outcome in r.bad),
        sealed=sum(r.sealed for r in results),
        undecryptable=sum(r.undecryptable for r in results),
    )


def campaign_text(results: Sequence[Result]) -> str:
    """What the last campaign was and found."""
    result = merged(results)
    seeds = ", ".join(sorted({str(r.seed) for r in results if r.trials}))
    mutants = "\n".join(
        f"| `{name}` | {after if after else 'not caught'} |"
        for name, after in result.mutants.items()
    )
    return (
        f"{result.trials} trials (seed {seeds}), {result.questions} questions, "
        f"{sum(result.points.values())} kills at {len(result.points)} named points, "
        f"{sum(result.faults.values())} faults of the network; "
        f"**{result.violated} trials with a violation**; {result.seconds / 60:.0f} minutes.\n"
        f"{_encrypted(result)}\n"
        f"{kinds_table(result)}\n"
        + (f"\n| mutant | caught in trial |\n| --- | --- |\n{mutants}\n" if mutants else "")
    )


def _encrypted(result: Result) -> str:
    """What of that was in encrypted rooms; a line of its own."""
    kinds = [tally for kind, tally in result.kinds.items() if kind.startswith("encrypted")]
    if not kinds:
        return ""
    return (
        f"\nOf these, {sum(t.trials for t in kinds)} trials were in encrypted rooms: "
        f"{result.sealed} encrypted events of the bots, "
        f"**{result.undecryptable} that the independent client could not decrypt**.\n"
    )


def write_docs(results: Sequence[Result], page: Path = PAGE) -> None:
    """Writes the results into the page; without any, only the points and the faults, anew."""
    text = page.read_text(encoding="utf-8")
    if not results:
        text = section(text, "points", points_table(crash_points()))
        page.write_text(section(text, "faults", faults_table(ROWS, {})), encoding="utf-8")
        return
    whole = merged(results)
    text = section(text, "campaign", campaign_text(results))
    text = section(text, "faults", faults_table(ROWS, whole.kinds))
    text = section(text, "points", points_table(crash_points(), whole.points))
    page.write_text(text, encoding="utf-8")
