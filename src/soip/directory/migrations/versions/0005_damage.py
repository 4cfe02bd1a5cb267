"""What of a recording is damaged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Files recorded so far say nothing of damage, so neither do their rows."""
    for name in ("damaged", "lost"):
        op.add_column("recording", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("recording", sa.Column("damage", sa.Text(), server_default="[]", nullable=False))
