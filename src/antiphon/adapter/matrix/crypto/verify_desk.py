"""The socket in the state folder by which a person at the operator's has somebody verified and
gives their word. Only its owner can open it: nobody speaks here who could not read the keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from antiphon.adapter.matrix.crypto.verification_state import Cancelled, Verified
from antiphon.adapter.matrix.crypto.verifications import Live
from antiphon.adapter.matrix.crypto.verifier import Verifier
from antiphon.adapter.matrix.verify_call import SOCKET
from antiphon.errors import EncryptionError, HomeserverError
from antiphon.telemetry import logger

LONGEST_LINE = 4_096


class _Asked(msgspec.Struct, frozen=True):
    user: str
    room: str | None = None


class _Word(msgspec.Struct, frozen=True):
    same: bool


@asynccontextmanager
async def open_desk(state: Path, verifier: Verifier) -> AsyncIterator[None]:
    """Listens while the block runs, whose end ends all calls. Where it can't, one warning says so,
    and all else works."""
    path = state / SOCKET
    calls: set[asyncio.Task[Any]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        calls.add(task)
        try:
            await _talk(verifier, reader, writer)
        except (OSError, ValueError, msgspec.MsgspecError, HomeserverError):
            pass  # they went away, or it is no call of ours; sync says what the homeserver refuses
        finally:
            calls.discard(task)
            writer.close()

    try:
        path.unlink(missing_ok=True)  # of a killed process: the state is ours alone
        server = await asyncio.start_unix_server(take, path, limit=LONGEST_LINE)
    except OSError as error:
        logger("matrix.verification").warning(
            "no_verify_socket", path=str(path), error=str(error), hint="`matrix verify` won't work"
        )
        yield
        return
    try:
        path.chmod(0o600)
        yield
    finally:
        server.close()
        for call in tuple(calls):
            call.cancel()
        if calls:
            await asyncio.wait(tuple(calls))
        with suppress(OSError):
            path.unlink(missing_ok=True)


async def _talk(
    verifier: Verifier, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One call: a verification asked for, shown, and ended. Who hangs up gives it up."""
    asked = msgspec.json.decode(await reader.readline(), type=_Asked)
    try:
        live = await verifier.ask(asked.user, asked.room)
    except (EncryptionError, HomeserverError) as error:
        await _say(writer, {"event": "failed", "reason": error.message})
        return
    word = asyncio.ensure_future(reader.readline())
    stopping = False
    try:
        await _say(writer, {"event": "asked"})
        if await _sooner(verifier, live, word, shown=True) and live.shown is not None:
            short = live.shown.short_auth
            await _say(
                writer, {"event": "compare", "emoji": short.emoji, "decimals": short.decimals}
            )
            if not await _sooner(verifier, live, word, shown=False):
                given = msgspec.json.decode(word.result(), type=_Word)
                await verifier.word(live, same=given.same)
        elif not live.state.over:
            return
        await verifier.until(live, lambda _: False)
        await _say(writer, _end(live))
    except asyncio.CancelledError:
        stopping = True  # the next start tells the other side, without holding up this end
        raise
    finally:
        word.cancel()
        await asyncio.wait([word])
        if not word.cancelled():
            word.exception()
        if not (live.state.over or stopping):
            await verifier.give_up(live)


async def _sooner(
    verifier: Verifier, live: Live, word: asyncio.Future[bytes], *, shown: bool
) -> bool:
    """Waits until it shows something (with `shown`) or is over; False where the caller says
    something, or hangs up, before that."""
    moved = asyncio.ensure_future(verifier.until(live, lambda now: shown and now.shown is not None))
    try:
        both: list[asyncio.Future[Any]] = [moved, word]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return moved.done()
    finally:
        moved.cancel()
        await asyncio.wait([moved])


async def _say(writer: asyncio.StreamWriter, what: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode(what) + b"\n")
    await writer.drain()


def _end(live: Live) -> dict[str, Any]:
    match live.end:
        case Verified(device_id=device_id, master_key=master):
            return {"event": "done", "device": device_id, "identity": master is not None}
        case Cancelled(code=code, reason=reason, by_us=by_us):
            return {"event": "cancelled", "code": code, "reason": reason, "by_us": by_us}
    return {"event": "cancelled", "code": "", "reason": "", "by_us": True}
