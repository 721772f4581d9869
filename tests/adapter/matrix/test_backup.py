"""Backups: what is in one, that it is whole or not there, and what comes of a broken one."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from antiphon.adapter.matrix.backup import file as backup_file
from antiphon.adapter.matrix.backup.file import opened
from antiphon.errors import (
    AgentUnreachableError,
    SchemaTooNewError,
    SettingsError,
    StateError,
)
from antiphon.settings import AgentSettings, Secret
from antiphon.testing.agent_service import TOKEN, running_agent
from antiphon.testing.disk import SmallDisk
from antiphon.testing.engine import ScriptedEngine
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.keeper import COUNTING, Keeper


@pytest.fixture
async def keeper(homeserver: FakeHomeserver, tmp_path: Path) -> AsyncIterator[Keeper]:
    async with running_agent(tmp_path / "agent", ScriptedEngine(COUNTING)) as agent:
        yield Keeper(homeserver, tmp_path, agent.url)


async def test_a_backup_holds_state_and_memories_and_no_secret(keeper: Keeper) -> None:
    """For its owner alone; it says what is in it and how to put it back."""
    secret = "the-token-of-the-login"
    keeper.state.mkdir()
    (keeper.state / "matrix-login.json").write_text(f'{{"access_token":"{secret}"}}')
    await keeper.talk("My name is Ada.", "I like tea.")
    report = await keeper.backup()
    path = Path(report.path)
    assert path.parent == keeper.state / "backups"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.name.startswith("matrix-20")
    assert report.counts == {"rooms": 1, "turns": 2, "chats": 1, "sessions": 1, "memories": 1}
    assert report.account == keeper.bot
    assert any(f"restore {path}" in line for line in report.lines())
    assert msgspec.json.decode(report.as_json())["size"] == path.stat().st_size
    with opened(path) as backup:
        (thread_id,) = backup.manifest.memories
        assert backup.memory(thread_id) == await keeper.remembered(thread_id)
        assert backup.journal().count("turn") == 2
    with zipfile.ZipFile(path) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b"I like tea." in everything
    assert secret.encode() not in everything
    assert TOKEN.encode() not in everything


async def test_it_is_written_while_the_adapter_runs(keeper: Keeper) -> None:
    """And neither disturbs the other."""
    async with keeper.running():
        keeper.ask("one")
        await keeper.answered(1)
        report = await keeper.backup()
        keeper.ask("two")
        await keeper.answered(2)
    assert report.counts["memories"] == 1


async def test_no_file_is_ever_replaced(keeper: Keeper, tmp_path: Path) -> None:
    """Two in one second have two names; a name that is given and taken is refused."""
    await keeper.talk("hello")
    first, second = await keeper.backup(), await keeper.backup()
    assert first.path != second.path
    taken = tmp_path / "mine"
    taken.write_text("precious")
    with pytest.raises(SettingsError, match="there already"):
        await keeper.backup(taken)
    assert taken.read_text() == "precious"
    assert sorted(p.name for p in (keeper.state / "backups").iterdir()) == sorted(
        Path(one.path).name for one in (first, second)
    )


async def test_without_the_agent_there_is_no_backup_but_without_memories(keeper: Keeper) -> None:
    """And no half one is left. The sentence says what can be done."""
    await keeper.talk("hello")
    keeper.agent = AgentSettings(url="ws://127.0.0.1:9/agent_ws/", token=Secret(TOKEN))
    with pytest.raises(AgentUnreachableError, match="no backup was written") as caught:
        await keeper.backup()
    assert caught.value.exit_code == 1
    assert list((keeper.state / "backups").iterdir()) == []
    report = await keeper.backup(memory=False)
    assert report.counts["memories"] == 0
    assert any("memories are not in it" in line for line in report.lines())


async def test_what_is_to_be_forgotten_is_in_no_backup(keeper: Keeper) -> None:
    """Neither a forgotten session, nor one whose erasure is still owed to the agent."""
    await keeper.talk("one", "!new", "two", "!new", "three")
    threads = keeper.threads()
    keeper.change("state", "INSERT INTO retired_threads VALUES (?, 1)", threads[0])
    keeper.change("matrix", "INSERT INTO debt VALUES ('forget', ?, '', 1)", threads[1])
    with opened(Path((await keeper.backup()).path)) as backup:
        assert list(backup.manifest.memories) == [threads[2]]


async def test_where_nothing_was_there_is_nothing_to_back_up(keeper: Keeper) -> None:
    """A sentence, exit code 2, and no folder is made."""
    with pytest.raises(StateError, match="nothing to back up") as caught:
        await keeper.backup()
    assert caught.value.exit_code == 2
    assert not keeper.state.exists()


async def test_a_folder_that_cannot_be_written_is_named(keeper: Keeper, tmp_path: Path) -> None:
    await keeper.talk("hello")
    with pytest.raises(StateError, match="No such file"):
        await keeper.backup(tmp_path / "nowhere" / "x.backup")


async def test_on_a_full_disk_no_half_backup_is_left(keeper: Keeper, disk: SmallDisk) -> None:
    """A sentence, and it works when there is room again."""
    await keeper.talk("hello")
    disk.fill()
    with pytest.raises(StateError, match="No space left"):
        await keeper.backup(disk.path / "mine.backup")
    assert not [file for file in disk.path.iterdir() if "mine" in file.name]
    disk.free()
    await keeper.backup(disk.path / "mine.backup")


# --- broken ones ----------------------------------------------------------------------------------


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of a backup, its parts changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    copy = path.with_name("changed.backup")
    with zipfile.ZipFile(copy, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return copy


def manifest(**fields: object) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        value = msgspec.json.decode(parts[backup_file.MANIFEST])
        parts[backup_file.MANIFEST] = msgspec.json.encode(value | fields)

    return change


def part(name: str, data: bytes | None) -> Callable[[dict[str, bytes]], None]:
    """Another content, with its own digest, or none at all."""

    def change(parts: dict[str, bytes]) -> None:
        if data is None:
            del parts[name]
            return
        parts[name] = data
        value = msgspec.json.decode(parts[backup_file.MANIFEST])
        value["parts"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        parts[backup_file.MANIFEST] = msgspec.json.encode(value)

    return change


def append(parts: dict[str, bytes]) -> None:
    parts[backup_file.JOURNAL] += b" "


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (manifest(format="something"), "its format is 'something'"),
        (manifest(parts={}), "is missing"),
        (manifest(account=7), "manifest.json"),
        (part(backup_file.MANIFEST, None), "manifest.json"),
        (part(backup_file.JOURNAL, None), "journal.json"),
        (part(backup_file.JOURNAL, b"{}"), "no dump"),
        (part(backup_file.STATE, b"\xff"), "no dump"),
        (append, "not what was written"),
    ],
)
async def test_a_changed_backup_is_refused(
    keeper: Keeper, change: Callable[[dict[str, bytes]], None], says: str
) -> None:
    """Before anything is done with it."""
    await keeper.talk("hello")
    copy = rewritten(Path((await keeper.backup()).path), change)
    with pytest.raises(StateError, match="no whole backup") as caught:
        await keeper.preview(copy)
    assert says in caught.value.message
    assert caught.value.exit_code == 2


async def test_a_newer_backup_says_which_version_it_wants(keeper: Keeper) -> None:
    """Of the file, or of a database in it; even if there is more in it than we know."""
    await keeper.talk("hello")
    path = Path((await keeper.backup()).path)
    newer = rewritten(path, manifest(version=2, program="9.9.9", parts="elsewhere"))
    with pytest.raises(SchemaTooNewError, match=r"newer Antiphon \(9.9.9"):
        await keeper.preview(newer)
    with opened(path) as backup:
        dump = msgspec.structs.replace(backup.journal(), revision="9999")
    newer = rewritten(path, part(backup_file.JOURNAL, msgspec.json.encode(dump)))
    before = keeper.rows("matrix", "SELECT * FROM turn")
    with pytest.raises(SchemaTooNewError, match="9999"):
        await keeper.restore(newer)
    assert keeper.rows("matrix", "SELECT * FROM turn") == before
    await keeper.talk("the adapter starts as before")


async def test_a_damaged_backup_is_refused_wherever_the_damage_is(keeper: Keeper) -> None:
    """Cut off anywhere, or one byte changed anywhere: refused, or exactly what was written."""
    await keeper.talk("hello", "again")
    path = Path((await keeper.backup()).path)
    whole = path.read_bytes()
    with opened(path) as backup:
        wanted = (backup.manifest, backup.journal(), backup.state())
    broken = path.with_name("broken.backup")
    cuts = [whole[: len(whole) * n // 23] for n in range(23)]
    flips = []
    for n in range(0, len(whole), max(1, len(whole) // 400)):
        flips.append(whole[:n] + bytes([whole[n] ^ 0x41]) + whole[n + 1 :])
    refused = 0
    for data in (*cuts, *flips):
        broken.write_bytes(data)
        try:
            with opened(broken) as backup:
                assert (backup.manifest, backup.journal(), backup.state()) == wanted
        except StateError:
            refused += 1
    assert refused > len(cuts) + len(flips) // 2


async def test_a_file_that_is_not_there_is_named(keeper: Keeper, tmp_path: Path) -> None:
    for path in (tmp_path / "none.backup", tmp_path):
        with pytest.raises(SettingsError, match="Can't read the backup"):
            await keeper.preview(path)
