"""One run over the agent's WebSocket: asked for or found again, followed to its end, told as
`Progress`. Knows the agent API; knows nothing of chats, stores or surfaces."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from antiphon.agent_api.answer import Answer
from antiphon.agent_api.client import AgentClient
from antiphon.agent_api.messages import Cursor, ErrorCode, InputPart, RunSettings, ToolState
from antiphon.agent_api.subscription import Subscription
from antiphon.agent_api.waiting import Patience
from antiphon.clock import Chance, Clock
from antiphon.crash import crash_point
from antiphon.errors import AgentProtocolError, AgentUnreachableError
from antiphon.sdk.interface import Outcome, Progress, Run, ToolUse, Usage

SENTENCES = {
    ErrorCode.INPUT_TOO_LARGE: "Your message is too long for me. Please send a shorter one.",
    ErrorCode.FRAME_TOO_LARGE: "Your message is too long for me. Please send a shorter one.",
    ErrorCode.BAD_FRAME: "I could not pass your message on. Please write it in another way.",
    ErrorCode.UNKNOWN_TYPE: "I could not pass your message on: agent and surface do not match.",
    ErrorCode.TOO_MANY: "Too many conversations go on at once. Please try again in a moment.",
    ErrorCode.CONFLICT: "This question was asked before with other words. Please send it again.",
    ErrorCode.THREAD_BUSY: "An earlier question here is still being answered. Please try later.",
    ErrorCode.THREAD_GONE: "This conversation was erased. Begin a new one and ask again.",
    ErrorCode.NOT_FOUND: "The record of this question is gone. Please send it again.",
    ErrorCode.FORBIDDEN: "I may not do this: the token of this surface does not allow it.",
    ErrorCode.UNKNOWN_MODEL: "The model chosen here does not exist. Choose another one.",
    ErrorCode.BAD_ARCHIVE: "I could not read what was to be remembered here.",
    ErrorCode.ARCHIVE_TOO_LARGE: "This is too much for me to remember at once.",
    ErrorCode.SHUTTING_DOWN: "The agent is restarting. Please try again in a moment.",
    ErrorCode.INTERNAL: "Something went wrong at the agent. Please try again.",
}
"""What a person is told when the agent refuses a run; its own words go to the log."""

RETRY_S = 0.2
RETRY_MOST_S = 5.0
"""The first and the longest wait before asking again what may soon be granted."""

PASSING = frozenset({ErrorCode.THREAD_BUSY, ErrorCode.TOO_MANY, ErrorCode.SHUTTING_DOWN})


def refusal(error: AgentProtocolError) -> AgentProtocolError:
    """The agent's refusal with a sentence for a person; `code` and `retryable` stay."""
    try:
        sentence = SENTENCES[ErrorCode(error.code)]
    except (ValueError, KeyError):
        sentence = SENTENCES[ErrorCode.INTERNAL]
    return AgentProtocolError(sentence, code=error.code, retryable=error.retryable)


def progress_of(answer: Answer) -> Progress:
    """What a surface sees of an answer now. `text` is the steps' texts joined by a blank line
    (`answer.join_steps`); at the end it is the text that the agent recorded, which is the same."""
    return Progress(
        text=answer.text,
        tools=tuple(_tool_use(tool) for tool in answer.tools),
        model=answer.model,
        outcome=_outcome(answer),
    )


def _tool_use(tool: ToolState) -> ToolUse:
    return ToolUse(name=tool.name, args=tool.args, result=tool.content, outcome=tool.outcome)


def _outcome(answer: Answer) -> Outcome | None:
    if answer.status == "running":
        return None
    usage = _usage(answer)
    if answer.status != "error" or answer.error is None:
        return Outcome(answer.status, usage=usage)
    error = answer.error
    return Outcome("error", error.code, error.message, error.retryable, usage)


def _usage(answer: Answer) -> Usage | None:
    used = answer.usage
    if used is None:
        return None
    return Usage(used.input_tokens, used.output_tokens, used.seconds, used.estimated)


class AgentSession:
    """Follows one run. `answer_timeout_s`: seconds without any sign of the agent for this run
    (an event that brings something new) after which it is given up."""

    def __init__(
        self, client: AgentClient, *, answer_timeout_s: float, clock: Clock, chance: Chance
    ):
        self._client = client
        self._timeout_s = answer_timeout_s
        self._clock = clock
        self._chance = chance

    async def answer(self, run: Run) -> AsyncGenerator[Progress, None]:
        """Asks for `run` or finds it again; as `sdk.interface.Platform.answer` promises.

        A thread that is busy with an earlier run, or an agent that is restarting, is waited for:
        the time-out counts from that run's last sign."""
        patience = Patience(self._clock, self._timeout_s)
        refused: AgentProtocolError | None = None
        busy_at: Cursor | None = None
        tries = 0
        try:
            while True:
                try:
                    async with aclosing(self._follow(run, patience)) as told:
                        async for progress in told:
                            refused, tries = None, 0
                            yield progress
                except AgentProtocolError as error:
                    if not is_passing(error):
                        raise refusal(error) from error
                    refused = error
                else:
                    return
                tries += 1
                if refused.code == ErrorCode.THREAD_BUSY:
                    busy_at = await self._until_free(run, patience, busy_at)
                await patience.pause(self._pause(tries))
        except TimeoutError:
            if refused is not None:
                raise refusal(refused) from refused
            raise AgentUnreachableError(
                f"There was no sign of the agent for {self._timeout_s:g} s."
            ) from None
        finally:
            await patience.close()

    def _start(self, run: Run) -> Subscription:
        settings = run.settings
        return self._client.start(
            run.thread_id,
            run.run_id,
            [InputPart(said.text, said.author) for said in run.question],
            RunSettings(
                model=settings.model,
                system_prompt=settings.system_prompt,
                language=settings.language,
                tools=settings.tools,
                max_output_tokens=settings.max_output_tokens,
                deadline_s=settings.deadline_s,
            ),
        )

    def _pause(self, tries: int) -> float:
        longest: float = min(RETRY_MOST_S, RETRY_S * 2.0 ** min(tries - 1, 10))
        return longest * (0.5 + self._chance.jitter() / 2)

    async def _follow(self, run: Run, patience: Patience) -> AsyncGenerator[Progress, None]:
        answer = Answer(run.run_id)
        shown: Progress | None = None
        with self._start(run) as events:
            crash_point("run.asked")
            while not answer.over:
                await patience.wait(events.news())
                before = answer.cursor
                for event in events.take():
                    answer.apply(event)
                if answer.cursor != before:
                    patience.touch()
                progress = progress_of(answer)
                if progress != shown:
                    yield progress
                    shown = progress
                    patience.touch()  # The reader's own time does not count.

    async def _until_free(self, run: Run, patience: Patience, seen: Cursor | None) -> Cursor | None:
        """Returns when the thread's open run has ended, or can't be seen. Only what is newer than
        `seen` is a sign; returns the newest."""
        try:
            with self._client.attach(run.thread_id) as events:
                latest: Answer | None = None
                while latest is None or not latest.over:
                    await patience.wait(events.news())
                    for event in events.take():
                        if latest is None or latest.run_id != event.run_id:
                            latest = Answer(event.run_id)
                        latest.apply(event)
                    if latest is not None and latest.cursor != seen:
                        seen = latest.cursor
                        patience.touch()
        except AgentProtocolError:
            pass  # The next start says what there is to say.
        return seen


def is_passing(error: AgentProtocolError) -> bool:
    """Whether asking again soon may be granted."""
    return error.retryable or error.code in PASSING
