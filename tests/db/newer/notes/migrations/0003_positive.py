"""The third, which fails where a note is called `poison`, after it has changed something."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table("labels", sa.Column("id", sa.Integer, primary_key=True))
    bad = op.get_bind().execute(sa.text("SELECT count(*) FROM notes WHERE note = 'poison'"))
    if bad.scalar_one():
        op.execute("SELECT no_such_function(1)")
