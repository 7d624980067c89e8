//! The wish for a page, which every command with results shares.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::{Context, Failure};

/// What a page is called that nobody has named.
const NAME: &str = "page.html";
/// What tells that there is a screen, or whoever opens pages for one; macOS and Windows always have one.
const SCREENS: [&str; 4] = ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"];

/// The options that ask for a page.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PageArgs {
    /// Also write the result as one HTML page that needs nothing else: no network, no script to be read
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the page, and open it in the browser ($BROWSER, or the desktop's own). Without --html it is page.html in the
    /// run's directory
    #[arg(long)]
    pub open: bool,
}

impl PageArgs {
    /// Whether a page is wanted.
    pub fn is_wanted(&self) -> bool {
        self.html.is_some() || self.open
    }

    /// Writes the page, if one is wanted, and opens it, if that is; `directory` is the run's.
    ///
    /// # Errors
    /// It cannot be written. That it cannot be opened is told, and fails nothing.
    pub fn write(
        &self,
        directory: &Path,
        context: &mut Context<'_>,
        page: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if !self.is_wanted() {
            return Ok(());
        }
        let path = self.html.clone().unwrap_or_else(|| directory.join(NAME));
        std::fs::write(&path, page()).map_err(|error| {
            Failure::environment(miette::miette!(
                help = "the run itself is recorded: driftlock report DIR --html FILE writes its page",
                "failed to write the page {}: {error}",
                path.display()
            ))
        })?;
        if self.open {
            match opened(&path) {
                Ok(()) => writeln!(context.err, "opened {}", path.display())?,
                Err(why) => writeln!(context.err, "the page is {}; it was not opened: {why}", path.display())?,
            }
        }
        Ok(())
    }
}

/// Opens a page in the browser, or says why not.
fn opened(path: &Path) -> Result<(), String> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let screens: Vec<&str> = SCREENS.into_iter().filter(|name| is_set(name)).collect();
    reachable(&screens, std::io::stderr().is_terminal(), cfg!(any(target_os = "macos", windows)))?;
    let whole = path.canonicalize().map_err(|error| error.to_string())?;
    let url = url::Url::from_file_path(&whole).map_err(|()| format!("{} has no address", whole.display()))?;
    webbrowser::open(url.as_str()).map_err(|error| error.to_string())
}

/// Whether anybody would see the page. Without a screen a browser in text could take the terminal, and wait.
fn reachable(screens: &[&str], is_terminal: bool, has_screen: bool) -> Result<(), String> {
    match (screens.contains(&"BROWSER"), has_screen || !screens.is_empty(), is_terminal) {
        // Who names a browser wants it, whoever looks on.
        (true, ..) | (_, true, true) => Ok(()),
        (_, false, _) => Err("there is no display, and BROWSER is not set".to_owned()),
        (_, _, false) => Err("nobody is at the terminal, and BROWSER is not set".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_opened_where_somebody_would_see_it_or_a_browser_is_named() {
        assert_eq!(reachable(&["DISPLAY"], true, false), Ok(()));
        assert_eq!(reachable(&[], true, true), Ok(()));
        assert_eq!(reachable(&["BROWSER"], false, false), Ok(()));
        assert!(reachable(&[], true, false).unwrap_err().contains("no display"));
        assert!(reachable(&["WAYLAND_DISPLAY"], false, false).unwrap_err().contains("terminal"));
        assert!(reachable(&[], false, false).unwrap_err().contains("no display"));
    }
}
