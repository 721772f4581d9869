"""How the fake homeserver says no."""

from __future__ import annotations

from typing import Any


class RefusedError(Exception):
    """The fake homeserver says no: `status` and a Matrix error as `body`."""

    def __init__(self, status: int, errcode: str, **more: Any):
        super().__init__(errcode)
        self.status = status
        self.body = {"errcode": errcode, "error": f"Refused: {errcode}", **more}
