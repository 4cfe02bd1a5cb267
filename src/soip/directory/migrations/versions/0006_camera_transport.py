"""What a camera's media comes over: UDP, or TCP where datagrams do not arrive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column to `camera`; all go on over UDP."""
    op.add_column("camera", sa.Column("transport", sa.Text(), server_default="udp", nullable=False))
