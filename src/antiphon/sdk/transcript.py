"""What was said in a thread, read out of the archive that the agent gives of it: for `!export` and
for surfaces that show a history. Reads leniently; what is in an archive is the agent's matter."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from antiphon.core.ids import RunId, UserId
from antiphon.core.model import Said


class Exchanged(msgspec.Struct, frozen=True):
    """A question and its answer. `status`: `success`, `cancelled` or `error`; `at_ms`: when it was
    asked."""

    run_id: RunId
    question: tuple[Said, ...]
    answer: str
    status: str
    at_ms: int


class _Part(msgspec.Struct):
    text: str = ""
    author: str | None = None


class _Step(msgspec.Struct):
    text: str = ""


class _Run(msgspec.Struct):
    run_id: str = ""
    status: str = ""
    input: list[_Part] = []
    steps: list[_Step] = []
    created_ms: int = 0


class _Archive(msgspec.Struct):
    runs: list[_Run] = []


_decoder = msgspec.json.Decoder(_Archive)


def read(archive: bytes | None) -> tuple[Exchanged, ...]:
    """The exchanges, the oldest first; none where there is no archive, or none that can be read."""
    if archive is None:
        return ()
    try:
        found = _decoder.decode(archive)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple(
        Exchanged(
            run_id=RunId(run.run_id),
            question=tuple(Said(UserId(part.author or ""), part.text) for part in run.input),
            answer="\n\n".join(text for step in run.steps if (text := step.text.strip())),
            status=run.status,
            at_ms=run.created_ms,
        )
        for run in found.runs
    )


def authors(exchanges: Sequence[Exchanged]) -> frozenset[UserId]:
    """Who said something."""
    return frozenset(said.author for one in exchanges for said in one.question if said.author)
