"""An embedded homeserver: Synapse from PyPI as a child process on loopback, in a folder of its own.

For the demo and the tests. It holds no event loop: any loop may call any method.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from antiphon.adapter.matrix.transport.admin import SynapseAdmin
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock, SystemClock
from antiphon.demo import synapse_config
from antiphon.demo.synapse_config import HOST, SERVER_NAME, RateLimits
from antiphon.errors import (
    HomeserverError,
    HomeserverUnreachableError,
    MatrixApiError,
    MissingExtraError,
    SettingsError,
    StateError,
    StateInUseError,
)
from antiphon.settings import Secret

READY_TIMEOUT_S = 60.0
ORPHAN_GRACE_S = 10.0
STOP_GRACE_S = 5.0
ADMIN_NAME = "antiphon-admin"
_ADMIN_DEVICE = "ANTIPHONADMIN"
_POLL_S = 0.05


class Synapse:
    """One Synapse in `folder`; the same folder gives the same users, rooms and (if free) port.

    As an async context manager it is started and stopped. It ends with the process that started
    it, by kill -9 too; start it from a thread that lives as long as it shall.
    """

    def __init__(
        self, folder: Path, *, rate_limits: RateLimits = "default", clock: Clock | None = None
    ):
        self.folder = folder
        self.server_name = SERVER_NAME
        self.port = 0
        self._rate_limits: RateLimits = rate_limits
        self._clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._secrets: synapse_config.SynapseSecrets | None = None
        self._admin_token: Secret | None = None

    @property
    def url(self) -> str:
        """The base URL, also for any Matrix client on this machine. Changes when the port must."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process is not None else None

    @property
    def log_path(self) -> Path:
        """Where Synapse logs warnings and errors."""
        return self.folder / "homeserver.log"

    def user_id(self, name: str) -> str:
        """The Matrix ID of the user with this localpart."""
        return f"@{name}:{self.server_name}"

    async def __aenter__(self) -> Synapse:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts it and returns when it answers; while it runs already, does nothing.

        Raises MissingExtraError without the `demo` extra, StateInUseError when another process
        runs it in this folder, HomeserverError when it ends or is not ready within a minute."""
        if self.pid is not None:
            return
        if importlib.util.find_spec("synapse") is None:
            raise MissingExtraError(
                "The embedded homeserver is not installed. "
                'Install it with: pip install "antiphon[demo]"'
            )
        lock = await self._lock()
        try:
            port = synapse_config.choose_port(self.folder)
            if not await self._attempt(port, lock):
                # Another program took the port between our look and Synapse's.
                port = synapse_config.choose_port(self.folder, unlike=port)
                if not await self._attempt(port, lock):
                    raise HomeserverError(f"The homeserver found no free port on {HOST}.")
        finally:
            # The child holds it too, and for as long as it lives: so the folder is free when
            # the last writer has ended, even if we were killed before it.
            os.close(lock)

    async def stop(self) -> None:
        """Ends it: SIGTERM, and SIGKILL after 5 s. Does nothing when it does not run."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        await self._ended()

    async def kill(self) -> None:
        """Ends it with SIGKILL, as a crash of the homeserver."""
        if self._process is not None:
            self._process.kill()
            await self._ended()

    async def restart(self) -> None:
        """Stops and starts it; the port stays unless someone took it meanwhile."""
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """Stops it in its tracks (SIGSTOP): connections stay open, nothing is answered."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it run on after `freeze`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def register_user(self, name: str, password: Secret, *, admin: bool = False) -> str:
        """Makes a user and gives its Matrix ID; one that exists stays as it is."""
        assert self._secrets is not None, "start it first"
        async with SynapseAdmin(self.url) as administration:
            await administration.register(
                Secret(self._secrets.registration), name, password, admin=admin
            )
        return self.user_id(name)

    async def admin_token(self) -> Secret:
        """An access token of the folder's own administrator."""
        if self._admin_token is None:
            password = await self._register_admin()
            async with MatrixClient(self.url) as client:
                login = await client.login_password(
                    ADMIN_NAME, password, device_id=_ADMIN_DEVICE, device_name="Administration"
                )
            self._admin_token = login.access_token
        return self._admin_token

    async def lift_rate_limit(self, user_id: str) -> None:
        """From now on this user's messages, edits and joins are not limited."""
        async with SynapseAdmin(self.url, await self.admin_token()) as administration:
            await administration.lift_rate_limit(user_id)

    async def _register_admin(self) -> Secret:
        assert self._secrets is not None, "start it first"
        password = Secret(self._secrets.admin_password)
        await self.register_user(ADMIN_NAME, password, admin=True)
        return password

    async def _lock(self) -> int:
        """The folder's lock, waiting for an orphan of a killed starter to end."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.folder / "synapse.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(
                f"Can't write the homeserver's folder {self.folder}: {error.strerror}."
            ) from error
        deadline = self._clock.monotonic() + ORPHAN_GRACE_S
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
                    if _lives(holder) or self._clock.monotonic() >= deadline:
                        raise StateInUseError(
                            f"A homeserver already runs in {self.folder} (started by process "
                            f"{holder or 'unknown'}). Stop that one first."
                        ) from None
                    await self._clock.sleep(_POLL_S)
                else:
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
                    return fd
        except BaseException:
            os.close(fd)
            raise

    async def _attempt(self, port: int, lock: int) -> bool:
        """Starts it on `port` and waits until it answers; False when the port was taken."""
        self._secrets = synapse_config.prepare(self.folder, self._rate_limits, port)
        output = self.folder / "output.log"
        with output.open("wb") as out:
            # Popen, not asyncio's: it returns at once and belongs to no event loop.
            process = subprocess.Popen(  # noqa: ASYNC220, S603
                [
                    sys.executable,
                    "-m",
                    "antiphon.demo.synapse_process",
                    str(self.folder.absolute() / "homeserver.yaml"),
                ],
                # Our end of this pipe is what it watches: it closes when we die.
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")},
                pass_fds=(lock,),
                # Ctrl-C in the terminal reaches us alone; we stop it in our own order.
                process_group=0,
            )
        self._process, self.port = process, port
        try:
            return await self._ready(process, output)
        except BaseException:
            await self.kill()
            raise

    async def _ready(self, process: subprocess.Popen[bytes], output: Path) -> bool:
        deadline = self._clock.monotonic() + READY_TIMEOUT_S
        async with MatrixClient(self.url) as client:
            while process.poll() is None:
                try:
                    await client.versions()
                    # Only our own Synapse knows the secret of this folder; on a port that another
                    # program took meanwhile, somebody else might answer.
                    await self._register_admin()
                except (MatrixApiError, SettingsError):
                    await self.kill()
                    return False
                except HomeserverUnreachableError:
                    if self._clock.monotonic() >= deadline:
                        raise HomeserverError(
                            f"The homeserver was not ready within {READY_TIMEOUT_S:.0f} s. "
                            f"Its log: {self.log_path}"
                        ) from None
                    await self._clock.sleep(_POLL_S)
                else:
                    return True
        await self._ended()
        if not synapse_config.is_free(self.port):
            return False
        raise HomeserverError(
            f"The homeserver ended while it started (exit code {process.returncode}): "
            f"{_last_line(output)} Its logs: {self.log_path} and {output}"
        )

    async def _ended(self) -> None:
        process, self._process = self._process, None
        self._admin_token = None
        if process is not None:
            await asyncio.to_thread(process.wait)
            if process.stdin is not None:
                process.stdin.close()


def _lives(pid: str) -> bool:
    """Whether a process with this id exists."""
    try:
        number = int(pid)
        os.kill(number, 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _last_line(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing."
