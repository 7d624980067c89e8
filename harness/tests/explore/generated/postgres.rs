//! What rich scripts do on PostgreSQL.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;

use super::{Dialect, Theme};

pub(super) static DIALECT: Dialect = Dialect {
    begins: &[
        "BEGIN",
        "BEGIN",
        "{begin}",
        "START TRANSACTION",
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        "START TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
    ],
    ends: &["COMMIT", "COMMIT", "COMMIT", "COMMIT", "END", "ROLLBACK", "ROLLBACK", "COMMIT AND CHAIN"],
    themes: &[ROWS, LOCKS, ADVISORY, SEQUENCES, CONSTRAINTS, PARTITIONS, SESSION],
    schema: &[SCHEMA, SCHEMA, HIDDEN_SCHEMA],
    serial: &[
        ("a", "SELECT * FROM a"),
        ("b", "SELECT * FROM b"),
        ("c", "SELECT * FROM c"),
        ("e", "SELECT * FROM e"),
        ("g", "SELECT * FROM g"),
        ("p", "SELECT * FROM p"),
        ("log", "SELECT * FROM log"),
        ("m", "SELECT * FROM m"),
        ("s", "SELECT last_value, is_called FROM s"),
        ("made", "SELECT count(*) FROM pg_class WHERE relname = 'made' AND relnamespace = 'public'::regnamespace"),
    ],
    setup,
};

/// The set-up for these steps. It has the functions that they call and no others, for what a function may
/// do makes all steps suspect; but now and then it has all.
fn setup(steps: &str, rng: &mut ChaCha8Rng) -> String {
    let all = rng.random_bool(0.1);
    let called = FUNCTIONS.iter().filter(|(name, _)| all || steps.contains(name));
    let functions = called.map(|(name, body)| format!("CREATE FUNCTION {name}{body};\n")).collect::<String>();
    format!("{TABLES}{}{functions}", VARIANTS.choose(rng).unwrap())
}

const TABLES: &str = "\
CREATE TABLE a (id int PRIMARY KEY, v int NOT NULL);
CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a (id) ON DELETE CASCADE);
CREATE TABLE c (id serial PRIMARY KEY, k int, CONSTRAINT c_k UNIQUE (k) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE e (r int4range, EXCLUDE USING gist (r WITH &&));
CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY, v int);
CREATE TABLE log (note text, created int DEFAULT 0, comment text);
CREATE SEQUENCE s;
CREATE VIEW va AS SELECT id, v FROM a WHERE v > 0;
INSERT INTO a VALUES (1, 10), (2, 20);
INSERT INTO b VALUES (1, 1);
INSERT INTO c (k) VALUES (1);
INSERT INTO e VALUES (int4range(1, 3));
INSERT INTO g (v) VALUES (1);
CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n, sum(v) AS v FROM a;
";

/// The partitions, and none, some or many triggers.
const VARIANTS: [&str; 3] = [
    "\
CREATE TABLE p (k int, v int) PARTITION BY LIST (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
INSERT INTO p VALUES (1, 1), (2, 2);
",
    "\
CREATE TABLE p (k int, v int) PARTITION BY RANGE (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (2);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (2) TO (4);
INSERT INTO p VALUES (1, 1), (2, 2);
CREATE FUNCTION t_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO log (note) VALUES (TG_OP || ' ' || coalesce(NEW.v, OLD.v)); RETURN NULL;
END $$;
CREATE TRIGGER a_log AFTER INSERT OR UPDATE OR DELETE ON a FOR EACH ROW EXECUTE FUNCTION t_log();
CREATE FUNCTION t_look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE g SET v = v + (SELECT count(*) FROM c); RETURN NULL;
END $$;
CREATE TRIGGER b_look AFTER INSERT ON b FOR EACH ROW EXECUTE FUNCTION t_look();
",
    "\
CREATE TABLE p (k int, v int, PRIMARY KEY (k, v)) PARTITION BY LIST (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF p DEFAULT;
INSERT INTO p VALUES (1, 1), (2, 2);
ALTER TABLE b ALTER CONSTRAINT b_a_fkey DEFERRABLE INITIALLY DEFERRED;
ALTER SEQUENCE s CACHE 3;
CREATE FUNCTION t_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO log (note) SELECT TG_OP || ' ' || sum(v) FROM a; RETURN NULL;
END $$;
CREATE TRIGGER a_log AFTER INSERT OR UPDATE OR DELETE ON a EXECUTE FUNCTION t_log();
CREATE FUNCTION t_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF (SELECT count(*) FROM b) > 1 THEN RETURN NULL; END IF; RETURN NEW;
END $$;
CREATE TRIGGER a_refuse BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION t_refuse();
CREATE FUNCTION t_cap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.k > (SELECT count(*) FROM b) + 1 THEN RAISE EXCEPTION 'capped'; END IF; RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER c_cap AFTER INSERT OR UPDATE ON c DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION t_cap();
CREATE CONSTRAINT TRIGGER c_cap_too AFTER INSERT OR UPDATE ON c DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION t_cap();
CREATE FUNCTION t_count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  NEW.v := NEW.v + (SELECT count(*) FROM b); RETURN NEW;
END $$;
CREATE TRIGGER g_count BEFORE INSERT ON g FOR EACH ROW EXECUTE FUNCTION t_count();
",
];

/// What steps can call: how it is called, and what follows that in its definition.
const FUNCTIONS: [(&str, &str); 20] = [
    (
        "f_lock(",
        ") RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
  PERFORM pg_advisory_xact_lock(7); RETURN (SELECT count(*) FROM b); END $$",
    ),
    ("f_try(", ") RETURNS boolean LANGUAGE sql AS 'SELECT pg_try_advisory_xact_lock(7)'"),
    ("f_session_try(", ") RETURNS boolean LANGUAGE sql AS 'SELECT pg_try_advisory_lock(8)'"),
    ("f_unlock(", ") RETURNS boolean LANGUAGE sql AS 'SELECT pg_advisory_unlock(8)'"),
    (
        "f_branch(",
        ") RETURNS text LANGUAGE plpgsql AS $$ BEGIN
  IF (SELECT count(*) FROM b) > 1 THEN UPDATE a SET v = v + 5 WHERE id = 2; RETURN 'wrote'; END IF;
  PERFORM pg_advisory_xact_lock(7); RETURN 'locked'; END $$",
    ),
    (
        "f_bump(",
        ") RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
  UPDATE a SET v = v + 1 WHERE id = 1; RETURN (SELECT sum(v) FROM a); END $$",
    ),
    ("f_sum(", ") RETURNS bigint LANGUAGE sql STABLE AS 'SELECT sum(v) FROM a'"),
    (
        "f_catch(",
        ") RETURNS text LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO b VALUES (2, 1); RETURN 'made'; EXCEPTION WHEN unique_violation THEN RETURN 'there'; END $$",
    ),
    ("f_run(", "text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; END'"),
    ("f_next(", ") RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('s') $$"),
    ("f_set(", "text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('app.x', $1, false) $$"),
    (
        "f_read(",
        ") RETURNS text LANGUAGE sql AS $$ SELECT coalesce(nullif(current_setting('app.x', true), ''), 'none') $$",
    ),
    (
        "f_by_setting(",
        ") RETURNS text LANGUAGE plpgsql AS $$ BEGIN
  IF current_setting('app.x', true) = '1' THEN UPDATE a SET v = v + 3 WHERE id = 1; RETURN 'wrote'; END IF;
  DELETE FROM b WHERE id = 1; RETURN 'deleted'; END $$",
    ),
    (
        "f_temp(",
        ") RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
  CREATE TEMP TABLE IF NOT EXISTS tt (x int); INSERT INTO pg_temp.tt VALUES (1);
  RETURN (SELECT count(*) FROM pg_temp.tt); END $$",
    ),
    ("f_ddl(", ") RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE TABLE made (x int)'; RETURN 1; END $$"),
    (
        "f_ddl_if(",
        ") RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE 'CREATE TABLE IF NOT EXISTS made (x int)'; RETURN 1; END $$",
    ),
    ("f_truncate(", ") RETURNS int LANGUAGE plpgsql AS $$ BEGIN TRUNCATE log; RETURN 1; END $$"),
    (
        "f_refresh(",
        ") RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
  REFRESH MATERIALIZED VIEW m; RETURN (SELECT v FROM m); END $$",
    ),
    ("f_const(", ") RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0'"),
    ("f_count(", ") RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM b); END'"),
];

const ROWS: Theme = &[
    "SELECT v FROM a WHERE id = #r",
    "SELECT sum(v) FROM a",
    "UPDATE a SET v = v + #a WHERE id = #r",
    "UPDATE a SET v = v + #a WHERE id = #r RETURNING v",
    "UPDATE a SET v = v * 2",
    "UPDATE a SET v = #a WHERE v = 10",
    "UPDATE a SET v = (SELECT count(*) FROM b) WHERE id = #r",
    "INSERT INTO b VALUES (#n, #r)",
    "DELETE FROM b WHERE id = #r",
    "DELETE FROM b WHERE a = #r RETURNING id",
    "INSERT INTO b SELECT count(*) + 5, 1 FROM b",
    "INSERT INTO a SELECT 3, sum(v) + #a FROM a",
    "DELETE FROM a WHERE id = #r",
    "SELECT * FROM va",
    "UPDATE va SET v = v + #a WHERE id = #r",
    "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)",
    "SELECT count(*) FROM a JOIN b ON b.a = a.id",
    "WITH x AS (DELETE FROM b WHERE id = #r RETURNING *) INSERT INTO log (note) SELECT 'gone ' || id FROM x",
    "WITH x AS (UPDATE a SET v = v + #a WHERE id = #r RETURNING v) SELECT * FROM x",
    "MERGE INTO b USING (VALUES (#n, #r)) AS n (id, a) ON b.id = n.id \
     WHEN MATCHED THEN UPDATE SET a = n.a WHEN NOT MATCHED THEN INSERT VALUES (n.id, n.a)",
    "MERGE INTO a USING b ON a.id = b.a AND b.id = 1 \
     WHEN MATCHED AND a.v > 10 THEN DELETE WHEN MATCHED THEN UPDATE SET v = a.v + #a",
    "INSERT INTO b VALUES (#n, #r) ON CONFLICT DO NOTHING",
    "INSERT INTO a VALUES (#n, #a) ON CONFLICT (id) DO UPDATE SET v = a.v + excluded.v RETURNING v",
    "INSERT INTO b SELECT #n, #r WHERE NOT EXISTS (SELECT FROM b WHERE id = #n)",
    "INSERT INTO log (note, created) VALUES ('created #a', #a)",
    "SELECT count(*) FROM log WHERE note LIKE '%comment%' OR created > 0",
    "UPDATE log SET created = created + #a WHERE note <> 'drop'",
    "UPDATE a SET v = v + #a WHERE id = #r; SELECT sum(v) FROM a",
    "DO $$ BEGIN UPDATE a SET v = v + #a WHERE id = #r; END $$",
    "DO $$ BEGIN IF (SELECT count(*) FROM b) > 1 THEN RAISE EXCEPTION 'many'; END IF; \
     INSERT INTO b VALUES (#n, 1); END $$",
    "SELECT f_bump()",
    "SELECT f_sum()",
    "SELECT f_count()",
    "SELECT f_catch()",
    "SELECT f_run('UPDATE a SET v = v + #a WHERE id = #r')",
];

const LOCKS: Theme = &[
    "SELECT v FROM a WHERE id = #r FOR UPDATE",
    "SELECT v FROM a WHERE id = #r FOR SHARE",
    "SELECT v FROM a WHERE id = #r FOR KEY SHARE",
    "SELECT v FROM a WHERE id = #r FOR NO KEY UPDATE",
    "SELECT v FROM a WHERE id = #r FOR NO KEY UPDATE NOWAIT",
    "SELECT v FROM a WHERE id = #r FOR SHARE NOWAIT",
    "SELECT v FROM a WHERE v > 10 FOR UPDATE",
    "SELECT id FROM a ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1",
    "SELECT id FROM a ORDER BY id LIMIT 1 FOR KEY SHARE SKIP LOCKED",
    "UPDATE a SET v = a.v + #a FROM (SELECT id FROM a ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) q \
     WHERE a.id = q.id RETURNING a.id",
    "DELETE FROM b WHERE id IN (SELECT id FROM b ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id",
    "SELECT count(*) FROM (SELECT id FROM a FOR UPDATE SKIP LOCKED) q",
    "SELECT a.v FROM a JOIN b ON b.a = a.id WHERE b.id = 1 FOR UPDATE OF a",
    "UPDATE a SET v = v + #a WHERE id = #r",
    "INSERT INTO b VALUES (#n, #r)",
    "LOCK TABLE a IN ACCESS SHARE MODE",
    "LOCK TABLE a IN ROW SHARE MODE",
    "LOCK TABLE a IN ROW EXCLUSIVE MODE NOWAIT",
    "LOCK TABLE b IN SHARE MODE",
    "LOCK TABLE b IN SHARE UPDATE EXCLUSIVE MODE",
    "LOCK TABLE b IN SHARE ROW EXCLUSIVE MODE NOWAIT",
    "LOCK TABLE a IN EXCLUSIVE MODE",
    "LOCK TABLE a",
    "LOCK TABLE va IN SHARE MODE",
    "SELECT f_run('LOCK TABLE a IN SHARE MODE')",
    "SELECT f_run('SELECT 1 FROM a WHERE id = #r FOR UPDATE NOWAIT')",
];

const ADVISORY: Theme = &[
    "SELECT pg_advisory_xact_lock(7)",
    "SELECT pg_advisory_xact_lock_shared(7)",
    "SELECT pg_try_advisory_xact_lock(7)",
    "SELECT pg_advisory_lock(8)",
    "SELECT pg_try_advisory_lock(8)",
    "SELECT pg_try_advisory_lock_shared(8)",
    "SELECT pg_advisory_unlock(8)",
    "SELECT pg_advisory_unlock_all()",
    "SELECT \"pg_try_advisory_xact_lock\"(7)",
    "SELECT v FROM a WHERE id = #r AND pg_try_advisory_xact_lock(7)",
    "UPDATE a SET v = v + #a WHERE id = #r AND pg_try_advisory_xact_lock(7) RETURNING v",
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "DO $$ BEGIN PERFORM pg_advisory_xact_lock(7); END $$",
    "DO $$ BEGIN IF pg_try_advisory_xact_lock(7) THEN UPDATE a SET v = v + #a WHERE id = 1; END IF; END $$",
    "DO $$ BEGIN EXECUTE 'SELECT pg_' || 'advisory_lock(8)'; END $$",
    "SELECT f_lock()",
    "SELECT f_lock()",
    "SELECT f_try()",
    "SELECT v, f_try() FROM a WHERE id = #r",
    "SELECT f_session_try()",
    "SELECT f_unlock()",
    "SELECT f_branch()",
    "SELECT f_run('SELECT pg_advisory_xact_lock(7)')",
    "INSERT INTO b VALUES (#n, 1) ON CONFLICT DO NOTHING",
    "UPDATE a SET v = v + #a WHERE id = #r",
    "SELECT v FROM a WHERE id = #r",
];

const SEQUENCES: Theme = &[
    "SELECT nextval('s')",
    "SELECT nextval('s')",
    "SELECT last_value, is_called FROM s",
    "SELECT last_value FROM pg_sequences WHERE sequencename = 's'",
    "SELECT setval('s', #n)",
    "SELECT setval('s', (SELECT max(v) FROM a))",
    "SELECT currval('s')",
    "SELECT lastval()",
    "SELECT f_next()",
    "DO $$ BEGIN PERFORM nextval('s'); END $$",
    "INSERT INTO c (k) VALUES (10 * #a) RETURNING id",
    "INSERT INTO g (v) VALUES (#a) RETURNING id",
    "INSERT INTO g (v) SELECT count(*) FROM g RETURNING id, v",
    "INSERT INTO g OVERRIDING SYSTEM VALUE VALUES (2, #a)",
    "SELECT max(id) FROM g",
    "UPDATE a SET v = nextval('s') WHERE id = #r",
    "INSERT INTO b SELECT nextval('s') + 10, 1",
    "SELECT v FROM a WHERE id = #r",
    "SELECT setval('c_id_seq', #n, false)",
    "SELECT setval(pg_get_serial_sequence('g', 'id'), 5)",
    "SELECT setval(format('%s', 's')::regclass, #n)",
    "SELECT nextval(('s' || '')::regclass)",
    "SELECT nextval('c_id_seq') + nextval(format('%s', 's')::regclass)",
];

const CONSTRAINTS: Theme = &[
    "INSERT INTO c (k) VALUES (#n)",
    "INSERT INTO c (k) VALUES (#n)",
    "INSERT INTO c (k) VALUES (1)",
    "UPDATE c SET k = k + 1",
    "DELETE FROM c WHERE k = 1",
    "SELECT k FROM c",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SET CONSTRAINTS c_k IMMEDIATE",
    "SET CONSTRAINTS ALL DEFERRED",
    "INSERT INTO e VALUES (int4range(#n, #n + 2))",
    "INSERT INTO e VALUES (int4range(3, 5))",
    "INSERT INTO e VALUES (int4range(#n, 9)) ON CONFLICT DO NOTHING",
    "UPDATE e SET r = int4range(lower(r) + 2, upper(r) + 2)",
    "DELETE FROM e",
    "SELECT count(*) FROM e WHERE r && int4range(1, #n)",
    "INSERT INTO b VALUES (#n, 3)",
    "INSERT INTO a VALUES (3, #a)",
    "DELETE FROM a WHERE id = #r",
    "UPDATE a SET id = id + 2 WHERE id = #r",
    "UPDATE b SET a = 3 - a",
    "UPDATE b SET id = #n WHERE id = 1",
    "INSERT INTO b VALUES (#n, #r) ON CONFLICT (id) DO UPDATE SET a = excluded.a",
    "INSERT INTO b SELECT #n, 2 WHERE NOT EXISTS (SELECT FROM b WHERE id = #n)",
    "SELECT f_catch()",
    "SELECT f_run('INSERT INTO c (k) VALUES (#n)')",
];

const PARTITIONS: Theme = &[
    "INSERT INTO p VALUES (#r, #n)",
    "INSERT INTO p VALUES (#r, #a + 3)",
    "INSERT INTO p VALUES (7, #a)",
    "INSERT INTO p2 VALUES (2, #n)",
    "UPDATE p SET k = 3 - k WHERE v = #r",
    "UPDATE p SET k = 2 WHERE k = 1 RETURNING v",
    "UPDATE p SET k = 3 - k",
    "UPDATE p SET v = v + #a WHERE k = #r",
    "UPDATE p1 SET v = v + #a",
    "DELETE FROM p WHERE k = #r",
    "DELETE FROM p WHERE v = #n",
    "SELECT * FROM p",
    "SELECT sum(v) FROM p WHERE k = #r",
    "SELECT v FROM p1",
    "SELECT count(*) FROM p2",
    "SELECT tableoid::regclass, v FROM p WHERE v < 3",
    "SELECT v FROM p WHERE k = #r FOR UPDATE",
    "SELECT v FROM p WHERE k = #r FOR KEY SHARE",
    "LOCK TABLE p IN SHARE MODE",
    "LOCK TABLE ONLY p IN EXCLUSIVE MODE",
    "WITH x AS (DELETE FROM p1 RETURNING v) INSERT INTO p SELECT 2, v + #a FROM x",
    "INSERT INTO p SELECT #r, count(*) + 5 FROM p",
];

const SESSION: Theme = &[
    "SELECT set_config('app.x', '#a', false)",
    "SELECT set_config('app.x', '#a', true)",
    "SET app.x = '#a'",
    "SET LOCAL app.x = '#a'",
    "RESET app.x",
    "SELECT coalesce(nullif(current_setting('app.x', true), ''), 'none')",
    "UPDATE a SET v = v + #a WHERE current_setting('app.x', true) = '#a' RETURNING v",
    "SELECT f_set('#a')",
    "SELECT f_set('1')",
    "SELECT f_read()",
    "SELECT f_by_setting()",
    "SELECT f_by_setting()",
    "SELECT f_temp()",
    "SELECT f_temp()",
    "SELECT count(*) FROM pg_temp.tt",
    "SELECT f_run('SET app.x = 1')",
    "SET search_path = pg_catalog",
    "LISTEN x",
    "UNLISTEN *",
    "SET LOCAL search_path = pg_catalog",
    "SET search_path = pg_temp, public",
    "SELECT nextval('s')",
    "SELECT currval('s')",
    "PREPARE q AS UPDATE a SET v = v + #a WHERE id = #r",
    "EXECUTE q",
    "SELECT f_run('PREPARE q AS SELECT v FROM a WHERE id = #r')",
    "DECLARE k CURSOR FOR SELECT id, v FROM a ORDER BY id FOR UPDATE; FETCH 1 FROM k",
    "DECLARE k CURSOR WITH HOLD FOR SELECT id, v FROM a ORDER BY id",
    "FETCH 1 FROM k",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SELECT set_config('default_transaction_isolation', 'repeatable read', false)",
    "SET LOCAL session_replication_role = replica",
    "INSERT INTO log (comment) VALUES ('created #a')",
    "SELECT v FROM a WHERE id = #r",
    "INSERT INTO b VALUES (#n, #r)",
];

const SCHEMA: Theme = &[
    "CREATE TABLE IF NOT EXISTS made (x int)",
    "CREATE TABLE IF NOT EXISTS made (x int)",
    "CREATE TABLE made (x int)",
    "CREATE TABLE made AS SELECT v AS x FROM a",
    "INSERT INTO made VALUES (#a)",
    "INSERT INTO made VALUES (#a)",
    "SELECT count(*) FROM made",
    "DROP TABLE IF EXISTS made",
    "DROP TABLE made",
    "SELECT to_regclass('made')",
    "SELECT count(*) FROM pg_class WHERE relname = 'made'",
    "ALTER TABLE a ADD COLUMN IF NOT EXISTS w int",
    "SELECT * FROM a",
    "TRUNCATE log",
    "TRUNCATE b",
    "TRUNCATE a CASCADE",
    "REFRESH MATERIALIZED VIEW m",
    "SELECT n, v FROM m",
    "CREATE OR REPLACE FUNCTION f_const() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT #a'",
    "SELECT f_const()",
    "SELECT f_const()",
    "CREATE TEMP TABLE tt (x int)",
    "CREATE TEMP TABLE tt ON COMMIT DROP AS SELECT v AS x FROM a",
    "SELECT count(*) FROM pg_temp.tt",
    "CREATE UNIQUE INDEX IF NOT EXISTS b_once ON b (a)",
    "ALTER TABLE b DROP CONSTRAINT IF EXISTS b_a_fkey",
    "ALTER TABLE p DETACH PARTITION p2",
    "ALTER TABLE a DISABLE TRIGGER USER",
    "ALTER SEQUENCE s RESTART",
    "DROP VIEW IF EXISTS va",
    "COMMENT ON TABLE a IS 'created by #a'",
    "SELECT obj_description('a'::regclass, 'pg_class')",
    "SELECT comment FROM log WHERE comment <> 'truncate'",
    "SELECT f_ddl()",
    "SELECT f_ddl_if()",
];

/// No word outside of quotes shows what these do.
const HIDDEN_SCHEMA: Theme = &[
    "SELECT f_ddl()",
    "SELECT f_ddl()",
    "SELECT f_ddl_if()",
    "SELECT f_ddl_if()",
    "DO $$ BEGIN EXECUTE 'CREATE TABLE IF NOT EXISTS made (x int)'; END $$",
    "SELECT #a AS x INTO made",
    "INSERT INTO made VALUES (#a)",
    "INSERT INTO made VALUES (#a)",
    "SELECT count(*) FROM made",
    "SELECT to_regclass('made')",
    "SELECT count(*) FROM pg_class WHERE relname = 'made'",
    "SELECT f_run('DROP TABLE IF EXISTS made')",
    "SELECT f_run('ALTER TABLE a ADD COLUMN IF NOT EXISTS w int')",
    "SELECT * FROM a",
    "SELECT f_truncate()",
    "INSERT INTO log (note) VALUES ('truncate #a')",
    "SELECT count(*) FROM log",
    "SELECT f_refresh()",
    "SELECT n, v FROM m",
    "UPDATE a SET v = v + #a WHERE id = #r",
];
