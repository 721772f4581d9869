"""The fakes of the agent's side: `FakePlatform` (in memory) for tests of surfaces, `FakeAgent` (a
real WebSocket server on a free port) for tests of whatever speaks `/agent_ws/`.

FakeAgent keeps the protocol's rules by itself and breaks them where a script says so."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from antiphon.agent_api.frames import encode_frame
from antiphon.agent_api.messages import (
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    AnyEvent,
    AnyVerb,
    Attach,
    AuthorErase,
    Cursor,
    Detach,
    Error,
    ErrorCode,
    Models,
    ModelsList,
    Ok,
    RunCancel,
    RunStart,
    RunWithdraw,
    ServerFrame,
    ThreadArchive,
    ThreadDelete,
    ThreadExport,
    ThreadImport,
    Verb,
)
from antiphon.agent_api.verbs import BadVerbError, decode_verb
from antiphon.testing.agent_run import FakeRun, FakeThread
from antiphon.testing.platform import FakePlatform
from antiphon.testing.script import (
    Crash,
    Cut,
    Fault,
    Late,
    Lose,
    Raw,
    Repeat,
    Script,
    Step,
    Strange,
    Swap,
    words,
)


def echo(start: RunStart) -> Sequence[Step]:
    """The default answer: what was said, word by word."""
    return words([part.text for part in start.input])


class _Link:
    """One connection: what is to be sent on it, and which threads it follows. `erases`: its token
    is the one that may only erase."""

    def __init__(self, socket: ServerConnection, *, erases: bool):
        self.socket = socket
        self.erases = erases
        self.queue: asyncio.Queue[bytes | str] = asyncio.Queue()
        self.threads: set[str] = set()

    def send(self, frame: ServerFrame) -> None:
        self.queue.put_nowait(encode_frame(frame))

    async def write(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self.socket.send(await self.queue.get(), text=True)


class FakeAgent:
    """`async with FakeAgent() as agent`; then `agent.url` and `agent.token`.

    `script.reply(...)` (or `reply`) queues the answer of the next new run; `verbs` has every verb
    that came, `starts` every run that was begun, `connections` counts those that were let in and
    `refused` those that were not. Knobs: `mute` (verb types that get no answer), `refusals` (verb
    type → errors for the next ones), `forgetful` (a cursor is always too old), `status` (an HTTP
    status that refuses new connections), `redirect` (an address that new ones are sent to),
    `models` (what `models.list` says; the first is the default), `erase_token` (one that may only
    erase, in the threads of `surface` and in those of other surfaces, which are all empty)."""

    def __init__(self, token: str = "token-of-the-surface") -> None:  # noqa: S107 (a test's)
        self.token = token
        self.erase_token = ""
        self.surface = "default"
        self.models: tuple[str, ...] = ("fake", "offline")
        self.script: Script[RunStart] = Script(echo)
        self.verbs: list[AnyVerb] = []
        self.starts: list[RunStart] = []
        self.connections = 0
        self.refused = 0
        self.mute: set[str] = set()
        self.refusals: defaultdict[str, list[Error]] = defaultdict(list)
        self.forgetful = False
        self.status: HTTPStatus | None = None
        self.redirect = ""
        self.threads: dict[str, FakeThread] = {}
        self.port = 0
        self._links: set[_Link] = set()
        self._server: Server | None = None
        self._tasks = asyncio.TaskGroup()
        self._runs: set[asyncio.Task[None]] = set()
        self._lose = 0
        self._held: AnyEvent | None = None
        self._swapping = False

    @property
    def url(self) -> str:
        """The address for a client."""
        return f"ws://127.0.0.1:{self.port}/agent_ws/"

    def reply(self, *steps: Step) -> None:
        """Queues the answer of the next new run: `script.reply`."""
        self.script.reply(*steps)

    # --- life -----------------------------------------------------------------------------------

    async def __aenter__(self) -> FakeAgent:
        await self._tasks.__aenter__()
        await self.up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.down()
        for task in self._runs:
            task.cancel()
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            kind = error = trace = None  # The body's own error goes on by itself, in no group.
        await self._tasks.__aexit__(kind, error, trace)

    async def up(self) -> None:
        """Listens (again, on the same port)."""
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            process_request=self._admit,
            max_size=MAX_FRAME_BYTES,
            compression=None,
            close_timeout=0.5,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def down(self) -> None:
        """Resets every connection and listens no more; runs go on."""
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def cut(self) -> None:
        """Resets every connection."""
        for link in list(self._links):
            link.socket.transport.abort()

    def send_raw(self, frame: str) -> None:
        """Sends this frame, as it is, on every connection."""
        for link in self._links:
            link.queue.put_nowait(frame)

    def lose_memory(self) -> None:
        """Forgets every thread, as an agent does that was restored from an older backup."""
        self.threads.clear()

    # --- a connection ---------------------------------------------------------------------------

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        status = self.status
        if request.headers.get("Authorization") not in self._bearers():
            status = HTTPStatus.UNAUTHORIZED
        if self.redirect:
            self.refused += 1
            moved = socket.respond(HTTPStatus.TEMPORARY_REDIRECT, "no\n")
            moved.headers["Location"] = self.redirect
            return moved
        if status is not None:
            self.refused += 1
            return socket.respond(status, "no\n")
        return None

    def _bearers(self) -> list[str]:
        return [f"Bearer {token}" for token in (self.token, self.erase_token) if token]

    async def _serve(self, socket: ServerConnection) -> None:
        self.connections += 1
        assert socket.request is not None
        bearer = socket.request.headers.get("Authorization")
        link = _Link(socket, erases=bearer != f"Bearer {self.token}")
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(link.write())
                with suppress(ConnectionClosed):
                    async for data in socket:
                        self._verb(link, data)
                writer.cancel()
        finally:
            self._links.discard(link)

    def _verb(self, link: _Link, data: str | bytes) -> None:
        try:
            verb = decode_verb(data)
        except BadVerbError as error:
            link.send(Error(error.code, error.message, error.verb_id))
            return
        self.verbs.append(verb)
        kind = str(verb.__struct_config__.tag)
        if kind in self.mute:
            return
        if self.refusals[kind]:
            refusal = self.refusals[kind].pop(0)
            link.send(Error(refusal.code, refusal.message, verb.id, refusal.retryable))
            return
        erasing = isinstance(verb, ThreadDelete | AuthorErase)
        surface = verb.surface if isinstance(verb, ThreadDelete | AuthorErase) else None
        if (not erasing or surface is None) if link.erases else surface not in (None, self.surface):
            link.send(Error(ErrorCode.FORBIDDEN, "Not with this token.", verb.id))
            return
        if isinstance(verb, ModelsList):
            link.send(Models(verb.id, self.models[0], self.models))
            return
        if surface not in (None, self.surface):
            link.send(Ok(verb.id, 0 if isinstance(verb, AuthorErase) else None))
            return
        thread = self.threads.setdefault(verb.thread_id, FakeThread(verb.thread_id))
        if thread.gone and not isinstance(verb, ThreadDelete | Detach):
            link.send(Error(ErrorCode.THREAD_GONE, "This thread was deleted.", verb.id))
            return
        self._obey(link, thread, verb)

    def _obey(self, link: _Link, thread: FakeThread, verb: Verb) -> None:
        match verb:
            case RunStart():
                self._start(link, thread, verb)
                return
            case Attach():
                wanted = verb.run_id or (verb.cursor.run_id if verb.cursor else None)
                self._attach(link, thread, verb.id, wanted, verb.cursor)
                return
            case Detach():
                link.threads.discard(thread.thread_id)
            case ThreadExport():
                self._export(link, thread, verb)
                return
            case ThreadImport():
                self._import(link, thread, verb)
                return
            case RunCancel() | RunWithdraw():
                thread.stopped.add(verb.run_id)
                if isinstance(verb, RunWithdraw):
                    thread.withdrawn.add(verb.run_id)
                if verb.run_id in thread.runs:
                    thread.runs[verb.run_id].stop.set()
            case AuthorErase():
                link.send(Ok(verb.id, thread.erase_author(verb.author)))
                return
            case ThreadDelete():
                thread.gone = True
                for run in thread.runs.values():
                    run.stop.set()
        link.send(Ok(verb.id))

    def _start(self, link: _Link, thread: FakeThread, verb: RunStart) -> None:
        known = thread.runs.get(verb.run_id)
        if known is not None:
            if not known.same_body(verb):
                link.send(Error(ErrorCode.CONFLICT, "The run has another body.", verb.id))
                return
            self._attach(link, thread, verb.id, verb.run_id, verb.cursor)
            return
        if thread.live is not None:
            link.send(Error(ErrorCode.THREAD_BUSY, "Another run is open.", verb.id, True))
            return
        run = FakeRun(thread, verb, self.script.take(verb))
        if verb.run_id in thread.stopped:
            run.stop.set()
        thread.runs[verb.run_id] = run
        self.starts.append(verb)
        link.threads.add(thread.thread_id)
        link.send(Ok(verb.id))
        task = self._tasks.create_task(run.play(self._deliver, self._fault))
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    def _export(self, link: _Link, thread: FakeThread, verb: ThreadExport) -> None:
        data = thread.archive()
        if data is None:
            link.send(Error(ErrorCode.NOT_FOUND, "There is nothing to export.", verb.id))
            return
        digest = hashlib.sha256(data).hexdigest()
        if verb.digest not in (None, digest):
            link.send(Error(ErrorCode.CONFLICT, "The thread has changed.", verb.id, True))
            return
        piece = data[verb.offset : verb.offset + MAX_CHUNK_BYTES]
        link.send(ThreadArchive(verb.id, len(data), digest, verb.offset, piece))

    def _import(self, link: _Link, thread: FakeThread, verb: ThreadImport) -> None:
        if verb.offset == 0:
            thread.arriving.clear()
        if verb.offset != len(thread.arriving):
            link.send(Error(ErrorCode.NOT_FOUND, "Begin again at 0.", verb.id, True))
            return
        thread.arriving += verb.data
        refusal = None
        if len(thread.arriving) >= verb.total:
            refusal = thread.remember(bytes(thread.arriving))
        link.send(Error(refusal, "Refused.", verb.id) if refusal else Ok(verb.id))

    def _attach(
        self,
        link: _Link,
        thread: FakeThread,
        verb_id: str,
        run_id: str | None,
        cursor: Cursor | None,
    ) -> None:
        run = thread.runs.get(run_id) if run_id else next(reversed(thread.runs.values()), None)
        if run is None:
            link.send(Error(ErrorCode.NOT_FOUND, "There is no such run.", verb_id))
            return
        link.threads.add(thread.thread_id)
        link.send(Ok(verb_id))
        missed = None if cursor is None or self.forgetful else thread.after(cursor)
        for event in [thread.snapshot(run)] if missed is None else missed:
            link.send(event)

    # --- events and faults ----------------------------------------------------------------------

    def _deliver(self, event: AnyEvent) -> None:
        if self._lose:
            self._lose -= 1
            return
        if self._swapping and self._held is None:
            self._held = event
            return
        self._send(event)
        if self._held is not None:
            self._send(self._held)
            self._held, self._swapping = None, False

    def _send(self, event: AnyEvent) -> None:
        for link in self._links:
            if event.thread_id in link.threads:
                link.send(event)

    def _fault(self, run: FakeRun, fault: Fault) -> None:
        match fault:
            case Cut():
                self.cut()
            case Crash(lost=lost):
                self.cut()
                self._links.clear()
                run.lose(lost)
            case Lose(events=events):
                self._lose += events
            case Repeat(events=events):
                for event in run.thread.log[-events:]:
                    self._send(event)
            case Swap():
                self._swapping = True
            case Late(text=text):
                self._send(run.late(text))
            case Raw(data=data):
                self.send_raw(data)
            case Strange():
                self.send_raw(run.strange())


__all__ = ["FakeAgent", "FakePlatform"]
