"""Recordings and gaps by their length: what touches a range is found without reading all before it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds indexes."""
    for table in ("recording", "gap"):
        op.create_index(f"ix_{table}_camera_id_length", table, ["camera_id", sa.text("(end_us - start_us)")])
