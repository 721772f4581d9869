"""The key store opens for its own device, with its own key, for one process; else it is refused and
left as it is."""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text

from antiphon.adapter.matrix.crypto.keystore import MIGRATIONS, KeyStore, look
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.store import account
from antiphon.adapter.matrix.crypto.store.schema import metadata
from antiphon.adapter.matrix.crypto.store_key import FILE, StoreKey, SystemKeyring, store_key
from antiphon.adapter.matrix.journal.journal import MIGRATIONS as JOURNALS
from antiphon.db import Database
from antiphon.errors import DatabaseError, ForeignDatabaseError, LeaseLostError, StateError
from antiphon.settings import Secret
from antiphon.testing.clock import FakeClock
from antiphon.testing.crypto_world import KEY

BOT = "@bot:x"
OTHER_KEY = StoreKey(Secret(base64.b64encode(b"k" * 32).decode()), "keyring")


async def opened(url: str, device: str = "D", key: StoreKey = KEY, user: str = BOT) -> KeyStore:
    return await KeyStore.open(url, user, device, key)


async def identity(url: str) -> str:
    store = await opened(url)
    machine = await CryptoMachine.open(store, FakeClock())
    await store.close()
    return machine.me.ed25519


async def test_migrations_and_tables_agree(store_url: str) -> None:
    """On both databases."""
    await (await Database.open(store_url, MIGRATIONS)).close()
    engine = create_engine(store_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


async def test_the_keys_are_the_same_at_every_start(store_url: str) -> None:
    assert await identity(store_url) == await identity(store_url)


async def test_whose_it_is_can_be_told_without_opening_it(store_url: str) -> None:
    assert await look(store_url) is None
    await (await opened(store_url)).close()
    found = await look(store_url)
    assert found is not None
    assert (found.user_id, found.device_id, found.key_source) == (BOT, "D", "file")


@pytest.mark.parametrize(
    ("device", "key", "user", "code"),
    [
        ("D", KEY, "@other:x", "state"),
        ("E", KEY, BOT, "keys_of_another_device"),
        ("D", OTHER_KEY, BOT, "wrong_store_key"),
    ],
)
async def test_anothers_store_is_refused_and_left_as_it_is(
    store_url: str, device: str, key: StoreKey, user: str, code: str
) -> None:
    """Another account's, another device's, and one made with another key."""
    before = await identity(store_url)
    left = await look(store_url)
    with pytest.raises(StateError) as refused:
        await opened(store_url, device, key, user)
    assert refused.value.code == code
    assert await look(store_url) == left
    assert await identity(store_url) == before


async def test_the_error_for_a_wrong_key_says_where_the_right_one_came_from(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    await (await opened(url, key=OTHER_KEY)).close()
    with pytest.raises(StateError, match="the system's keyring"):
        await opened(url)


async def test_of_two_that_open_it_the_first_can_write_no_more(store_url: str) -> None:
    first = await opened(store_url)
    second = await opened(store_url)

    def touch(connection: Connection) -> int:
        return account.next_rank(connection)

    with pytest.raises(LeaseLostError):
        await first.write(touch)
    assert await second.write(touch) == 1
    await first.close()
    await second.close()


async def test_another_stores_database_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'matrix.db'}"
    await (await Database.open(url, JOURNALS)).close()
    with pytest.raises(ForeignDatabaseError):
        await opened(url)


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    await (await opened(f"sqlite:///{path}")).close()
    body = bytearray(path.read_bytes())
    body[4096:12288] = b"\xff" * 8192
    path.write_bytes(body)
    with pytest.raises(DatabaseError):
        await opened(f"sqlite:///{path}")
    assert path.read_bytes() == body


async def test_a_damaged_account_is_told_as_such_and_not_replaced(store_url: str) -> None:
    store = await opened(store_url)
    await store.write(lambda c: account.save_pickle(c, "rubbish"))
    with pytest.raises(DatabaseError, match="key store is damaged"):
        await CryptoMachine.open(store, FakeClock())
    await store.close()
    left = await look(store_url)
    assert left is not None
    assert left.pickle == "rubbish"


async def test_no_private_key_can_be_read_in_the_file(tmp_path: Path) -> None:
    """Secrets are sealed, and the file is its owner's alone."""
    path = tmp_path / "keys.db"
    store = await opened(f"sqlite:///{path}")
    machine = await CryptoMachine.open(store, FakeClock())
    await machine.keep_secret("master", b"very secret seed of the identity")
    assert await machine.secret("master") == b"very secret seed of the identity"
    await store.close()
    files = list(tmp_path.iterdir())
    assert all(b"very secret" not in file.read_bytes() for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


async def test_a_secret_moved_under_another_name_is_not_taken_for_that(tmp_path: Path) -> None:
    store = await opened(f"sqlite:///{tmp_path / 'keys.db'}")
    machine = await CryptoMachine.open(store, FakeClock())
    await machine.keep_secret("backup", b"one")

    def move(connection: Connection) -> None:
        connection.execute(text("UPDATE secret SET name = 'master'"))

    await store.write(move)
    with pytest.raises(DatabaseError):
        await machine.secret("master")
    await store.close()


async def test_secrets_made_once_are_made_once(tmp_path: Path) -> None:
    """Whoever comes second gets what the first one made, whole."""
    store = await opened(f"sqlite:///{tmp_path / 'keys.db'}")
    machine = await CryptoMachine.open(store, FakeClock())
    first = await machine.keep_secrets_once({"master": b"1", "self_signing": b"2"})
    second = await machine.keep_secrets_once({"master": b"3", "self_signing": b"4"})
    assert first == second == {"master": b"1", "self_signing": b"2"}
    await machine.forget_secret("master")
    assert await machine.secret("master") is None
    await store.close()


class FakeKeyring:
    """A keyring of this test's own."""

    def __init__(self, *, works: bool = True) -> None:
        self.kept: dict[str, str] = {}
        self.works = works

    def get(self, name: str) -> str | None:
        return self.kept.get(name) if self.works else None

    def put(self, name: str, value: str) -> bool:
        if self.works:
            self.kept[name] = value
        return self.works


async def key(
    state: Path, keyring: FakeKeyring, setting: str = "", made_with: str | None = None
) -> StoreKey:
    return await store_key(state, BOT, Secret(setting), made_with=made_with, keyring=keyring)


async def test_a_key_from_the_settings_is_the_same_for_ever_and_leaves_no_file(
    tmp_path: Path,
) -> None:
    """Anything goes as its text; another text, or another account, is another key."""
    first = await key(tmp_path, FakeKeyring(), "correct horse")
    assert first.source == "setting"
    assert first.reveal().hex() == (
        (await key(tmp_path, FakeKeyring(), "correct horse", "setting")).reveal().hex()
    )
    assert first != await key(tmp_path, FakeKeyring(), "correct horsf")
    assert list(tmp_path.iterdir()) == []
    assert "horse" not in repr(first)


async def test_the_keyring_keeps_the_key_where_there_is_one(tmp_path: Path) -> None:
    keyring = FakeKeyring()
    first = await key(tmp_path, keyring)
    assert first.source == "keyring"
    assert await key(tmp_path, keyring, made_with="keyring") == first
    assert list(tmp_path.iterdir()) == []


async def test_else_a_file_of_its_owner_alone_does_and_stays_the_one(tmp_path: Path) -> None:
    """Also when a keyring appears later."""
    first = await key(tmp_path, FakeKeyring(works=False))
    assert first.source == "file"
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert await key(tmp_path, FakeKeyring(), made_with="file") == first


@pytest.mark.parametrize("made_with", ["setting", "keyring", "file"])
async def test_a_lost_key_is_never_replaced(tmp_path: Path, made_with: str) -> None:
    """A new one would not open the store that is there."""
    keyring = FakeKeyring()
    with pytest.raises(StateError) as lost:
        await key(tmp_path, keyring, made_with=made_with)
    assert lost.value.code == "store_key_gone"
    assert keyring.kept == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda b: b[:20], lambda _: b"\xff\xfe"])
async def test_a_spoilt_key_file_is_refused(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    await key(tmp_path, FakeKeyring(works=False))
    path = tmp_path / FILE
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(StateError, match="holds no key"):
        await key(tmp_path, FakeKeyring(works=False))


def test_a_machine_without_a_keyring_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the backend raises."""
    import keyring

    def broken(*_: str) -> None:
        raise OSError("no D-Bus")

    monkeypatch.setattr(keyring, "get_password", broken)
    monkeypatch.setattr(keyring, "set_password", broken)
    assert SystemKeyring().get(BOT) is None
    assert not SystemKeyring().put(BOT, "key")
