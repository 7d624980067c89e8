//! Each layout: the order, the two ways, the transactions, and what is not taken. The directories are those of
//! `tests/rehearse/layouts`, each right once and with one fault once.

use std::path::PathBuf;

use super::*;

const X: &str = "SELECT 1";

fn fixture(layout: &str, which: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/rehearse/layouts", layout, which].iter().collect()
}

fn right(layout: &str) -> Migrations {
    let read = Migrations::read(&fixture(layout, "right"), None, Some(Dialect::Postgres)).unwrap();
    let found = read.origin.as_ref().map(|origin| origin.layout.name);
    assert_eq!(found, Some(layout), "{:?}", read.origin);
    read
}

/// What is wrong with a directory, as `file:line:column message`.
fn mistakes(read: Result<Migrations, Mistakes>) -> Vec<String> {
    let one = |Mistake { file, at, message, .. }: Mistake| {
        let place = at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let file = file.split("/fault/").last().unwrap_or_default();
        let file = file.split("/m/").last().unwrap_or_default();
        format!("{file}{place} {message}")
    };
    read.unwrap_err().0.into_iter().map(one).collect()
}

fn fault(layout: &str) -> Vec<String> {
    mistakes(Migrations::read(&fixture(layout, "fault"), None, Some(Dialect::Postgres)))
}

/// Version, transaction up, first words up, and the same down.
fn shape(read: &Migrations) -> Vec<String> {
    let side = |script: &Script| {
        let texts: Vec<String> =
            script.statements.iter().map(|one| format!("{}:{}", one.line, one.in_short(80))).collect();
        format!("{} [{}]", script.transaction.as_str(), texts.join("; "))
    };
    let one = |migration: &Migration| {
        let down = migration.down.as_ref().map_or("-".to_owned(), side);
        format!("{} {} / {down}", migration.version, side(&migration.up))
    };
    read.list.iter().map(one).collect()
}

/// What is not taken, as `file: reason`.
fn left(read: &Migrations) -> Vec<String> {
    let one = |left: &LeftOut| format!("{}: {}", left.file.split("/right/").last().unwrap_or_default(), left.reason);
    read.origin.iter().flat_map(|origin| &origin.left_out).map(one).collect()
}

/// The layout of files that are written to a directory `m`, where a project's file lies above it if one is named.
fn recognised(project: Option<&str>, files: &[(&str, &str)]) -> Result<Migrations, Mistakes> {
    let at = tempfile::tempdir().unwrap();
    std::fs::create_dir(at.path().join(".git")).unwrap();
    std::fs::create_dir(at.path().join("m")).unwrap();
    if let Some(project) = project {
        std::fs::write(at.path().join(project), "").unwrap();
    }
    for (name, text) in files {
        let path = at.path().join("m").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Migrations::read(&at.path().join("m"), None, None)
}

fn layout_of(project: Option<&str>, files: &[(&str, &str)]) -> &'static str {
    recognised(project, files).unwrap().origin.unwrap().layout.name
}

#[test]
fn prisma_has_one_message_a_folder_in_the_order_of_their_names() {
    let read = right("prisma");
    assert_eq!(
        shape(&read),
        [
            "20240101120000 one message [1:CREATE TABLE shop (a int)] / -",
            "20240201120000 one message [1:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / -",
        ]
    );
    assert_eq!(read.list[0].description, "init");
    assert_eq!(left(&read), ["migration_lock.toml: Prisma's note of the database's kind"]);
    assert_eq!(
        fault("prisma"),
        ["20240101120000_init/migration.sql:2:1 \\i is a command of psql, which no server understands"]
    );
}

#[test]
fn diesel_heeds_its_metadata() {
    let read = right("diesel");
    assert_eq!(
        shape(&read),
        [
            "20240101120000 one transaction [1:CREATE TABLE shop (a int)] / one transaction [1:DROP TABLE shop]",
            "20240102120000 one message [1:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / one message [1:DROP INDEX CONCURRENTLY shop_a]",
        ]
    );
    assert!(left(&read).is_empty());
    assert_eq!(
        fault("diesel"),
        ["2024-01-01-120000_create/metadata.toml run_in_transaction is neither true nor false"]
    );
}

#[test]
fn hasura_is_told_from_diesel_by_its_milliseconds() {
    let read = right("hasura");
    assert_eq!(
        shape(&read),
        [
            "1700000000001 one transaction [1:CREATE TABLE shop (a int)] / one transaction [1:DROP TABLE shop]",
            "1700000000002 one transaction [1:ALTER TABLE shop ADD b int] / -",
        ]
    );
    assert_eq!(fault("hasura"), ["1700000000002_more/down.sql undoes version 1700000000002, which no file applies"]);
}

#[test]
fn drizzle_has_the_order_of_its_journal_also_where_a_number_comes_twice() {
    let read = right("drizzle");
    assert_eq!(
        shape(&read),
        [
            "0000_first one transaction [1:CREATE TABLE a (x int); 3:CREATE TABLE b (x int)] / -",
            "0001_zeta one transaction [1:ALTER TABLE a ADD y int] / -",
            "0001_alpha one transaction [1:ALTER TABLE a ADD z int] / -",
        ]
    );
    assert_eq!(
        left(&read),
        [
            "0002_stray.sql: meta/_journal.json does not name it, so drizzle passes it over",
            "meta/0000_snapshot.json: drizzle-kit's picture of the schema",
        ]
    );
    assert_eq!(fault("drizzle"), ["meta/_journal.json it names 0001_gone, and there is no 0001_gone.sql"]);
}

#[test]
fn goose_has_both_ways_in_one_file_and_blocks_that_are_one_message() {
    let read = right("goose");
    assert_eq!(
        shape(&read),
        [
            "1 one transaction [2:CREATE TABLE shop (a int); 4:CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$] / \
             one transaction [9:DROP FUNCTION f(); 10:DROP TABLE shop]",
            "2 no transaction [3:CREATE INDEX CONCURRENTLY shop_a ON shop (a); 5:SELECT 1; SELECT 2;] / no transaction [9:DROP INDEX CONCURRENTLY shop_a]",
        ]
    );
    assert_eq!(
        left(&read),
        ["00003_data.go: a migration in Go, which only --runner can rehearse", "README.md: not an SQL file"]
    );
    assert_eq!(
        fault("goose"),
        ["00001_cut.sql:4:1 goose ends the statement here, and the database will refuse both halves"]
    );
}

#[test]
fn goose_wants_a_semicolon_at_the_end_and_fills_in_nothing_here() {
    let read = |text: &str| mistakes(recognised(None, &[("1_a.sql", text)]));
    let said = read("-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2 -- ;\n");
    assert!(said[0].starts_with("1_a.sql:4:1 the last statement has no semicolon"), "{said:?}");
    assert!(
        read("-- +goose ENVSUB ON\n-- +goose Up\nSELECT ${A};\n")[0].starts_with("1_a.sql:1:1 -- +goose ENVSUB ON")
    );
    assert!(
        read("-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n")[0]
            .starts_with("1_a.sql:2:1 -- +goose StatementBegin")
    );
    assert!(read("-- +goose Up\n-- +goose Sideways\n")[0].contains("goose does not take -- +goose Sideways here"));
}

#[test]
fn dbmate_has_both_ways_in_one_file_each_with_its_transaction() {
    let read = right("dbmate");
    assert_eq!(
        shape(&read),
        [
            "20240101120000 one transaction [2:CREATE TABLE shop (a int)] / one transaction [5:DROP TABLE shop]",
            "20240102120000 one message [2:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / one transaction [5:DROP INDEX shop_a]",
        ]
    );
    assert_eq!(fault("dbmate"), ["20240101120000_create.sql it has no -- migrate:down, which dbmate demands"]);
}

#[test]
fn tern_has_both_ways_in_one_file_and_no_gap() {
    let read = right("tern");
    assert_eq!(
        shape(&read),
        [
            "1 one transaction [1:CREATE TABLE shop (a int)] / one transaction [3:DROP TABLE shop]",
            "2 no transaction [2:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / one transaction [4:DROP INDEX shop_a]",
        ]
    );
    assert_eq!(left(&read), ["tern.conf: tern's settings, none of which matters to a rehearsal"]);
    assert_eq!(fault("tern"), ["003_late.sql tern wants number 2 here: its numbers begin at 1 and have no gap"]);
}

#[test]
fn node_pg_migrate_has_both_ways_in_one_file() {
    let read = right("node-pg-migrate");
    assert_eq!(
        shape(&read),
        [
            "1700000000001 one transaction [2:CREATE TABLE shop (a int)] / one transaction [4:DROP TABLE shop]",
            "1700000000002 one transaction [2:ALTER TABLE shop ADD b int] / -",
        ]
    );
    assert_eq!(left(&read), ["1700000000003_data.js: a migration in JavaScript, which only --runner can rehearse"]);
    let said = fault("node-pg-migrate");
    assert!(said[0].starts_with("1700000000001_create.sql:2:1 -- Down Migration without -- Up Migration"), "{said:?}");
}

#[test]
fn flyway_has_dotted_versions_subfolders_undoing_and_repeatables_at_the_end() {
    let read = right("flyway");
    assert_eq!(
        shape(&read),
        [
            "1 one transaction [1:CREATE TABLE shop (a int)] / one transaction [1:DROP TABLE shop]",
            "1.2 one transaction [1:ALTER TABLE shop ADD b int] / -",
            "1.10 no transaction [1:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / -",
            "2.0 no transaction [1:VACUUM shop; 2:SELECT 1] / -",
            "R__views one transaction [1:CREATE OR REPLACE VIEW v AS SELECT 1 AS x] / -",
        ]
    );
    assert_eq!(
        left(&read),
        [
            "B3__base.sql: a baseline, which Flyway runs on new databases only",
            "afterMigrate.sql: a callback of Flyway's, which is no migration",
        ]
    );
    assert_eq!(
        fault("flyway"),
        [
            "V1__mixed.sql:2:1 a statement that cannot run in a transaction, among others: Flyway refuses the file (mixed)"
        ]
    );
}

#[test]
fn golang_migrate_sends_each_file_as_one_message() {
    let read = right("golang-migrate");
    assert_eq!(
        shape(&read),
        [
            "1 one message [1:BEGIN; 2:CREATE TABLE shop (a int); 3:COMMIT] / one message [1:DROP TABLE shop]",
            "2 one message [1:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / one message [1:DROP INDEX CONCURRENTLY shop_a]",
        ]
    );
    assert_eq!(fault("golang-migrate"), ["000001_again.up.sql version 1 is in 000001_a.up.sql already"]);
}

#[test]
fn pop_takes_its_databases_files_twenty_digits_and_no_fizz() {
    let read = right("pop");
    assert_eq!(
        shape(&read),
        [
            "20200101000000000001 one transaction [1:CREATE TABLE shop (a int)] / one transaction [1:DROP TABLE shop]",
            "20200101000000000002 one message [1:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / -",
        ]
    );
    assert_eq!(
        left(&read),
        [
            "20200101000000000001_create.mysql.up.sql: for mysql",
            "20200101000000000001_create.up.sql: another file of this version is for this database",
        ]
    );
    assert_eq!(
        fault("pop"),
        ["20200101000000_create.up.fizz version 20200101000000 is in fizz, which only pop translates"]
    );
}

#[test]
fn yoyo_goes_by_its_dependencies() {
    let read = right("yoyo");
    assert_eq!(
        shape(&read),
        [
            "0002.base one transaction [1:CREATE TABLE shop (a int)] / one transaction [1:DROP TABLE shop]",
            "0001.index no transaction [3:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / -",
        ]
    );
    assert_eq!(left(&read), ["0003.data.py: a migration in Python, which only --runner can rehearse"]);
    assert_eq!(fault("yoyo"), ["0001.a.sql:1:1 it depends on 0009.gone, which is not here"]);
}

#[test]
fn refinery_takes_u_for_a_migration_and_says_no_transaction_in_its_first_line() {
    let read = right("refinery");
    assert_eq!(
        shape(&read),
        [
            "1 one transaction [1:CREATE TABLE shop (a int)] / -",
            "2 one message [2:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / -",
            "3 one transaction [1:ALTER TABLE shop ADD b int] / -",
        ]
    );
    assert_eq!(fault("refinery"), ["V1__b.sql version 1 is in V1__a.sql already"]);
}

#[test]
fn sqlx_and_names_alone_are_read_as_ever() {
    let read = right("sqlx");
    assert_eq!(
        shape(&read),
        [
            "9 one transaction [1:CREATE TABLE shop (a int)] / one transaction [1:DROP TABLE shop]",
            "10 one message [2:CREATE INDEX CONCURRENTLY shop_a ON shop (a)] / -",
        ]
    );
    assert_eq!(read.list[1].description, "b c");
    assert_eq!(left(&read), ["README.md: not an SQL file"]);
    assert_eq!(
        fault("sqlx"),
        [
            "1_a.sql:1:1 BEGIN in a migration's file",
            "1_a.sql:3:1 COMMIT in a migration's file",
            "2_b.sql:2:1 -- no-transaction is not the first thing in the file, and so means nothing",
        ]
    );
    let named = right("named");
    assert_eq!(
        shape(&named),
        ["a one transaction [1:SELECT 1] / -", "b one transaction [1:SELECT 2] / one transaction [1:SELECT 3]"]
    );
    assert_eq!(fault("named"), ["c.down.sql undoes version c, which no file applies"]);
}

#[test]
fn numbers_and_dates_without_a_tool_are_read_in_their_order() {
    let read = right("plain");
    assert_eq!(
        shape(&read),
        [
            "1 one transaction [1:SELECT 1] / -",
            "2 no transaction [1:BEGIN; 2:SELECT 2; 3:COMMIT] / one transaction [1:SELECT 3]",
            "10 one transaction [1:COPY shop FROM STDIN; 4:SELECT 10] / -",
            "2024-01-01 one transaction [1:SELECT 11] / -",
        ]
    );
    assert_eq!(left(&read), ["notes/old.sql: its name is none of a runner of numbered files's migrations"]);
    assert_eq!(read.list[2].up.statements[0].data.as_deref(), Some("1\n"));
    assert_eq!(fault("plain"), ["001.sql version 1 is in 001-x.sql already"]);
    for files in [&[("up/1_a.sql", X), ("down/1_a.sql", X)], &[("1_a_up.sql", X), ("1_a_down.sql", X)]] {
        let read = recognised(None, files).unwrap();
        assert_eq!(shape(&read), ["1 one transaction [1:SELECT 1] / one transaction [1:SELECT 1]"]);
    }
}

#[test]
fn what_lies_above_tells_layouts_apart_that_name_alike() {
    let pair = [("1_a.up.sql", X), ("1_a.down.sql", X)];
    assert_eq!(layout_of(Some("go.mod"), &pair), "golang-migrate");
    assert_eq!(layout_of(Some("Cargo.toml"), &pair), "sqlx");
    let read = recognised(None, &pair).unwrap().origin.unwrap();
    assert_eq!(read.layout.name, "sqlx");
    assert!(read.why.contains("--layout golang-migrate"), "{}", read.why);
    assert_eq!(layout_of(None, &[("1_a.up.sql", "BEGIN;\nSELECT 1;\nCOMMIT;")]), "golang-migrate");
    assert_eq!(layout_of(Some("Cargo.toml"), &[("V1__a.sql", X)]), "refinery");
    assert_eq!(layout_of(Some("pom.xml"), &[("V1__a.sql", X)]), "flyway");
    // On SQLite golang-migrate opens a transaction, on PostgreSQL none.
    let at = fixture("golang-migrate", "right");
    let read = Migrations::read(&at, Some(Layout::named("golang-migrate").unwrap()), Some(Dialect::Sqlite));
    assert!(mistakes(read).iter().any(|said| said.ends_with("BEGIN in a migration's file")));
    // The words of sqlx's own template are no mark of node-pg-migrate's.
    assert_eq!(layout_of(None, &[("1_a.up.sql", "-- Add up migration script here\nSELECT 1")]), "sqlx");
}

#[test]
fn a_named_layout_overrules_and_an_unknown_one_says_what_there_is() {
    let at = fixture("golang-migrate", "right");
    let read = |layout| Migrations::read(&at, Some(Layout::named(layout).unwrap()), Some(Dialect::Postgres));
    assert_eq!(read("golang-migrate").unwrap().origin.unwrap().why, "as --layout says");
    assert!(mistakes(read("sqlx")).iter().any(|said| said.contains("BEGIN in a migration's file")));
    assert!(mistakes(read("goose")).iter().all(|said| said.contains("it has no -- +goose Up")));
    assert!(Layout::named("liquibase").unwrap_err().starts_with("the layouts are prisma, "));
    let forced = Migrations::read(&fixture("goose", "right"), Some(Layout::named("sqlx").unwrap()), None);
    assert!(
        mistakes(forced)
            .iter()
            .any(|said| said.ends_with("a mark of goose's, behind which the way down would be run on the way up"))
    );
    let unknown = mistakes(recognised(None, &[("a.py", ""), ("b.py", ""), ("c.xml", "")]));
    assert!(
        unknown[0].ends_with("it has no migration that is known; found: 2 .py such as a.py, 1 .xml such as c.xml"),
        "{unknown:?}"
    );
    assert!(mistakes(recognised(None, &[]))[0].ends_with("it has no migration: it is empty"));
}

#[test]
fn every_layout_has_a_name_of_its_own_and_says_where_concurrently_goes() {
    let names: std::collections::BTreeSet<&str> = layout::LAYOUTS.iter().map(|layout| layout.name).collect();
    assert_eq!(names.len(), layout::LAYOUTS.len());
    for layout in layout::LAYOUTS {
        assert!(!layout.outside.ends_with('.') && layout.outside.starts_with("a "), "{layout:?}");
        assert!(fixture(layout.name, "right").is_dir() && fixture(layout.name, "fault").is_dir(), "{layout:?}");
        let is_sqlx = ["sqlx", "named", "plain"].contains(&layout.name);
        assert_eq!(layout.outside.contains("-- no-transaction"), is_sqlx, "{layout:?}");
    }
}

#[test]
fn a_version_is_found_by_its_number_its_name_or_the_beginning_of_it() {
    let read = right("flyway");
    let find = |text: &str| read.find(&Version::named(text)).map(|version| version.as_str().to_owned());
    assert_eq!(find("1.10").as_deref(), Some("1.10"));
    assert_eq!(find("001").as_deref(), Some("1"));
    assert_eq!((find("0").as_deref(), find("3"), find("1.1")), (Some("0"), None, None));
    let drizzle = right("drizzle");
    let find = |text: &str| drizzle.find(&Version::named(text)).map(|version| version.as_str().to_owned());
    assert_eq!((find("0000").as_deref(), find("0001")), (Some("0000_first"), None));
    assert!(find("0").is_some_and(|found| found == "0"));
    let twenty = right("pop");
    let (from, to) = (twenty.list[0].version.clone(), twenty.latest());
    assert_eq!(
        twenty.between(&from, &to).map(|one| one.version.as_str()).collect::<Vec<_>>(),
        ["20200101000000000002"]
    );
    assert_eq!((twenty.before(&to), twenty.before(&from).is_none()), (from, true));
}

#[test]
fn sqlites_words_show_whose_sql_it_is() {
    let of = |text: &str| {
        let at = tempfile::tempdir().unwrap();
        std::fs::write(at.path().join("1_a.sql"), text).unwrap();
        Migrations::read(at.path(), None, None).unwrap().origin.unwrap().sqlite
    };
    assert_eq!(
        of("CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT)").as_deref(),
        Some("1_a.sql says AUTOINCREMENT")
    );
    assert_eq!(of("PRAGMA foreign_keys = ON").as_deref(), Some("1_a.sql says PRAGMA"));
    assert_eq!(of("CREATE TABLE t (a int) WITHOUT ROWID").as_deref(), Some("1_a.sql says WITHOUT ROWID"));
    let both =
        [("1_a.sqlite3.up.sql", "CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT)"), ("1_a.postgres.up.sql", X)];
    assert_eq!(recognised(None, &both).unwrap().origin.unwrap().left_out.len(), 1);
    assert_eq!(shape(&recognised(None, &both).unwrap()), ["1 one transaction [1:SELECT 1] / -"]);
    for theirs in
        ["CREATE TABLE t (a serial)", "SELECT 'PRAGMA' -- AUTOINCREMENT", "CREATE TABLE autoincrement_without (a int)"]
    {
        assert_eq!(of(theirs), None, "{theirs}");
    }
}

#[test]
fn texts_that_cannot_be_read_are_mistakes_only_where_they_are_taken() {
    let at = tempfile::tempdir().unwrap();
    let read = || Migrations::read(at.path(), None, Some(Dialect::Postgres));
    std::fs::write(at.path().join("1_a.sql"), b"SELECT\n 1 \xff").unwrap();
    let Mistakes(found) = read().unwrap_err();
    assert_eq!((found[0].at, found[0].message.as_str()), (Some((2, 4)), "this is not UTF-8"));
    std::fs::write(at.path().join("1_a.sql"), "SELECT\0").unwrap();
    assert_eq!(read().unwrap_err().0[0].at, Some((1, 7)));
    std::fs::write(at.path().join("1_a.sql"), X).unwrap();
    std::fs::create_dir(at.path().join("old")).unwrap();
    std::fs::write(at.path().join("old/b.sql"), b"\xff").unwrap();
    assert_eq!(read().unwrap().origin.unwrap().left_out.len(), 1);
    let Mistakes(missing) = Migrations::read(Path::new("no/such/place"), None, Some(Dialect::Postgres)).unwrap_err();
    assert!(missing[0].message.starts_with("failed to read the directory"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    let read = recognised(
        None,
        &[
            ("1_a.sql", "SELECT 1;\n\\dt"),
            ("1_b.sql", "SELECT 'x"),
            ("2_c.down.sql", X),
            ("3_d.sql", "BEGIN;\nSELECT 1;\nCOMMIT;"),
            ("3_d.down.sql", X),
            ("99999999999999999999_e.sql", X),
            ("0_f.sql", X),
            ("name.sql", X),
        ],
    );
    let printed = read.as_ref().unwrap_err().to_string();
    assert_eq!(
        mistakes(read),
        [
            "0_f.sql 0 is no version",
            "1_a.sql:2:1 \\dt is a command of psql, which no server understands",
            "1_b.sql version 1 is in 1_a.sql already",
            "2_c.down.sql undoes version 2, which no file applies",
            "3_d.down.sql version 3 can be undone, but its other file does not end in .up.sql",
            "3_d.sql:1:1 BEGIN in a migration's file",
            "3_d.sql:3:1 COMMIT in a migration's file",
            "99999999999999999999_e.sql 99999999999999999999 is no version",
            "name.sql its name has no number",
        ]
    );
    assert_eq!(printed.lines().count(), 1 + 2 * 9);
}

#[test]
fn our_own_are_read_as_the_engine_reads_them() {
    let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../migrations/postgres"].iter().collect();
    let here = Migrations::read(&directory, None, Some(Dialect::Postgres)).unwrap();
    let there = drift_engine::migrate::steps(drift_engine::lock::Backend::Postgres);
    assert_eq!(here.list.len(), there.len());
    for (mine, step) in here.list.iter().zip(there) {
        assert_eq!((mine.version.number(), &mine.description), (Some(step.version), &step.description()));
        assert_eq!((mine.up.text.as_str(), mine.up.in_transaction()), (step.up.sql, step.up.in_transaction()));
        assert!(mine.down.as_ref().is_some_and(|down| Some(down.text.as_str()) == step.down.map(|file| file.sql)));
    }
}
