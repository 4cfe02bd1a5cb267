"""Alarms: in which order they came, what they said, whether a media server has them; how far each person has read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns to `event`, which nothing has written so far, and the table of reading positions."""
    op.add_column("event", sa.Column("position", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("event", sa.Column("priority", sa.Integer(), nullable=True))
    op.add_column("event", sa.Column("method", sa.Integer(), nullable=True))
    op.add_column("event", sa.Column("body", sa.Text(), server_default="", nullable=False))
    op.add_column("event", sa.Column("handed_us", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_event_position"), "event", ["position"], unique=False)
    op.create_index(op.f("ix_event_camera_id_position"), "event", ["camera_id", "position"], unique=False)
    op.create_index(op.f("ix_event_handed_us_position"), "event", ["handed_us", "position"], unique=False)
    op.create_table(
        "event_position",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "resource", name=op.f("pk_event_position")),
    )
