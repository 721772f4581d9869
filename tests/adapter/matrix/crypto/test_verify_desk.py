"""A person's word reaches the running adapter by a socket, and only while it waits for it."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.beside import while_in
from antiphon.adapter.matrix.crypto.verify_desk import open_desk
from antiphon.adapter.matrix.verify_call import SOCKET, Call
from antiphon.errors import StateError
from antiphon.testing.crypto_world import World
from antiphon.testing.verifiers import Side, Timeline, cancels, exchange

ANN, BEN = "@ann:x", "@ben:x"


class Desk:
    """Ann, whose operator calls, and Ben."""

    def __init__(self, state: Path, ann: Side, ben: Side):
        self.state = state
        self.ann = ann
        self.ben = ben

    async def call(self) -> Call:
        return await asyncio.to_thread(Call, self.state)

    async def news(self, call: Call) -> dict[str, Any]:
        return await asyncio.to_thread(call.news)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(World(tmp_path))
        timeline = Timeline()
        ann = Side(await world.join(ANN, "A"), timeline, BEN)
        ben = Side(await world.join(BEN, "B"), timeline, ANN)
        world.directory.cross_sign(BEN)
        ben.master = world.directory.identities[BEN]["master"]["keys"].popitem()[1]
        world.directory.cross_sign(BEN)
        await stack.enter_async_context(while_in(ann.verifier.run()))
        await stack.enter_async_context(open_desk(tmp_path, ann.verifier))
        yield Desk(tmp_path, ann, ben)


@pytest.mark.parametrize("same", [True, False])
async def test_a_word_decides(desk: Desk, same: bool) -> None:
    with await desk.call() as call:
        call.ask(BEN, None)
        assert await desk.news(call) == {"event": "asked"}
        await exchange(desk.ann, desk.ben)
        shown = await desk.news(call)
        assert (shown["event"], len(shown["emoji"]), len(shown["decimals"])) == ("compare", 7, 3)
        assert desk.ann.vouched == []
        call.word(same=same)
        if same:
            while not desk.ann.vouched:
                await exchange(desk.ann, desk.ben)
                await asyncio.sleep(0)
            end = {"event": "done", "device": "B", "identity": True}
            assert await desk.news(call) == end
        else:
            end = await desk.news(call)
            assert (end["event"], end["code"]) == ("cancelled", "m.mismatched_sas")
            assert desk.ann.vouched == []


async def test_who_hangs_up_gives_it_up(desk: Desk) -> None:
    with await desk.call() as call:
        call.ask(BEN, None)
        await desk.news(call)
        await exchange(desk.ann, desk.ben)
        [live] = desk.ann.verifier._all
        assert (await desk.news(call))["event"] == "compare"
    await desk.ann.verifier.until(live, lambda _: False)
    assert cancels(desk.ann) == [(BEN, "m.user")]
    assert desk.ann.vouched == []


async def test_what_can_not_be_asked_is_said(desk: Desk) -> None:
    with await desk.call() as call:
        call.ask("@nobody:x", None)
        failed = await desk.news(call)
        assert failed["event"] == "failed"
        assert "no device" in failed["reason"]


async def test_the_other_side_cancels(desk: Desk) -> None:
    with await desk.call() as call:
        call.ask(BEN, None)
        await desk.news(call)
        desk.ben.allowed.clear()
        await desk.ben.sync()
        await desk.ann.someone.world.clock.advance(601)
        end = await desk.news(call)
        assert (end["event"], end["code"]) == ("cancelled", "m.timeout")


async def test_nonsense_ends_the_call_and_nothing_else(desk: Desk) -> None:
    for line in (b"", b"\n", b"{}\n", b"[" * 10_000 + b"\n", b'{"user": 1}\n', b"\xff\xfe\n"):
        reader, writer = await asyncio.open_unix_connection(desk.state / SOCKET)
        writer.write(line)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    await test_what_can_not_be_asked_is_said(desk)


async def test_only_its_owner_may_speak(desk: Desk) -> None:
    assert stat.S_IMODE((desk.state / SOCKET).stat().st_mode) == 0o600


async def test_a_socket_that_a_killed_process_left_is_replaced(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / SOCKET).touch()
    async with open_desk(folder, desk.ann.verifier):
        assert (folder / SOCKET).is_socket()
    assert not (folder / SOCKET).exists()


async def test_a_folder_with_too_long_a_name_stops_nothing(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    async with open_desk(folder, desk.ann.verifier):
        assert not (folder / SOCKET).exists()


def test_without_an_adapter_it_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="antiphon run"):
        Call(tmp_path)
