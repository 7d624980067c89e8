//! Having PostgreSQL programs that are missing installed: who is asked, and what is said.

use std::io::IsTerminal;

use super::{Context, Failure};
use crate::provision::{Client, Installed, ProvisionError, clients, install};

/// What is installed where nobody names a version and none is there.
pub(super) const USUAL: u32 = 17;

/// Whether somebody has agreed to an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// By an option, by the environment, or on the terminal.
    Given,
    /// Somebody was asked and said no.
    Refused,
    /// There is nobody to ask.
    NobodyThere,
}

/// Asks for it, unless `--yes` or CI=true has said so already.
pub(super) async fn consent(question: &str, yes: bool, context: &mut Context<'_>) -> Result<Consent, Failure> {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    if yes || in_ci {
        return Ok(Consent::Given);
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(Consent::NobodyThere);
    }
    write!(context.err, "{question} [y/N] ")?;
    context.err.flush()?;
    // Who thinks it over may also press Ctrl-C.
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = tokio::select! {
        biased;
        () = context.cancel.cancelled() => return Err(Failure::interrupted()),
        answer = answer => answer,
    };
    let said = answer.ok().and_then(Result::ok).unwrap_or_default();
    let is_yes = matches!(said.trim().to_lowercase().as_str(), "y" | "yes");
    Ok(if is_yes { Consent::Given } else { Consent::Refused })
}

/// Installs a version through the first of the clients that gets it, and says so.
pub(super) async fn installed(
    major: u32,
    with: Option<Client>,
    context: &mut Context<'_>,
) -> Result<Installed, Failure> {
    let clients = match with {
        Some(client) => vec![client],
        None => clients(major)?,
    };
    let mut last = None;
    for client in clients {
        writeln!(context.err, "getting PostgreSQL {major} through {client} ({})", client.package(major))?;
        match install(major, client, &context.cancel).await {
            Ok(installed) => {
                let (version, at) = (&installed.binaries.version, installed.binaries.directory.display());
                match &installed.package {
                    Some(package) => writeln!(context.err, "installed {package}: PostgreSQL {version} in {at}")?,
                    None => writeln!(context.err, "PostgreSQL {version} is there already, in {at}")?,
                }
                return Ok(installed);
            }
            Err(error) if error.is_cancelled() => return Err(error.into()),
            Err(error) => {
                if let Some(earlier) = last.replace(error) {
                    writeln!(context.err, "{}", earlier.in_full())?;
                }
            }
        }
    }
    Err(last.unwrap_or(ProvisionError::NoClient { major, reasons: Vec::new() }).into())
}

/// The question that is asked before anything is installed.
pub(super) fn question(majors: &[u32]) -> String {
    let (one, what) = (majors.first().copied().unwrap_or(USUAL), listed(majors));
    let how = match clients(one) {
        Ok(clients) => clients.iter().map(|client| client.as_str()).collect::<Vec<_>>().join(" or else "),
        Err(_) => "a package client".to_owned(),
    };
    format!("PostgreSQL {what} is not here. Get it through {how}, into driftlock's own cache directory?")
}

/// Numbers as a person lists them.
pub(super) fn listed(majors: &[u32]) -> String {
    majors.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
