//! `driftlock init --traffic`: a traffic script, drafted from the schema that a directory's migrations make.

use std::path::{Path, PathBuf};

use drift_engine::lock::Backend;

use super::{Args, written};
use crate::cli::common::{quoted, run_name};
use crate::cli::rehearse::powerful;
use crate::cli::{Context, Failure};
use crate::exit::Exit;
use crate::provision::{Profile, RunName, Server};
use crate::rehearse::draft::{Draft, Drafted, draft};
use crate::rehearse::site::{Site, SiteError};
use crate::rehearse::subject::Subject;
use crate::rehearse::target::postgres::Postgres;
use crate::scenario::script::Script;

/// Where it is written unless said otherwise.
const FILE: &str = "driftlock-traffic.toml";
/// How many events there are in driftlock's own tables.
const EVENTS: u32 = 1_000;

/// Drafts the script, and writes it.
pub(super) async fn run(directory: &Path, args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let subject =
        Subject::read(directory, None, None).map_err(|error| Failure::usage(miette::Report::from_err(error)))?;
    if subject.settings.backend() == Backend::Sqlite {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock init writes a script that runs on both; make it your traffic",
            "--traffic drafts from a PostgreSQL schema, and {} is for SQLite",
            subject.path
        )));
    }
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(FILE));
    let server =
        Server::start(&args.postgres.start_options(Profile::Fast), &RunName::new(&run_name("init"))?, &context.cancel)
            .await?;
    let drafted = if server.confines_foreign_code() {
        let cancel = context.cancel.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::interrupted()),
            drafted = drafted(&server, &subject) => drafted.map_err(failed),
        }
    } else {
        Err(powerful(&server.role().name))
    };
    if let Err(error) = server.stop().await {
        writeln!(context.err, "warning: {error}")?;
    }
    let Draft { text, tables, left_out } = match drafted? {
        Drafted::Script(draft) => draft,
        Drafted::Untouched => {
            let path = &subject.path;
            return Err(Failure::usage(miette::miette!(
                help = "Set `from` in a rehearse.toml beside them to a version at which the tables are there",
                "the migrations to be rehearsed in {path} touch no table that is there before them"
            )));
        }
        Drafted::Nothing(left_out) => {
            return Err(Failure::usage(miette::miette!(
                help = "Write a script by hand: driftlock init writes one to begin with",
                "no statement could be drafted for the tables that the migrations in {} touch:\n{}",
                subject.path,
                left_out.join("\n")
            )));
        }
    };
    // What is written is what can be read.
    Script::parse(&path, text.as_bytes()).map_err(|problems| Failure::usage(miette::Report::new(*problems)))?;
    if !written(&path, &text)? {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock init --traffic DIR FILE writes it elsewhere",
            "{} exists already",
            path.display()
        )));
    }
    for one in &left_out {
        writeln!(context.out, "left out: {one}")?;
    }
    let (shown, directory) = (path.display(), quoted(&subject.path));
    writeln!(
        context.out,
        "written to {shown}: traffic on {}; try: driftlock rehearse {directory} --traffic {}",
        tables.join(", "),
        quoted(&shown.to_string())
    )?;
    Ok(Exit::Met)
}

/// On a database at the version to begin at.
async fn drafted(server: &Server, subject: &Subject) -> Result<Drafted, SiteError> {
    let mut site = Site::new(Postgres::new(server, None), 1);
    let place = site.place(subject, EVENTS).await?;
    let (from, to) = subject.range()?;
    let migrations: Vec<_> = subject.migrations.between(&from, &to).collect();
    let mut connection = place.ground.plain().await?;
    let drafted = draft(&mut connection, &subject.name, &migrations).await;
    drop(connection);
    site.leave(place).await?;
    Ok(drafted?)
}

fn failed(error: SiteError) -> Failure {
    match error {
        SiteError::Provision(error) => error.into(),
        SiteError::Earlier { .. } | SiteError::Subject(_) => Failure::usage(miette::Report::from_err(error)),
        error => Failure::environment(miette::Report::from_err(error)),
    }
}
