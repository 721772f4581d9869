"""Rooms that a reset has forgotten and that no start has adopted since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "forgotten",
        sa.Column("room_id", sa.Text, primary_key=True),
        sa.Column("unread", sa.Boolean, nullable=False),
    )
