//! `driftlock init --ci`: what has a CI system call `driftlock run`.

use std::path::Path;

use super::written;
use crate::cli::{Context, Failure};
use crate::exit::Exit;
use crate::scenario::project;
use crate::scenario::shipped::TEMPLATE;

/// The CI systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Ci {
    /// A workflow of GitHub's.
    Github,
    /// A job of GitLab's.
    Gitlab,
    /// A shell script, for any.
    Sh,
}

/// The shell script that GitLab's job calls too.
const SCRIPT: (&str, &str) = ("driftlock-ci.sh", include_str!("driftlock-ci.sh"));
/// The directory of the scripts, and the one that is put there to begin with.
const SCRIPTS: &str = "driftlock";
const FIRST: &str = "driftlock/lock-protocol.toml";

impl Ci {
    /// The files that it needs.
    fn files(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Github => vec![(".github/workflows/driftlock.yml", include_str!("driftlock.github.yml"))],
            Self::Gitlab => vec![("driftlock.gitlab-ci.yml", include_str!("driftlock.gitlab-ci.yml")), SCRIPT],
            Self::Sh => vec![SCRIPT],
        }
    }

    /// What is left to do by hand.
    fn left(self) -> Option<&'static str> {
        match self {
            Self::Github => Some("put the owner of the driftlock that you use in place of OWNER in the workflow"),
            Self::Gitlab => Some("include it in .gitlab-ci.yml: include: { local: driftlock.gitlab-ci.yml }"),
            Self::Sh => None,
        }
    }
}

/// Writes the files; what is there is left as it is, and said.
pub(super) fn run(ci: Ci, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let mut files = ci.files();
    files.push((project::FILE, project::TEMPLATE));
    if !has_scripts() {
        files.push((FIRST, TEMPLATE.text));
    }
    for (name, text) in files {
        let path = Path::new(name);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| {
                Failure::environment(miette::miette!("failed to make {}: {error}", directory.display()))
            })?;
        }
        match written(path, text)? {
            true => writeln!(context.out, "written to {name}")?,
            false => writeln!(context.out, "{name} exists already, and is left as it is")?,
        }
    }
    if let Some(left) = ci.left() {
        writeln!(context.out, "then: {left}")?;
    }
    writeln!(context.out, "try: driftlock run --profile ci")?;
    Ok(Exit::Met)
}

/// Whether there are scripts already where the template looks for them.
fn has_scripts() -> bool {
    let entries = std::fs::read_dir(SCRIPTS).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|extension| extension == "toml"))
}
