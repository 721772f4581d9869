"""The folder of the embedded Synapse: its settings, keys, secrets and port. Starts nothing.

Everything that could reach another machine is off: one listener on loopback, no federation, no
key servers, no statistics, no URL previews.
"""

from __future__ import annotations

import os
import secrets
import socket
from base64 import b64encode
from pathlib import Path
from typing import Any, Literal

import msgspec

from antiphon.errors import StateError

SERVER_NAME = "antiphon.localhost"
"""The part of every Matrix ID after the colon: @ada:antiphon.localhost. It never changes, whatever
port is free: the names of users and rooms depend on it. `.localhost` is nobody's (RFC 6761)."""

HOST = "127.0.0.1"
RateLimits = Literal["default", "lifted"]

_UNLIMITED = {"per_second": 1_000_000, "burst_count": 1_000_000}


class SynapseSecrets(msgspec.Struct, frozen=True):
    """Random values of one folder, kept in `secrets.json` (0600)."""

    registration: str
    macaroon: str
    form: str
    admin_password: str


def prepare(folder: Path, rate_limits: RateLimits, port: int) -> SynapseSecrets:
    """Writes all that Synapse needs into `folder` (0700) and gives its secrets.

    Secrets and signing key are made once and kept; settings are written anew each time. Raises
    StateError when the folder can't be written or its secrets are damaged."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        kept = _secrets(folder)
        _signing_key(folder)
        _write(folder / "log.yaml", _log_settings(folder))
        _write(folder / "homeserver.yaml", settings(folder, kept, rate_limits, port))
        _write(folder / "port.json", port)
    except OSError as error:
        raise StateError(
            f"Can't write the homeserver's folder {folder}: {error.strerror}."
        ) from error
    return kept


def choose_port(folder: Path, *, unlike: int | None = None) -> int:
    """The port of the last start if it is free now (and not `unlike`), else any free one."""
    try:
        kept = msgspec.json.decode((folder / "port.json").read_bytes(), type=int)
    except (OSError, msgspec.MsgspecError):
        kept = 0
    if kept == unlike or not is_free(kept):
        kept = 0
    with _bindable() as probe:
        probe.bind((HOST, kept))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    with _bindable() as probe:
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def settings(
    folder: Path, kept: SynapseSecrets, rate_limits: RateLimits, port: int
) -> dict[str, Any]:
    """Synapse's settings; it reads YAML, of which JSON is a part.

    `default` leaves the limits on what people do (messages, joins, invitations) as they are, which
    is what an unprepared homeserver has. Logins are never limited by address: here everybody has
    the same one."""
    here = folder.absolute()
    limits: dict[str, Any] = {
        "rc_registration": _UNLIMITED,
        "rc_login": {"address": _UNLIMITED, "account": _UNLIMITED},
    }
    if rate_limits == "lifted":
        limits |= {
            "rc_message": _UNLIMITED,
            "rc_admin_redaction": _UNLIMITED,
            "rc_joins": {"local": _UNLIMITED, "remote": _UNLIMITED},
            "rc_joins_per_room": _UNLIMITED,
            "rc_invites": {
                "per_room": _UNLIMITED,
                "per_user": _UNLIMITED,
                "per_issuer": _UNLIMITED,
            },
            "rc_key_requests": _UNLIMITED,
            "rc_media_create": _UNLIMITED,
        }
        limits["rc_login"]["failed_attempts"] = _UNLIMITED
    return {
        "server_name": SERVER_NAME,
        "public_baseurl": f"http://{HOST}:{port}/",
        "listeners": [
            {
                "port": port,
                "bind_addresses": [HOST],
                "type": "http",
                "tls": False,
                "x_forwarded": False,
                "resources": [{"names": ["client"], "compress": False}],
            }
        ],
        "database": {"name": "sqlite3", "args": {"database": str(here / "homeserver.db")}},
        "media_store_path": str(here / "media"),
        "signing_key_path": str(here / "signing.key"),
        "pid_file": str(here / "homeserver.pid"),
        "log_config": str(here / "log.yaml"),
        "registration_shared_secret": kept.registration,
        "macaroon_secret_key": kept.macaroon,
        "form_secret": kept.form,
        "enable_registration": False,
        "bcrypt_rounds": 4,
        "presence": {"enabled": False},
        "url_preview_enabled": False,
        "report_stats": False,
        "enable_metrics": False,
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "federation_domain_whitelist": [],
        "allow_guest_access": False,
        **limits,
    }


def _log_settings(folder: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "formatters": {"plain": {"format": "%(asctime)s %(name)s %(levelname)s %(message)s"}},
        "handlers": {
            "file": {
                "class": "logging.handlers.RotatingFileHandler",
                "filename": str(folder.absolute() / "homeserver.log"),
                "formatter": "plain",
                "maxBytes": 10_000_000,
                "backupCount": 1,
                "encoding": "utf-8",
            }
        },
        "root": {"level": "WARNING", "handlers": ["file"]},
        "disable_existing_loggers": False,
    }


def _secrets(folder: Path) -> SynapseSecrets:
    file = folder / "secrets.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=SynapseSecrets)
    except FileNotFoundError:
        made = SynapseSecrets(*(secrets.token_urlsafe(32) for _ in range(4)))
        _write(file, made)
        return made
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise StateError(
            f"{file} is damaged. Delete the folder {folder} to start with a new homeserver."
        ) from None


def _signing_key(folder: Path) -> None:
    """Makes Synapse's Ed25519 key in the format of `signedjson`: any 32 random bytes are one."""
    file = folder / "signing.key"
    if not file.exists():
        seed = b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        _write(file, f"ed25519 a_{secrets.token_hex(2)} {seed}\n".encode())


def _write(file: Path, value: object) -> None:
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.write(body)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)


def _bindable() -> socket.socket:
    probe = socket.socket()
    # As Synapse does: a port whose last connections are still fading is free.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return probe
