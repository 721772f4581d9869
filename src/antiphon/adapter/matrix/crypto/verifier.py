"""`Verifier`: interactive verifications with people and their devices, as they really happen: it
looks keys up, sends, keeps the time, and shows people what they must compare. What a message does
is decided by the pure `verification`; how trust is used is not its business."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from msgspec.structs import replace

from antiphon.adapter.matrix.beside import woken_within
from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto.sas import Ephemeral, KeyAgreement
from antiphon.adapter.matrix.crypto.service import Crypto
from antiphon.adapter.matrix.crypto.values import ToDevice
from antiphon.adapter.matrix.crypto.verification import (
    advance,
    deadline_ms,
    rivals,
    unknown_transaction,
)
from antiphon.adapter.matrix.crypto.verification_messages import (
    CancelCode,
    Flow,
    Keys,
    Message,
    Outgoing,
    from_device,
    transaction_of,
)
from antiphon.adapter.matrix.crypto.verification_moves import cancel
from antiphon.adapter.matrix.crypto.verification_opening import (
    open_request,
    open_start,
    request_in_room,
    request_to_devices,
    room_request_content,
)
from antiphon.adapter.matrix.crypto.verification_state import (
    Asked,
    Cancelled,
    Compare,
    Decision,
    Ignored,
    Input,
    Limits,
    Phase,
    ReadyToStart,
    Received,
    Step,
    Tick,
    Verified,
)
from antiphon.adapter.matrix.crypto.verifications import Left, Live, Verifications
from antiphon.adapter.matrix.crypto.verifier_mail import Mail
from antiphon.clock import Clock
from antiphon.errors import EncryptionError, HomeserverError, TokenRevokedError
from antiphon.telemetry import logger

TYPES = "m.key.verification."
MOST_WAITING = 500
"""Events of rooms that wait to be looked at; older ones give way."""

Show = Callable[[str, str], Awaitable[None]]
"""Says a text in an encrypted room, as far as that can be done."""


class Trust(Protocol):
    """What trust there is in keys, ours and others'."""

    async def own_master(self) -> str | None:
        """Our public master key, where it is proven to be ours."""
        ...

    async def vouch(self, verified: Verified) -> None:
        """A person here has compared: these keys are that user's."""
        ...


class Verifier:
    """All verifications of one device; `run` works on them. Decision 0026 says who decides what."""

    def __init__(
        self,
        crypto: Crypto,
        mail: Mail,
        show: Show,
        trust: Trust,
        allows: Callable[[str], bool],
        clock: Clock,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        ephemeral: Callable[[], KeyAgreement] = Ephemeral,
    ):
        self._crypto = crypto
        self._machine = crypto.machine
        self._mail = mail
        self._show = show
        self._allows = allows
        self._clock = clock
        self._trust = trust
        self._limits = limits
        self._ephemeral = ephemeral
        self._all = Verifications(crypto.machine)
        self._events: deque[Message] = deque(maxlen=MOST_WAITING)
        self._inbox = True
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._log = logger("matrix.verification")

    def to_device(self, received: Iterable[ToDevice]) -> None:
        """Some of these, which the key store keeps until then, may be for us."""
        if any(message.type.startswith(TYPES) for message in received):
            self._inbox = True
            self._wake.set()

    def in_room(self, message: Message) -> None:
        """An event of a room, readable; it may come again, and may be none of ours."""
        is_request = message.content.get("msgtype") == messages.REQUEST
        if message.type.startswith(TYPES) or (message.type == messages.ROOM_MESSAGE and is_request):
            self._events.append(message)
            self._wake.set()

    async def ask(self, user_id: str, room_id: str | None = None) -> Live:
        """Asks a person for a verification, in a room or at all of their devices; then a person
        here must give their `word`. Raises EncryptionError where they have no device that could
        answer, and HomeserverError."""
        async with self._lock:
            await self._crypto.look_up(user_id)
            now_ms, us = self._clock.now_ms(), await self._us()
            if room_id is not None:
                event_id = await self._mail.request(room_id, room_request_content(us, user_id))
                step = Step(request_in_room(us, user_id, room_id, event_id, now_ms))
            else:
                devices = tuple(
                    device.device_id
                    for device in await self._machine.devices([user_id])
                    if (user_id, device.device_id) != (us.user_id, us.device_id)
                )
                if not devices:
                    raise EncryptionError(f"{user_id} has no device that could be verified.")
                step = request_to_devices(us, user_id, devices, secrets.token_hex(16), now_ms)
            live = Live(step.state, self._ephemeral(), ours=True)
            await self._all.add(live)
            await self._settle(live, step)
        self._wake.set()
        return live

    async def word(self, live: Live, *, same: bool) -> bool:
        """A person here compared what is shown for a verification that we asked for. Only this
        makes us trust their keys. False where it does not wait for a word (any more)."""
        async with self._lock:
            known = self._all.find(live.state.flow) is live
            if not (known and live.ours and live.state.phase is Phase.COMPARING):
                return False
            live.word = same
            await self._step(live, Decision.MATCH if same else Decision.MISMATCH)
            return True

    async def give_up(self, live: Live) -> None:
        """Nobody here wants it any more."""
        async with self._lock:
            await self._step(live, Decision.CANCEL)

    async def until(self, live: Live, condition: Callable[[Live], bool]) -> None:
        """Returns when `condition` holds, or it is over; `run` must be at work."""
        while not (live.state.over or condition(live)):
            await self._changed.wait()

    async def run(self) -> None:
        """Works on them until cancelled."""
        await self.begin()
        while True:
            due = await self.work()
            if due is None:
                await self._wake.wait()
            else:
                pause = max(0, due - self._clock.now_ms()) / 1000
                await woken_within(self._wake, pause, self._clock)

    async def begin(self) -> None:
        """Cancels what an earlier process left open."""
        async with self._lock:
            left_over = await self._all.left_over()
            for left in left_over:
                await self._mail.send(_restarted(left))
                self._log.info("verification_given_up", user=left.user_id, reason="restarted")
            if left_over:
                await self._all.forget_left_over()

    async def work(self) -> int | None:
        """Does what is to be done now; when time alone gives more to do, if so."""
        async with self._lock:
            self._wake.clear()
            for live in self._all:
                if self._clock.now_ms() >= deadline_ms(live.state, self._limits):
                    await self._step(live, Tick())
            if self._inbox:
                self._inbox = False
                for waiting in await self._machine.waiting():
                    if waiting.type.startswith(TYPES):
                        await self._take(_message(waiting))
                        await self._machine.done([waiting.message_id])
            while self._events:
                await self._take(self._events.popleft())
            return min((deadline_ms(live.state, self._limits) for live in self._all), default=None)

    async def _take(self, message: Message) -> None:
        transaction = transaction_of(message)
        if transaction is None:
            return
        flow = Flow(transaction, message.room_id)
        live = self._all.find(flow)
        if live is not None:
            theirs = message.sender == live.state.their_user
            named = theirs and message.type in (messages.READY, messages.START)
            keys = await self._keys(message) if named else None
            await self._step(live, Received(message, keys))
        elif not self._all.has_ended(flow) and self._admits(message.sender):
            await self._open(message)

    def _admits(self, user_id: str) -> bool:
        """Also our own account: its other devices may verify this one."""
        return user_id == self._machine.me.user_id or self._allows(user_id)

    async def _open(self, message: Message) -> None:
        if message.type not in (messages.REQUEST, messages.ROOM_MESSAGE, messages.START):
            answer = unknown_transaction(message)
            if answer is not None:
                await self._mail.send(answer)
            return
        if self._ends_later(message):
            return
        refused = self._all.why_not(message.sender, self._clock.now_ms())
        if refused is not None:
            self._log.warning("verification_refused", user=message.sender, reason=refused)
            return
        given, us = Received(message, await self._keys(message)), await self._us()
        ephemeral, now_ms = self._ephemeral(), self._clock.now_ms()
        if message.type == messages.START:
            opened = open_start(us, given, ephemeral, now_ms)
        else:
            opened = open_request(us, given, now_ms, self._limits)
        if isinstance(opened, Ignored):
            self._log.info("verification_ignored", user=message.sender, reason=opened.reason)
            return
        live = Live(opened.state, ephemeral, ours=False)
        others = rivals((other.state for other in self._all), opened.state)
        await self._all.add(live)
        if others:  # one of them may be somebody's who wants to be taken for the other
            opposed = {other.flow for other in others} | {opened.state.flow}
            for one in self._all:
                if one.state.flow in opposed:
                    await self._settle(one, cancel(one.state, CancelCode.UNEXPECTED_MESSAGE))
            return
        await self._settle(live, opened)

    def _ends_later(self, request: Message) -> bool:
        """Whether the request of a room is over already, as events say that were read with it: it
        was asked and withdrawn while we were away, or the room is read back."""
        return request.room_id is not None and any(
            later.room_id == request.room_id
            and later.type in (messages.CANCEL, messages.DONE)
            and later.sender in (request.sender, self._machine.me.user_id)
            and transaction_of(later) == request.event_id
            for later in self._events
        )

    async def _step(self, live: Live, given: Input) -> None:
        now_ms = self._clock.now_ms()
        await self._settle(live, advance(live.state, given, live.ephemeral, now_ms, self._limits))

    async def _settle(self, live: Live, step: Step) -> None:
        """Makes a step so: state, messages, and what follows of its outcome."""
        live.state = step.state
        for outgoing in step.outgoing:
            if not await self._mail.send(outgoing):
                live.state = replace(live.state, phase=Phase.CANCELLED)
                live.end = Cancelled("not_sent", "The homeserver did not take it.", by_us=True)
                self._tell(live, "verification_cancelled", code="not_sent")
                await self._end(live)
                return
        match step.outcome:
            case Asked(supported=True):
                await self._step(live, Decision.ACCEPT)
            case Asked():
                await self._settle(live, cancel(live.state, CancelCode.UNKNOWN_METHOD))
            case ReadyToStart() if live.ours:
                await self._step(live, Decision.START)
            case Compare() as compare:
                await self._compare(live, compare)
            case Verified() as verified:
                await self._verified(live, verified)
            case Cancelled() as cancelled:
                live.end = cancelled
                self._tell(
                    live,
                    "verification_cancelled",
                    code=cancelled.code,
                    reason=cancelled.reason,
                    by_us=cancelled.by_us,
                )
            case Ignored(reason=reason):
                self._log.debug("verification_message_ignored", reason=reason)
        if live.state.over:
            await self._end(live)

    async def _end(self, live: Live) -> None:
        await self._all.end(live)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        """Whoever follows one looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _compare(self, live: Live, compare: Compare) -> None:
        """Shows it. What they asked for we confirm ourselves, which proves us to them, not them to
        us; what we asked for waits for a person's word."""
        live.shown = compare
        self._tell_waiting()
        emoji = " ".join(f"{symbol} {name}" for symbol, name in compare.short_auth.emoji)
        decimals = " ".join(str(number) for number in compare.short_auth.decimals)
        self._tell(live, "verification_compare", emoji=emoji, decimals=decimals, waits=live.ours)
        if not live.ours:
            await self._step(live, Decision.MATCH)
        if live.state.flow.room_id is not None and not live.state.over:
            await self._show(live.state.flow.room_id, _words(live, emoji, decimals))

    async def _verified(self, live: Live, verified: Verified) -> None:
        """They are who they say if a person compared; else they only know who we are."""
        if live.word:
            await self._trust.vouch(verified)
        live.end = verified
        self._tell(live, "verification_done", theirs_trusted=live.word)

    async def _keys(self, message: Message) -> Keys | None:
        """The keys of the device that the message says it is of."""
        device_id = from_device(message)
        if device_id is None:
            return None
        try:
            await self._crypto.look_up(message.sender)
        except TokenRevokedError:
            raise
        except HomeserverError as error:
            self._log.warning("keys_not_asked", user=message.sender, error=error.message)
        device = await self._machine.device(message.sender, device_id)
        user = await self._machine.user(message.sender)
        if device is None:
            return None
        return Keys(message.sender, device_id, device.ed25519, user.master if user else None)

    async def _us(self) -> Keys:
        me = self._machine.me
        return Keys(me.user_id, me.device_id, me.ed25519, await self._trust.own_master())

    def _tell(self, live: Live, what: str, **values: object) -> None:
        state = live.state
        device_id = state.them.device_id if state.them is not None else None
        self._log.info(
            what, user=state.their_user, device=device_id, room=state.flow.room_id, **values
        )


def _message(waiting: ToDevice) -> Message:
    return Message(
        waiting.type, waiting.sender, waiting.content, sender_device=waiting.device_id or None
    )


def _restarted(left: Left) -> Outgoing:
    content = {"code": CancelCode.USER.value, "reason": "I was restarted. Please begin anew."}
    content = left.flow.mark(content)
    return Outgoing(messages.CANCEL, content, left.user_id, left.device_ids, left.flow.room_id)


def _words(live: Live, emoji: str, decimals: str) -> str:
    """What is said of it in the room."""
    seen = f"Verification: I see {emoji} ({decimals})."
    if live.ours:
        return f"{seen} If you see the same, confirm it; my operator must confirm it here, too."
    return (
        f"{seen} If your device shows the same, confirm it there. This message takes the same way "
        "as all that I write: to be sure of that way itself, compare with my operator's log."
    )
