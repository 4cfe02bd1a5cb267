"""Opening, migrating, transactions, and a database file that goes away."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, insert, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex

from soip.directory import database as database_module
from soip.directory import migrations, schema
from soip.directory.database import Database
from soip.directory.directory import Directory
from soip.directory.errors import DirectoryError, NewerSchemaError, UnavailableError


async def test_a_new_database_is_made_private_and_in_wal_mode(file: Path, directory: Directory) -> None:
    assert {"soip.db"} <= set(os.listdir(file.parent)) <= {"soip.db", "soip.db-wal", "soip.db-shm"}
    for name in os.listdir(file.parent):
        assert stat.S_IMODE(os.stat(file.parent / name).st_mode) == 0o600
    with sqlite3.connect(file) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


@pytest.mark.filterwarnings("ignore:.*expression-based index")
async def test_the_migrations_make_what_the_tables_say(file: Path, directory: Directory) -> None:
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        options = {"compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata) == []
        made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name LIKE '%\\_length' ESCAPE '\\'")
        # These are not compared, for they cannot be read back.
        indexes = [index for table in (schema.gap, schema.recording) for index in table.indexes]
        said = [str(CreateIndex(index)) for index in indexes if str(index.name).endswith("_length")]
        assert sorted(made.scalars()) == sorted(said)
    engine.dispose()


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [migrations.HEAD]
    assert script.get_bases() == ["0001"]


async def test_every_noun_of_the_house_has_its_table(directory: Directory) -> None:
    nouns = (
        "organisation site zone user role grant device camera stream media_server media_instance home plan recording "
        "gap event event_position hold binding dialog setting secret version audit session identity credential "
        "camera_state call_trace"
    )
    assert set(schema.metadata.tables) == set(nouns.split())
    archive = {"zone_id", "place", "purpose", "legal_basis", "classification"}
    assert archive <= set(schema.camera.columns.keys())


async def test_opening_again_keeps_what_is_there_and_does_not_load_alembic(url: str, file: Path) -> None:
    async with await Directory.open(url) as directory:
        await directory.settings.fix("realm", "here")
    code = (
        "import asyncio, sys\n"
        "from soip.directory.directory import Directory\n"
        "async def main():\n"
        f"    async with await Directory.open({url!r}) as directory:\n"
        "        print(await directory.settings.get('realm'), 'alembic' in sys.modules)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out == b"here False\n"


async def test_many_processes_may_open_a_new_database_at_once(url: str) -> None:
    """Eight connections of their own, as eight processes would have them: one migrates, the others wait for
    it."""
    opened = await asyncio.gather(*(Directory.open(url) for _ in range(8)))
    assert {await directory.settings.version() for directory in opened} == {1}
    secrets = await asyncio.gather(*(directory.settings.secret("one") for directory in opened))
    assert len(set(secrets)) == 1
    for directory in opened:
        await directory.close()


async def test_a_database_of_a_newer_version_is_left_alone(url: str, file: Path) -> None:
    await (await Directory.open(url)).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = content_of(file)
    with pytest.raises(NewerSchemaError, match=r"9999.*update SoIP"):
        await Directory.open(url)
    assert content_of(file) == before


@pytest.mark.parametrize("content", [b"not a database at all" * 500, b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_damaged_database_is_named(url: str, file: Path, content: bytes) -> None:
    os.mkdir(file.parent)
    with open(file, "wb") as stream:  # noqa: ASYNC230
        stream.write(content)
    with pytest.raises(UnavailableError, match=r"soip\.db"):
        await Directory.open(url)


async def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be opened"):
        await Directory.open(f"sqlite+aiosqlite:///{tmp_path}/file/soip.db")
    with pytest.raises(UnavailableError, match="cannot be opened"):
        await Directory.open(f"sqlite+aiosqlite:///{tmp_path}")


async def test_an_error_inside_a_transaction_undoes_it(url: str) -> None:
    database = await Database.open(url)

    def work(connection: Connection) -> None:
        connection.execute(insert(schema.setting).values(name="a", value="b"))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await database.write(work)
    assert await database.read(_settings) == 0
    await database.close()
    await database.close()  # Twice is allowed.


async def test_a_broken_constraint_is_not_called_unavailable(url: str) -> None:
    database = await Database.open(url)
    with pytest.raises(IntegrityError):
        await database.write(lambda connection: connection.execute(insert(schema.zone), {"id": "z", "site_id": "no"}))
    await database.close()


async def test_a_reader_sees_one_state_while_another_writes(url: str) -> None:
    database, other = await Database.open(url), sqlite3.connect(database_file(url), isolation_level=None)

    def work(connection: Connection) -> tuple[int, int]:
        before = _settings(connection)
        other.execute("INSERT INTO setting VALUES ('x', 'y')")
        return before, _settings(connection)

    assert await database.read(work) == (0, 0)
    assert await database.read(_settings) == 1
    other.close()
    await database.close()


async def test_writers_of_one_process_queue_up(url: str) -> None:
    database = await Database.open(url)

    def raise_it(connection: Connection) -> None:
        value = connection.execute(text("SELECT value FROM version")).scalar_one()
        connection.execute(text("UPDATE version SET value = :value"), {"value": value + 1})

    await asyncio.gather(*(database.write(raise_it) for _ in range(50)))
    assert await database.read(lambda c: c.execute(text("SELECT value FROM version")).scalar_one()) == 51
    await database.close()


async def test_a_lock_of_another_process_ends_in_unavailable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 50)
    database = await Database.open(url)
    with sqlite3.connect(database_file(url), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked"):
            await database.write(_settings)
        assert await database.read(_settings) == 0  # Readers never wait in WAL mode.
        other.execute("ROLLBACK")
    other.close()
    assert await database.write(_settings) == 0
    await database.close()


async def test_a_file_that_vanishes_is_noticed_and_not_made_again(url: str) -> None:
    database, file = await Database.open(url), database_file(url)
    away = file.with_suffix(".away")
    file.rename(away)
    with pytest.raises(UnavailableError, match="missing"):
        await database.read(_settings)
    assert not file.exists()
    away.rename(file)
    assert await database.read(_settings) == 0
    await database.close()


async def test_a_file_that_is_replaced_is_the_new_one(url: str, tmp_path: Path) -> None:
    """An operator restores a backup under a running system."""
    database, file = await Database.open(url), database_file(url)
    backup = await Database.open(f"sqlite+aiosqlite:///{tmp_path}/backup.db")
    await backup.write(lambda connection: connection.execute(insert(schema.setting), {"name": "a", "value": "b"}))
    await backup.close()
    for side in ("-wal", "-shm"):
        file.with_name(file.name + side).unlink(missing_ok=True)
    os.replace(tmp_path / "backup.db", file)
    assert await database.read(_settings) == 1
    await database.close()


def test_all_errors_are_one_tree() -> None:
    assert issubclass(UnavailableError, DirectoryError)
    assert issubclass(NewerSchemaError, DirectoryError)


def content_of(file: Path) -> bytes:
    return file.read_bytes()


def database_file(url: str) -> Path:
    return Path(url.removeprefix("sqlite+aiosqlite:///"))


def _settings(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM setting")).scalar_one())


async def test_a_transaction_whose_caller_is_cancelled_goes_on_and_closing_waits_for_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 60_000)
    database = await Database.open(url)
    new = insert(schema.setting).values(name="a", value="b")
    with sqlite3.connect(database_file(url), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(database.write(lambda connection: connection.execute(new) and None))
        await asyncio.sleep(0.2)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0.2)
        assert not closing.done(), "the other's lock is waited for"
        other.execute("ROLLBACK")
        await closing
        assert other.execute("SELECT count(*) FROM setting").fetchone() == (1,)
    other.close()


async def test_what_a_cancelled_caller_does_not_hear_of_is_nobodys_problem(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = await Database.open(url)
    begun = asyncio.Event()

    def fail(connection: Connection) -> None:
        begun.set()
        connection.execute(text("SELECT 1"))
        raise ZeroDivisionError

    reading = asyncio.create_task(database.read(fail))
    await begun.wait()
    reading.cancel()
    await asyncio.wait([reading])
    await database.close()
    assert caplog.text == ""
