"""Migrations of the directory, shipped inside the package and run at start.

`HEAD` is compared with the database first, so that a process with an up-to-date database never loads alembic.
Revisions are named 0001, 0002 … and compare as text. A released migration is never changed.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

HEAD = "0008"
FOLDER = Path(__file__).parent


def upgrade(connection: Connection) -> None:
    """Brings the database to `HEAD` within the connection's transaction."""
    # Loading alembic takes a quarter of a second, which no other start has to pay.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
