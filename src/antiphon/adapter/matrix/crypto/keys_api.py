"""What encryption needs of the homeserver, as a port: the transport implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class KeysApi(Protocol):
    """The requests about keys (client-server API, "End-to-End Encryption"). Each raises a
    HomeserverError where the homeserver refuses or does not answer."""

    async def upload_keys(self, body: Mapping[str, Any]) -> Mapping[str, int]:
        """Publishes our keys; how many one-time keys the homeserver has now, by algorithm."""
        ...

    async def query_keys(self, user_ids: Sequence[str], timeout_ms: int) -> Mapping[str, Any]:
        """The answer of `/keys/query`, unchecked."""
        ...

    async def claim_keys(
        self, wanted: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        """The answer of `/keys/claim`, unchecked; `wanted` is user → device → algorithm."""
        ...

    async def send_to_device(
        self,
        event_type: str,
        txn_id: str,
        messages: Mapping[str, Mapping[str, Mapping[str, Any]]],
    ) -> None:
        """Sends to devices; the same `txn_id` again does nothing."""
        ...
