"""Ports for servers that are killed and started again: theirs for as long as this process lives.

A port of the system's choosing (port 0) is the best for a server that starts once. One that must
come back at its address can't use it: while the server is away, the system may give the port to
any connection or to another test. These are outside the range from which the system chooses, and
each is locked against other tests of this machine.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 32_000
"""Below what Linux gives by itself (`net.ipv4.ip_local_port_range`: from 32768)."""


def kept_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, and that no other call of this gets."""
    folder = Path(tempfile.gettempdir()) / f"antiphon-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST)
        # Left open: the lock is held for as long as this process lives.
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        return port
