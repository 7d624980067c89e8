//! A twin of the rehearsal's database, on which nobody else works: the files are applied to it once more, statement by
//! statement, and after each of them it is asked what that statement has done.
//!
//! Under traffic only the times can be measured. Here it is seen which statement takes which lock in a file without a
//! transaction, after which statement an operation of the traffic is refused for the first time, and which statement
//! changed a line of the schema.

use drift_engine::lock::Backend;
use drift_engine::session::{DbError, ErrorClass, Kind};
use drift_engine::{postgres, sqlite};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use super::apply::{self, Tables};
use super::catalog::{self, Schema};
use super::course::{FileRun, Pass, Plan, Record, STATEMENT_MAX};
use super::crowd::Crowd;
use super::migrations::{Migration, Script, Transaction};
use super::modes::Mode;
use super::refusals::{Group, groups};
use super::scripted;
use super::sending;
use super::sqlite::catalog as file_catalog;
use super::within::{Added, Within, Work};
use crate::database::Database;
use crate::explore::statement::{Class, class};
use crate::sql::Statement;

/// What a statement names is not there.
pub(super) const GONE: &str = "42704";
/// How long one operation of the traffic may take here.
const PROBE_MAX_MS: u64 = 5_000;

/// What one statement has done.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// In which part of the course.
    pub pass: Pass,
    /// Its file.
    pub script: &'a Script,
    /// Its number in the file.
    pub statement: usize,
    /// The lines of the schema that it has added (`+`) and removed (`-`).
    pub lines: Vec<String>,
    /// The locks that it took on what was there before the file.
    pub took: Vec<(String, Mode)>,
    /// What it did with all rows of a table that was there before the file.
    pub work: Vec<(String, Work)>,
    /// The groups of refused operations of which the first is refused from this statement on, in the same way.
    pub refuses: Vec<usize>,
}

/// Everything that was seen on it.
#[derive(Clone, Debug, Default)]
pub struct Twin<'a> {
    /// The statements, in order.
    pub steps: Vec<Step<'a>>,
    /// The groups whose first operation works at the version to begin at: of these the twin can tell.
    pub works: Vec<usize>,
}

impl<'a> Twin<'a> {
    /// The statement from which on a group's operations are refused.
    pub fn refusing(&self, group: usize) -> Option<&Step<'a>> {
        self.steps.iter().find(|step| step.refuses.contains(&group))
    }

    /// The last statement of a file before another that has dropped an index or a constraint of this name.
    pub fn dropped(&self, (pass, script): (Pass, &Script), before: usize, name: &str) -> Option<&Step<'a>> {
        let shown = [name.to_owned(), format!("\"{name}\"")];
        let is_it = |line: &String| {
            shown.iter().any(|name| match line.strip_prefix("- ") {
                Some(line) if line.starts_with("index ") => line.contains(&format!(" INDEX {name} ON ")),
                Some(line) => line.starts_with(&format!("constraint {name} on ")),
                None => false,
            })
        };
        let of_file =
            |step: &&Step<'_>| step.pass == pass && std::ptr::eq(step.script, script) && step.statement < before;
        self.steps.iter().filter(of_file).rfind(|step| step.lines.iter().any(is_it))
    }

    /// The last statement of a pass that brought a line of the schema about.
    pub fn brought(&self, pass: Pass, line: &str) -> Option<&Step<'a>> {
        self.steps.iter().rfind(|step| step.pass == pass && step.lines.iter().any(|one| one == line))
    }
}

/// Whether a record leaves anything that a twin can answer. Where another tool migrates, only that tool could migrate
/// the twin.
pub fn is_wanted(plan: &Plan<'_>, record: &Record<'_>, backend: Backend) -> bool {
    let differs = |lines: &Option<Vec<String>>| lines.as_ref().is_some_and(|lines| !lines.is_empty());
    let groups = groups(&record.operations, &plan.allowed);
    let has_sql = |group: &Group| record.operations.get(group.first).is_some_and(|one| one.sql.is_some());
    let is_unasked = |file: &FileRun<'_>| backend == Backend::Postgres && !file.script.is_one_transaction();
    // What is not there any more may have been dropped by an earlier statement.
    let lacks = |file: &FileRun<'_>| {
        let code = file.applied.failed.as_ref().and_then(|(_, error)| error.code.as_deref());
        backend == Backend::Postgres && code == Some(GONE)
    };
    let is_open = record.files.iter().any(|file| is_unasked(file) || lacks(file)) || groups.iter().any(has_sql);
    let is_ours = plan.runner.is_none() && plan.stock.is_none();
    is_ours && !record.files.is_empty() && (is_open || differs(&record.down_differs) || differs(&record.again_differs))
}

/// Asks a twin, a database that stands where the rehearsal began, and lets the record know. What was measured stands
/// without it: where it cannot be asked, the record is as it was, and the answer is a note that says why.
///
/// Cancellation: the twin must then be dropped.
pub async fn ask<'a>(plan: &Plan<'a>, record: &mut Record<'a>, database: &Database) -> Option<String> {
    let error = tell(plan, record, database).await.err()?;
    Some(format!("the same files without traffic could not be asked which statement did what: {error}"))
}

async fn tell<'a>(plan: &Plan<'a>, record: &mut Record<'a>, database: &Database) -> Result<(), DbError> {
    let groups = groups(&record.operations, &plan.allowed);
    if let Some(Crowd::Script(script)) = &plan.traffic {
        scripted::set_up(script, database).await?;
    }
    let twin = look(&plan.migrations, record, &groups, database).await?;
    record.take_locks(&twin);
    record.twin = Some(twin);
    Ok(())
}

/// Applies the files of a record to a database that stands where the rehearsal began, and looks. It goes as far as the
/// rehearsal did; a statement that is refused here ends it.
async fn look<'a>(
    migrations: &[&'a Migration],
    record: &Record<'_>,
    groups: &[Group],
    database: &Database,
) -> Result<Twin<'a>, DbError> {
    let sql = |group: &Group| Some(record.operations.get(group.first)?.sql.as_ref()?.to_string());
    let probes = groups.iter().enumerate().filter_map(|(number, group)| {
        let sql = sql(group).filter(|sql| !matches!(class(sql), Class::Begin | Class::End))?;
        Some(Probe { group: number, code: group.code.clone(), sql })
    });
    let mut line = Line::open(database).await?;
    let schema = line.schema().await?;
    let mut walk = Walk { line, schema, probes: probes.collect(), twin: Twin::default() };
    let mut working = Vec::new();
    for probe in std::mem::take(&mut walk.probes) {
        if walk.line.refusal_of(&probe.sql, false).await?.code.is_none() {
            walk.twin.works.push(probe.group);
            working.push(probe);
        }
    }
    walk.probes = working;
    let went = |pass: Pass, script: &Script| {
        record.files.iter().any(|file| file.pass == pass && std::ptr::eq(file.script, script))
    };
    let up = migrations.iter().map(|migration| (Pass::Up, &migration.up));
    let down = migrations.iter().rev().filter_map(|migration| Some((Pass::Down, migration.down.as_ref()?)));
    let again = migrations.iter().map(|migration| (Pass::Again, &migration.up));
    for (pass, script) in up.chain(down).chain(again).filter(|(pass, script)| went(*pass, script)) {
        if !walk.file(pass, script).await? {
            break;
        }
    }
    walk.line.close().await;
    Ok(walk.twin)
}

impl Record<'_> {
    /// Takes over which locks the statements of files without a transaction took: within those nobody could ask.
    pub fn take_locks(&mut self, twin: &Twin<'_>) {
        for file in self.files.iter_mut().filter(|file| !file.script.is_one_transaction()) {
            let numbered =
                |name: &String| file.applied.tables.iter().find(|(_, one)| *one == name).map(|(oid, _)| *oid);
            for ran in &mut file.applied.ran {
                let same = |step: &&Step<'_>| {
                    step.pass == file.pass && std::ptr::eq(step.script, file.script) && step.statement == ran.statement
                };
                if let Some(step) = twin.steps.iter().find(same) {
                    ran.took = step.took.iter().filter_map(|(on, mode)| Some((numbered(on)?, *mode))).collect();
                    ran.work = step.work.iter().filter_map(|(on, work)| Some((numbered(on)?, *work))).collect();
                }
            }
        }
    }
}

/// An operation of the traffic that was refused.
struct Probe {
    group: usize,
    code: String,
    sql: String,
}

struct Walk<'a> {
    line: Line,
    schema: Schema,
    probes: Vec<Probe>,
    twin: Twin<'a>,
}

impl<'a> Walk<'a> {
    /// Applies a file; answers whether it went through.
    async fn file(&mut self, pass: Pass, script: &'a Script) -> Result<bool, DbError> {
        let tables = self.line.tables().await?;
        let opens = script.in_transaction() || (script.is_message() && script.is_one_transaction());
        let opens = opens && !script.has_own_block();
        let mut within = None;
        if opens {
            survived(self.line.text(self.line.begin()).await)?;
            within = Some(self.line.within().await?);
        }
        for (number, statement) in script.statements.iter().enumerate() {
            let begins = statement.begins(&["BEGIN"]) || statement.begins(&["START", "TRANSACTION"]);
            let ends = !begins && script.controls_transaction(number);
            let added = match &mut within {
                Some(within) if !ends => match survived(self.line.statement(statement).await)? {
                    true => Some(self.line.look(within, &tables).await?),
                    false => None,
                },
                None if !begins && !ends && script.transaction != Transaction::One => {
                    self.line.alone(statement, &tables).await?
                }
                _ => survived(self.line.statement(statement).await)?.then(Added::default),
            };
            let Some(added) = added else {
                survived(self.line.text("ROLLBACK").await)?;
                return Ok(false);
            };
            if begins {
                within = Some(self.line.within().await?);
            }
            if ends {
                within = None;
            }
            if !self.step(pass, script, number, (added, &tables), &mut within).await? {
                return Ok(false);
            }
        }
        if opens {
            return survived(self.line.text("COMMIT").await);
        }
        Ok(true)
    }

    /// Notes what a statement has done; answers whether the file can go on.
    async fn step(
        &mut self,
        pass: Pass,
        script: &'a Script,
        statement: usize,
        (added, tables): (Added, &Tables),
        within: &mut Option<Within>,
    ) -> Result<bool, DbError> {
        let now = self.line.schema().await?;
        let lines = self.schema.difference(&now);
        self.schema = now;
        let mut refuses = Vec::new();
        let mut goes_on = true;
        for probe in &self.probes {
            let tried = self.line.refusal_of(&probe.sql, within.is_some()).await?;
            if tried.code.as_ref() == Some(&probe.code) {
                refuses.push(probe.group);
            }
            if tried.ended {
                goes_on = false;
                break;
            }
        }
        if let Some(within) = within.as_mut().filter(|_| goes_on && !self.probes.is_empty()) {
            self.line.look_again(within).await?;
        }
        self.probes.retain(|probe| !refuses.contains(&probe.group));
        let named = |table: &i64| tables.get(table).cloned();
        let took = added.took.iter().filter_map(|(on, mode)| Some((named(on)?, *mode))).collect();
        let work = added.work.iter().filter_map(|(on, work)| Some((named(on)?, *work))).collect();
        self.twin.steps.push(Step { pass, script, statement, lines, took, work, refuses });
        Ok(goes_on)
    }
}

/// What came of an operation of the traffic.
#[derive(Debug, PartialEq, Eq)]
struct Tried {
    /// With which code it was refused, if it was.
    code: Option<String>,
    /// Whether it has ended the transaction in which it was tried, and with it what the file had done.
    ended: bool,
}

/// Whether something went through; a refusal is no error here, a lost connection is.
fn survived(sent: Result<(), DbError>) -> Result<bool, DbError> {
    match sent {
        Ok(()) => Ok(true),
        Err(error) if error.class == ErrorClass::Lost => Err(error),
        Err(_) => Ok(false),
    }
}

/// A session of either database, as much as is needed of it.
enum Line {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Line {
    async fn open(database: &Database) -> Result<Self, DbError> {
        match database {
            Database::Postgres(database) => {
                let mut line = Self::Postgres(database.plain().await?);
                line.text(&format!("SET statement_timeout = {}", STATEMENT_MAX.as_millis())).await?;
                Ok(line)
            }
            Database::Sqlite(database) => Ok(Self::Sqlite(database.migrator().await?)),
        }
    }

    async fn close(self) {
        // The database is dropped next.
        let _ = match self {
            Self::Postgres(connection) => connection.close().await,
            Self::Sqlite(connection) => connection.close().await,
        };
    }

    fn begin(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "BEGIN",
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
        }
    }

    async fn text(&mut self, sql: &str) -> Result<(), DbError> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(connection) => {
                sql.execute(connection).await.map(drop).map_err(|error| postgres::classify(error, Kind::Write))
            }
            Self::Sqlite(connection) => {
                sql.execute(connection).await.map(drop).map_err(|error| sqlite::classify(error, Kind::Write))
            }
        }
    }

    async fn statement(&mut self, statement: &Statement) -> Result<(), DbError> {
        match self {
            Self::Postgres(connection) => {
                let sent = sending::statement(connection, statement).await;
                sent.map_err(|error| postgres::classify(error, Kind::Write))
            }
            Self::Sqlite(_) => self.text(&statement.text).await,
        }
    }

    async fn schema(&mut self) -> Result<Schema, DbError> {
        match self {
            Self::Postgres(connection) => catalog::read(connection).await,
            Self::Sqlite(connection) => file_catalog::read(connection).await,
        }
    }

    async fn tables(&mut self) -> Result<Tables, DbError> {
        match self {
            Self::Postgres(connection) => apply::tables(connection).await,
            // A file has one lock, and no tables with locks of their own.
            Self::Sqlite(_) => Ok(Tables::new()),
        }
    }

    async fn within(&mut self) -> Result<Within, DbError> {
        match self {
            Self::Postgres(connection) => {
                Within::begin(connection).await.map_err(|error| postgres::classify(error, Kind::Read))
            }
            Self::Sqlite(_) => Ok(Within::default()),
        }
    }

    async fn look(&mut self, within: &mut Within, tables: &Tables) -> Result<Added, DbError> {
        match self {
            Self::Postgres(connection) => {
                within.look(connection, tables).await.map_err(|error| postgres::classify(error, Kind::Read))
            }
            Self::Sqlite(_) => Ok(Added::default()),
        }
    }

    /// Takes what the traffic's operations have read for known: it is not the next statement's work.
    async fn look_again(&mut self, within: &mut Within) -> Result<(), DbError> {
        match self {
            Self::Postgres(connection) => {
                within.look_again(connection).await.map_err(|error| postgres::classify(error, Kind::Read))
            }
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Carries out a statement that stands outside of a transaction in one of its own, so that it can be asked within
    /// it; one that cannot run in a transaction without. None where it is refused.
    async fn alone(&mut self, statement: &Statement, tables: &Tables) -> Result<Option<Added>, DbError> {
        if matches!(self, Self::Postgres(_)) && !statement.has("CONCURRENTLY") {
            self.text("BEGIN").await?;
            let mut within = self.within().await?;
            if survived(self.statement(statement).await)? {
                let added = self.look(&mut within, tables).await?;
                return Ok(survived(self.text("COMMIT").await)?.then_some(added));
            }
            self.text("ROLLBACK").await?;
        }
        Ok(survived(self.statement(statement).await)?.then(Added::default))
    }

    /// How an operation of the traffic is refused now, if it is; whatever it does is undone.
    async fn refusal_of(&mut self, sql: &str, is_within: bool) -> Result<Tried, DbError> {
        let (open, close) = match is_within {
            true => (
                "SAVEPOINT driftlock_probe",
                "ROLLBACK TO SAVEPOINT driftlock_probe; RELEASE SAVEPOINT driftlock_probe",
            ),
            false => (self.begin(), "ROLLBACK"),
        };
        self.text(open).await?;
        if matches!(self, Self::Postgres(_)) {
            self.text(&format!("SET LOCAL statement_timeout = {PROBE_MAX_MS}")).await?;
        }
        let sent = self.text(sql).await;
        // Some refusals have ended the transaction already (SQLite's RAISE(ROLLBACK, …)): then there is nothing to undo.
        let ended = !survived(self.text(close).await)? && is_within;
        match sent {
            Err(error) if error.class == ErrorClass::Lost => Err(error),
            sent => {
                let code = sent.err().map(|error| error.code.unwrap_or_else(|| error.class.to_string()));
                Ok(Tried { code, ended })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_operation_whose_refusal_ends_the_transaction_is_told_with_its_code_and_that_the_file_is_gone() {
        let connection =
            SqliteConnection::connect("sqlite::memory:").await.expect("a database in memory can be opened");
        let mut line = Line::Sqlite(connection);
        line.text("CREATE TABLE t (a int UNIQUE); INSERT INTO t VALUES (1);").await.expect("it is made");
        let ends = "INSERT OR ROLLBACK INTO t VALUES (1)";
        for (sql, is_within, ended) in
            [(ends, false, false), ("INSERT INTO t VALUES (1)", true, false), (ends, true, true)]
        {
            if is_within {
                line.text("BEGIN IMMEDIATE").await.expect("nothing is open");
            }
            let tried = line.refusal_of(sql, is_within).await.expect("a refusal is no error");
            assert_eq!(tried, Tried { code: Some("2067".to_owned()), ended }, "{sql}");
            if is_within && !ended {
                line.text("ROLLBACK").await.expect("the transaction is still there");
            }
        }
        assert_eq!(line.refusal_of("SELECT 1", false).await.expect("it works"), Tried { code: None, ended: false });
    }
}
