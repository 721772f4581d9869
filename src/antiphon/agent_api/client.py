"""`AgentClient`: one connection to the agent that many threads share. It connects when something
is wanted, mends cuts, and leaves every decision about frames to `protocol`. No chats, no text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from antiphon.agent_api.address import agent_token, agent_url
from antiphon.agent_api.connection import connect, ping
from antiphon.agent_api.messages import (
    AnyVerb,
    AuthorErase,
    Cursor,
    InputPart,
    Models,
    ModelsList,
    Ok,
    Reply,
    RunCancel,
    RunSettings,
    RunStart,
    RunWithdraw,
    ThreadDelete,
)
from antiphon.agent_api.protocol import Answered, ClientProtocol, Delivered, Failed, Opened
from antiphon.agent_api.subscription import Buffer, Subscription
from antiphon.agent_api.transfer import download, upload
from antiphon.agent_api.waiting import within
from antiphon.clock import Chance, Clock
from antiphon.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    AntiphonError,
)


class Limits(msgspec.Struct, frozen=True):
    """Bounds of a client, in seconds: of opening a connection, of waiting for a verb's answer,
    between pings (and for their answer), of the first and the longest wait before connecting
    again (a connection that lasted `steady_s` begins that anew), and of the wait after the token
    was refused."""

    connect_s: float = 10.0
    verb_s: float = 20.0
    ping_s: float = 20.0
    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
    steady_s: float = 5.0
    refused_s: float = 30.0
    buffer: Buffer = Buffer()


DEFAULT_LIMITS = Limits()
AGENT_DEFAULTS = RunSettings()
"""Settings that leave everything to the agent."""


def backoff(failures: int, jitter: float, limits: Limits) -> float:
    """Seconds before the next attempt after `failures` in a row: doubling, half of it spread."""
    longest: float = min(limits.backoff_max_s, limits.backoff_s * 2.0 ** min(failures - 1, 30))
    return longest * (0.5 + jitter / 2)


def _nothing(_: AntiphonError | None) -> None:
    return


class AgentClient:
    """Use as `async with AgentClient(…) as client`; leaving closes the connection, and runs go
    on at the agent.

    `url` and `token` are as a person wrote them (SettingsError). `on_change` is called with the
    reason when the agent can't be reached or a connection is lost, with None when one is there.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        clock: Clock,
        chance: Chance,
        limits: Limits = DEFAULT_LIMITS,
        on_change: Callable[[AntiphonError | None], None] = _nothing,
    ):
        self.url = agent_url(url)
        self._token = agent_token(token)
        self._clock = clock
        self._chance = chance
        self._limits = limits
        self._on_change = on_change
        self._protocol = ClientProtocol()
        self._subscriptions: dict[int, Subscription] = {}
        self._calls: dict[str, asyncio.Future[Reply | None]] = {}
        self._models: Models | None = None
        self._wanted = asyncio.Event()
        self._unsent = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._refused: AgentRefusedError | None = None
        self._trouble: AntiphonError | None = None
        self._tasks = asyncio.TaskGroup()
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AgentClient:
        await self._tasks.__aenter__()
        self._keeper = self._tasks.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            kind = error = trace = None  # The body's own error goes on by itself, in no group.
        await self._tasks.__aexit__(kind, error, trace)
        closed = AgentUnreachableError("The connection to the agent was closed: we are stopping.")
        self._fail_all(closed)

    @property
    def is_ready(self) -> bool:
        """Whether the token was not refused lately: calls are tried, instead of failing at once."""
        return self._refused is None

    # --- verbs ----------------------------------------------------------------------------------

    def start(
        self,
        thread_id: str,
        run_id: str,
        parts: Sequence[InputPart],
        settings: RunSettings = AGENT_DEFAULTS,
        cursor: Cursor | None = None,
    ) -> Subscription:
        """Asks for a run (or attaches to it where it was asked for before) and follows it to its
        end. Nothing is sent before the subscription is entered, which raises BadVerbError for a
        question that can't be sent."""
        verb = RunStart(
            "-", thread_id, run_id=run_id, input=tuple(parts), settings=settings, cursor=cursor
        )
        return self._subscription(run_id, lambda: self._protocol.start(verb))

    def attach(
        self, thread_id: str, run_id: str | None = None, cursor: Cursor | None = None
    ) -> Subscription:
        """Follows a thread, or one run of it, from `cursor` or else from a snapshot."""
        return self._subscription(run_id, lambda: self._protocol.follow(thread_id, run_id, cursor))

    async def cancel(self, thread_id: str, run_id: str) -> None:
        """Ends the run; returns when that is durable. Idempotent, like all verbs.

        Raises AgentUnreachableError after `verb_s`, AgentRefusedError (token), and
        AgentProtocolError with the agent's `code`."""
        await self._call(RunCancel(self._protocol.next_id(), thread_id, run_id=run_id))

    async def withdraw(self, thread_id: str, run_id: str) -> None:
        """Cancels the run if it is open, and erases it. As `cancel` otherwise."""
        await self._call(RunWithdraw(self._protocol.next_id(), thread_id, run_id=run_id))

    async def delete(self, thread_id: str, surface: str | None = None) -> None:
        """Erases the thread. `surface`: whose it is, where our token may only erase. As `cancel`
        otherwise."""
        await self._call(ThreadDelete(self._protocol.next_id(), thread_id, surface))

    async def erase_author(self, thread_id: str, author: str, surface: str | None = None) -> int:
        """Withdraws every run of the thread whose question has a message by `author`; returns how
        many were erased now (after a cut, those before it may be left out). As `delete`
        otherwise; an agent of before this was known says `unknown_type`."""
        verb_id = self._protocol.next_id()
        verb = AuthorErase(verb_id, thread_id, author=author, surface=surface)
        reply = await self._call(verb)
        return (reply.erased or 0) if isinstance(reply, Ok) else 0

    async def models(self) -> Models:
        """Which models a run may name, and which one answers where it names none. Asked once for
        each connection (they change only with the agent's settings), so calling this is cheap. As
        `cancel` otherwise; an agent of before this was known says `unknown_type`."""
        if self._models is None:
            reply = await self._call(ModelsList(self._protocol.next_id()))
            if not isinstance(reply, Models):
                raise AgentProtocolError("The agent did not say which models it has.")
            self._models = reply
        return self._models

    async def export(self, thread_id: str) -> bytes:
        """What the thread remembers, as one archive whose content is the agent's own matter.
        Raises as `cancel`: `not_found` where there is nothing to remember, `thread_gone`."""
        return await download(thread_id, self._protocol.next_id, self._call)

    async def import_(self, thread_id: str, archive: bytes) -> None:
        """Makes a new thread that remembers `archive`; returns when that is durable. Doing it
        again changes nothing. Raises as `cancel`: `thread_gone` for an id that was deleted,
        `conflict` for a thread that remembers something else, `bad_archive`,
        `archive_too_large`."""
        await upload(thread_id, archive, self._protocol.next_id, self._call)

    async def check(self) -> None:
        """Asks for a sign of life, on the connection or a new one. Raises AgentUnreachableError
        or AgentRefusedError."""
        if self._socket is not None:
            await ping(self._socket, self._clock, self._limits.connect_s)
            return
        socket = await self._connect()
        try:
            await ping(socket, self._clock, self._limits.connect_s)
        finally:
            await socket.close()

    async def _call(self, verb: AnyVerb) -> Reply | None:
        if self._refused is not None:
            raise self._refused
        self._protocol.call(verb)
        answer: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self._calls[verb.id] = answer
        self._wake()
        try:
            return await within(self._clock, self._limits.verb_s, answer)
        except TimeoutError:
            why = f" ({self._trouble.message})" if self._trouble else ""
            raise AgentUnreachableError(f"The agent at {self.url} does not answer{why}.") from None
        finally:
            del self._calls[verb.id]
            self._protocol.give_up(verb.id)

    # --- subscriptions --------------------------------------------------------------------------

    def _subscription(self, run_id: str | None, follow: Callable[[], int]) -> Subscription:
        def open_(subscription: Subscription) -> None:
            if self._refused is not None:
                subscription.fail(self._refused)
                return
            subscription.key = follow()
            self._subscriptions[subscription.key] = subscription
            self._wake()

        return Subscription(
            run_id, self._limits.buffer, open_=open_, resume=self._resume, close=self._close
        )

    def _resume(self, subscription: Subscription) -> None:
        self._protocol.resume(subscription.key)
        self._wake()

    def _close(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription.key, None)
        self._protocol.unfollow(subscription.key)
        self._wake()

    # --- the connection -------------------------------------------------------------------------

    def _wake(self) -> None:
        self._wanted.set()
        self._unsent.set()

    async def _keep(self) -> None:
        """Keeps a connection for as long as something is wanted."""
        failures = 0
        while True:
            while self._protocol.is_idle:
                self._wanted.clear()
                await self._wanted.wait()
            try:
                socket = await self._connect()
            except AgentRefusedError as error:
                await self._refuse(error)
                continue
            except AgentUnreachableError as error:
                self._lost(error)
                failures += 1
            else:
                began = self._clock.monotonic()
                error_or_none = await self._serve(socket)
                lived = self._clock.monotonic() - began
                steady = error_or_none is None and lived >= self._limits.steady_s
                failures = 1 if steady else failures + 1
                self._lost(error_or_none or AgentUnreachableError("The connection was cut."))
            await self._clock.sleep(backoff(failures, self._chance.jitter(), self._limits))

    async def _connect(self) -> ClientConnection:
        return await connect(
            self.url, self._token, open_s=self._limits.connect_s, ping_s=self._limits.ping_s
        )

    def _lost(self, error: AntiphonError) -> None:
        self._trouble = error
        self._on_change(error)

    async def _refuse(self, error: AgentRefusedError) -> None:
        """Tells everybody that the token is wrong, and does not try again at once."""
        self._refused = error
        self._lost(error)
        self._fail_all(error)
        await self._clock.sleep(self._limits.refused_s)
        self._refused = None

    def _fail_all(self, error: AntiphonError) -> None:
        for subscription in list(self._subscriptions.values()):
            subscription.fail(error)
            self._close(subscription)
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(error)

    async def _serve(self, socket: ClientConnection) -> AgentProtocolError | None:
        """Runs one connection to its end; returns what the agent did wrong, if that ended it."""
        self._socket = socket
        self._trouble = None
        self._models = None
        self._protocol.connected()
        self._unsent.set()
        self._on_change(None)
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(socket))
                wrong = await self._read(socket)
                writer.cancel()
        finally:
            self._socket = None
            self._protocol.disconnected()
            await socket.close()
        return wrong

    async def _write(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._unsent.wait()
                self._unsent.clear()
                for frame in self._protocol.outgoing():
                    await socket.send(frame, text=True)

    async def _read(self, socket: ClientConnection) -> AgentProtocolError | None:
        with suppress(ConnectionClosed):
            async for data in socket:
                try:
                    received = self._protocol.receive(data)
                except AgentProtocolError as error:
                    return error
                for item in received:
                    self._hand_out(item, len(data))
                self._unsent.set()
        return None

    def _hand_out(self, item: Delivered | Opened | Failed | Answered, size: int) -> None:
        if isinstance(item, Answered):
            answer = self._calls.get(item.verb_id)
            if answer is not None and not answer.done():
                if item.error is None:
                    answer.set_result(item.reply)
                else:
                    answer.set_exception(item.error)
            return
        subscription = self._subscriptions.get(item.key)
        if subscription is None:
            return
        match item:
            case Delivered():
                if not subscription.push(item.event, size):
                    self._protocol.pause(item.key)
            case Opened():
                subscription.accepted = True
            case Failed():
                subscription.fail(item.error)
