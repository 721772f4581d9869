"""Named points at which a process can be told to die, to test what survives that. A leaf.

`ANTIPHON_CRASH=turn.frozen` kills the process (SIGKILL: nothing is flushed or cleaned up) when it
comes to that point, `turn.frozen@3` when it comes there for the third time; several are separated
by commas. Unset, as it always is in use, a point costs one look at `None`. The points stand in
the code as `crash_point("literal")`; docs/reliability.md lists them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

VARIABLE = "ANTIPHON_CRASH"


class CrashPlan:
    """At which visit of which points to die. Safe to use from several threads."""

    def __init__(self, text: str, die: Callable[[], None]):
        """`text` as in ANTIPHON_CRASH; `die` ends the process. Raises ValueError."""
        self._left: dict[str, int] = {}
        self._die = die
        self._lock = threading.Lock()
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, _, count = item.partition("@")
            self._left[name] = int(count or 1)

    def visit(self, name: str) -> None:
        """The process is at the point `name`."""
        with self._lock:
            if name not in self._left:
                return
            self._left[name] -= 1
            if self._left[name] > 0:
                return
        self._die()


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _plan(text: str) -> CrashPlan | None:
    return CrashPlan(text, _kill_self) if text else None


# The only state that a module of ours holds: it must be reachable from everywhere, and is None.
_PLAN = _plan(os.environ.get(VARIABLE, ""))


def crash_point(name: str) -> None:
    """Here a process may die, if the environment says so; otherwise does nothing."""
    if _PLAN is not None:
        _PLAN.visit(name)
