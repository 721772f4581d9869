"""The child process that holds the local model: `python -m antiphon.agent.engines.local_child
MODEL CONTEXT PARENT`. Reads orders on standard input, writes reports on standard output, answers
one question at a time, and ends with its parent. Touches neither network nor state: the library's
own HTTP server listens on loopback and refuses everyone, under a key that nobody is told.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import secrets
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

from antiphon.agent.engines import local_pipe as pipe

PR_SET_PDEATHSIG = 1
THREADS = 1
CACHE_MIB = 64
"""Memory for the evaluated prompts of other conversations: about 2,900 tokens."""
CACHE_REUSE = 32
"""Shortest run of tokens that is reused after older history fell away: measured with 1,800
tokens of history, the first word then comes in 0.4 s instead of 8.7 s."""
SAMPLING: dict[str, Any] = {
    # Measured with SmolLM2-135M: a repeat penalty or any warmth makes it miss the capital of
    # France; without something against loops it repeats a line for ever. DRY stops loops only.
    "temperature": 0.0,
    "repeat_penalty": 1.0,
    "dry_multiplier": 0.8,
    "dry_base": 1.75,
    "dry_allowed_length": 3,
    "dry_penalty_last_n": 512,
}


class Reports:
    """The way back to the parent."""

    def __init__(self, out: BinaryIO):
        self._out = out

    def send(self, report: pipe.Report) -> None:
        """Writes one line; a parent that has gone ends this process."""
        try:
            self._out.write(pipe.line(report))
            self._out.flush()
        except OSError:
            os._exit(0)


class Worker:
    """Answers orders one by one on a thread of its own."""

    def __init__(self, server: Any, reports: Reports):
        self._server = server
        self._reports = reports
        self._orders: queue.SimpleQueue[pipe.Generate] = queue.SimpleQueue()
        self._cancelled: set[int] = set()

    def order(self, order: pipe.Order) -> None:
        """Takes an order; returns at once."""
        if isinstance(order, pipe.Cancel):
            self._cancelled.add(order.id)
        else:
            self._orders.put(order)

    def run(self) -> None:
        """Works for ever."""
        while True:
            order = self._orders.get()
            self._reports.send(self._answer(order))
            self._cancelled.discard(order.id)

    def _answer(self, order: pipe.Generate) -> pipe.Done | pipe.Failed:
        messages = list(order.messages)
        while True:
            answer = _Answer(order.id, self._reports, self._cancelled)
            try:
                self._server.handle_chat_completions(_body(messages, order.max_tokens), answer.take)
            except (RuntimeError, ValueError) as error:
                return pipe.Failed(order.id, str(error)[:500])
            if answer.error is None:
                return answer.done()
            too_long = answer.error.get("type") == "exceed_context_size_error"
            if not too_long:
                return pipe.Failed(order.id, str(answer.error.get("message"))[:500])
            if not _drop_oldest(messages):
                return pipe.Failed(order.id, "the question does not fit", too_long=True)


class _Answer:
    """What comes of one request."""

    def __init__(self, number: int, reports: Reports, cancelled: set[int]):
        self._id = number
        self._reports = reports
        self._cancelled = cancelled
        self._finish = "stop"
        self._usage: dict[str, int] = {}
        self.error: dict[str, Any] | None = None

    def take(self, chunk: dict[str, Any]) -> bool:
        """The library's callback; True stops it."""
        if "error" in chunk:
            self.error = chunk["error"]
            return True
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            if text := (choice.get("delta") or {}).get("content"):
                self._reports.send(pipe.Text(self._id, text))
        return self._id in self._cancelled

    def done(self) -> pipe.Done:
        return pipe.Done(
            self._id,
            "length" if self._finish == "length" else "stop",
            self._usage.get("prompt_tokens", 0),
            self._usage.get("completion_tokens", 0),
        )


def _body(messages: list[tuple[str, str]], max_tokens: int) -> dict[str, Any]:
    return {
        "messages": [{"role": role, "content": text} for role, text in messages],
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **SAMPLING,
    }


def _drop_oldest(messages: list[tuple[str, str]]) -> bool:
    """Takes the oldest question and what answered it out; False when only the newest is left."""
    first = next((at for at, (role, _) in enumerate(messages) if role == "user"), len(messages))
    later = (at for at in range(first + 1, len(messages)) if messages[at][0] == "user")
    second = next(later, None)
    if second is None:
        return False
    del messages[first:second]
    return True


def load(path: str, context: int) -> Any:
    """The library's server with the model in it. Raises RuntimeError when it can't be loaded."""
    import xllamacpp  # type: ignore[import-untyped]

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = THREADS
    params.cpuparams_batch.n_threads = THREADS
    params.n_threads_http = 1
    params.cache_ram_mib = CACHE_MIB
    params.n_cache_reuse = CACHE_REUSE
    params.api_keys = [secrets.token_urlsafe(32)]
    params.endpoint_slots = False
    params.endpoint_props = False
    params.verbosity = 0
    return xllamacpp.Server(params)


def die_with(parent: int) -> None:
    """Ends this process when its parent does, even in the middle of native code (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def main() -> None:
    """Loads, reports, then works until standard input ends."""
    path, context, parent = sys.argv[1:]
    die_with(int(parent))
    # Ctrl-C reaches the whole group of a terminal: the parent decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reports = Reports(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what the library prints must not get between the reports
    started = time.monotonic()
    try:
        server = load(path, int(context))
    except (RuntimeError, ImportError) as error:
        reports.send(pipe.Broken(f"{type(error).__name__}: {error}"[:500]))
        os._exit(1)
    reports.send(pipe.Ready(round(time.monotonic() - started, 3)))
    worker = Worker(server, reports)
    threading.Thread(target=worker.run, daemon=True).start()
    for line in sys.stdin.buffer:
        worker.order(pipe.order(line))
    os._exit(0)


if __name__ == "__main__":
    main()
