"""What can go wrong between a client and the fake homeserver, and the queue it waits in."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec

Op = Literal[
    "versions", "login", "whoami", "logout", "sync", "send", "redact", "typing", "receipt",
    "join", "leave", "forget", "invite", "messages", "createRoom", "joined_rooms",
    "joined_members", "directory", "state", "set_state", "event", "relations",
    "displayname", "set_displayname",
    "federation_version", "synapse_version", "login_flows", "hierarchy",
    "keys_upload", "keys_query", "keys_claim", "keys_changes", "send_to_device", "signing_keys",
    "signatures", "devices", "account_data", "set_account_data", "backup_version", "create_backup",
    "update_backup", "delete_backup", "put_backup_keys", "backup_keys", "media_upload",
    "media_download",
]  # fmt: skip


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a request.

    `taken`: whether the server carries the request out. `delay_s` or `gate` (an asyncio.Event, for
    tests that must say when) hold the answer back; the request is carried out before that, or
    with `late` after it, even if its client gave up meanwhile. Then the connection
    is cut without an answer (`drop`), or cut in mid-answer (`truncate`), or `status`, `body` and
    `headers` are the answer."""

    taken: bool = True
    late: bool = False
    delay_s: float = 0.0
    gate: asyncio.Event | None = None
    drop: bool = False
    truncate: bool = False
    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = {}


def lost_response() -> Fault:
    """The server takes the request; its answer is lost."""
    return Fault(drop=True)


def lost_request() -> Fault:
    """The connection is cut before the server takes the request."""
    return Fault(taken=False, drop=True)


def slow(seconds: float) -> Fault:
    """The request is taken at once and answered after `seconds`."""
    return Fault(delay_s=seconds)


def held(gate: asyncio.Event) -> Fault:
    """The request is taken at once and answered when `gate` is set."""
    return Fault(gate=gate)


def landing_late(gate: asyncio.Event) -> Fault:
    """The request is on its way, and carried out only when `gate` is set."""
    return Fault(late=True, gate=gate)


def limited(retry_after_ms: int) -> Fault:
    """429, as Synapse says it."""
    return error(429, "M_LIMIT_EXCEEDED", retry_after_ms=retry_after_ms)


def error(status: int, errcode: str, *, taken: bool = False, **more: Any) -> Fault:
    """A Matrix error."""
    body = {"errcode": errcode, "error": f"Injected {errcode}", **more}
    return Fault(
        taken=taken,
        status=status,
        body=msgspec.json.encode(body),
        headers={"Content-Type": "application/json"},
    )


def html(status: int = 502, *, taken: bool = False) -> Fault:
    """A proxy's page in the place of an answer; with 200 it looks like success."""
    return Fault(
        taken=taken,
        status=status,
        body=b"<html><body><h1>Bad gateway</h1></body></html>",
        headers={"Content-Type": "text/html"},
    )


def truncated() -> Fault:
    """The request is taken; the answer breaks off in the middle."""
    return Fault(truncate=True)


def answer(body: bytes, status: int = 200) -> Fault:
    """The server does nothing and answers just this."""
    return Fault(taken=False, status=status, body=body)


class FaultQueue:
    """Faults that wait for requests: for each operation the first added is used first."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Fault, int]]] = {}

    def add(self, op: Op, fault: Fault, times: int) -> None:
        """The next `times` requests of this operation meet `fault`."""
        self._waiting.setdefault(op, []).append((fault, times))

    def take(self, op: str) -> Fault | None:
        """The fault for a request that has just come, if there is one."""
        queue = self._waiting.get(op)
        if not queue:
            return None
        fault, times = queue.pop(0)
        if times > 1:
            queue.insert(0, (fault, times - 1))
        return fault

    def clear(self) -> None:
        """No more faults."""
        self._waiting.clear()
