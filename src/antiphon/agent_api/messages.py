"""The messages of `/agent_ws/`: JSON text frames, tagged unions by `type`.

Verbs go from a client to the agent and carry an `id` chosen by the client; the agent answers each
with `ok` or `error` under that id. Events go from the agent to whoever is attached to the thread.
The lifecycle and its names are AG-UI's in snake case. `docs/protocol.md` shows every message.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

VERSION = 1
"""Protocol version; every event carries it as `v`."""

MAX_FRAME_BYTES = 1 << 20
"""A frame above this is refused (`frame_too_large`), in both directions."""

MAX_INPUT_CHARS = 200_000
"""All text parts of one `run.start` together; above it: `input_too_large`."""

MAX_ARCHIVE_BYTES = 64 << 20
"""A thread's archive above this is neither exported nor imported (`archive_too_large`)."""

MAX_CHUNK_BYTES = 512 << 10
"""Most bytes of an archive in one frame (as base64 they are a third more)."""

OpaqueId = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$")]
ThreadKey = Annotated[str, Meta(min_length=16, max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]

SurfaceName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]


class ErrorCode(StrEnum):
    """Codes of an `error` frame: a verb (or a frame that is none) was refused."""

    BAD_FRAME = "bad_frame"
    FRAME_TOO_LARGE = "frame_too_large"
    UNKNOWN_TYPE = "unknown_type"
    INPUT_TOO_LARGE = "input_too_large"
    FORBIDDEN = "forbidden"
    CONFLICT = "conflict"
    THREAD_BUSY = "thread_busy"
    THREAD_GONE = "thread_gone"
    NOT_FOUND = "not_found"
    UNKNOWN_MODEL = "unknown_model"
    TOO_MANY = "too_many"
    BAD_ARCHIVE = "bad_archive"
    ARCHIVE_TOO_LARGE = "archive_too_large"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal"


class RunErrorCode(StrEnum):
    """Codes of `run.error`: the run is over and there is no answer."""

    QUESTION_TOO_LONG = "question_too_long"
    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_REFUSED = "model_refused"
    MODEL_FAILED = "model_failed"
    DEADLINE = "deadline"
    TOO_MANY_STEPS = "too_many_steps"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    INTERNAL = "internal"


# --- what verbs carry -------------------------------------------------------------------------


class InputPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One message of the question: its text and who said it (an id of the surface)."""

    text: str
    author: Annotated[str, Meta(max_length=512)] | None = None


class RunSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Settings resolved by the surface and frozen with the run, for its resumption.

    `None` means the agent's own default. `language`: of the answers, as a person names it; it is
    added to the system prompt, the agent's own too. `tools` are the names of granted tools.
    """

    model: Annotated[str, Meta(max_length=256)] | None = None
    system_prompt: Annotated[str, Meta(max_length=32_000)] | None = None
    language: Annotated[str, Meta(max_length=64)] | None = None
    tools: tuple[str, ...] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    deadline_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None


class Cursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last event that a client has seen of a thread.

    `run_id` is there because `attempt` counts per run: (attempt, seq) alone is ambiguous when
    a new run has reached the same numbers (docs/decisions/0005-cursor.md).
    """

    run_id: OpaqueId
    attempt: Annotated[int, Meta(ge=1)]
    seq: Annotated[int, Meta(ge=0)]


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag=True):
    """Base of what a client may send. `id` comes back in the agent's answer."""

    id: OpaqueId


class ModelsList(Ask, frozen=True, tag="models.list"):
    """Ask which models a run may name. Answered by `models`."""


class Verb(Ask, frozen=True, tag=True):
    """Base of what is asked of a thread."""

    thread_id: ThreadKey


class Attach(Verb, frozen=True, tag="attach"):
    """Subscribe to a thread. With `cursor`, what came after it follows, without gap or repeat;
    without, a `snapshot` of `run_id` (or of the thread's latest run) comes first."""

    run_id: OpaqueId | None = None
    cursor: Cursor | None = None


class Detach(Verb, frozen=True, tag="detach"):
    """Unsubscribe. The run, if any, goes on."""


class RunStart(Verb, frozen=True, kw_only=True, tag="run.start"):
    """Ask for an answer, and attach. Idempotent: the same id with the same body attaches (and
    replays from `cursor`, else a snapshot); another body is `conflict`; a second run on a busy
    thread is `thread_busy`."""

    run_id: OpaqueId
    input: Annotated[tuple[InputPart, ...], Meta(min_length=1, max_length=256)]
    settings: RunSettings = RunSettings()
    cursor: Cursor | None = None


class RunCancel(Verb, frozen=True, kw_only=True, tag="run.cancel"):
    """End the run; idempotent; before its start it leaves a tombstone, so that the start ends
    as cancelled at once. The run's terminal event says what came of it."""

    run_id: OpaqueId


class RunWithdraw(Verb, frozen=True, kw_only=True, tag="run.withdraw"):
    """Cancel the run if it is open, and erase its input, output and tool data from the thread."""

    run_id: OpaqueId


class ApprovalResolve(Verb, frozen=True, kw_only=True, tag="approval.resolve"):
    """Decide a waiting approval; the first decision wins."""

    approval_id: OpaqueId
    args_hash: str
    decision: Literal["approve", "deny"]
    decider: Annotated[str, Meta(max_length=512)]


class ThreadDelete(Verb, frozen=True, tag="thread.delete"):
    """Erase the thread with all its runs. Leaves a tombstone: later frames get `thread_gone`.

    `surface`: whose thread it is. Only a token that may erase and nothing else must (and may) name
    another one than its own: anybody else's is `forbidden`."""

    surface: SurfaceName | None = None


class AuthorErase(Verb, frozen=True, kw_only=True, tag="author.erase"):
    """Withdraw every run of the thread whose question has a message by `author`. Its `ok` says how
    many that were. `surface` as in `thread.delete`."""

    author: Annotated[str, Meta(min_length=1, max_length=512)]
    surface: SurfaceName | None = None


Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in hexadecimal."""

Chunk = Annotated[bytes, Meta(max_length=MAX_CHUNK_BYTES)]
"""A piece of an archive; base64 in the frame."""


class ThreadExport(Verb, frozen=True, kw_only=True, tag="thread.export"):
    """Ask for what the thread remembers, from byte `offset` of its archive on. Answered by
    `thread.archive`. `digest` (of the first answer) holds the pages together: `conflict` when the
    thread has changed since."""

    offset: Annotated[int, Meta(ge=0)] = 0
    digest: Digest | None = None


class ThreadImport(Verb, frozen=True, kw_only=True, tag="thread.import"):
    """Send a piece of an archive into a new thread, in order from offset 0. The piece that makes
    `total` bytes whole has it checked and imported, in one transaction, before its `ok`."""

    total: Annotated[int, Meta(ge=1)]
    digest: Digest
    offset: Annotated[int, Meta(ge=0)]
    data: Chunk


AnyVerb = (
    ModelsList
    | Attach
    | Detach
    | RunStart
    | RunCancel
    | RunWithdraw
    | ApprovalResolve
    | ThreadDelete
    | AuthorErase
    | ThreadExport
    | ThreadImport
)


# --- what the agent answers to a verb -----------------------------------------------------------


class Ok(msgspec.Struct, frozen=True, tag_field="type", tag="ok", omit_defaults=True):
    """The verb `id` was carried out and is durable. `erased`: to `author.erase`, how many runs
    this verb has erased."""

    id: str
    erased: int | None = None


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    """The verb `id` (absent when the frame could not be read) was refused; the connection lives."""

    code: str
    message: str
    id: str | None = None
    retryable: bool = False


class ThreadArchive(msgspec.Struct, frozen=True, tag_field="type", tag="thread.archive"):
    """The answer to the `thread.export` with this id: a piece of the archive, which has `total`
    bytes and this SHA-256. `data` begins at `offset`; the last piece ends at `total`."""

    id: str
    total: int
    digest: str
    offset: int
    data: bytes


class Models(msgspec.Struct, frozen=True, tag_field="type", tag="models"):
    """The answer to the `models.list` with this id: the model that answers where a run names none,
    and all that one may name (`default` among them)."""

    id: str
    default: str
    allowed: tuple[str, ...]


Reply = Ok | ThreadArchive | Models
"""What a verb that was carried out is answered by."""


# --- events -------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A fact of a thread. `seq` is gap-free per thread; `attempt` counts the run's resumptions
    from 1: a client drops events of an attempt below the highest it has seen of that run."""

    v: int = VERSION
    thread_id: str
    run_id: str
    attempt: int
    seq: int


class RunStarted(Event, frozen=True, tag="run.started"):
    """The run has begun its first attempt, with this model."""

    model: str


class RunResumed(Event, frozen=True, tag="run.resumed"):
    """A new attempt has begun: text of steps numbered `step` and above is void."""

    step: int


class TextStart(Event, frozen=True, tag="text.start"):
    """Text of step `step` (from 0) begins."""

    step: int


class TextDelta(Event, frozen=True, tag="text.delta"):
    """More text of step `step`."""

    step: int
    text: str


class TextEnd(Event, frozen=True, tag="text.end"):
    """The text of step `step` is whole."""

    step: int


class ReasoningStart(Event, frozen=True, tag="reasoning.start"):
    """The model's reasoning of step `step` begins; it is no part of the answer."""

    step: int


class ReasoningDelta(Event, frozen=True, tag="reasoning.delta"):
    """More reasoning of step `step`."""

    step: int
    text: str


class ReasoningEnd(Event, frozen=True, tag="reasoning.end"):
    """The reasoning of step `step` is whole."""

    step: int


class ToolStart(Event, frozen=True, tag="tool.start"):
    """The model asks for the tool `name` in step `step`."""

    step: int
    call_id: str
    name: str


class ToolArgs(Event, frozen=True, tag="tool.args"):
    """The call's arguments, as JSON text."""

    call_id: str
    args: str


class ToolEnd(Event, frozen=True, tag="tool.end"):
    """The call is whole, recorded, and about to run."""

    call_id: str


class ToolResult(Event, frozen=True, tag="tool.result"):
    """What came of the call. `outcome` is `unknown` where it may have acted without a record."""

    call_id: str
    content: str
    outcome: Literal["ok", "error", "unknown"] = "ok"
    truncated: bool = False


class ApprovalRequested(Event, frozen=True, tag="approval.requested"):
    """The call waits for a person's decision until `expires_ms` (wall clock)."""

    approval_id: str
    call_id: str
    name: str
    args: str
    args_hash: str
    expires_ms: int


class ApprovalResolved(Event, frozen=True, tag="approval.resolved"):
    """The approval was decided (or expired)."""

    approval_id: str
    decision: Literal["approve", "deny", "expired"]
    decider: str | None = None


Number = Annotated[int, Meta(ge=0, le=2**53)]


class Usage(msgspec.Struct, frozen=True):
    """What a run took, over all of its attempts: tokens that the model was sent and tokens that it
    gave, seconds of work, model steps. `estimated`: the model did not count (all of) the tokens,
    the agent did."""

    input_tokens: Number = 0
    output_tokens: Number = 0
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    steps: Number = 0
    estimated: bool = False


class RunFinished(Event, frozen=True, tag="run.finished"):
    """The run is over; `text` is the whole answer as recorded (cancelled: what there was). `usage`
    is None in a record from before the agent counted it."""

    outcome: Literal["success", "cancelled"]
    text: str
    usage: Usage | None = None


class RunErrored(Event, frozen=True, tag="run.error"):
    """The run is over without an answer. `message` is a sentence for the person who asked."""

    code: str
    message: str
    retryable: bool = False
    usage: Usage | None = None


class ToolState(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool call inside a snapshot."""

    call_id: str
    name: str
    step: int
    args: str = ""
    content: str | None = None
    outcome: Literal["ok", "error", "unknown"] | None = None


class Snapshot(Event, frozen=True, tag="snapshot"):
    """The state of a run at the cursor (attempt, seq): what the events up to there add up to.

    `texts[i]` is the text of step i so far. `status` is `running`, or how it ended; `usage` is
    there once it has."""

    status: Literal["running", "success", "cancelled", "error"]
    texts: tuple[str, ...] = ()
    tools: tuple[ToolState, ...] = ()
    model: str | None = None
    error: RunFailure | None = None
    usage: Usage | None = None


class RunFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """`run.error` inside a snapshot."""

    code: str
    message: str
    retryable: bool = False


AnyEvent = (
    RunStarted
    | RunResumed
    | TextStart
    | TextDelta
    | TextEnd
    | ReasoningStart
    | ReasoningDelta
    | ReasoningEnd
    | ToolStart
    | ToolArgs
    | ToolEnd
    | ToolResult
    | ApprovalRequested
    | ApprovalResolved
    | RunFinished
    | RunErrored
    | Snapshot
)

ServerFrame = Reply | Error | AnyEvent

TERMINAL = (RunFinished, RunErrored)
"""Exactly one of these ends each run."""
