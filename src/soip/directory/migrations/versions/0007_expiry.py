"""Recordings that expire, cameras that matter more than others, disks of a media worker one by one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns with defaults that say what was true until now."""
    op.add_column("camera", sa.Column("priority", sa.Integer(), server_default="5", nullable=False))
    op.add_column("recording", sa.Column("expiring", sa.Boolean(), server_default="0", nullable=False))
    op.add_column("media_instance", sa.Column("disks", sa.Text(), server_default="[]", nullable=False))
    columns = ["server_id", "root", "end_us"]
    op.create_index(op.f("ix_recording_server_id_root_end_us"), "recording", columns, unique=False)
