"""What alembic runs: our connection, in its transaction, so that a migration happens wholly or not at all."""

from __future__ import annotations

from alembic import context

from soip.directory.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
)
with context.begin_transaction():
    context.run_migrations()
