-- A database as pg_dump --schema-only leaves it: the tables of knex are there, and empty.
CREATE TABLE knex_migrations (
    id serial PRIMARY KEY,
    name varchar(255),
    batch integer,
    migration_time timestamptz
);
CREATE TABLE knex_migrations_lock (
    index serial PRIMARY KEY,
    is_locked integer
);
