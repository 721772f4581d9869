"""Archives in pieces: whole or not at all, whatever happens on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest

from antiphon.agent_api.frames import encode_frame
from antiphon.agent_api.messages import (
    MAX_ARCHIVE_BYTES,
    MAX_CHUNK_BYTES,
    AnyVerb,
    ErrorCode,
    ThreadArchive,
    ThreadExport,
    ThreadImport,
)
from antiphon.agent_api.transfer import download, upload
from antiphon.agent_api.verbs import encode_verb
from antiphon.errors import AgentProtocolError

THREAD = "thread-0123456789abcdef"
LARGE = bytes(range(256)) * 6_000  # three pieces


def ids() -> Callable[[], str]:
    numbers: Iterator[int] = iter(range(1_000_000))
    return lambda: f"v{next(numbers)}"


class Shelf:
    """An agent with one archive; `failures` are raised by the next verbs (None: none)."""

    def __init__(self, archive: bytes = b""):
        self.archive = archive
        self.arriving = b""
        self.taken = b""
        self.asked = 0
        self.failures: list[ErrorCode | None] = []

    async def ask(self, verb: AnyVerb) -> ThreadArchive | None:
        self.asked += 1
        encode_verb(verb)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise AgentProtocolError("No.", code=failure)
        if isinstance(verb, ThreadExport):
            digest = hashlib.sha256(self.archive).hexdigest()
            if verb.digest not in (None, digest):
                raise AgentProtocolError("Changed.", code=ErrorCode.CONFLICT)
            piece = self.archive[verb.offset : verb.offset + MAX_CHUNK_BYTES]
            frame = ThreadArchive(verb.id, len(self.archive), digest, verb.offset, piece)
            encode_frame(frame)
            return frame
        assert isinstance(verb, ThreadImport)
        self.arriving = self.arriving[: verb.offset] + verb.data
        if len(self.arriving) == verb.total:
            assert hashlib.sha256(self.arriving).hexdigest() == verb.digest
            self.taken = self.arriving
        return None


@pytest.mark.parametrize("data", [b"x", LARGE, b"y" * MAX_CHUNK_BYTES])
async def test_what_goes_through_comes_out(data: bytes) -> None:
    """Every piece fits into a frame."""
    shelf = Shelf(data)
    assert await download(THREAD, ids(), shelf.ask) == data
    await upload(THREAD, data, ids(), shelf.ask)
    assert shelf.taken == data


async def test_a_thread_that_changes_under_way_is_fetched_anew() -> None:
    """What comes out is of one moment."""
    shelf = Shelf(LARGE)

    async def ask(verb: AnyVerb) -> ThreadArchive | None:
        if shelf.asked == 1:
            shelf.archive = LARGE + b"more"
        return await shelf.ask(verb)

    assert await download(THREAD, ids(), ask) == LARGE + b"more"


async def test_a_cut_upload_begins_again() -> None:
    """The agent does not have what the cut connection had brought."""
    shelf = Shelf()
    shelf.failures = [None, ErrorCode.NOT_FOUND]
    await upload(THREAD, LARGE, ids(), shelf.ask)
    assert shelf.taken == LARGE
    assert shelf.asked == 5


@pytest.mark.parametrize("code", [ErrorCode.THREAD_GONE, ErrorCode.NOT_FOUND, ErrorCode.CONFLICT])
async def test_a_refusal_comes_out(code: ErrorCode) -> None:
    """Also where it comes again and again."""
    shelf = Shelf(LARGE)
    shelf.failures = [code] * 100
    with pytest.raises(AgentProtocolError) as caught:
        await download(THREAD, ids(), shelf.ask)
    assert caught.value.code == code
    with pytest.raises(AgentProtocolError) as caught:
        await upload(THREAD, LARGE, ids(), shelf.ask)
    assert caught.value.code == code
    assert shelf.asked <= 10


@pytest.mark.parametrize(
    "answer",
    [
        None,
        ThreadArchive("v0", 5, "0" * 64, 0, b"hello"),  # another digest
        ThreadArchive("v0", 5, "0" * 64, 0, b""),  # never ends
        ThreadArchive("v0", 5, "0" * 64, 3, b"lo"),  # another place
        ThreadArchive("v0", 2, "0" * 64, 0, b"hello"),  # too much
        ThreadArchive("v0", MAX_ARCHIVE_BYTES + 1, "0" * 64, 0, b"hello"),
    ],
)
async def test_pieces_that_do_not_fit_are_refused(answer: ThreadArchive | None) -> None:
    """An agent that does so is broken: no loop, no half archive."""

    async def ask(_: AnyVerb) -> ThreadArchive | None:
        return answer

    with pytest.raises(AgentProtocolError) as caught:
        await download(THREAD, ids(), ask)
    assert caught.value.code == ErrorCode.BAD_ARCHIVE


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "bad_archive"), (b"x" * (MAX_ARCHIVE_BYTES + 1), "archive_too_large")],
)
async def test_what_the_agent_would_refuse_is_not_sent(data: bytes, code: str) -> None:
    """Nothing goes out."""
    shelf = Shelf()
    with pytest.raises(AgentProtocolError) as caught:
        await upload(THREAD, data, ids(), shelf.ask)
    assert caught.value.code == code
    assert shelf.asked == 0
