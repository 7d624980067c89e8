//! `driftlock init`: a commented script to begin with, and what a repository's CI needs.

mod ci;
mod schema;
mod traffic;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::scenario::application::TEMPLATE as APPLICATION;
use crate::scenario::script::SCHEMA;
use crate::scenario::shipped::TEMPLATE;

/// Writes a commented file to begin with, or the format's JSON schema: `driftlock explore FILE` runs it
///
/// A script by default: SQL sessions and what must be true at the end. With --app an application: your own programs.
/// With --ci the files that have a CI system call `driftlock run`: the workflow, driftlock.toml, and a script in
/// driftlock/ if there is none yet. With --traffic a script for `driftlock rehearse --traffic`: inserts, updates by key
/// and reads by index on the tables that a directory's migrations touch, drafted from its schema on a throw-away server.
///
/// A file that is there is never overwritten.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to write it [default: driftlock-script.toml, driftlock-app.toml, driftlock.schema.json, or
    /// driftlock.project.schema.json]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Write a file for an application: programs of your own, in any language
    #[arg(long, conflicts_with = "schema")]
    pub app: bool,
    /// Write what a CI system needs
    #[arg(long, value_enum, value_name = "github|gitlab|sh", conflicts_with_all = ["schema", "app", "file"])]
    pub ci: Option<ci::Ci>,
    /// Write traffic for the migrations of this directory, as `rehearse` would rehearse them [default FILE:
    /// driftlock-traffic.toml]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["app", "ci", "schema"])]
    pub traffic: Option<PathBuf>,
    /// Write the JSON schema of scripts, or with --schema=project that of driftlock.toml, with which editors complete and
    /// check them
    #[arg(long, value_enum, value_name = "script|project", num_args = 0..=1, require_equals = true, default_missing_value = "script")]
    pub schema: Option<SchemaOf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the command's own help")]
    pub postgres: PostgresArgs,
}

/// Of what a schema is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaOf {
    /// Of scripts.
    Script,
    /// Of driftlock.toml.
    Project,
}

/// Runs the command.
///
/// # Errors
/// The file is there already, or cannot be written.
pub async fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if let Some(directory) = &args.traffic {
        return traffic::run(directory, args, context).await;
    }
    if let Some(ci) = args.ci {
        return ci::run(ci, context);
    }
    let (text, name) = match (args.schema, args.app) {
        (Some(SchemaOf::Script), _) => (SCHEMA.to_owned(), "driftlock.schema.json"),
        (Some(SchemaOf::Project), _) => (format!("{:#}\n", schema::of_project()), "driftlock.project.schema.json"),
        (None, true) => (APPLICATION.to_owned(), "driftlock-app.toml"),
        (None, false) => (TEMPLATE.text.to_owned(), "driftlock-script.toml"),
    };
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(name));
    let shown = path.display();
    if !written(&path, &text)? {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock init FILE writes it elsewhere",
            "{shown} exists already"
        )));
    }
    match args.schema {
        Some(of) => {
            let file = if of == SchemaOf::Script { "a script" } else { "driftlock.toml" };
            writeln!(context.out, "written to {shown}; {file}'s first line names it: #:schema ./{shown}")?;
        }
        None => writeln!(context.out, "written to {shown}; try: driftlock explore {shown}")?,
    }
    Ok(Exit::Met)
}

/// Writes a file, unless there is one; answers whether it has.
fn written(path: &Path, text: &str) -> Result<bool, Failure> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    match made.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Failure::environment(miette::miette!("failed to write {}: {error}", path.display()))),
    }
}
