"""Lines of standard input: typed, pasted, piped."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from antiphon.adapter.terminal.lines import Lines


async def test_what_is_piped_is_a_line_each_and_then_the_end() -> None:
    out, into = os.pipe()
    os.write(into, "one\r\ntwo\n\nthree \ud7ff".encode() + b"\xff")
    os.close(into)
    try:
        async with Lines(out, gather=False) as lines:
            assert [await lines.next() for _ in range(4)] == [
                "one",
                "two",
                "",
                "three \ud7ff\ufffd",
            ]
            assert await lines.next() is None
            assert await lines.next() is None
    finally:
        os.close(out)


async def test_what_is_pasted_together_is_one() -> None:
    out, into = os.pipe()
    try:
        async with Lines(out, gather=True) as lines:
            os.write(into, b"def f():\n")
            os.write(into, b"    return 1\n")
            assert await lines.next() == "def f():\n    return 1"
            os.write(into, b"typed\n")
            assert await lines.next() == "typed"
            os.write(into, b"last")
            os.close(into)
            assert [await lines.next(), await lines.next()] == ["last", None]
    finally:
        os.close(out)


async def test_a_file_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_text("one\ntwo")
    with file.open() as stream:
        async with Lines(stream.fileno(), gather=False) as lines:
            assert [await lines.next() for _ in range(3)] == ["one", "two", None]


async def test_nobody_waits_in_a_thread() -> None:
    out, into = os.pipe()
    try:
        async with Lines(out, gather=True) as lines:
            waiting = asyncio.create_task(lines.next())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    finally:
        os.close(out)
        os.close(into)
