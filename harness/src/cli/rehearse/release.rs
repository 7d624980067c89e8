//! `--app VERSION=SCENARIO`.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Args, parse_application, refused};
use crate::cli::Failure;
use crate::rehearse::application::Application;
use crate::rehearse::migrations::Version;
use crate::rehearse::releases::{Code, Release};
use crate::rehearse::subject::{Subject, SubjectError};
use crate::scenario::script::Script;

/// An application, and from which version of the schema on it is deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseChoice {
    version: Version,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Engine(Application),
    Script(PathBuf),
}

impl std::fmt::Display for ReleaseChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.what {
            What::Engine(application) => write!(f, "{}={}", self.version, application.as_str()),
            What::Script(path) => write!(f, "{}={}", self.version, path.display()),
        }
    }
}

/// Reads one of them.
pub(super) fn parse(text: &str) -> Result<ReleaseChoice, String> {
    let form = "an application is VERSION=SCENARIO, such as 3=orders.toml or 1=plain";
    let (version, what) = text.split_once('=').ok_or(form)?;
    let version = Version::parse(version).map_err(|why| format!("{form}: {why}"))?;
    let what = match (parse_application(what), what) {
        (Ok(application), _) => What::Engine(application),
        (Err(_), "") => return Err(form.to_owned()),
        (Err(_), path) => What::Script(path.into()),
    };
    Ok(ReleaseChoice { version, what })
}

/// Reads the files of all of them.
pub(super) fn load(args: &Args) -> Result<Vec<Release>, Failure> {
    let mut releases: Vec<Release> = Vec::new();
    for ReleaseChoice { version, what } in &args.app {
        let (name, code) = match what {
            What::Engine(application) => (application.as_str().to_owned(), Code::Engine(*application)),
            What::Script(path) => {
                let script = Script::load(path).map_err(Failure::usage)?;
                (path.display().to_string(), Code::Script(Arc::new(script)))
            }
        };
        if releases.iter().any(|release| release.version == *version) {
            return Err(Failure::usage(miette::miette!("--app: version {version} has two applications")));
        }
        releases.push(Release { version: version.clone(), name, code });
    }
    Ok(releases)
}

/// Sees to it that a directory has the versions, and that some application is older than some version.
pub(super) fn check(args: &Args, subject: &Subject) -> Result<(), Failure> {
    let (_, to) = subject.range().map_err(refused)?;
    if let Some(unknown) = args.app.iter().find(|app| subject.migrations.find(&app.version).is_none()) {
        let versions = subject.migrations.list.iter().map(|migration| migration.version.clone()).collect();
        let (path, version) = (subject.path.clone(), unknown.version.clone());
        return Err(refused(SubjectError::NoSuchVersion { path, version, versions }));
    }
    if !args.app.is_empty()
        && args.app.iter().filter_map(|app| subject.migrations.find(&app.version)).all(|version| version >= to)
    {
        return Err(Failure::usage(miette::miette!(
            help = "Name the application that is deployed now: --app VERSION=SCENARIO with a VERSION before {to}",
            "--app: no application is older than version {to} of {}, so none meets a newer schema",
            subject.path
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_a_version_and_a_file_or_an_age_of_the_engines() {
        assert_eq!(
            parse("3=a=b.toml").unwrap(),
            ReleaseChoice { version: Version::named("3"), what: What::Script("a=b.toml".into()) }
        );
        assert_eq!(parse("1=plain").unwrap().what, What::Engine(Application::Plain));
        assert_eq!(parse("1=on-conflict").unwrap().to_string(), "1=on-conflict");
        for wrong in ["", "3", "=x.toml", "3="] {
            assert!(parse(wrong).unwrap_err().starts_with("an application is VERSION=SCENARIO"), "{wrong}");
        }
    }
}
