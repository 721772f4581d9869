"""The agent: whether it answers and takes our token, and one real run with the model, in a thread
of its own that is erased afterwards."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import msgspec

from antiphon.adapter.matrix.app import SURFACE
from antiphon.adapter.matrix.doctor.finding import Finding, failure, ok, warning
from antiphon.clock import Clock
from antiphon.core.ids import RoomId, RunId, ThreadId, UserId
from antiphon.core.model import Place, Said
from antiphon.errors import PlatformError
from antiphon.sdk.interface import ChatSettings, Outcome, Platform, Run

QUESTION = "This is a test of the connection. Reply with the one word: ready"
SETTINGS = ChatSettings(tools=(), max_output_tokens=512, deadline_s=30.0)
DOCTOR = UserId("@doctor:antiphon.invalid")
MODEL_S = 30.0
FORGET_S = 5.0

NO_ADDRESS = "[agent] url is not set, as is right for `antiphon run`, which is not running now"
RUN_IT = (
    "Start `antiphon run` and run this again; for an agent elsewhere set [agent] url and token."
)


async def agent(platform: Platform, clock: Clock) -> Finding:
    """Whether an answer could be had."""
    began = clock.monotonic()
    health = await platform.check()
    if health.ok:
        return ok("agent", f"{health.detail.rstrip('.')} in {_ms(clock.monotonic() - began)}")
    if health.code == "agent_refused":
        todo = (
            "Set [agent] token (ANTIPHON_AGENT__TOKEN) to the token that the agent has for this "
            "surface: its own [agent] token, or the one under [agent] tokens."
        )
    else:
        todo = (
            "Start it with `antiphon agent serve`, and check that [agent] url (ANTIPHON_AGENT__URL)"
            " is the address that it prints as `ready`."
        )
    return failure("agent", health.detail, todo)


class _Answer(msgspec.Struct):
    """What came of the run so far."""

    first_s: float | None = None
    text: str = ""
    model: str | None = None
    outcome: Outcome | None = None


async def model(
    platform: Platform, clock: Clock, *, within_s: float = MODEL_S, forget_s: float = FORGET_S
) -> Finding:
    """Asks for one short answer, and erases it whatever comes."""
    chat = await platform.chat(Place(SURFACE, DOCTOR, RoomId("!doctor:antiphon.invalid")))
    thread_id = chat.session.thread_id
    answer = _Answer()
    late = False
    try:
        async with asyncio.timeout(within_s):
            run = Run(RunId(f"{thread_id}.0"), thread_id, (Said(DOCTOR, QUESTION),), SETTINGS)
            await _follow(platform, run, clock, answer)
    except TimeoutError:
        late = True
    except PlatformError as error:
        answer.outcome = Outcome("error", error.code, error.message)
    finally:
        erased = await _erased(platform, thread_id, forget_s)
    found = _judged(answer, within_s if late else None)
    if erased is None or found.level == "failure":
        return found
    return warning(
        "model",
        f"{found.detail}; the test's own thread could not be erased at the agent ({erased})",
        "Look at the agent's log; what stays there is this test's question and answer alone.",
    )


async def _follow(platform: Platform, run: Run, clock: Clock, answer: _Answer) -> None:
    began = clock.monotonic()
    async with aclosing(platform.answer(run)) as told:
        async for progress in told:
            if progress.text and answer.first_s is None:
                answer.first_s = clock.monotonic() - began
            answer.text, answer.model = progress.text, progress.model
            answer.outcome = progress.outcome


async def _erased(platform: Platform, thread_id: ThreadId, seconds: float) -> str | None:
    """Erases the thread; None when that is done, else why it is not."""
    try:
        async with asyncio.timeout(seconds):
            await platform.forget(thread_id)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except PlatformError as error:
        return error.message
    return None


def _judged(answer: _Answer, late_s: float | None) -> Finding:
    name = answer.model or "the model"
    todo = (
        "Check model, base_url and api_key under [agent] where the agent runs, and the agent's "
        "log; `--no-model` leaves this out."
    )
    if late_s is not None:
        text = "only a part of an answer" if answer.text else "no word"
        return failure("model", f"{text} from {name} within {late_s:g} s", todo)
    outcome = answer.outcome
    if outcome is None or outcome.kind == "cancelled":
        return failure("model", "the run was ended before it was answered", todo)
    if outcome.kind == "error":
        code = f" ({outcome.code})" if outcome.code else ""
        return failure("model", f"{outcome.message}{code}", todo)
    if answer.first_s is None:
        return warning("model", f"an answer without text from {name}", todo)
    return ok("model", f"answered by {name}; first text after {_ms(answer.first_s)}")


def _ms(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
