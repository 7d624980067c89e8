//! `driftlock doctor`: every way to a database on this machine, tried, and what the others need.

use std::fmt::Write as _;

use serde::Serialize;
use tokio::time::Instant;

use super::common::{Format, print};
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::provision::{
    Access, Journal, PostgresChoice, Profile, ProvisionError, RunName, Server, SqliteFiles, Swept, Way, sqlite_version,
    survey,
};

const SCHEMA_VERSION: u32 = 1;

/// Shows every way to get a database, and tries the one that would be used
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    schema_version: u32,
    command: &'static str,
    postgres: Postgres,
    sqlite: Tried,
    swept: Swept,
}

#[derive(Debug, Serialize)]
struct Postgres {
    /// What was asked for.
    choice: String,
    ways: Vec<Access>,
    /// The way that is used.
    used: Option<Way>,
    #[serde(flatten)]
    tried: Tried,
}

/// What came of really using it.
#[derive(Debug, Serialize)]
struct Tried {
    usable: bool,
    version: Option<String>,
    start_ms: Option<u64>,
    why: Option<String>,
}

/// Looks, tries, prints. Exits with 4 when PostgreSQL or SQLite cannot be had.
///
/// # Errors
/// The result cannot be written, or the command was interrupted.
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let findings = tokio::select! {
        () = context.cancel.cancelled() => return Err(ProvisionError::Cancelled.into()),
        findings = examine(&args.postgres, &context.cancel) => findings?,
    };
    print(&findings, args.format, |findings, to| to.write_all(text(findings).as_bytes()), context)?;
    let usable = findings.postgres.tried.usable && findings.sqlite.usable;
    Ok(if usable { Exit::Met } else { Exit::Environment })
}

async fn examine(
    args: &PostgresArgs,
    cancel: &tokio_util::sync::CancellationToken,
) -> Result<Findings, ProvisionError> {
    let (sqlite, swept) = try_sqlite().await;
    let ways = survey(&args.postgres, args.bin()).await;
    let (postgres, more) = try_postgres(args, ways, cancel).await?;
    let swept = more.map_or(swept.clone(), |more| swept.and(more));
    Ok(Findings { schema_version: SCHEMA_VERSION, command: "doctor", postgres, sqlite, swept })
}

async fn try_sqlite() -> (Tried, Swept) {
    let tried = async {
        let version = sqlite_version().await?;
        let began = Instant::now();
        let files = SqliteFiles::create(Journal::Wal).await?;
        files.create_database("doctor", None).await?;
        Ok::<_, ProvisionError>((Tried::worked(version, began), files.swept().clone()))
    };
    tried.await.unwrap_or_else(|error| (Tried::failed(&error), Swept::default()))
}

async fn try_postgres(
    args: &PostgresArgs,
    ways: Vec<Access>,
    cancel: &tokio_util::sync::CancellationToken,
) -> Result<(Postgres, Option<Swept>), ProvisionError> {
    let choice = args.postgres.to_string();
    // A look must not cost a download. The first open way is the one that auto takes.
    let asked = |access: &&Access| match args.postgres {
        PostgresChoice::Auto => access.usable,
        PostgresChoice::Local => access.way == Way::Local,
        PostgresChoice::Docker => access.way == Way::Container,
        PostgresChoice::Url(_) => access.way == Way::Given,
    };
    if let Some(access) = ways.iter().find(asked).filter(|access| access.must_pull) {
        let used = Some(access.way);
        let tried = Tried { usable: true, version: None, start_ms: None, why: Some(access.detail.clone()) };
        return Ok((Postgres { choice, ways, used, tried }, None));
    }
    let options = args.start_options(Profile::Fast);
    let began = Instant::now();
    let server = match Server::start(&options, &RunName::new("doctor")?, cancel).await {
        Ok(server) => server,
        Err(ProvisionError::Cancelled) => return Err(ProvisionError::Cancelled),
        Err(error) => return Ok((Postgres { choice, ways, used: None, tried: Tried::failed(&error) }, None)),
    };
    let used = Some(server.way());
    let swept = server.swept().clone();
    let version = server.version().to_owned();
    let created = server.create_database("doctor", None).await;
    let tried = match created.map(|_| Tried::worked(version, began)) {
        Ok(tried) => server.stop().await.map_or_else(|error| Tried::failed(&error), |()| tried),
        Err(error) => Tried::failed(&error),
    };
    Ok((Postgres { choice, ways, used, tried }, Some(swept)))
}

impl Tried {
    fn worked(version: String, began: Instant) -> Self {
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self { usable: true, version: Some(version), start_ms: Some(took), why: None }
    }

    fn failed(error: &ProvisionError) -> Self {
        Self { usable: false, version: None, start_ms: None, why: Some(error.in_full()) }
    }
}

fn text(findings: &Findings) -> String {
    let mut text = String::from("PostgreSQL\n");
    for access in &findings.postgres.ways {
        let mark = if access.usable { "yes" } else { "no " };
        line(&mut text, &format!("  {mark}  {:<9}  ", access.way.to_string()), &access.detail);
        if let Some(needs) = &access.needs {
            line(&mut text, "                  ", &format!("help: {needs}"));
        }
    }
    let tried = &findings.postgres.tried;
    let outcome = match (findings.postgres.used, &tried.version, tried.start_ms, &tried.why) {
        (Some(way), Some(version), Some(ms), _) => format!("{way}: PostgreSQL {version}, up in {ms} ms"),
        (Some(way), None, _, Some(why)) if tried.usable => format!("{way}: {why}"),
        (_, _, _, Some(why)) => format!("nothing that works: {why}"),
        _ => "nothing".to_owned(),
    };
    line(&mut text, "  ", &format!("--postgres {} uses {outcome}", findings.postgres.choice));
    text.push_str("SQLite\n");
    let sqlite = match (&findings.sqlite.version, &findings.sqlite.why) {
        (Some(version), _) => format!("{version}, built in"),
        (None, why) => why.clone().unwrap_or_default(),
    };
    line(&mut text, "  ", &sqlite);
    text.push_str("Left behind by earlier runs\n");
    let swept = &findings.swept;
    if swept.removed.is_empty() && swept.kept.is_empty() {
        line(&mut text, "  ", "nothing");
    }
    swept.removed.iter().for_each(|what| line(&mut text, "  removed  ", what));
    swept.kept.iter().for_each(|what| line(&mut text, "  kept     ", what));
    text
}

/// One item; further lines of it are set below its beginning.
fn line(text: &mut String, lead: &str, item: &str) {
    let indented = item.trim_end().replace('\n', &format!("\n{:width$}", "", width = lead.len()));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{lead}{indented}");
}
