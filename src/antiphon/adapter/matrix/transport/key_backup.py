"""The client-server API of the room keys' backup on the homeserver.

The keys in it are encrypted by whoever puts them there; here they are only carried. Spec:
"Server-side key backups". One attempt per request, as in `client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.adapter.matrix.transport.answers import count, misses, objects, path, text
from antiphon.adapter.matrix.transport.http import Http
from antiphon.adapter.matrix.transport.values import KeyBackupState, KeyBackupVersion
from antiphon.errors import MatrixApiError

MOST_BYTES = 128 * 1024 * 1024
"""The largest backup that is read at once: about 200,000 keys. A larger one must be read
room by room."""
WHOLE_TIMEOUT_S = 300.0

WRONG_VERSION = "M_WRONG_ROOM_KEYS_VERSION"
"""The errcode (HTTP 403) when keys are put into a version that is not the newest any more."""


class KeyBackupApi:
    """Requests about the key backup; a `MatrixClient` hands it out as `key_backup`.

    A key is an object with `first_message_index`, `forwarded_count`, `is_verified` and
    `session_data`. Any method can raise what `MatrixClient`'s can."""

    def __init__(self, http: Http):
        self._http = http

    async def version(self, version: str | None = None) -> KeyBackupVersion | None:
        """A backup (None: the newest), or None when there is no such. GET /room_keys/version."""
        below = path("room_keys", "version", *(() if version is None else (version,)))
        answer = await self._found("look up the key backup", below)
        if answer is None:
            return None
        auth_data = answer.get("auth_data")
        if not isinstance(auth_data, dict):
            raise misses("auth_data", "room_keys/version")
        state = _state(answer, "room_keys/version")
        return KeyBackupVersion(
            text(answer, "version", "room_keys/version"),
            text(answer, "algorithm", "room_keys/version"),
            auth_data,
            state.count,
            state.etag,
        )

    async def create_version(self, algorithm: str, auth_data: Mapping[str, Any]) -> str:
        """Begins another backup, empty, and gives its version; older ones take no more keys.
        POST /room_keys/version. Not idempotent: after a lost answer look at `version()`."""
        answer = await self._http.ask(
            "begin a key backup",
            "POST",
            path("room_keys", "version"),
            body={"algorithm": algorithm, "auth_data": auth_data},
        )
        return text(answer, "version", "room_keys/version")

    async def update_version(
        self, version: str, algorithm: str, auth_data: Mapping[str, Any]
    ) -> None:
        """Replaces a backup's `auth_data`, such as to add a signature; the algorithm must stay.
        PUT /room_keys/version/{version}."""
        await self._http.ask(
            "change the key backup's signatures",
            "PUT",
            path("room_keys", "version", version),
            body={"algorithm": algorithm, "auth_data": auth_data, "version": version},
        )

    async def delete_version(self, version: str) -> None:
        """Deletes a backup with all of its keys; done also where there is none. The one before it
        is the newest then. DELETE /room_keys/version/{version}."""
        below = path("room_keys", "version", version)
        try:
            await self._http.ask("delete a key backup", "DELETE", below)
        except MatrixApiError as error:
            if error.errcode != "M_NOT_FOUND":
                raise

    async def put(
        self, version: str, rooms: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> KeyBackupState:
        """Puts keys (room → session → key) into the newest backup. PUT /room_keys/keys.

        A key that is there already is replaced only by a better one: verified where the other is
        not, or a lower message index, or fewer forwards (measured: any of the three is enough, so
        a verified key can be replaced by one that is not); so repeating it is harmless.

        Raises MatrixApiError with `WRONG_VERSION` when a newer backup was begun, with M_NOT_FOUND
        when there is none."""
        answer = await self._http.ask(
            "back keys up",
            "PUT",
            path("room_keys", "keys"),
            query={"version": version},
            body={"rooms": {room_id: {"sessions": keys} for room_id, keys in rooms.items()}},
        )
        return _state(answer, "room_keys/keys")

    async def all(self, version: str) -> dict[str, dict[str, dict[str, Any]]]:
        """All keys of a backup: room → session → key. GET /room_keys/keys.

        Raises MatrixApiError with M_TOO_LARGE above `MOST_BYTES`, M_NOT_FOUND without such a
        backup."""
        answer = await self._http.ask(
            "read the key backup",
            "GET",
            path("room_keys", "keys"),
            query={"version": version},
            timeout_s=WHOLE_TIMEOUT_S,
            most_bytes=MOST_BYTES,
        )
        rooms = objects(answer.get("rooms"))
        return {room_id: objects(room.get("sessions")) for room_id, room in rooms.items()}

    async def room(self, version: str, room_id: str) -> dict[str, dict[str, Any]]:
        """A room's keys in a backup: session → key; empty when it has none.
        GET /room_keys/keys/{roomId}. Raises as `all`."""
        answer = await self._http.ask(
            "read a room's key backup",
            "GET",
            path("room_keys", "keys", room_id),
            query={"version": version},
            timeout_s=WHOLE_TIMEOUT_S,
            most_bytes=MOST_BYTES,
        )
        return objects(answer.get("sessions"))

    async def session(self, version: str, room_id: str, session_id: str) -> dict[str, Any] | None:
        """One key in a backup; None when it is not there, or there is no such backup.
        GET /room_keys/keys/{roomId}/{sessionId}."""
        below = path("room_keys", "keys", room_id, session_id)
        return await self._found("read a key from the backup", below, {"version": version})

    async def _found(
        self, what: str, below: str, query: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        try:
            return await self._http.ask(what, "GET", below, query=query)
        except MatrixApiError as error:
            if error.status == 404 and error.errcode == "M_NOT_FOUND":
                return None
            raise


def _state(answer: Mapping[str, Any], request: str) -> KeyBackupState:
    number = count(answer.get("count"))
    if number is None:
        raise misses("count", request)
    return KeyBackupState(number, text(answer, "etag", request))
