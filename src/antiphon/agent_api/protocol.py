"""The client's half of `/agent_ws/` without I/O: call methods, feed frames to `receive`, send what
`outgoing` gives. It survives connections: subscriptions keep their cursors, and verbs that were
not answered go out again. The shells (`client`) own sockets, time and tasks.

A subscription ("follow") opens with `run.start` or `attach`, and mends itself: what was cut,
left out or lost by the agent is asked for again by an attach with its cursor."""

from __future__ import annotations

import msgspec

from antiphon.agent_api.frames import UnknownEvent, decode_frame
from antiphon.agent_api.messages import (
    AnyEvent,
    AnyVerb,
    Attach,
    Cursor,
    Detach,
    Error,
    ErrorCode,
    Event,
    Reply,
    RunStart,
)
from antiphon.agent_api.track import Track, Verdict
from antiphon.agent_api.verbs import encode_verb
from antiphon.errors import AgentProtocolError

MAX_GAPS = 3
"""Attaches in a row that bring nothing new before a subscription gives up."""


class Delivered(msgspec.Struct, frozen=True):
    """The next event of a subscription."""

    key: int
    event: AnyEvent


class Opened(msgspec.Struct, frozen=True):
    """The agent has accepted the subscription's start or attach."""

    key: int


class Failed(msgspec.Struct, frozen=True):
    """The agent refused the subscription; nothing more comes of it."""

    key: int
    error: AgentProtocolError


class Answered(msgspec.Struct, frozen=True):
    """The agent answered a verb: carried out and durable (`reply`, with what was asked for), or
    `error`."""

    verb_id: str
    error: AgentProtocolError | None
    reply: Reply | None = None


Received = Delivered | Opened | Failed | Answered


class _Follow:
    """A subscription: its thread, how it opens, where it stands."""

    def __init__(self, thread_id: str, run_id: str | None, cursor: Cursor | None):
        self.thread_id = thread_id
        self.run_id = run_id
        self.track = Track(run_id, cursor)
        self.start: RunStart | None = None
        self.started = False
        self.paused = False
        self.gaps = 0


class _Sent(msgspec.Struct, frozen=True):
    """A verb on its way; `key` where it opens a subscription."""

    verb: AnyVerb
    key: int | None


class ClientProtocol:
    """One client, over one connection at a time."""

    def __init__(self) -> None:
        self._connected = False
        self._numbers = 0
        self._follows: dict[int, _Follow] = {}
        self._threads: dict[str, dict[int, _Follow]] = {}
        self._sent: dict[str, _Sent] = {}
        self._out: list[bytes] = []

    # --- what the shell asks --------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether no connection is needed: nothing is followed and nothing is unanswered."""
        return not self._follows and not self._sent

    def outstanding(self) -> tuple[str, ...]:
        """The ids of the verbs that were not answered yet."""
        return tuple(self._sent)

    def cursor(self, key: int) -> Cursor | None:
        """Where a subscription stands; None before its first event and after its end."""
        follow = self._follows.get(key)
        return None if follow is None else follow.track.cursor

    def next_id(self) -> str:
        """An id for the next verb."""
        self._numbers += 1
        return f"v{self._numbers}"

    def call(self, verb: AnyVerb) -> None:
        """Sends a verb, now or once connected, and again after a cut until it is answered (all
        verbs are idempotent). Raises BadVerbError, and then nothing is sent."""
        self._send(verb, None)

    def give_up(self, verb_id: str) -> None:
        """Nobody waits for this verb any more: it is not sent again."""
        self._sent.pop(verb_id, None)

    def follow(
        self, thread_id: str, run_id: str | None = None, cursor: Cursor | None = None
    ) -> int:
        """Subscribes by `attach`; returns the subscription's key."""
        follow = _Follow(thread_id, run_id, cursor)
        return self._add(follow)

    def start(self, start: RunStart) -> int:
        """Subscribes by `run.start`; returns the subscription's key."""
        follow = _Follow(start.thread_id, start.run_id, start.cursor)
        follow.start = start
        return self._add(follow)

    def unfollow(self, key: int) -> None:
        """Ends a subscription; detaches from the thread when it was the last one there."""
        follow = self._remove(key)
        if follow is None:
            return
        for verb_id in [i for i, sent in self._sent.items() if sent.key == key]:
            del self._sent[verb_id]
        if self._connected and follow.thread_id not in self._threads:
            self._out.append(encode_verb(Detach(self.next_id(), follow.thread_id)))

    def pause(self, key: int) -> None:
        """Takes no more events for a subscription whose reader is slow."""
        if key in self._follows:
            self._follows[key].paused = True

    def resume(self, key: int) -> None:
        """Goes on after `pause`: attaches again from where the subscription stands."""
        follow = self._follows.get(key)
        if follow is not None and follow.paused:
            follow.paused = False
            self._open(key, follow)

    # --- the connection -------------------------------------------------------------------------

    def connected(self) -> None:
        """A connection is there: opens every subscription and repeats every open verb."""
        self._connected = True
        self._out.clear()
        waiting = [sent for sent in self._sent.values() if sent.key is None]
        self._sent.clear()
        for key, follow in self._follows.items():
            if not follow.paused:
                self._open(key, follow)
        for sent in waiting:
            self._send(sent.verb, None)

    def disconnected(self) -> None:
        """The connection is gone. What was to be sent on it is made anew for the next."""
        self._connected = False
        self._out.clear()
        for verb_id in [i for i, sent in self._sent.items() if sent.key is not None]:
            del self._sent[verb_id]
        for follow in self._follows.values():
            follow.track.disconnected()

    def outgoing(self) -> list[bytes]:
        """The frames to be sent now, in order; empty while disconnected."""
        frames, self._out = self._out, []
        return frames

    def receive(self, data: bytes | str) -> list[Received]:
        """Takes one frame. Raises AgentProtocolError for one that can't be read: the connection
        should then be closed, and the next one mends what was missed."""
        frame = decode_frame(data)
        if frame is None:
            return []
        if isinstance(frame, Reply | Error):
            return self._answer(frame)
        return self._event(frame)

    # --- inside ---------------------------------------------------------------------------------

    def _add(self, follow: _Follow) -> int:
        self._numbers += 1
        key = self._numbers
        self._open(key, follow)
        self._follows[key] = follow
        self._threads.setdefault(follow.thread_id, {})[key] = follow
        return key

    def _remove(self, key: int) -> _Follow | None:
        follow = self._follows.pop(key, None)
        if follow is not None:
            of_thread = self._threads[follow.thread_id]
            del of_thread[key]
            if not of_thread:
                del self._threads[follow.thread_id]
        return follow

    def _open(self, key: int, follow: _Follow) -> None:
        verb: AnyVerb
        cursor = follow.track.cursor
        if follow.start is not None and not follow.started:
            verb = msgspec.structs.replace(follow.start, id=self.next_id(), cursor=cursor)
        else:
            verb = Attach(self.next_id(), follow.thread_id, follow.run_id, cursor)
        frame = encode_verb(verb)
        if self._connected:
            self._sent[verb.id] = _Sent(verb, key)
            self._out.append(frame)
            follow.track.asked()

    def _send(self, verb: AnyVerb, key: int | None) -> None:
        frame = encode_verb(verb)
        self._sent[verb.id] = _Sent(verb, key)
        if self._connected:
            self._out.append(frame)

    def _answer(self, frame: Reply | Error) -> list[Received]:
        sent = self._sent.pop(frame.id, None) if frame.id is not None else None
        if sent is None:
            return []
        error = reply = None
        if isinstance(frame, Error):
            error = AgentProtocolError(frame.message, code=frame.code, retryable=frame.retryable)
        else:
            reply = frame
        if sent.key is None:
            return [Answered(sent.verb.id, error, reply)]
        follow = self._follows[sent.key]
        follow.track.answered()
        if error is None:
            follow.started = True
            return [Opened(sent.key)]
        if error.code == ErrorCode.NOT_FOUND and follow.start is not None and follow.started:
            # The agent has no record of a run that it had accepted (an older backup): ask anew.
            follow.started = False
            follow.track.restart()
            self._open(sent.key, follow)
            return []
        self._remove(sent.key)
        return [Failed(sent.key, error)]

    def _event(self, event: AnyEvent | UnknownEvent) -> list[Received]:
        received: list[Received] = []
        for key, follow in list(self._threads.get(event.thread_id, {}).items()):
            if follow.paused:
                continue
            verdict = follow.track.judge(event)
            if verdict is Verdict.TAKE:
                follow.gaps = 0
                wanted = follow.run_id is None or follow.run_id == event.run_id
                if isinstance(event, Event) and wanted:
                    received.append(Delivered(key, event))
            elif verdict is Verdict.GAP:
                received += self._gap(key, follow)
        return received

    def _gap(self, key: int, follow: _Follow) -> list[Received]:
        follow.gaps += 1
        if follow.gaps > MAX_GAPS:
            error = AgentProtocolError(
                "The agent leaves out events of a thread, and asking again brings nothing.",
                code="gap",
                retryable=True,
            )
            self.unfollow(key)
            return [Failed(key, error)]
        self._open(key, follow)
        return []


__all__ = [
    "MAX_GAPS",
    "Answered",
    "ClientProtocol",
    "Delivered",
    "Failed",
    "Opened",
    "Received",
]
