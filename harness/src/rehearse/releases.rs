//! Old and new application: for each version of the schema between two, which version's code works on it?
//!
//! While a rolling deploy lasts, the code of the version before meets the new schema. So each application is let do
//! all of its work on each version, alone, on a copy of its own that is led through the versions with what it has
//! written in it. Where one stops working, the statement of the migration after which it does is looked for.

use std::sync::Arc;

use drift_engine::session::{DbError, ErrorClass, Operation as _};

use super::application::Application;
use super::budget::Budget;
use super::failures::STATEMENT_MAX;
use super::migrations::{Migration, Script as MigrationScript, Version};
use super::operation::Operation;
use super::scripted::{self, Scripted};
use super::site::{Place, Site, SiteError};
use super::subject::{Subject, own_migrations};
use super::target::{Line, Target};
use super::traffic::{Cast, Traffic};
use crate::clock::Clock;
use crate::database::Database;
use crate::history::Entry;
use crate::scenario::script::Script;

/// How many events there are: only the schema counts.
const EVENTS: u32 = 1_000;
/// How many characters of a statement are kept.
const STATEMENT_CHARACTERS: usize = 80;
/// The engine's actors: one of each kind does everything that there is to be done.
const CAST: Cast = Cast { workers: 1, writers: 1, readers: 1 };

/// The code of a version.
#[derive(Clone, Debug)]
pub struct Release {
    /// From which version of the schema on it is deployed.
    pub version: Version,
    /// What it is called.
    pub name: String,
    /// What it does.
    pub code: Code,
}

/// What an application does.
#[derive(Clone, Debug)]
pub enum Code {
    /// What the engine did at that age.
    Engine(Application),
    /// What a script's actors do.
    Script(Arc<Script>),
}

/// How an application failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose work it was, and which part of it.
    pub what: String,
    /// The statement, where it is a script's; the operation, where it is the engine's.
    pub statement: Option<String>,
    /// The SQLSTATE, if the database refused it.
    pub code: Option<String>,
    /// What was said.
    pub said: String,
}

/// What became of an application on a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did all of its work.
    Works,
    /// It did not.
    Fails(Failure),
    /// The version was not reached.
    NotReached(String),
}

/// An application on a version of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The version.
    pub schema: Version,
    /// What became of it.
    pub outcome: Outcome,
    /// Where it worked on the version before, the statement of the migration after which it no longer does.
    pub broken_by: Option<usize>,
}

/// Every application on every version.
#[derive(Debug)]
pub struct Table<'a> {
    /// The version at the start.
    pub from: Version,
    /// What leads from it to the others.
    pub migrations: Vec<&'a Migration>,
    /// The applications, oldest first, each with a cell a version.
    pub lines: Vec<(Release, Vec<Cell>)>,
}

/// The engine's own, for its own migrations: they never needed the index, or do from version 3 on.
pub fn of_ours(subject: &Subject) -> Vec<Release> {
    let ours = own_migrations();
    let texts = |one: &Migration| one.up.text.clone();
    if !subject.migrations.list.iter().map(texts).eq(ours.list.iter().map(texts)) {
        return Vec::new();
    }
    let one = |version, application: Application| Release {
        version,
        name: application.as_str().to_owned(),
        code: Code::Engine(application),
    };
    let version = |number: i64| ours.list.iter().map(|one| &one.version).find(|one| one.number() == Some(number));
    let known = [(version(1), Application::Plain), (version(3), Application::OnConflict)];
    known.into_iter().filter_map(|(version, application)| Some(one(version?.clone(), application))).collect()
}

/// Lets each application work on each version.
///
/// # Errors
/// See [`SiteError`]; a set-up that is refused is [`SiteError::Earlier`].
pub async fn examine<'a, T: Target>(
    site: &mut Site<T>,
    subject: &'a Subject,
    mut releases: Vec<Release>,
    budget: &Budget,
) -> Result<Table<'a>, SiteError> {
    let (from, to) = subject.range()?;
    let migrations: Vec<&Migration> = subject.migrations.between(&from, &to).collect();
    releases.sort_by_key(|release| release.version.clone());
    let mut lines = Vec::new();
    for release in releases {
        let cells = line(site, subject, (&from, &migrations), &release, budget).await?;
        lines.push((release, cells));
    }
    Ok(Table { from, migrations, lines })
}

/// One application on every version.
async fn line<T: Target>(
    site: &mut Site<T>,
    subject: &Subject,
    (from, migrations): (&Version, &[&Migration]),
    release: &Release,
    budget: &Budget,
) -> Result<Vec<Cell>, SiteError> {
    let place = stand(site, subject, release).await?;
    let mut cells = Vec::new();
    let first = try_out(release, &place.database(), site.seed(), budget).await?;
    cells.push(Cell { schema: from.clone(), outcome: first, broken_by: None });
    let mut refused = None;
    for (number, migration) in migrations.iter().enumerate() {
        let schema = migration.version.clone();
        if refused.is_none() {
            let applied = apply(&place, &migration.up).await;
            refused = applied.err().map(|error| format!("{} was refused: {error}", migration.up.file));
        }
        if let Some(why) = &refused {
            cells.push(Cell { schema, outcome: Outcome::NotReached(why.clone()), broken_by: None });
            continue;
        }
        let outcome = try_out(release, &place.database(), site.seed(), budget).await?;
        let worked = cells.last().is_some_and(|cell| cell.outcome == Outcome::Works);
        let broken_by = match &outcome {
            Outcome::Fails(_) if worked => Some(culprit(site, subject, &migrations[..=number], release, budget).await?),
            _ => None,
        };
        cells.push(Cell { schema, outcome, broken_by });
    }
    site.leave(place).await?;
    Ok(cells)
}

/// A copy at the version to begin at, with what the application begins with.
async fn stand<T: Target>(site: &mut Site<T>, subject: &Subject, release: &Release) -> Result<Place<T>, SiteError> {
    let place = site.place(subject, EVENTS).await?;
    match &release.code {
        Code::Script(script) => {
            let set = scripted::set_up(script, &place.database()).await;
            set.map_err(|error| SiteError::Earlier { file: format!("the set-up of {}", release.name), error })?;
        }
        Code::Engine(_) if place.application.is_none() => return Err(SiteError::NoTables(release.name.clone())),
        Code::Engine(_) => {}
    }
    Ok(place)
}

/// Applies a file on a session of its own.
async fn apply<T: Target>(place: &Place<T>, script: &MigrationScript) -> Result<(), DbError> {
    let mut line = place.line().await?;
    line.bound(STATEMENT_MAX).await?;
    line.script(script).await?;
    line.close().await
}

/// The statement of the last of these migrations after which the application does not work: it works with those
/// before it, and not with it.
async fn culprit<T: Target>(
    site: &mut Site<T>,
    subject: &Subject,
    migrations: &[&Migration],
    release: &Release,
    budget: &Budget,
) -> Result<usize, SiteError> {
    let Some((last, earlier)) = migrations.split_last() else { return Ok(0) };
    let script = &last.up;
    if script.is_message() {
        // A single message: nothing lies between its statements.
        return Ok(script.statements.iter().position(|one| Some(one) == script.first()).unwrap_or_default());
    }
    let (mut works, mut fails) = (0, script.statements.len());
    while fails.saturating_sub(works) > 1 {
        let middle = works + (fails - works) / 2;
        let place = stand(site, subject, release).await?;
        for migration in earlier {
            apply(&place, &migration.up).await?;
        }
        let mut part = script.clone();
        part.statements.truncate(middle);
        let outcome = match apply(&place, &part).await {
            Ok(()) => try_out(release, &place.database(), site.seed(), budget).await?,
            // Without the rest it cannot be: whatever breaks the application is not before it alone.
            Err(_) => Outcome::Works,
        };
        site.leave(place).await?;
        if outcome == Outcome::Works { works = middle } else { fails = middle }
    }
    Ok(fails.saturating_sub(1))
}

/// Lets an application do all of its work twice.
async fn try_out(release: &Release, database: &Database, seed: u64, budget: &Budget) -> Result<Outcome, DbError> {
    let tried = match &release.code {
        Code::Engine(application) => engine(*application, database, seed, budget).await,
        Code::Script(script) => scripts(script, database, budget).await,
    };
    match tried {
        Ok(None) => Ok(Outcome::Works),
        Ok(Some(failure)) => Ok(Outcome::Fails(failure)),
        Err(error) if error.class == ErrorClass::Lost => Err(error),
        Err(error) => {
            let what = "its actors".to_owned();
            Ok(Outcome::Fails(Failure { what, statement: None, code: error.code, said: error.message }))
        }
    }
}

async fn engine(
    application: Application,
    database: &Database,
    seed: u64,
    budget: &Budget,
) -> Result<Option<Failure>, DbError> {
    let ended =
        Traffic::start(database.clone(), CAST, application, seed, Clock::start()).await?.stop(Vec::new()).await?;
    let refused = |entry: &Entry| {
        let failure = failure(&Operation::of(entry), Some(&entry.op.to_string()), budget)?;
        Some(Failure { what: entry.op.kind().to_string(), ..failure })
    };
    Ok(ended.history.entries.iter().find_map(refused))
}

async fn scripts(script: &Arc<Script>, database: &Database, budget: &Budget) -> Result<Option<Failure>, DbError> {
    let mut traffic = Scripted::start(database.clone(), script.clone(), Clock::start()).await?;
    let operations = traffic.halt().await?;
    let refused = |one: &Operation| {
        let actor = script.actors.get(one.actor.0 as usize)?;
        let step = actor.steps.iter().find(|step| *one.what == *scripted::what(actor, step));
        failure(one, step.map(|step| step.sql.as_str()), budget)
    };
    if let Some(failure) = operations.iter().find_map(refused) {
        return Ok(Some(failure));
    }
    let mut found = traffic.stop().await?.invariants.into_iter().filter_map(|(name, found)| Some((name, found?)));
    Ok(found.next().map(|(name, found)| Failure {
        what: format!("invariant {name}"),
        statement: None,
        code: None,
        said: found,
    }))
}

/// What the database refused, unless the budget allows it.
fn failure(operation: &Operation, sql: Option<&str>, budget: &Budget) -> Option<Failure> {
    let (code, said) = operation.refused.as_ref()?;
    let line = sql.map(crate::sql::one_line);
    (!budget.errors.contains(&**code)).then(|| Failure {
        what: operation.what.to_string(),
        statement: line.map(|line| line.chars().take(STATEMENT_CHARACTERS).collect()),
        code: Some(code.to_string()),
        said: said.to_string(),
    })
}
