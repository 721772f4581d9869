"""The file of a backup: a zip with a manifest, two dumps and one archive a memory, written whole or
not at all, and checked before it is believed."""

from __future__ import annotations

import hashlib
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from antiphon.crash import crash_point
from antiphon.db.dump import Dump, decode
from antiphon.db.private_file import sync_folder
from antiphon.errors import SchemaTooNewError, SettingsError, StateError

FORMAT = "antiphon.matrix-backup"
VERSION = 1

MANIFEST = "manifest.json"
JOURNAL = "journal.json"
STATE = "state.json"

MAX_MANIFEST_BYTES = 64 << 20

_UNREADABLE = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
)
"""What the library raises for a file that is no whole zip of ours."""


class Part(msgspec.Struct, frozen=True):
    """One file in the zip: its bytes and their SHA-256."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What is in a backup. `stores`: revision of each schema; `memories`: part by thread id;
    `memory`: whether memories were asked for."""

    format: str
    version: int
    program: str
    account: str
    device: str
    created: str
    stores: dict[str, str]
    counts: dict[str, int]
    memory: bool
    memories: dict[str, str]
    parts: dict[str, Part]


class _Head(msgspec.Struct):
    format: str
    version: int
    program: str = ""


def damaged(path: Path, why: object) -> StateError:
    """The error for a file that can't be used."""
    return StateError(
        f"{path} is no whole backup ({why}). Use another one; nothing was changed.",
        code="bad_backup",
    )


class Writer:
    """A backup that is being written; made by `writing`."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        self.parts: dict[str, Part] = {}

    def add(self, name: str, data: bytes) -> None:
        """Adds a part."""
        self._put(name, data)
        self.parts[name] = Part(len(data), hashlib.sha256(data).hexdigest())

    def finish(self, manifest: Manifest) -> None:
        """Adds the manifest; the last thing to add."""
        data = msgspec.json.encode(msgspec.structs.replace(manifest, parts=self.parts))
        self._put(MANIFEST, msgspec.json.format(data, indent=1))

    def _put(self, name: str, data: bytes) -> None:
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.external_attr = 0o600 << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        self._archive.writestr(info, data)


@contextmanager
def writing(target: Path) -> Iterator[Writer]:
    """Writes a backup (0600) beside `target`, and gives it that name when the block has ended and
    it is on disk. A file of that name is never replaced: FileExistsError. Raises StateError."""
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w+b") as out:
                with zipfile.ZipFile(out, "w") as archive:
                    yield Writer(archive)
                out.flush()
                os.fsync(out.fileno())
            crash_point("backup.written")
            os.link(new, target)  # a rename would replace what has the name
        finally:
            new.unlink(missing_ok=True)
        sync_folder(target.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise StateError(f"Can't write {target}: {error.strerror or error}.") from error


class BackupFile:
    """An open backup, every byte of which was checked; made by `opened`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, manifest: Manifest, digest: str):
        self.path = path
        self.manifest = manifest
        self.digest = digest
        """SHA-256 of the whole file."""
        self._archive = archive

    def journal(self) -> Dump:
        """The journal's rows."""
        return self._dump(JOURNAL)

    def state(self) -> Dump | None:
        """The local state's rows; None where there was none."""
        return self._dump(STATE) if STATE in self.manifest.parts else None

    def memory(self, thread_id: str) -> bytes | None:
        """The archive of a thread's memory, if it is here."""
        name = self.manifest.memories.get(thread_id)
        return None if name is None else self.read(name)

    def read(self, name: str) -> bytes:
        """A part. Raises StateError where it is not what the manifest says."""
        part = self.manifest.parts.get(name)
        if part is None:
            raise damaged(self.path, f"{name} is missing")
        data = _read(self.path, self._archive, name, part.size)
        if len(data) != part.size or hashlib.sha256(data).hexdigest() != part.sha256:
            raise damaged(self.path, f"{name} is not what was written")
        return data

    def _dump(self, name: str) -> Dump:
        try:
            return decode(self.read(name))
        except StateError as error:
            if error.code == "bad_backup":
                raise
            raise damaged(self.path, error.message) from error


@contextmanager
def opened(path: Path) -> Iterator[BackupFile]:
    """Opens a backup and checks all of it. Raises SettingsError where there is no such file,
    SchemaTooNewError for one of a newer version, StateError for a damaged one."""
    try:
        file = path.open("rb")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SettingsError(f"Can't read the backup {path}: {error.strerror or error}.") from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except _UNREADABLE as error:
            raise damaged(path, error) from error
        with archive:
            found = BackupFile(path, archive, _manifest(path, archive), digest)
            for name in found.manifest.parts:
                found.read(name)
            yield found


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    data = _read(path, archive, MANIFEST, MAX_MANIFEST_BYTES)
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format != FORMAT:
            raise damaged(path, f"its format is {head.format[:40]!r}")
        if head.version > VERSION:
            raise SchemaTooNewError(
                f"{path} was written by a newer Antiphon ({head.program or 'unknown'}; format "
                f"{head.version}, this one knows {VERSION}). Install that version to restore it."
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(path, f"{MANIFEST}: {error}") from error
    missing = {JOURNAL, *manifest.memories.values()} - set(manifest.parts)
    if missing:
        raise damaged(path, f"{min(missing)} is missing")
    return manifest


def _read(path: Path, archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """A part's bytes, at most one more than `size`."""
    try:
        with archive.open(name) as part:
            return part.read(size + 1)
    except _UNREADABLE as error:
        raise damaged(path, f"{name}: {error}") from error
