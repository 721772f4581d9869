"""Archives on their way through one socket: pages of what goes out, pieces of what comes in.

Bounded: a few at a time, the oldest gives way; whoever lost theirs begins again at offset 0. In
memory only, so that a cut leaves nothing half done."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from antiphon.agent.archive import bad, digest_of, refuse_large
from antiphon.agent.model import ThreadId
from antiphon.agent_api.messages import (
    MAX_CHUNK_BYTES,
    ErrorCode,
    ThreadArchive,
    ThreadExport,
    ThreadImport,
)
from antiphon.errors import AgentProtocolError

KEPT = 2
"""Archives that one socket may have under way in each direction."""

T = TypeVar("T")


class Transfers:
    """Those of one socket."""

    def __init__(self) -> None:
        self._outgoing: OrderedDict[ThreadId, tuple[str, bytes, int]] = OrderedDict()
        self._incoming: OrderedDict[ThreadId, tuple[str, bytearray]] = OrderedDict()

    async def page(
        self,
        thread: ThreadId,
        verb: ThreadExport,
        make: Callable[[], Awaitable[bytes]],
        erasures: int,
    ) -> ThreadArchive:
        """The piece that `verb` asks for; the archive is made anew where it is not at hand, or
        where something was erased (`erasures` counts that) since it was made: what was erased is
        not handed out.

        Raises what `make` raises, `conflict` when the archive is not the one that was begun, and
        `bad_frame` for an offset behind its end."""
        kept = self._outgoing.pop(thread, None)
        if kept is None or verb.offset == 0 or kept[0] != verb.digest or kept[2] != erasures:
            data = await make()
            kept = (digest_of(data), data, erasures)
        digest, data, _ = kept
        if verb.digest is not None and verb.digest != digest:
            raise AgentProtocolError(
                "The thread has changed since its export began: begin again.",
                code=ErrorCode.CONFLICT,
                retryable=True,
            )
        if verb.offset >= len(data):
            raise AgentProtocolError(
                f"The archive has {len(data)} bytes.", code=ErrorCode.BAD_FRAME
            )
        piece = data[verb.offset : verb.offset + MAX_CHUNK_BYTES]
        if verb.offset + len(piece) < len(data):
            _keep(self._outgoing, thread, kept)
        return ThreadArchive(verb.id, len(data), digest, verb.offset, piece)

    def take(self, thread: ThreadId, verb: ThreadImport) -> bytes | None:
        """Takes a piece in; the whole archive, checked, once it is there.

        Raises AgentProtocolError: `archive_too_large`, `not_found` for a piece that does not
        follow (begin again at 0), `bad_archive` where size or digest are wrong."""
        kept = self._incoming.pop(thread, None)
        refuse_large(verb.total)
        if verb.offset == 0:
            kept = (verb.digest, bytearray())
        if kept is None or kept[0] != verb.digest or len(kept[1]) != verb.offset:
            raise AgentProtocolError(
                "What came before this piece is not here: begin again at offset 0.",
                code=ErrorCode.NOT_FOUND,
                retryable=True,
            )
        kept[1].extend(verb.data)
        if len(kept[1]) > verb.total or not verb.data:
            raise bad("The archive's pieces are more than its size, or empty")
        if len(kept[1]) < verb.total:
            _keep(self._incoming, thread, kept)
            return None
        data = bytes(kept[1])
        if digest_of(data) != verb.digest:
            raise bad("The archive's digest is not that of its pieces: send it again")
        return data


def _keep(kept: OrderedDict[ThreadId, T], thread: ThreadId, value: T) -> None:
    kept[thread] = value
    while len(kept) > KEPT:
        kept.popitem(last=False)
