//! `driftlock completions`: what a shell needs to complete our words, and pages for `man`.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Context, Failure};
use crate::exit::Exit;

/// Prints what a shell needs to complete commands and options; with --man, writes manual pages instead
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "bash: driftlock completions bash >/etc/bash_completion.d/driftlock\n\
    zsh:  driftlock completions zsh >\"${fpath[1]}/_driftlock\"\n\
    man:  driftlock completions --man /usr/local/share/man/man1")]
pub struct Args {
    /// The shell
    #[arg(value_enum, required_unless_present = "man")]
    pub shell: Option<Shell>,

    /// Write a manual page for each command into this directory (driftlock.1, driftlock-run.1 and so on)
    #[arg(long, value_name = "DIR", conflicts_with = "shell")]
    pub man: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if let Some(shell) = args.shell {
        // It would panic on an output that cannot be written.
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "driftlock", &mut text);
        context.out.write_all(&text)?;
    }
    if let Some(directory) = &args.man {
        let written = std::fs::create_dir_all(directory);
        let written = written.and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
        written.map_err(|error| {
            Failure::environment(miette::miette!("failed to write to {}: {error}", directory.display()))
        })?;
        writeln!(context.err, "written to {}", directory.display())?;
    }
    Ok(Exit::Met)
}
