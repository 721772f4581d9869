"""Which cipher a command works with: the real one where it is installed and not switched off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from antiphon.adapter.matrix.cipher import Cipher, NoCipher
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.settings import MatrixSettings
from antiphon.telemetry import logger

NEEDS = ("vodozemac", "cryptography")
KEY_FILES = ("matrix-keys.db", "matrix-keys.db-wal", "matrix-keys.db-shm", "matrix-keys.key")
"""What lies in the state folder of a device's encryption."""


def installed() -> bool:
    """Whether the extra `e2ee` is."""
    return all(find_spec(name) is not None for name in NEEDS)


@asynccontextmanager
async def cipher_of(
    matrix: MatrixSettings,
    state: Path,
    client: MatrixClient,
    user_id: str,
    device_id: str,
    clock: Clock,
) -> AsyncIterator[Cipher]:
    """Encryption, where it is installed and not switched off."""
    if not matrix.encryption:
        yield NoCipher()
    elif not installed():
        logger("matrix").info("no_encryption", hint="install antiphon[e2ee] for encrypted rooms")
        yield NoCipher()
    else:
        from antiphon.adapter.matrix.crypto.opening import open_cipher

        async with open_cipher(matrix, state, client, user_id, device_id, clock) as cipher:
            yield cipher
