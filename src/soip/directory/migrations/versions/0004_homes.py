"""Media servers as a group: what their workers carry, and which of them is the home of which camera."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLE = "media_instance"


def upgrade() -> None:
    """Adds columns to `media_instance`, and the table of homes, which is empty: the first heartbeat fills it."""
    op.add_column(_TABLE, sa.Column("beat", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column(_TABLE, sa.Column("lease_s", sa.Float(), server_default="15", nullable=False))
    op.add_column(_TABLE, sa.Column("accepting", sa.Boolean(), server_default="1", nullable=False))
    for name in ("streams", "viewers"):
        op.add_column(_TABLE, sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    for name in ("in_bps", "out_bps", "disk_free", "disk_total"):
        op.add_column(_TABLE, sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "home",
        sa.Column("camera_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), server_default="", nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("previous_id", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["camera.id"], name=op.f("fk_home_camera_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("camera_id", name=op.f("pk_home")),
    )
    op.create_index(op.f("ix_home_instance_id"), "home", ["instance_id"], unique=False)
