//! What rich scripts do on SQLite.

use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;

use super::{Dialect, Theme};

pub(super) static DIALECT: Dialect = Dialect {
    begins: &[
        "BEGIN",
        "BEGIN",
        "{begin}",
        "BEGIN DEFERRED",
        "BEGIN IMMEDIATE",
        "BEGIN IMMEDIATE TRANSACTION",
        "BEGIN EXCLUSIVE",
        "SAVEPOINT t",
    ],
    ends: &["COMMIT", "COMMIT", "COMMIT", "COMMIT", "END TRANSACTION", "ROLLBACK", "ROLLBACK", "COMMIT; BEGIN"],
    themes: &[ROWS, CONSTRAINTS, KEYS, TRIGGERS, CONNECTION],
    schema: &[SCHEMA],
    serial: &[
        ("a", "SELECT * FROM a"),
        ("b", "SELECT * FROM b"),
        ("c", "SELECT * FROM c"),
        ("g", "SELECT * FROM g"),
        ("log", "SELECT * FROM log"),
        ("keys", "SELECT * FROM sqlite_sequence"),
        ("version", "PRAGMA user_version"),
        ("made", "SELECT count(*) FROM sqlite_master WHERE name = 'made'"),
    ],
    setup,
};

fn setup(_steps: &str, rng: &mut ChaCha8Rng) -> String {
    format!("{TABLES}{}", VARIANTS.choose(rng).unwrap())
}

const TABLES: &str = "\
CREATE TABLE a (id INTEGER PRIMARY KEY, v INTEGER NOT NULL CHECK (v < 1000));
CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER NOT NULL REFERENCES a (id) ON DELETE CASCADE);
CREATE TABLE c (id INTEGER PRIMARY KEY AUTOINCREMENT, k INTEGER UNIQUE);
CREATE TABLE log (note TEXT, created INTEGER DEFAULT 0, comment TEXT);
CREATE VIEW va AS SELECT id, v FROM a WHERE v > 0;
CREATE TRIGGER va_insert INSTEAD OF INSERT ON va BEGIN
  INSERT INTO a VALUES (new.id, new.v);
END;
INSERT INTO a VALUES (1, 10), (2, 20);
INSERT INTO b VALUES (1, 1);
INSERT INTO c (k) VALUES (1);
INSERT INTO log (note) VALUES ('start');
";

/// Nothing that is computed, generated columns, and triggers that stand in the way.
const VARIANTS: [&str; 3] = [
    "\
CREATE TABLE g (v INTEGER, twice INTEGER DEFAULT 0);
INSERT INTO g (v) VALUES (1);
",
    "\
CREATE TABLE g (v INTEGER, twice INTEGER AS (v * 2) STORED, again INTEGER AS (v + 1) VIRTUAL);
INSERT INTO g (v) VALUES (1);
CREATE TRIGGER a_log AFTER UPDATE ON a BEGIN
  INSERT INTO log (note) VALUES (old.v || ' to ' || new.v);
END;
",
    "\
CREATE TABLE g (v INTEGER, twice INTEGER DEFAULT 0);
INSERT INTO g (v) VALUES (1);
CREATE TRIGGER a_log AFTER INSERT ON a BEGIN
  INSERT INTO log (note) SELECT 'sum ' || sum(v) FROM a;
END;
CREATE TRIGGER b_count AFTER INSERT ON b BEGIN
  UPDATE g SET v = v + (SELECT count(*) FROM c);
END;
CREATE TRIGGER a_refuse BEFORE UPDATE ON a WHEN (SELECT count(*) FROM b) > 2 BEGIN
  SELECT RAISE(IGNORE);
END;
CREATE TRIGGER log_stays BEFORE DELETE ON log BEGIN
  SELECT RAISE(ABORT, 'append only');
END;
",
];

const ROWS: Theme = &[
    "SELECT v FROM a WHERE id = #r",
    "SELECT sum(v) FROM a",
    "UPDATE a SET v = v + #a WHERE id = #r",
    "UPDATE a SET v = v + #a WHERE id = #r RETURNING v",
    "UPDATE a SET v = v * 2",
    "UPDATE a SET v = #a WHERE v = 10",
    "UPDATE a SET v = (SELECT count(*) FROM b) WHERE id = #r",
    "UPDATE a SET v = a.v + b.id FROM b WHERE b.a = a.id RETURNING v",
    "INSERT INTO b VALUES (#n, #r)",
    "DELETE FROM b WHERE id = #r",
    "DELETE FROM b WHERE a = #r RETURNING id",
    "INSERT INTO b SELECT count(*) + 5, 1 FROM b",
    "INSERT INTO a SELECT 3, sum(v) + #a FROM a",
    "SELECT * FROM va",
    "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)",
    "SELECT count(*) FROM a JOIN b ON b.a = a.id",
    "WITH x AS (SELECT count(*) AS n FROM b) SELECT n FROM x",
    "WITH x AS (SELECT max(id) + 1 AS n FROM b) INSERT INTO b SELECT n, 1 FROM x",
    "VALUES ((SELECT v FROM a WHERE id = #r))",
    "UPDATE a SET v = v + #a WHERE id = #r; SELECT sum(v) FROM a",
    "SELECT v FROM a WHERE id = #r; UPDATE a SET v = v + #a WHERE id = 1",
    "INSERT INTO log (note, created) VALUES ('created #a', #a)",
    "SELECT count(*) FROM log WHERE note LIKE '%comment%' OR created > 0",
    "UPDATE log SET created = created + #a WHERE note <> 'drop'",
];

const CONSTRAINTS: Theme = &[
    "INSERT INTO a VALUES (#n, #a) ON CONFLICT (id) DO UPDATE SET v = v + excluded.v RETURNING v",
    "INSERT INTO b VALUES (#n, #r) ON CONFLICT DO NOTHING",
    "INSERT OR IGNORE INTO b VALUES (#n, #r)",
    "INSERT OR REPLACE INTO a VALUES (#r, #a)",
    "REPLACE INTO c (k) VALUES (#n)",
    "INSERT OR ROLLBACK INTO c (k) VALUES (#n)",
    "INSERT OR FAIL INTO c (k) VALUES (#n), (1)",
    "UPDATE OR REPLACE c SET k = #n",
    "UPDATE OR IGNORE c SET k = 1",
    "INSERT INTO c (k) VALUES (#n)",
    "INSERT INTO b SELECT #n, #r WHERE NOT EXISTS (SELECT 1 FROM b WHERE id = #n)",
    "INSERT INTO b VALUES (#n, 3)",
    "INSERT INTO a VALUES (3, #a)",
    "DELETE FROM a WHERE id = #r",
    "UPDATE a SET id = id + 2 WHERE id = #r",
    "UPDATE a SET v = v + 500 WHERE id = #r",
    "DELETE FROM c WHERE k = 1",
    "SELECT k FROM c",
];

const KEYS: Theme = &[
    "INSERT INTO c (k) VALUES (10 * #a) RETURNING id",
    "INSERT INTO c (k) SELECT max(k) + #a FROM c RETURNING id, k",
    "DELETE FROM c WHERE id = (SELECT max(id) FROM c)",
    "SELECT seq FROM sqlite_sequence WHERE name = 'c'",
    "UPDATE sqlite_sequence SET seq = 5 WHERE name = 'c'",
    "SELECT last_insert_rowid()",
    "SELECT changes()",
    "UPDATE a SET v = v + 1; SELECT changes()",
    "INSERT INTO b SELECT last_insert_rowid() + 10, 1",
    "UPDATE a SET v = last_insert_rowid() WHERE id = #r",
    "INSERT INTO log (note) SELECT 'changed ' || changes()",
    "INSERT INTO b (a) VALUES (#r) RETURNING id",
    "SELECT max(rowid) FROM log",
    "SELECT max(id) FROM c",
];

const TRIGGERS: Theme = &[
    "UPDATE a SET v = v + #a WHERE id = #r",
    "UPDATE a SET v = v + #a",
    "INSERT INTO a VALUES (#n, #a)",
    "INSERT INTO b VALUES (#n, #r)",
    "INSERT INTO va VALUES (#n, #a)",
    "DELETE FROM log",
    "SELECT note FROM log",
    "SELECT count(*) FROM log",
    "INSERT INTO g (v) VALUES (#a)",
    "UPDATE g SET v = v + #a RETURNING v, twice",
    "SELECT * FROM g",
    "DELETE FROM g WHERE twice > 2",
    "INSERT INTO log (comment) VALUES ('created #a')",
    "SELECT comment FROM log WHERE comment <> 'drop'",
];

const CONNECTION: Theme = &[
    "PRAGMA user_version = #a",
    "PRAGMA user_version",
    "SELECT user_version FROM pragma_user_version",
    "PRAGMA foreign_keys = ON",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA foreign_keys",
    "PRAGMA defer_foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA query_only = ON",
    "SAVEPOINT u",
    "SAVEPOINT u; UPDATE a SET v = v + #a WHERE id = #r; RELEASE u",
    "RELEASE u",
    "ROLLBACK TO u",
    "INSERT INTO b VALUES (#n, 3)",
    "DELETE FROM a WHERE id = #r",
    "INSERT OR REPLACE INTO a VALUES (#r, #a)",
    "UPDATE a SET v = v + #a WHERE id = #r",
    "SELECT v FROM a WHERE id = #r",
    "SELECT last_insert_rowid()",
];

const SCHEMA: Theme = &[
    "CREATE TABLE IF NOT EXISTS made (x INTEGER)",
    "CREATE TABLE IF NOT EXISTS made (x INTEGER)",
    "CREATE TABLE made (x INTEGER)",
    "CREATE TABLE made AS SELECT v AS x FROM a",
    "INSERT INTO made VALUES (#a)",
    "INSERT INTO made VALUES (#a)",
    "SELECT count(*) FROM made",
    "DROP TABLE IF EXISTS made",
    "DROP TABLE made",
    "SELECT count(*) FROM sqlite_master WHERE name = 'made'",
    "SELECT name FROM pragma_table_info('a')",
    "ALTER TABLE a ADD COLUMN w INTEGER",
    "SELECT * FROM a",
    "CREATE UNIQUE INDEX IF NOT EXISTS b_once ON b (a)",
    "INSERT INTO b VALUES (#n, #r)",
    "DROP VIEW IF EXISTS va",
    "CREATE TRIGGER IF NOT EXISTS b_made AFTER DELETE ON b BEGIN UPDATE a SET v = v + #a; END",
    "DELETE FROM b WHERE id = 1",
    "DROP TRIGGER IF EXISTS a_log",
    "CREATE TEMP TABLE IF NOT EXISTS tt (x INTEGER)",
    "CREATE TEMP TABLE made AS SELECT v AS x FROM a",
    "INSERT INTO temp.tt VALUES (#a)",
    "SELECT count(*) FROM temp.tt",
];
