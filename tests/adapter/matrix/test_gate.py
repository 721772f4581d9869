"""The gate: finals first, nothing past the limit, partials dropped when it is scarce."""

from __future__ import annotations

import asyncio

from antiphon.adapter.matrix.gate import MOST_AT_ONCE, SendGate
from antiphon.core.pacing import SendClass
from antiphon.testing.clock import FakeClock, settle


async def hold(gate: SendGate, kind: SendClass, order: list[str], name: str) -> None:
    async with gate.slot(kind) as slot:
        order.append(name)
        slot.succeeded()


async def limit(gate: SendGate, retry_after_ms: int) -> None:
    async with gate.slot(SendClass.FINAL) as slot:
        slot.limited(retry_after_ms)


async def test_finals_overtake_what_waits_before_them() -> None:
    clock = FakeClock()
    gate = SendGate(clock)
    await limit(gate, 5000)
    order: list[str] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(gate, SendClass.FIRST, order, "first"))
        await settle()
        group.create_task(hold(gate, SendClass.FINAL, order, "final 1"))
        group.create_task(hold(gate, SendClass.FINAL, order, "final 2"))
        await settle()
        assert order == []
        await clock.advance(5.1)
        assert order == ["final 1"]
        for _ in range(12):
            await clock.advance(5.1)
    assert order == ["final 1", "final 2", "first"]


async def test_no_partial_is_let_through_while_anything_waits() -> None:
    clock = FakeClock()
    gate = SendGate(clock)
    assert gate.may_send_partial()
    await limit(gate, 1000)
    assert not gate.may_send_partial()


async def test_first_words_are_given_up_when_the_final_is_there() -> None:
    clock = FakeClock()
    gate = SendGate(clock)
    await limit(gate, 60_000)
    over = asyncio.Event()
    waiting = asyncio.create_task(gate.room_for_first(over.wait()))
    await settle()
    assert not waiting.done()
    over.set()
    assert await waiting is False


async def test_a_bounded_number_is_under_way_at_once() -> None:
    gate = SendGate(FakeClock())
    release = asyncio.Event()
    inside = 0

    async def send() -> None:
        nonlocal inside
        async with gate.slot(SendClass.FINAL):
            inside += 1
            await release.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(MOST_AT_ONCE + 5):
            group.create_task(send())
        await settle()
        assert inside == MOST_AT_ONCE
        release.set()
    assert inside == MOST_AT_ONCE + 5


async def test_a_cancelled_waiter_blocks_nobody() -> None:
    clock = FakeClock()
    gate = SendGate(clock)
    await limit(gate, 1000)
    order: list[str] = []
    given_up = asyncio.create_task(hold(gate, SendClass.FINAL, order, "given up"))
    next_one = asyncio.create_task(hold(gate, SendClass.FINAL, order, "next"))
    await settle()
    given_up.cancel()
    await clock.advance(10)
    await next_one
    assert order == ["next"]


async def test_a_place_that_was_not_used_is_there_again() -> None:
    clock = FakeClock()
    gate = SendGate(clock)
    await limit(gate, 5000)
    await clock.advance(5.1)
    order: list[str] = []
    async with gate.slot(SendClass.FINAL) as slot:
        slot.unused()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(gate, SendClass.FINAL, order, "final"))
        await settle()
        assert order == ["final"]
