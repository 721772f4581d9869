"""Supervision of real, tiny child processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from antiphon.clock import SystemClock
from antiphon.run.child import Child, ChildSpec
from antiphon.run.policy import Backoff, ChildEndedError, Death
from antiphon.run.together import run_together

QUICK = Backoff(first_s=0.02, most_s=0.1)


def child(code: str, *, lines: list[str] | None = None, grace_s: float = 5.0) -> Child:
    log = lines if lines is not None else []
    spec = ChildSpec("fake", (sys.executable, "-u", "-c", code), dict(os.environ))
    return Child(spec, log_line=log.append, backoff=QUICK, grace_s=grace_s)


@asynccontextmanager
async def running(one: Child) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(one.run(stop))
        try:
            yield task
        finally:
            stop.set()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def until_dead(pid: int, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while alive(pid):
            await asyncio.sleep(0.01)


async def test_ready_is_told_with_the_address() -> None:
    one = child("import time; print('ready ws://here'); time.sleep(60)")
    async with running(one):
        await asyncio.wait_for(one.ready.wait(), 10)
        assert one.url == "ws://here"


async def test_log_lines_are_passed_on_and_the_sentence_is_kept_apart() -> None:
    lines: list[str] = []
    one = child(
        "import sys, time\n"
        "print('a log line', file=sys.stderr)\n"
        "print('x' * 200000, file=sys.stderr)\n"
        "print('antiphon: No such thing.', file=sys.stderr)\n"
        "print('ready u')\n"
        "sys.exit(2)",
        lines=lines,
    )
    with pytest.raises(ChildEndedError, match="No such thing") as caught:
        await one.run(asyncio.Event())
    assert caught.value.exit_code == 2
    assert lines[0] == "a log line"
    assert "".join(lines[1:]) == "x" * 200_000


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    marker = tmp_path / "count"
    one = child(
        "import pathlib, sys, time\n"
        f"p = pathlib.Path({str(marker)!r})\n"
        "n = int(p.read_text()) if p.exists() else 0\n"
        "p.write_text(str(n + 1))\n"
        "if n < 2: sys.exit(1)\n"
        "print('ready u'); time.sleep(60)"
    )
    async with running(one):
        await asyncio.wait_for(one.ready.wait(), 20)
    assert marker.read_text() == "3"


async def test_a_child_killed_with_9_is_started_again_and_is_another_process() -> None:
    one = child("import time; print('ready u'); time.sleep(60)")
    async with running(one):
        await asyncio.wait_for(one.ready.wait(), 10)
        first = one.pid
        assert first is not None
        one.ready.clear()
        os.kill(first, signal.SIGKILL)
        await asyncio.wait_for(one.ready.wait(), 10)
        assert one.pid != first


async def test_stop_lets_a_child_end_by_itself(tmp_path: Path) -> None:
    done = tmp_path / "done"
    one = child(
        "import pathlib, signal, sys, time\n"
        f"signal.signal(15, lambda *_: (pathlib.Path({str(done)!r}).touch(), sys.exit(0)))\n"
        "print('ready u'); time.sleep(60)"
    )
    async with running(one):
        await asyncio.wait_for(one.ready.wait(), 10)
    assert done.exists()


async def test_a_child_that_ignores_sigterm_is_killed_with_its_own_children() -> None:
    one = child(
        "import signal, subprocess, sys, time\n"
        "signal.signal(15, signal.SIG_IGN)\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import signal, time;"
        "signal.signal(15, signal.SIG_IGN); time.sleep(60)'])\n"
        "print('ready', inner.pid); time.sleep(60)",
        grace_s=0.2,
    )
    async with running(one):
        await asyncio.wait_for(one.ready.wait(), 10)
        outer, inner = one.pid, int(one.url)
        assert outer is not None
    await until_dead(outer)
    await until_dead(inner)


async def test_cancelling_ends_the_child_too() -> None:
    one = child("import time; print('ready u'); time.sleep(60)")
    task = asyncio.create_task(one.run(asyncio.Event()))
    await asyncio.wait_for(one.ready.wait(), 10)
    pid = one.pid
    assert pid is not None
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await until_dead(pid)


async def test_stop_during_the_wait_for_a_restart_ends_at_once() -> None:
    died = asyncio.Event()

    class Waiting(SystemClock):
        async def sleep(self, seconds: float) -> None:
            died.set()
            await super().sleep(seconds)

    one = Child(
        ChildSpec("fake", (sys.executable, "-c", "raise SystemExit(1)"), dict(os.environ)),
        log_line=lambda _: None,
        clock=Waiting(),
        backoff=Backoff(first_s=60.0, most_s=60.0),
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run(stop))
        async with asyncio.timeout(10):
            await died.wait()
        began = time.monotonic()
        stop.set()
    assert time.monotonic() - began < 5


async def test_each_death_is_told_until_the_tries_are_used_up() -> None:
    deaths: list[Death] = []
    one = Child(
        ChildSpec(
            "fake",
            (sys.executable, "-c", "import sys; sys.exit('antiphon: No luck.')"),
            dict(os.environ),
        ),
        log_line=lambda _: None,
        on_death=deaths.append,
        backoff=Backoff(first_s=0.01, most_s=0.01, first_tries=3),
    )
    with pytest.raises(ChildEndedError, match="No luck") as caught:
        await one.run(asyncio.Event())
    assert caught.value.exit_code == 1
    assert deaths == [Death("fake", 1, "No luck.", 0.01)] * 2


async def test_one_with_wrong_settings_ends_the_others_and_its_sentence_comes_out() -> None:
    good = child("import time; print('ready u'); time.sleep(60)")
    bad = child("import sys; print('antiphon: Wrong key.', file=sys.stderr); sys.exit(2)")
    readies: list[int] = []
    with pytest.RaisesGroup(pytest.RaisesExc(ChildEndedError, match="Wrong key")):
        await run_together([good, bad], stop=asyncio.Event(), on_ready=lambda: readies.append(1))
    assert readies == []
    assert good.pid is None


async def test_ready_is_announced_once_when_all_are() -> None:
    ones = [child("import time; print('ready u'); time.sleep(60)") for _ in range(2)]
    stop = asyncio.Event()
    readies: list[int] = []

    def on_ready() -> None:
        readies.append(1)
        stop.set()

    await asyncio.wait_for(run_together(ones, stop=stop, on_ready=on_ready), 20)
    assert readies == [1]


@pytest.mark.parametrize("deaf", [False, True], ids=["polite child", "child deaf to SIGTERM"])
async def test_kill_9_of_the_supervisor_leaves_no_child(deaf: bool) -> None:
    watched = (
        "import signal, time\n"
        "from antiphon.run.parent import die_with_parent\n"
        + ("signal.signal(15, signal.SIG_IGN)\n" if deaf else "")
        + "die_with_parent(0.3)\n"
        "print('ready u', flush=True)\n"
        "time.sleep(60)"
    )
    supervisor = (
        "import asyncio, os, sys\n"
        "from antiphon.run.child import Child, ChildSpec\n"
        f"spec = ChildSpec('fake', (sys.executable, '-u', '-c', {watched!r}), dict(os.environ))\n"
        "async def main():\n"
        "    c = Child(spec, log_line=print)\n"
        "    async with asyncio.TaskGroup() as g:\n"
        "        g.create_task(c.run(asyncio.Event()))\n"
        "        await c.ready.wait()\n"
        "        print(c.pid, flush=True)\n"
        "asyncio.run(main())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", supervisor, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pid = int(await asyncio.wait_for(process.stdout.readline(), 20))
    assert alive(pid)
    process.kill()
    await process.wait()
    await until_dead(pid)
