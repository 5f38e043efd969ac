"""Applies the numbered migrations, in order, once each."""

from importlib.resources import files

from processors.storage.database import Connection

#: Any number, the same everywhere: one migrator at a time.
_LOCK = 7_201_331


def migrations() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of every migration, in order."""
    folder = files("processors.storage") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.split("_")[0]), name, (folder / name).read_text(encoding="utf-8")) for name in names]


async def migrate(connection: Connection) -> list[str]:
    """Bring the schema up to date; the names of the migrations that this took. Safe to run from many places at once."""
    applied: list[str] = []
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(
            "create table if not exists migrations "
            "(number int primary key, name text not null, applied_at timestamptz not null default now())"
        )
        cursor = await connection.execute("select number from migrations")
        done = {number for (number,) in await cursor.fetchall()}
        for number, name, sql in migrations():
            if number not in done:
                await connection.execute(sql.encode())
                await connection.execute("insert into migrations (number, name) values (%s, %s)", (number, name))
                applied.append(name)
    await connection.commit()
    return applied
