"""A thread as a portable archive: what is in it, and its bytes. Pure.

Versioned JSON, the same bytes for the same memory. What it must not carry: open and withdrawn
runs, events (a reader gets a snapshot), and whose thread it was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from antiphon.agent.model import CallOutcome, FrozenSettings
from antiphon.agent_api.messages import (
    MAX_ARCHIVE_BYTES,
    ErrorCode,
    InputPart,
    OpaqueId,
    RunFailure,
    Usage,
)
from antiphon.errors import AgentProtocolError

KIND = "antiphon.thread"
VERSION = 1

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Ms = Annotated[int, Meta(ge=0, le=2**53)]
Short = Annotated[str, Meta(max_length=256)]


class PastCall(msgspec.Struct, frozen=True):
    """A tool call with what came of it."""

    call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    position: Count
    name: Short
    args: str
    outcome: CallOutcome | None
    content: str | None
    truncated: bool


class PastStep(msgspec.Struct, frozen=True):
    """A model step with its calls in order."""

    step: Count
    whole: bool
    text: str
    input_tokens: Count | None
    output_tokens: Count | None
    created_ms: Ms
    calls: tuple[PastCall, ...]


class PastRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run that has ended, with its question and its steps in order. `usage` is missing where it
    was not counted: in archives of before it was."""

    run_id: OpaqueId
    status: Literal["success", "cancelled", "error"]
    attempt: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    body_hash: Annotated[str, Meta(max_length=64)]
    input: tuple[InputPart, ...]
    settings: FrozenSettings | None
    error: RunFailure | None
    created_ms: Ms
    ended_ms: Ms | None
    steps: tuple[PastStep, ...]
    usage: Usage | None = None


class PastNote(msgspec.Struct, frozen=True):
    """A note that a tool kept."""

    number: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    run_id: OpaqueId
    text: str
    created_ms: Ms


class Archive(msgspec.Struct, frozen=True):
    """What a thread remembers: its runs, oldest first, and its notes."""

    kind: str
    version: int
    runs: tuple[PastRun, ...]
    notes: tuple[PastNote, ...]


class _Head(msgspec.Struct):
    kind: str
    version: int


_decoder = msgspec.json.Decoder(Archive)
_head = msgspec.json.Decoder(_Head)
_encoder = msgspec.json.Encoder()


def digest_of(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def encode(archive: Archive) -> bytes:
    """The bytes. Raises AgentProtocolError `archive_too_large`."""
    data = _encoder.encode(archive)
    refuse_large(len(data))
    return data


def refuse_large(size: int) -> None:
    """Raises AgentProtocolError `archive_too_large` for more bytes than an archive may have."""
    if size > MAX_ARCHIVE_BYTES:
        raise AgentProtocolError(
            f"An archive may have {MAX_ARCHIVE_BYTES} bytes; this one has {size}.",
            code=ErrorCode.ARCHIVE_TOO_LARGE,
        )


def decode(data: bytes) -> Archive:
    """The archive in `data`. Raises AgentProtocolError `bad_archive`, whose sentence says why:
    no archive, a newer version, or rows that no thread could have."""
    try:
        head = _head.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad("This is no archive of a thread") from error
    if head.kind != KIND:
        raise bad("This is no archive of a thread")
    if head.version > VERSION:
        raise bad(
            f"The archive has version {head.version} and this agent knows {VERSION}: a newer "
            "agent made it. Install that version"
        )
    try:
        archive = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad(f"The archive is damaged: {error}") from error
    _check(archive)
    return archive


def bad(sentence: str) -> AgentProtocolError:
    """The refusal of an archive."""
    return AgentProtocolError(f"{sentence}.", code=ErrorCode.BAD_ARCHIVE)


def _check(archive: Archive) -> None:
    """Raises where the rows contradict each other or can't be stored."""
    run_ids = [run.run_id for run in archive.runs]
    steps = [(run.run_id, step.step) for run in archive.runs for step in run.steps]
    calls = [call for run in archive.runs for step in run.steps for call in step.calls]
    _unique("a run", run_ids)
    _unique("a step", steps)
    _unique("a tool call", [call.call_id for call in calls])
    _unique("a note", [note.number for note in archive.notes])
    _unique("a note's call", [note.call_id for note in archive.notes])
    known = set(run_ids)
    if not archive.runs or any(note.run_id not in known for note in archive.notes):
        raise bad("The archive is damaged: it has no runs, or notes of none of them")
    texts = [step.text for run in archive.runs for step in run.steps]
    texts += [note.text for note in archive.notes] + [note.call_id for note in archive.notes]
    texts += [run.body_hash for run in archive.runs]
    for call in calls:
        texts += [call.call_id, call.name, call.args, call.content or ""]
    if any("\x00" in text for text in texts):
        raise bad("The archive is damaged: it has NUL characters in it")


def _unique(what: str, values: Sequence[object]) -> None:
    if len(set(values)) != len(values):
        raise bad(f"The archive is damaged: it has {what} twice")
