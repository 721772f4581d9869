"""One user's key backups at the fake homeserver: versions, counts, tags and keys, merged as Synapse
does. No I/O.
"""

from __future__ import annotations

from typing import Any

from antiphon.testing.homeserver_refusal import RefusedError


class Backup:
    """One version: its keys by room and session; `etag` counts its changes."""

    def __init__(self, version: str, algorithm: str, auth_data: dict[str, Any]):
        self.version = version
        self.algorithm = algorithm
        self.auth_data = auth_data
        self.keys: dict[str, dict[str, dict[str, Any]]] = {}
        self.etag = 0

    @property
    def count(self) -> int:
        """How many keys it holds."""
        return sum(len(keys) for keys in self.keys.values())

    def state(self) -> dict[str, Any]:
        """Count and tag, as the API says them."""
        return {"count": self.count, "etag": str(self.etag)}

    def info(self) -> dict[str, Any]:
        """The answer of GET /room_keys/version."""
        about = {"version": self.version, "algorithm": self.algorithm, "auth_data": self.auth_data}
        return about | self.state()

    def merge(self, rooms: dict[str, Any]) -> None:
        """Takes the keys that are new or better than what is there."""
        changed = False
        for room_id, room in rooms.items():
            for session_id, key in room["sessions"].items():
                if not isinstance(key.get("is_verified"), bool):
                    raise RefusedError(400, "M_INVALID_PARAM")
                known = self.keys.get(room_id, {}).get(session_id)
                if known is None or _is_better(key, known):
                    self.keys.setdefault(room_id, {})[session_id] = key
                    changed = True
        self.etag += changed


class Backups:
    """A user's backups; the newest that was not deleted is the one that takes keys."""

    def __init__(self) -> None:
        self._made = 0
        self._kept: dict[str, Backup] = {}

    def create(self, algorithm: str, auth_data: dict[str, Any]) -> str:
        """Begins another version."""
        self._made += 1
        self._kept[str(self._made)] = Backup(str(self._made), algorithm, auth_data)
        return str(self._made)

    def find(self, version: str | None) -> Backup:
        """A version, or the newest (None); refuses where there is none."""
        if version is None and self._kept:
            return list(self._kept.values())[-1]
        if version is None or version not in self._kept:
            raise RefusedError(404, "M_NOT_FOUND")
        return self._kept[version]

    def put(self, version: str, rooms: dict[str, Any]) -> dict[str, Any]:
        """Puts keys into a version, which must be the newest."""
        newest = self.find(None)
        if self.find(version) is not newest:
            raise RefusedError(403, "M_WRONG_ROOM_KEYS_VERSION", current_version=newest.version)
        newest.merge(rooms)
        return newest.state()

    def delete(self, version: str) -> None:
        """Deletes a version, again too; refuses where there never was one."""
        if not version.isdigit() or not 0 < int(version) <= self._made:
            raise RefusedError(404, "M_NOT_FOUND")
        self._kept.pop(version, None)


def _is_better(key: dict[str, Any], known: dict[str, Any]) -> bool:
    return (
        (key["is_verified"] and not known["is_verified"])
        or key["first_message_index"] < known["first_message_index"]
        or key["forwarded_count"] < known["forwarded_count"]
    )
