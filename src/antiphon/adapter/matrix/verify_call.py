"""The way of a command to the adapter that runs on the same state: a socket in the state folder, so
that only who can read that folder can speak. Used by commands; knows nothing of encryption."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from antiphon.errors import StateError

SOCKET = "matrix-verify.sock"
LONGEST_S = 700.0
"""A verification takes ten minutes at most."""


class Call:
    """One verification that the adapter is asked for, line by line in JSON. Blocking."""

    def __init__(self, state: Path):
        """Raises StateError where nobody answers there."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(LONGEST_S)
        try:
            self._socket.connect(str(state / SOCKET))
        except OSError as error:
            self._socket.close()
            raise StateError(
                f"No adapter with encryption answers in {state} ({error.strerror or error}). Start "
                "it with `antiphon run` or `antiphon matrix run`; this command speaks to it."
            ) from error
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, user_id: str, room_id: str | None) -> None:
        """Asks for a verification of this user, in a room or by all of their devices."""
        self._say({"user": user_id, "room": room_id})

    def word(self, *, same: bool) -> None:
        """A person has compared."""
        self._say({"same": same})

    def news(self) -> dict[str, Any]:
        """What happens next: its `event` is `asked`, `compare`, `done`, `cancelled` or `failed`.
        Raises StateError when the adapter ends."""
        try:
            line = self._lines.readline()
        except OSError as error:
            raise StateError(f"The adapter does not answer any more: {error}.") from error
        if not line:
            raise StateError("The adapter has ended, and the verification with it.")
        return dict(json.loads(line))

    def _say(self, what: Mapping[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(what).encode() + b"\n")
        except OSError as error:
            raise StateError("The adapter has ended, and the verification with it.") from error
