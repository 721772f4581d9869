"""The child's side of supervision: a process that ends when its supervisor does, however that died.

The supervisor holds the other end of our standard input. When it is gone, by kill -9 too, the
pipe ends here, and on Linux the kernel signals us as well.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1

GRACE_S = 10.0
"""Seconds that a clean stop may take before this process is killed."""


def die_with_parent(grace_s: float = GRACE_S) -> None:
    """From now on: when the supervisor ends, SIGTERM for this process, and SIGKILL `grace_s`
    seconds later. Call it first thing in the process, with standard input a pipe from there."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_watch, args=(grace_s,), name="parent-watch", daemon=True).start()


def _watch(grace_s: float) -> None:
    # Unbuffered on purpose: a daemon thread inside sys.stdin would hold its lock at exit.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os.kill(os.getpid(), signal.SIGKILL)
