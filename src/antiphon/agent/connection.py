"""One socket: reads verbs, writes replies and the events of the threads that it is attached to.

Verbs of one thread are done in order, those of others beside them; one writer serves all of the
socket's threads in turn. A reader that is slow holds up only this writer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from antiphon import telemetry
from antiphon.agent.auth import Grant
from antiphon.agent.erasing import erase_author
from antiphon.agent.hub import ThreadState
from antiphon.agent.model import ThreadId
from antiphon.agent.problems import report, sentence
from antiphon.agent.reader import From, Reader
from antiphon.agent.recorder import unbroken
from antiphon.agent.service import Service
from antiphon.agent.transfer import Transfers
from antiphon.agent_api.messages import (
    AnyVerb,
    ApprovalResolve,
    Attach,
    AuthorErase,
    Detach,
    Error,
    ErrorCode,
    Models,
    ModelsList,
    Ok,
    Reply,
    RunCancel,
    RunStart,
    RunWithdraw,
    ThreadDelete,
    ThreadExport,
    ThreadImport,
    Verb,
)
from antiphon.agent_api.verbs import BadVerbError, decode_verb
from antiphon.clock import Chance
from antiphon.errors import AgentProtocolError, AntiphonError, DatabaseError

MAX_VERBS = 64
"""Verbs of one socket that are under way or wait for their answer to be sent; then it is not
read from until some are done."""

MAX_READERS = 4_096
"""Threads that one socket may be attached to."""

_encoder = msgspec.json.Encoder()


class Connection:
    """One socket, with what its token grants. `run` serves it to its end."""

    def __init__(self, socket: ServerConnection, grant: Grant, service: Service, chance: Chance):
        self._socket = socket
        self._grant = grant
        self._service = service
        self._chance = chance
        self._replies: deque[bytes] = deque()
        self._readers: dict[ThreadId, Reader] = {}
        self._news: dict[Reader, None] = {}
        self._transfers = Transfers()
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(MAX_VERBS)

    async def run(self) -> None:
        """Serves until the peer or the service closes the socket."""
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write())
                await self._read(group)
                writer.cancel()
        finally:
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()

    # --- reading --------------------------------------------------------------------------------

    async def _read(self, group: asyncio.TaskGroup) -> None:
        """Reads to the end of the socket. Verbs that were read are done even after that."""
        while True:
            await self._room.acquire()
            try:
                data = await self._socket.recv()
            except ConnectionClosed:
                return
            verb: AnyVerb | None = None
            try:
                verb = _verb(data)
                surface = self._grant.surface_of(verb)
            except BadVerbError as bad:
                self._reply(Error(bad.code, bad.message, bad.verb_id))
            except AgentProtocolError as refusal:
                self._reply(Error(refusal.code, refusal.message, verb.id if verb else None))
            else:
                if isinstance(verb, ModelsList):
                    self._reply(Models(verb.id, *self._service.models()))
                else:
                    state = self._service.hub.hold(ThreadId(surface, verb.thread_id))
                    group.create_task(self._do(verb, state))

    async def _do(self, verb: Verb, state: ThreadState) -> None:
        """Carries a verb out and answers it."""
        try:
            async with state.lock:
                # A verb that has begun is done to its end, whatever becomes of the socket.
                await unbroken(self._carry_out(verb, state))
        except AgentProtocolError as refusal:
            self._reply(Error(refusal.code, refusal.message, verb.id, refusal.retryable))
        except AntiphonError as error:
            telemetry.logger("agent.verbs").error(
                "verb failed", verb=type(verb).__name__, code=error.code, error=error.message
            )
            message = "The agent could not save that. Try again in a moment."
            self._reply(Error(ErrorCode.INTERNAL, message, verb.id, retryable=True))
        except Exception as error:  # noqa: BLE001 - one verb's bug must not end the socket
            number = report(
                "agent.verbs", "verb failed", error, self._chance, verb=type(verb).__name__
            )
            self._reply(Error(ErrorCode.INTERNAL, sentence(number), verb.id, retryable=True))
        finally:
            self._service.hub.drop(state)

    async def _carry_out(self, verb: Verb, state: ThreadState) -> None:
        service = self._service
        match verb:
            case Detach():
                self._detach(state.thread)
                self._reply(Ok(verb.id))
                return
            case ApprovalResolve():
                raise AgentProtocolError(
                    "There is no such approval to decide.", code=ErrorCode.NOT_FOUND
                )
            case _:
                service.check_open()
        match verb:
            case RunStart():
                self._check_room(state.thread)
                is_new, start = await service.start(state, verb)
                self._reply(Ok(verb.id))
                self._attach(state, start, keep=is_new)
            case Attach():
                self._check_room(state.thread)
                start = await service.attach(state, verb)
                self._reply(Ok(verb.id))
                self._attach(state, start, keep=False)
            case RunCancel():
                await service.cancel(state, verb.run_id)
                self._reply(Ok(verb.id))
            case RunWithdraw():
                await service.withdraw(state, verb.run_id)
                self._reply(Ok(verb.id))
            case ThreadDelete():
                await service.delete(state)
                self._reply(Ok(verb.id))
            case AuthorErase():
                erased = await erase_author(service, state, verb.author)
                self._reply(Ok(verb.id, erased))
            case ThreadExport():
                make, at = partial(service.export, state.thread), service.hub.erasures
                self._reply(await self._transfers.page(state.thread, verb, make, at))
            case ThreadImport():
                whole = self._transfers.take(state.thread, verb)
                if whole is not None:
                    await service.import_(state, whole)
                self._reply(Ok(verb.id))

    def _check_room(self, thread: ThreadId) -> None:
        if thread not in self._readers and len(self._readers) >= MAX_READERS:
            raise AgentProtocolError(
                f"This connection is attached to {MAX_READERS} threads. Detach from some.",
                code=ErrorCode.TOO_MANY,
            )

    def _attach(self, state: ThreadState, start: From, *, keep: bool) -> None:
        """Begins to read; where this socket reads the thread already, `keep` lets it go on."""
        reader = self._readers.get(state.thread)
        if reader is None:
            reader = self._new_reader(state)
        elif keep:
            return
        reader.begin(start)

    def _new_reader(self, state: ThreadState) -> Reader:
        cell: list[Reader] = []

        def wake() -> None:
            if cell:
                self._news[cell[0]] = None
                self._wake.set()

        reader = Reader(self._service.hub, state, self._service.database, wake)
        cell.append(reader)
        self._readers[state.thread] = reader
        return reader

    def _detach(self, thread: ThreadId) -> None:
        reader = self._readers.pop(thread, None)
        if reader is not None:
            self._news.pop(reader, None)
            reader.close()

    # --- writing --------------------------------------------------------------------------------

    def _reply(self, frame: Reply | Error) -> None:
        self._replies.append(_encoder.encode(frame))
        self._wake.set()

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._write_all()
        except ConnectionClosed:
            pass
        except DatabaseError as error:
            telemetry.logger("agent.socket").error("reader failed", error=error.message)
            await self._socket.close(CloseCode.INTERNAL_ERROR, "the database failed")
        finally:
            # Whoever waits for room in order to read must see that the socket is closed.
            for _ in range(MAX_VERBS):
                self._room.release()

    async def _write_all(self) -> None:
        while self._replies or self._news:
            while self._replies:
                await self._send(self._replies.popleft())
                self._room.release()
            if self._news:
                reader = next(iter(self._news))
                del self._news[reader]
                await self._serve(reader)

    async def _serve(self, reader: Reader) -> None:
        """Sends one batch; a reader that may have more goes to the end of the line."""
        more = False
        for body in await reader.take():
            if reader.closed:
                return
            await self._send(body)
            more = True
        if reader.over:
            self._detach(reader.thread)
        elif more:
            self._news[reader] = None

    async def _send(self, body: bytes) -> None:
        await self._socket.send(body, text=True)


def _verb(data: str | bytes) -> AnyVerb:
    if isinstance(data, bytes):
        raise BadVerbError(ErrorCode.BAD_FRAME, "Send text frames, not binary ones.")
    return decode_verb(data)
