//! A twin of the rehearsal's database, on which nobody else works: the files are applied to it once more, statement by
//! statement, and after each of them it is asked what that statement has done.
//!
//! Under traffic only the times can be measured. Here it is seen which statement takes which lock in a file without a
//! transaction, after which statement an operation of the traffic is refused for the first time, and which statement
//! changed a line of the schema.

use std::time::Duration;

use drift_engine::lock::Backend;
use drift_engine::session::{DbError, ErrorClass};

use super::apply::{Added, Tables, Work};
use super::catalog::Schema;
use super::course::{FileRun, Pass, Plan, Record, STATEMENT_MAX};
use super::crowd::Crowd;
use super::migrations::{Migration, Script, Transaction};
use super::modes::Mode;
use super::refusals::{Group, groups};
use super::scripted;
use super::site::Place;
use super::target::{Line, Target};
use crate::explore::statement::{Class, class};

/// What a statement names is not there.
pub(super) const GONE: &str = "42704";
/// How long one operation of the traffic may take here.
const PROBE_MAX: Duration = Duration::from_secs(5);

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
pub async fn ask<'a, T: Target>(plan: &Plan<'a>, record: &mut Record<'a>, place: &Place<T>) -> Option<String> {
    let error = tell(plan, record, place).await.err()?;
    Some(format!("the same files without traffic could not be asked which statement did what: {error}"))
}

async fn tell<'a, T: Target>(plan: &Plan<'a>, record: &mut Record<'a>, place: &Place<T>) -> Result<(), DbError> {
    let groups = groups(&record.operations, &plan.allowed);
    if let Some(Crowd::Script(script)) = &plan.traffic {
        scripted::set_up(script, &place.database()).await?;
    }
    let mut line = place.line().await?;
    line.bound(STATEMENT_MAX).await?;
    let twin = look(&plan.migrations, record, &groups, line).await?;
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
    mut line: impl Line,
) -> Result<Twin<'a>, DbError> {
    let sql = |group: &Group| Some(record.operations.get(group.first)?.sql.as_ref()?.to_string());
    let probes = groups.iter().enumerate().filter_map(|(number, group)| {
        let sql = sql(group).filter(|sql| !matches!(class(sql), Class::Begin | Class::End))?;
        Some(Probe { group: number, code: group.code.clone(), sql })
    });
    let schema = line.schema().await?;
    let mut walk = Walk { line, schema, probes: probes.collect(), twin: Twin::default() };
    let mut working = Vec::new();
    for probe in std::mem::take(&mut walk.probes) {
        if refusal_of(&mut walk.line, &probe.sql, false).await?.code.is_none() {
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
    // The database is dropped next.
    let _ = walk.line.close().await;
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

struct Walk<'a, L> {
    line: L,
    schema: Schema,
    probes: Vec<Probe>,
    twin: Twin<'a>,
}

impl<'a, L: Line> Walk<'a, L> {
    /// Applies a file; answers whether it went through.
    async fn file(&mut self, pass: Pass, script: &'a Script) -> Result<bool, DbError> {
        let tables = self.line.tables().await?;
        let opens = script.in_transaction() || (script.is_message() && script.is_one_transaction());
        let opens = opens && !script.has_own_block();
        let mut is_within = opens;
        if opens {
            survived(self.line.text(L::BEGIN).await)?;
            self.line.begun().await?;
        }
        for (number, statement) in script.statements.iter().enumerate() {
            let begins = statement.begins(&["BEGIN"]) || statement.begins(&["START", "TRANSACTION"]);
            let ends = !begins && script.controls_transaction(number);
            let alone = !is_within && !begins && !ends && script.transaction != Transaction::One;
            let added = match alone {
                true => survived(self.line.alone(statement, &tables).await)?,
                false => match survived(self.line.statement(statement).await)? {
                    Some(()) if is_within && !ends => Some(self.line.look(&tables).await?),
                    done => done.map(|()| Added::default()),
                },
            };
            let Some(added) = added else {
                survived(self.line.text("ROLLBACK").await)?;
                return Ok(false);
            };
            if begins {
                self.line.begun().await?;
            }
            is_within = (is_within || begins) && !ends;
            if !self.step(pass, script, number, (added, &tables), is_within).await? {
                return Ok(false);
            }
        }
        if opens {
            return Ok(survived(self.line.text("COMMIT").await)?.is_some());
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
        is_within: bool,
    ) -> Result<bool, DbError> {
        let now = self.line.schema().await?;
        let lines = self.schema.difference(&now);
        self.schema = now;
        let mut refuses = Vec::new();
        let mut goes_on = true;
        for probe in &self.probes {
            let tried = refusal_of(&mut self.line, &probe.sql, is_within).await?;
            if tried.code.as_ref() == Some(&probe.code) {
                refuses.push(probe.group);
            }
            if tried.ended {
                goes_on = false;
                break;
            }
        }
        if is_within && goes_on && !self.probes.is_empty() {
            self.line.look_again().await?;
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

/// What came of something, if it went through; a refusal is no error here, a lost connection is.
fn survived<T>(sent: Result<T, DbError>) -> Result<Option<T>, DbError> {
    match sent {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.class == ErrorClass::Lost => Err(error),
        Err(_) => Ok(None),
    }
}

/// How an operation of the traffic is refused now, if it is; whatever it does is undone.
async fn refusal_of<L: Line>(line: &mut L, sql: &str, is_within: bool) -> Result<Tried, DbError> {
    let (open, close) = match is_within {
        true => {
            ("SAVEPOINT driftlock_probe", "ROLLBACK TO SAVEPOINT driftlock_probe; RELEASE SAVEPOINT driftlock_probe")
        }
        false => (L::BEGIN, "ROLLBACK"),
    };
    line.text(open).await?;
    line.bound_transaction(PROBE_MAX).await?;
    let sent = line.text(sql).await;
    // Some refusals have ended the transaction already (SQLite's RAISE(ROLLBACK, …)): then there is nothing to undo.
    let ended = survived(line.text(close).await)?.is_none() && is_within;
    match sent {
        Err(error) if error.class == ErrorClass::Lost => Err(error),
        sent => {
            let code = sent.err().map(|error| error.code.unwrap_or_else(|| error.class.to_string()));
            Ok(Tried { code, ended })
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;
    use crate::rehearse::target::sqlite::FileLine;

    #[tokio::test]
    async fn an_operation_whose_refusal_ends_the_transaction_is_told_with_its_code_and_that_the_file_is_gone() {
        let connection =
            SqliteConnection::connect("sqlite::memory:").await.expect("a database in memory can be opened");
        let mut line = FileLine::new(connection);
        line.text("CREATE TABLE t (a int UNIQUE); INSERT INTO t VALUES (1);").await.expect("it is made");
        let ends = "INSERT OR ROLLBACK INTO t VALUES (1)";
        for (sql, is_within, ended) in
            [(ends, false, false), ("INSERT INTO t VALUES (1)", true, false), (ends, true, true)]
        {
            if is_within {
                line.text("BEGIN IMMEDIATE").await.expect("nothing is open");
            }
            let tried = refusal_of(&mut line, sql, is_within).await.expect("a refusal is no error");
            assert_eq!(tried, Tried { code: Some("2067".to_owned()), ended }, "{sql}");
            if is_within && !ended {
                line.text("ROLLBACK").await.expect("the transaction is still there");
            }
        }
        assert_eq!(
            refusal_of(&mut line, "SELECT 1", false).await.expect("it works"),
            Tried { code: None, ended: false }
        );
    }
}
