"""The process of the independent client: started, asked by JSON lines, listened to, ended.

Knows the lines and nothing of what they mean; `js_client` does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from antiphon.testing.js_install import JsTools

LINE_BYTES = 64 * 1024 * 1024
END_S = 10.0
_TAIL = 3000

Note = dict[str, Any]


class JsError(Exception):
    """The client refused a command. `code`: the homeserver's `M_…`, if it was the homeserver."""

    def __init__(self, do: str, name: str, message: str, code: str | None, status: int | None):
        super().__init__(f"{do}: {name}: {message}")
        self.name = name
        self.message = message
        self.code = code
        self.status = status


class JsEndedError(Exception):
    """The client's process is gone; the message has the end of its log."""


class _Refusal(msgspec.Struct):
    name: str
    message: str
    code: str | int | None = None
    status: int | None = None


class JsProcess:
    """One life of one client. `start` it, and `end` it whatever happens."""

    def __init__(self, tools: JsTools, log: Path, listener: Callable[[Note], None]):
        self.log = log
        self._tools = tools
        self._listener = listener
        self._child: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._ready = asyncio.Event()
        self._last = 0

    @property
    def pid(self) -> int:
        assert self._child is not None, "start it first"
        return self._child.pid

    async def start(self, timeout_s: float = 30.0) -> None:
        """Returns when it takes commands. Raises JsEndedError, TimeoutError."""
        with self.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                str(self._tools.node),
                str(self._tools.main),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_BYTES,
                env={k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")},
            )
        self._reader = asyncio.create_task(self._read())
        async with asyncio.timeout(timeout_s):
            await self._ready.wait()
        if self._reader.done():
            raise self._ended()

    async def ask(self, do: str, timeout_s: float, **args: Any) -> Any:
        """The result of a command. Raises JsError, JsEndedError, TimeoutError."""
        assert self._child is not None, "start it first"
        assert self._child.stdin is not None
        assert self._reader is not None
        if self._reader.done():
            raise self._ended()
        self._last += 1
        number = self._last
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (do, answer)
        try:
            async with asyncio.timeout(timeout_s):
                line = msgspec.json.encode({"id": number, "do": do, "args": args})
                try:
                    self._child.stdin.write(line + b"\n")
                    await self._child.stdin.drain()
                except ConnectionError as error:
                    raise self._ended() from error
                return await answer
        except TimeoutError:
            raise TimeoutError(
                f"The client did not finish {do} in {timeout_s:.0f} s. Its log ends:\n{self.tail()}"
            ) from None
        finally:
            del self._waiting[number]

    async def end(self) -> int:
        """Closes its stdin and waits for its end; kills it where that takes too long. Its code."""
        child, reader = self._child, self._reader
        if child is None:
            return 0
        assert child.stdin is not None
        child.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await child.wait()
        except TimeoutError:
            child.kill()
        finally:
            if child.returncode is None:
                child.kill()
            code = await child.wait()
            if reader is not None:
                await reader
        return code

    def signal(self, number: int) -> None:
        """Sends its process a signal, such as SIGKILL or SIGSTOP."""
        assert self._child is not None
        self._child.send_signal(number)

    async def wait(self) -> int:
        """Waits until it ends by itself or by a signal; its code."""
        assert self._child is not None
        return await self._child.wait()

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-_TAIL:].strip() or "(nothing)"

    async def _read(self) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        try:
            while line := await self._child.stdout.readline():
                self._take(msgspec.json.decode(line))
        finally:
            self._ready.set()
            for _, answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(self._ended())
            self._listener({"event": "ended"})

    def _take(self, said: Note) -> None:
        if said.get("event") == "ready":
            self._ready.set()
        elif "event" in said:
            self._listener(said)
        elif said.get("id") in self._waiting:
            do, answer = self._waiting[said["id"]]
            if answer.done():
                return
            if "error" in said:
                refusal = msgspec.convert(said["error"], _Refusal)
                code = None if refusal.code is None else str(refusal.code)
                answer.set_exception(
                    JsError(do, refusal.name, refusal.message, code, refusal.status)
                )
            else:
                answer.set_result(said["ok"])

    def _ended(self) -> JsEndedError:
        return JsEndedError(f"The client has ended. Its log ends:\n{self.tail()}")
