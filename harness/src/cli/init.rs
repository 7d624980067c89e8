//! `driftlock init`: a commented script to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use super::{Context, Failure};
use crate::exit::Exit;
use crate::scenario::shipped::TEMPLATE;

/// Writes a commented script to begin with: `driftlock explore FILE` runs it
///
/// A file that is there is never overwritten.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to write it
    #[arg(value_name = "FILE", default_value = "driftlock.toml")]
    pub file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The file is there already, or cannot be written.
pub fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let made = OpenOptions::new().write(true).create_new(true).open(&args.file);
    let written = made.and_then(|mut file| file.write_all(TEMPLATE.text.as_bytes()));
    let shown = args.file.display();
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::usage(miette::miette!(
                help = "driftlock init FILE writes it elsewhere",
                "{shown} exists already"
            )));
        }
        Err(error) => return Err(Failure::environment(miette::miette!("failed to write {shown}: {error}"))),
    }
    writeln!(context.out, "written to {shown}; try: driftlock explore {shown}")?;
    Ok(Exit::Met)
}
