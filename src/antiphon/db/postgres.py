"""PostgreSQL: a pool whose connections wait for nothing for ever and commit to disk."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text

POOL = 5
WRITERS = 4

DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "antiphon",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""libpq's settings, where the URL sets none: by default a dead server would be waited for without
end. Times in seconds, the last one in milliseconds."""

MIGRATION_LOCK = 0x616E7469
MIGRATION_WAIT = "60s"


def engine(url: URL, busy_timeout_ms: int) -> Engine:
    """The pool. A connection that the server has closed is replaced before it is used."""
    url = url.set(query={**DEFAULTS, **url.query})
    made = create_engine(
        url, pool_size=POOL, max_overflow=0, pool_pre_ping=True, isolation_level="READ COMMITTED"
    )

    @event.listens_for(made, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # Whatever server, database or role say: a commit is on disk when it returns.
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false), CASE current_setting("
            "'synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) "
            "END",
            [str(busy_timeout_ms)],
        )
        connection.commit()

    return made


def lock_for_migration(connection: Connection) -> None:
    """Waits until no other process migrates this database, for the running transaction."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{MIGRATION_WAIT}'"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
    connection.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
