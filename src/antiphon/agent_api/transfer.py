"""An archive in pieces: fetched by `thread.export`, sent by `thread.import`. Knows frames and no
socket; what is in an archive is the agent's own matter."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from antiphon.agent_api.messages import (
    MAX_ARCHIVE_BYTES,
    MAX_CHUNK_BYTES,
    AnyVerb,
    ErrorCode,
    Reply,
    ThreadArchive,
    ThreadExport,
    ThreadImport,
)
from antiphon.errors import AgentProtocolError

Ask = Callable[[AnyVerb], Awaitable[Reply | None]]
"""Sends a verb and gives what the agent answered; raises its refusal."""

MAX_TRIES = 5
"""How often a transfer begins anew, where the thread has changed or a connection was cut."""

CHUNK_BYTES = MAX_CHUNK_BYTES


async def download(thread_id: str, next_id: Callable[[], str], ask: Ask) -> bytes:
    """The thread's archive, whole and checked. Raises what `ask` raises, and AgentProtocolError
    `bad_archive` where the pieces do not fit together."""
    tries = 0
    while True:
        tries += 1
        try:
            return await _download(thread_id, next_id, ask)
        except AgentProtocolError as error:
            if error.code != ErrorCode.CONFLICT or tries == MAX_TRIES:
                raise


async def _download(thread_id: str, next_id: Callable[[], str], ask: Ask) -> bytes:
    data = bytearray()
    digest: str | None = None
    while True:
        verb = ThreadExport(next_id(), thread_id, offset=len(data), digest=digest)
        page = await ask(verb)
        if (
            not isinstance(page, ThreadArchive)
            or page.offset != len(data)
            or page.total > MAX_ARCHIVE_BYTES
        ):
            raise _broken()
        digest = page.digest
        data += page.data
        if len(data) == page.total:
            break
        if not page.data or len(data) > page.total:
            raise _broken()
    if hashlib.sha256(data).hexdigest() != digest:
        raise _broken()
    return bytes(data)


async def upload(thread_id: str, archive: bytes, next_id: Callable[[], str], ask: Ask) -> None:
    """Sends the archive; returns when it is imported. Raises what `ask` raises, and
    AgentProtocolError `bad_archive` or `archive_too_large` where nothing needs to be sent."""
    if not archive:
        raise AgentProtocolError("An archive is not empty.", code=ErrorCode.BAD_ARCHIVE)
    if len(archive) > MAX_ARCHIVE_BYTES:
        raise AgentProtocolError(
            f"An archive may have {MAX_ARCHIVE_BYTES} bytes; this one has {len(archive)}.",
            code=ErrorCode.ARCHIVE_TOO_LARGE,
        )
    digest = hashlib.sha256(archive).hexdigest()
    tries = 0
    while True:
        tries += 1
        try:
            for offset in range(0, len(archive), CHUNK_BYTES):
                verb = ThreadImport(
                    next_id(),
                    thread_id,
                    total=len(archive),
                    digest=digest,
                    offset=offset,
                    data=archive[offset : offset + CHUNK_BYTES],
                )
                await ask(verb)
        except AgentProtocolError as error:
            # Another connection: the agent does not have what the one before had brought.
            if error.code != ErrorCode.NOT_FOUND or tries == MAX_TRIES:
                raise
        else:
            return


def _broken() -> AgentProtocolError:
    return AgentProtocolError(
        "The agent sent an archive whose pieces do not fit together.", code=ErrorCode.BAD_ARCHIVE
    )
