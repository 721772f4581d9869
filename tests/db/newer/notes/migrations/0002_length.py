"""The second schema of the same store: a column made of what is there."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("notes", sa.Column("length", sa.Integer))
    op.execute("UPDATE notes SET length = length(note)")
