"""The same work with one Python driver; prints what each statement came to, one line each.

work.py DRIVER URL
"""

import asyncio
import datetime
import decimal
import io
import json
import sys
import threading
import uuid
import zlib

DRIVER, URL = sys.argv[1:]

VALUES = [
    0, 1, -1, 2**31 - 1, 2**62, 1.5, -2.25e300, True, False, None, "", "text", "ünïcödé ☃", "x" * 10_000,
    b"", b"\x00\xff" * 50, decimal.Decimal("12345.6789"), datetime.date(2026, 11, 29),
    datetime.datetime(2026, 11, 29, 12, 30, 15, 123456), datetime.timedelta(days=3, seconds=7),
    uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), [1, 2, 3], ["a", None, "c"],
]
TYPES = [
    "int8", "int8", "int8", "int8", "int8", "float8", "float8", "bool", "bool", "text", "text", "text", "text", "text",
    "bytea", "bytea", "numeric", "date", "timestamp", "interval", "uuid", "int8[]", "text[]",
]
WRONG = [
    "SELECT 1/0", "SELEKT", "SELECT nothing", "INSERT INTO work VALUES (1, 'again')", "SELECT 'x'::int",
    "SELECT pg_terminate_backend('x')", "DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'P0999'; END $$",
]
TABLE = "CREATE TEMP TABLE work (id int PRIMARY KEY, x text)"


def say(*what):
    print(*[normal(one) for one in what])


def normal(value):
    text = repr(plain(value))
    return text if len(text) < 200 else f"{text[:100]}…{len(text)}…{zlib.crc32(text.encode())}"


def plain(value):
    """Values of which the representation says where they are say what they hold instead."""
    if isinstance(value, memoryview):
        return bytes(value)
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def code(error):
    for one in (error, getattr(error, "orig", None), getattr(error, "__cause__", None)):
        found = getattr(one, "sqlstate", None) or getattr(one, "pgcode", None)
        if found:
            return found
    return type(error).__name__


def dbapi(connect, cancel, errors):
    """psycopg2 and psycopg, by the interface that they share."""
    connection = connect()
    connection.autocommit = True
    cursor = connection.cursor()

    def run(sql, values=None):
        try:
            cursor.execute(sql, values)
            say(sql[:40], cursor.statusmessage, cursor.fetchall() if cursor.description else cursor.rowcount)
        except errors as error:
            say(sql[:40], code(error), str(error))

    run(TABLE)
    for turn in range(20):
        for value, kind in zip(VALUES, TYPES):
            run(f"SELECT %s::{kind}, pg_typeof(%s::{kind})::text", (value, value))
    for n in range(200):
        run("INSERT INTO work VALUES (%s, %s) RETURNING id", (n % 150, "row"))
    for sql in WRONG * 5:
        run(sql)
    connection.autocommit = False
    for n in range(30):
        run("SAVEPOINT s")
        run(WRONG[n % len(WRONG)])
        run("SELECT 1")
        run("ROLLBACK TO SAVEPOINT s")
        run("SELECT count(*) FROM work")
    connection.rollback()
    run("SELECT count(*) FROM work")
    try:
        connection.commit()
    except errors as error:
        say(code(error))
    return connection, cursor, run


def psycopg2_work():
    import psycopg2

    connection, cursor, run = dbapi(lambda: psycopg2.connect(URL), None, psycopg2.Error)
    connection.autocommit = True
    cursor.copy_expert("COPY work FROM STDIN", io.StringIO("".join(f"{n}\trow {n}\n" for n in range(1000, 6000))))
    out = io.StringIO()
    cursor.copy_expert("COPY (SELECT * FROM work ORDER BY id) TO STDOUT", out)
    say(len(out.getvalue()), out.getvalue()[-50:])
    try:
        cursor.copy_expert("COPY work FROM STDIN", io.StringIO("x\ty\n" * 50_000))
    except psycopg2.Error as error:
        say(code(error))
    run("SELECT count(*) FROM work")
    connection.autocommit = False
    with connection.cursor("named") as named:
        named.itersize = 100
        named.execute("SELECT * FROM work ORDER BY id")
        say(sum(row[0] for row in named))
    connection.commit()
    connection.autocommit = True
    run("LISTEN n")
    run("NOTIFY n, 'hello'")
    connection.poll()
    say([(one.channel, one.payload) for one in connection.notifies])
    say([notice.strip() for notice in connection.notices])
    timer = threading.Timer(0.3, connection.cancel)
    timer.start()
    run("SELECT pg_sleep(30)")
    run("SELECT repeat('x', 64000000)")
    connection.close()


def psycopg_work():
    import psycopg

    connection, cursor, run = dbapi(lambda: psycopg.connect(URL, prepare_threshold=3), None, psycopg.Error)
    connection.autocommit = True
    for _ in range(2):
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int * 2", (n,)) for n in range(200)]
        say(sum(one.fetchone()[0] for one in cursors))
    with connection.pipeline() as pipeline:
        many = connection.cursor()
        many.executemany("INSERT INTO work VALUES (%s, %s)", [(n, "many") for n in range(20_000, 20_300)])
        pipeline.sync()
        say(many.rowcount)
    try:
        with connection.pipeline():
            connection.execute("INSERT INTO work VALUES (30000, 'lost')")
            connection.execute("SELECT 1/0")
            connection.execute("INSERT INTO work VALUES (30001, 'lost')")
    except psycopg.Error as error:
        say(code(error))
    run("SELECT count(*) FROM work WHERE id >= 30000")
    with cursor.copy("COPY work FROM STDIN") as copy:
        for n in range(1000, 6000):
            copy.write_row((n, f"row {n}"))
    with cursor.copy("COPY (SELECT * FROM work ORDER BY id) TO STDOUT (FORMAT binary)") as copy:
        say(sum(len(data) for data in copy))
    try:
        with cursor.copy("COPY work FROM STDIN") as copy:
            raise KeyError("given up")
    except KeyError:
        pass
    run("SELECT count(*) FROM work")
    with connection.transaction(), connection.cursor("named") as named:
        named.itersize = 100
        named.execute("SELECT * FROM work ORDER BY id")
        say(sum(row[0] for row in named))
    binary = connection.cursor(binary=True)
    for value, kind in zip(VALUES, TYPES):
        say(binary.execute(f"SELECT %b::{kind}", (value,)).fetchone())
    stream = connection.cursor()
    say(sum(row[0] for row in stream.stream("SELECT generate_series(1, 3000)")))
    run("LISTEN n")
    run("NOTIFY n, 'hello'")
    say([(one.channel, one.payload) for one in connection.notifies(timeout=5, stop_after=1)])
    timer = threading.Timer(0.3, connection.cancel)
    timer.start()
    run("SELECT pg_sleep(30)")
    run("SELECT repeat('x', 64000000)")
    connection.close()


async def asyncpg_work():
    import asyncpg

    connection = await asyncpg.connect(URL)

    async def run(sql, *values):
        try:
            rows = await connection.fetch(sql, *values)
            say(sql[:40], [tuple(row.values()) for row in rows])
        except asyncpg.PostgresError as error:
            say(sql[:40], code(error), str(error))

    await connection.execute(TABLE)
    for turn in range(20):
        for value, kind in zip(VALUES, TYPES):
            await run(f"SELECT $1::{kind}, pg_typeof($1::{kind})::text", value)
    for n in range(200):
        await run("INSERT INTO work VALUES ($1, $2) RETURNING id", n % 150, "row")
    for sql in WRONG * 5:
        await run(sql)
    for n in range(30):
        try:
            async with connection.transaction():
                await run("SELECT 1")
                async with connection.transaction():
                    await connection.execute(WRONG[n % len(WRONG)])
        except asyncpg.PostgresError as error:
            say(code(error))
    await connection.executemany("INSERT INTO work VALUES ($1, $2)", [(n, "many") for n in range(20_000, 20_300)])
    say(await connection.copy_records_to_table("work", records=[(n, f"row {n}") for n in range(1000, 6000)]))
    out = io.BytesIO()
    say(await connection.copy_from_query("SELECT * FROM work ORDER BY id", output=out), len(out.getvalue()))
    try:
        await connection.copy_to_table("work", source=io.BytesIO(b"x\ty\n" * 50_000))
    except asyncpg.PostgresError as error:
        say(code(error))
    async with connection.transaction():
        total = 0
        async for row in connection.cursor("SELECT * FROM work ORDER BY id", prefetch=70):
            total += row["id"]
        say(total)
    heard = asyncio.get_running_loop().create_future()
    await connection.add_listener("n", lambda *what: heard.done() or heard.set_result(what[2:]))
    await connection.execute("NOTIFY n, 'hello'")
    say(await asyncio.wait_for(heard, 5))
    await connection.remove_listener("n", lambda *what: None)
    try:
        await connection.fetch("SELECT pg_sleep(30)", timeout=0.3)
    except asyncio.TimeoutError:
        say("cancelled")
    await run("SELECT repeat('x', 64000000)")
    await connection.close()


def sqlalchemy_work():
    import sqlalchemy as sa
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    class Base(DeclarativeBase):
        pass

    class Thing(Base):
        __tablename__ = "thing_sa"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    for dialect in ("postgresql+psycopg2", "postgresql+psycopg"):
        engine = sa.create_engine(URL.replace("postgresql", dialect, 1), pool_size=5)
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all(Thing(name=f"thing {n}") for n in range(300))
            session.commit()
            for n in range(1, 200):
                session.get(Thing, n).name += "!"
                session.flush()
            session.commit()
            for n in range(100):
                try:
                    with session.begin_nested():
                        session.execute(sa.text(WRONG[n % 3]))
                except sa.exc.DBAPIError as error:
                    say(code(error))
            say(session.scalars(sa.select(sa.func.sum(Thing.id)).where(Thing.name.like("%!"))).all())
            say([thing.name for thing in session.scalars(sa.select(Thing).order_by(Thing.id).with_for_update())])
        say(sorted(sa.inspect(engine).get_columns("thing_sa")[0]))
        Base.metadata.drop_all(engine)
        engine.dispose()


def django_work():
    import django
    from django.conf import settings

    from urllib.parse import unquote, urlsplit

    url = urlsplit(URL)
    database = {
        "ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": unquote(url.username),
        "PASSWORD": url.password or "", "HOST": url.hostname, "PORT": url.port,
    }
    settings.configure(DATABASES={"default": database}, INSTALLED_APPS=[], USE_TZ=True)
    django.setup()
    from django.db import DatabaseError, connection, models, transaction

    class Thing(models.Model):
        name = models.TextField(unique=True)
        at = models.DateTimeField(null=True)
        data = models.JSONField(default=dict)

        class Meta:
            app_label = "things"

    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS things_thing")
    with connection.schema_editor() as editor:
        editor.create_model(Thing)
    for n in range(200):
        Thing.objects.create(name=f"thing {n}", data={"n": [n]})
        say(Thing.objects.get_or_create(name=f"thing {n // 2}")[1])
        try:
            with transaction.atomic():
                Thing.objects.select_for_update().get(name="thing 0")
                if n % 2:
                    Thing.objects.create(name="thing 0")
        except DatabaseError as error:
            say(code(error))
    say(list(Thing.objects.filter(data__n__0__gt=100).values_list("name", "data").order_by("id")))
    say(Thing.objects.bulk_create(Thing(name=f"bulk {n}") for n in range(300))[-1].name)
    say(sum(thing.pk for thing in Thing.objects.iterator(chunk_size=50)))
    with connection.schema_editor() as editor:
        editor.delete_model(Thing)
    connection.close()


WORK = {
    "psycopg2": psycopg2_work, "psycopg": psycopg_work, "asyncpg": lambda: asyncio.run(asyncpg_work()),
    "sqlalchemy": sqlalchemy_work, "django": django_work,
}
WORK[DRIVER]()
