"""The error tree that every part shares: each error says what to do, to a person.

A leaf: imports nothing of Antiphon. Foreign exceptions are translated into these where they enter.

    AntiphonError
    ├── SettingsError            a setting, a flag or a file is wrong (exit code 2)
    │   └── MissingExtraError    an optional package is not installed (exit code 2)
    ├── StateError               the state directory or a database can't be used (exit code 2)
    │   ├── StateInUseError      another process holds it
    │   ├── SchemaTooNewError    a newer Antiphon wrote it
    │   ├── ForeignDatabaseError another store's or another program's database
    │   ├── LeaseLostError       another process took the work over (exit code 1)
    │   └── DatabaseError        full, locked, damaged (exit code 2 at the start, later 1)
    ├── HomeserverError          Matrix said no, or nothing
    │   ├── HomeserverUnreachableError   retryable
    │   ├── RateLimitedError             retryable, after `retry_after_ms`
    │   ├── LoginError                   wrong user, password or token (exit code 2)
    │   ├── TokenRevokedError            the token stopped working (exit code 2)
    │   └── MatrixApiError               any other refusal: `status`, `errcode`
    ├── EncryptionError          keys or encrypted data were refused
    │   ├── RecoveryKeyError             none, mistyped, or another storage's (exit code 2)
    │   └── AttachmentError              an encrypted file is malformed or was changed
    └── PlatformError            the agent or the control plane
        ├── AgentUnreachableError        retryable
        ├── AgentRefusedError            the token is wrong (exit code 2)
        ├── AgentProtocolError           a frame broke the protocol
        ├── MasterUnreachableError       retryable
        ├── MasterRefusedError           the token is wrong (exit code 2)
        └── RunError                     a run ended in an error: `code`, `retryable`
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


class AntiphonError(Exception):
    """Base of all. `code` is for programs, `retryable` says whether the same call may succeed
    later, and the message is a sentence for a person that says what to do."""

    code: str = "internal"
    retryable: bool = False
    exit_code: int = EXIT_FAILED

    def __init__(self, message: str, *, code: str | None = None, retryable: bool | None = None):
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class SettingsError(AntiphonError):
    """A setting, a flag or a settings file is wrong; the message names it and what is allowed."""

    code = "settings"
    exit_code = EXIT_USAGE


class MissingExtraError(SettingsError):
    """An optional package is needed and not installed; the message names the extra."""

    code = "missing_extra"


class StateError(AntiphonError):
    """The state directory or a database can't be used as it is."""

    code = "state"
    exit_code = EXIT_USAGE


class StateInUseError(StateError):
    """Another process holds the lock of this state. `passing`: it says that it is soon done."""

    code = "state_in_use"

    def __init__(self, message: str, *, passing: bool = False):
        super().__init__(message)
        self.passing = passing


class SchemaTooNewError(StateError):
    """The database was written by a newer Antiphon."""

    code = "schema_too_new"


class ForeignDatabaseError(StateError):
    """The database belongs to another store or another program; it was left as it is."""

    code = "foreign_database"


class LeaseLostError(StateError):
    """Another process has taken this work over (a higher epoch is in the database)."""

    code = "lease_lost"
    exit_code = EXIT_FAILED


class DatabaseError(StateError):
    """The database failed: full, locked, read-only, damaged. Nothing was acknowledged.

    Where that is found while it is opened, `exit_code` is 2: somebody must do something first."""

    code = "database"
    exit_code = EXIT_FAILED


class HomeserverError(AntiphonError):
    """The homeserver refused something or could not be asked."""

    code = "homeserver"


class HomeserverUnreachableError(HomeserverError):
    """No usable answer: refused connection, time-out, 5xx, a body that is no JSON. `status` is that
    of the HTTP answer, None where none came."""

    code = "homeserver_unreachable"
    retryable = True

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class RateLimitedError(HomeserverError):
    """429: wait `retry_after_ms` milliseconds, then repeat the same request."""

    code = "rate_limited"
    retryable = True

    def __init__(self, message: str, retry_after_ms: int):
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class LoginError(HomeserverError):
    """The homeserver does not accept the user, password or access token from the settings."""

    code = "login"
    exit_code = EXIT_USAGE


class TokenRevokedError(HomeserverError):
    """The access token worked once and no longer does (M_UNKNOWN_TOKEN)."""

    code = "token_revoked"
    exit_code = EXIT_USAGE


class MatrixApiError(HomeserverError):
    """The homeserver answered with another error: HTTP `status` and Matrix `errcode`."""

    code = "matrix_api"

    def __init__(self, message: str, status: int, errcode: str):
        super().__init__(message)
        self.status = status
        self.errcode = errcode


class EncryptionError(AntiphonError):
    """Keys, signatures or encrypted data are malformed, or not what they claim to be."""

    code = "encryption"


class RecoveryKeyError(EncryptionError):
    """What was given is no recovery key (a typing mistake), or not the one that is asked for."""

    code = "recovery_key"
    exit_code = EXIT_USAGE


class AttachmentError(EncryptionError):
    """An encrypted file was refused: malformed, too large, or not what its sender encrypted."""

    code = "attachment"


class PlatformError(AntiphonError):
    """The agent or the control plane refused something or could not be asked."""

    code = "platform"


class AgentUnreachableError(PlatformError):
    """The agent does not answer at its address."""

    code = "agent_unreachable"
    retryable = True


class AgentRefusedError(PlatformError):
    """The agent does not accept our token."""

    code = "agent_refused"
    exit_code = EXIT_USAGE


class AgentProtocolError(PlatformError):
    """A frame on `/agent_ws/` broke the protocol, or the agent refused a verb: see `code`."""

    code = "bad_frame"


class MasterUnreachableError(PlatformError):
    """No usable answer of the control plane: refused connection, time-out, 5xx, a body that is no
    JSON. What was asked for may have been carried out all the same."""

    code = "master_unreachable"
    retryable = True


class MasterRefusedError(PlatformError):
    """The control plane does not accept our token, or not for this."""

    code = "master_refused"
    exit_code = EXIT_USAGE


class RunError(PlatformError):
    """A run ended in an error; `code` is one of `antiphon.agent_api.messages.RunErrorCode`."""

    code = "run_failed"
