//! The wish for a page, which every command with results shares.

use std::path::PathBuf;

use super::Failure;

/// The option that asks for a page.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PageArgs {
    /// Also write the result as one HTML page that needs nothing else: no network, no script to be read
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl PageArgs {
    /// Writes the page, if one is wanted.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, page: impl FnOnce() -> String) -> Result<(), Failure> {
        let Some(path) = &self.html else { return Ok(()) };
        std::fs::write(path, page()).map_err(|error| {
            Failure::environment(miette::miette!(
                help = "the run itself is recorded: driftlock report DIR --html FILE writes its page",
                "failed to write the page {}: {error}",
                path.display()
            ))
        })
    }
}
