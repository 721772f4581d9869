"""The engine `local`: a small model in a child process of its own, without tools. Questions wait
in line (one thread of computing, first come first served); a child that crashed is started anew
by the next step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from antiphon.agent.engines import local_pipe as pipe
from antiphon.agent.engines import local_weights
from antiphon.agent.engines.faults import not_set_up, stopping
from antiphon.agent.engines.local_process import Child, ChildEndedError
from antiphon.agent.engines.port import (
    AssistantStep,
    Capabilities,
    EngineError,
    StepDone,
    StepEvent,
    StepRequest,
    TextChunk,
    UserText,
)
from antiphon.agent.engines.quotes import unquoted
from antiphon.errors import SettingsError
from antiphon.telemetry import logger

CONTEXT_TOKENS = 4_096
EMBEDDED_ANSWER_TOKENS = 512
"""Most tokens of an answer of the embedded model (4 s): it does not get better by going on."""
EMBEDDED_PROMPT = (
    "You are a helpful, honest assistant. Answer in short, simple sentences. "
    "Remember what the user said."
)
"""Replaces the request's system prompt for the embedded model: a model of 135 million parameters
follows no instructions of more than a line (with longer prompts it answered the capital of France
in invented French); the reasons are measured in tests/agent/engines/test_local.py."""


class LocalEngine:
    """The embedded SmolLM2-135M-Instruct, or the model in another .gguf file."""

    name = "local"

    def __init__(self, default_model: str, state: Path):
        """`default_model`: path of a .gguf file, or empty for the embedded one; `state`: the
        folder that gets `local-model.log`."""
        self._default_model = default_model
        self._log_file = state / "local-model.log"
        self._line = asyncio.Lock()  # first come, first served
        self._child: Child | None = None
        self._asked = 0
        self._closed = False
        self._log = logger("agent.engine")

    def capabilities(self, model: str) -> Capabilities:
        name = model or self._default_model
        what = Path(name).name if name else "SmolLM2-135M-Instruct, embedded: small, errs often"
        return Capabilities(tools=False, context_tokens=CONTEXT_TOKENS, description=what)

    async def step(self, request: StepRequest) -> AsyncIterator[StepEvent]:
        self._ensure_open()
        async with self._line:
            child = await self._ready()
            self._asked += 1
            number = self._asked
            wrote = finished = False
            try:
                await child.send(order(number, request, embedded=not self._default_model))
                while not finished:
                    report = await child.read()
                    if getattr(report, "id", number) != number:
                        continue  # the rest of an answer that was cancelled
                    if isinstance(report, pipe.Text):
                        wrote = True
                        yield TextChunk(report.text)
                    else:
                        finished = True
                        yield _end(report, wrote=wrote)
            except ChildEndedError:
                finished = True
                await self._discard(child)
                self._ensure_open()
                self._log.warning("local_model_ended", pid=child.pid)
                raise EngineError(
                    "The local model crashed. Ask again: it starts anew.",
                    code="model_unavailable",
                    retryable=True,
                ) from None
            finally:
                if not finished and wrote:
                    child.cancel(number)
                elif not finished:
                    await self._discard(child)  # else it would go on reading a long question

    async def _ready(self) -> Child:
        """The child process with its model loaded, started where there is none."""
        if self._child is None or not self._child.alive:
            try:
                await self._start()
            except SettingsError as error:
                self._log.error("model_not_set_up", reason=error.message)
                raise not_set_up() from None
        child = self._child
        assert child is not None
        if not child.ready:
            try:
                report = await child.read()
            except ChildEndedError:
                report = pipe.Broken("it ended while it was loading")
            if not isinstance(report, pipe.Ready):
                await self._discard(child)
                self._ensure_open()
                reason = report.reason if isinstance(report, pipe.Broken) else "out of step"
                self._log.error("local_model_not_loaded", reason=reason)
                raise EngineError(
                    "The local model can't be loaded. The operator finds the reason in "
                    f"{self._log_file.name} in the state folder.",
                    code="model_unavailable",
                )
            child.ready = True
            self._log.info("local_model_loaded", seconds=report.seconds, pid=child.pid)
        return child

    async def _start(self) -> None:
        path = local_weights.find(self._default_model)
        try:
            self._log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._child = await Child.start(path, CONTEXT_TOKENS, self._log_file)
        except OSError as error:
            raise EngineError(
                f"The local model's process can't be started: {error.strerror}.",
                code="model_unavailable",
                retryable=True,
            ) from error

    async def _discard(self, child: Child) -> None:
        """Ends a child that is of no more use; the next step starts another."""
        if self._child is child:
            self._child = None
        await child.kill()

    def _ensure_open(self) -> None:
        if self._closed:
            raise stopping()

    async def check(self) -> None:
        """Looks for library and weights, and starts the child: it loads while the agent goes on."""
        self._ensure_open()
        local_weights.find(self._default_model)
        async with self._line:
            if self._child is None or not self._child.alive:
                await self._start()

    async def look(self, model: str) -> None:
        """Looks for library and weights."""
        local_weights.find(model or self._default_model)

    async def close(self) -> None:
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            await child.end()


def order(number: int, request: StepRequest, *, embedded: bool) -> pipe.Generate:
    """The request as the child takes it. There are no tools, so their results are no part of it."""
    prompt = EMBEDDED_PROMPT if embedded else request.system_prompt
    messages = [("system", prompt)] if prompt else []
    for item in request.history:
        if isinstance(item, UserText):
            messages.append(("user", unquoted(item) if embedded else item.text))
        elif isinstance(item, AssistantStep) and item.text:
            messages.append(("assistant", item.text))
    most = min(EMBEDDED_ANSWER_TOKENS, request.max_output_tokens)
    return pipe.Generate(number, tuple(messages), most if embedded else request.max_output_tokens)


def _end(report: pipe.Report, *, wrote: bool) -> StepDone:
    """The end of a step. Raises EngineError for a report that is none."""
    match report:
        case pipe.Done(_, finish, input_tokens, output_tokens) if wrote:
            return StepDone(finish=finish, input_tokens=input_tokens, output_tokens=output_tokens)
        case pipe.Failed(too_long=True):
            raise EngineError(
                "Your message is too long for the local model. Please send a shorter one.",
                code="question_too_long",
            )
        case pipe.Done():
            raise EngineError(
                "The model gave an empty answer. Ask again.", code="model_failed", retryable=True
            )
    raise EngineError(
        "The local model could not answer that. Ask in other words.", code="model_failed"
    )
