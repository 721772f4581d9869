"""A real agent service with a scripted model, in this process or in one of its own, and a raw
client that shows every frame: for tests of the service and its protocol."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from antiphon.agent.app import serve
from antiphon.settings import AgentSettings, General, Secret
from antiphon.testing.engine import Script, ScriptedEngine, ScriptedTools

TOKEN = "a-test-token"  # noqa: S105 - no secret
THREAD = "thread-0123456789abcdef"

Frame = dict[str, Any]


class Agent(msgspec.Struct, frozen=True):
    """A running service: its address, its model, and the event that stops it."""

    url: str
    engine: ScriptedEngine
    stop: asyncio.Event


@asynccontextmanager
async def running_agent(
    state: Path, engine: ScriptedEngine, **settings: Any
) -> AsyncIterator[Agent]:
    """The service on a free port, stopped in order at the end."""
    loop = asyncio.get_running_loop()
    address: asyncio.Future[str] = loop.create_future()
    stop = asyncio.Event()
    fields: dict[str, Any] = {"token": Secret(TOKEN), "port": 0, **settings}
    wanted = AgentSettings(**fields)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(
            serve(
                General(state_dir=str(state)),
                wanted,
                ready=address.set_result,
                stop=stop,
                registry=lambda _settings, _state: engine,
                tools=ScriptedTools(engine).all(),
            )
        )
        first: set[asyncio.Future[Any]] = {serving, address}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if address.done():
            try:
                yield Agent(address.result(), engine, stop)
            finally:
                stop.set()


class RawClient:
    """A socket that sends any frame and shows all that comes back."""

    def __init__(self, socket: ClientConnection):
        self.socket = socket
        self._ids = 0
        self._aside: list[Frame] = []

    @property
    def aside(self) -> tuple[Frame, ...]:
        """Events that came while an answer was waited for."""
        return tuple(self._aside)

    async def send(self, kind: str, thread_id: str | None = THREAD, **fields: Any) -> str:
        """Sends a verb (without a thread where `thread_id` is None) and returns its id."""
        self._ids += 1
        verb_id = f"v{self._ids}"
        frame = {"type": kind, "id": verb_id, **fields}
        if thread_id is not None:
            frame["thread_id"] = thread_id
        await self.socket.send(msgspec.json.encode(frame), text=True)
        return verb_id

    async def recv(self, timeout: float = 10) -> Frame:
        """The next frame."""
        if self._aside:
            return self._aside.pop(0)
        return await self._read(timeout)

    async def _read(self, timeout: float = 10) -> Frame:
        frame: Frame = msgspec.json.decode(await asyncio.wait_for(self.socket.recv(), timeout))
        return frame

    async def ask(self, kind: str, thread_id: str | None = THREAD, **fields: Any) -> Frame:
        """Sends a verb and returns its answer; events before it are kept for `recv`."""
        verb_id = await self.send(kind, thread_id, **fields)
        while True:
            frame = await self._read()
            if (
                frame["type"] in ("ok", "error", "thread.archive", "models")
                and frame.get("id") == verb_id
            ):
                return frame
            self._aside.append(frame)

    async def start(
        self, run_id: str = "r1", text: str = "hi", thread_id: str = THREAD, **fields: Any
    ) -> Frame:
        """Asks for a run; returns `ok` or `error`."""
        return await self.ask(
            "run.start", thread_id, run_id=run_id, input=[{"text": text}], **fields
        )

    async def until(self, *kinds: str, timeout: float = 10) -> list[Frame]:
        """Frames up to the first of these types, that one included."""
        frames = [await self.recv(timeout)]
        while frames[-1]["type"] not in kinds:
            frames.append(await self.recv(timeout))
        return frames

    async def end(self, timeout: float = 10) -> list[Frame]:
        """Frames up to the end of a run."""
        return await self.until("run.finished", "run.error", timeout=timeout)

    async def run(self, run_id: str = "r1", text: str = "hi", **fields: Any) -> list[Frame]:
        """Asks for a run and returns its events."""
        answer = await self.start(run_id, text, **fields)
        assert answer["type"] == "ok", answer
        return await self.end()


@asynccontextmanager
async def raw_client(url: str, token: str = TOKEN, **options: Any) -> AsyncIterator[RawClient]:
    """A client of the agent at `url`."""
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(url, additional_headers=headers, max_size=None, **options) as socket:
        yield RawClient(socket)


class AgentProcess:
    """The agent as a process of its own, to be killed: made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, folder: Path):
        self.process = process
        self.url = url
        self.folder = folder

    @classmethod
    async def start(
        cls, folder: Path, script: Script, env: Mapping[str, str] | None = None
    ) -> AgentProcess:
        """Starts it on the state and script in `folder`; returns once it is ready. Raises
        RuntimeError with its standard error when it does not get there."""
        path = folder / "script.json"
        path.write_bytes(msgspec.json.encode(script))
        with (folder / "agent.log").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "antiphon.testing.engine",
                str(path),
                env={
                    **os.environ,
                    "ANTIPHON_STATE_DIR": str(folder / "state"),
                    "ANTIPHON_AGENT__TOKEN": TOKEN,
                    "ANTIPHON_AGENT__PORT": "0",
                    **(env or {}),
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        if not line.startswith("ready "):
            await process.wait()
            raise RuntimeError((folder / "agent.log").read_text())
        return cls(process, line.split()[1], folder)

    def journal(self) -> list[dict[str, Any]]:
        """What its model and tools have done, over all its lives."""
        path = self.folder / "script.journal"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [msgspec.json.decode(line) for line in lines]

    def open(self, gate: str) -> None:
        """Opens a gate of its script."""
        (self.folder / gate).touch()

    async def kill(self) -> None:
        """SIGKILL."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.process.wait()
