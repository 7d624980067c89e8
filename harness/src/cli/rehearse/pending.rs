//! Which directories are rehearsed, and what of them: everything that is pending, or what has changed since a branch.

use std::path::Path;

use super::{Args, refused, unwritable};
use crate::cli::common::{print, run_name, verdict_exit};
use crate::cli::output;
use crate::cli::{Context, Failure};
use crate::exit::Exit;
use crate::outcome::{NotApplicable, VerdictKind};
use crate::rehearse::changed::{Changed, ChangedError};
use crate::rehearse::shipped::{SHIPPED, ShippedDirectory};
use crate::rehearse::subject::{Narrowed, Subject};
use crate::report::rehearsed::{self, RehearseReport};

/// What is rehearsed.
pub(super) struct Pending {
    /// The directories, each with what is to be known about its files.
    pub(super) subjects: Vec<(Subject, Vec<String>)>,
    /// The directories of which nothing has changed.
    pub(super) unchanged: Vec<NotApplicable>,
}

/// Reads the directories that the arguments ask for.
pub(super) async fn subjects(args: &Args) -> Result<Pending, Failure> {
    let mut subjects = read(args)?;
    let names: Vec<String> = subjects.iter().map(|subject| subject.name.clone()).collect();
    subjects.retain(|subject| args.wants(&subject.name, &names));
    if subjects.is_empty() {
        return Err(filtered());
    }
    let (mut pending, mut unchanged) = (Vec::new(), Vec::new());
    for mut subject in subjects {
        let Some(base) = &args.changed else {
            pending.push((subject, Vec::new()));
            continue;
        };
        let changed = Changed::since(base, Path::new(&subject.path)).await?;
        let gone: Vec<String> =
            changed.gone(Path::new(&subject.path)).into_iter().map(|file| file.display().to_string()).collect();
        let narrowed: Narrowed = subject.narrow(|file| changed.has(file));
        match narrowed.changed.is_empty() {
            false => {
                let mut notes = narrowed.notes();
                notes.extend(gone.iter().map(|file| format!("{file} was there in {base}, and is gone")));
                pending.push((subject, notes));
            }
            true if !gone.is_empty() => {
                // What is left may not even be applied without it.
                return Err(Failure {
                    exit: Exit::Inconclusive,
                    report: miette::miette!(
                        help = "Rehearse without --changed: that applies all that is left",
                        "since {base} nothing is new in {}, and this is gone: {}",
                        subject.path,
                        gone.join(", ")
                    ),
                });
            }
            true => unchanged.push(NotApplicable {
                name: subject.name.clone(),
                backend: subject.settings.backend(),
                reason: format!("nothing to rehearse: no migration in {} has changed since {base}", subject.path),
            }),
        }
    }
    Ok(Pending { subjects: pending, unchanged })
}

fn read(args: &Args) -> Result<Vec<Subject>, Failure> {
    if args.changed.is_some() && args.directories.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock rehearse DIR --changed BASE",
            "--changed is about directories of migrations, and none is given"
        )));
    }
    if args.runner.is_some() {
        let directories: Vec<Option<&Path>> = match args.directories.is_empty() {
            true => vec![None],
            false => args.directories.iter().map(|path| Some(path.as_path())).collect(),
        };
        return directories.into_iter().map(Subject::of_runner).collect::<Result<_, _>>().map_err(refused);
    }
    if args.directories.is_empty() {
        return Ok(SHIPPED.iter().map(ShippedDirectory::subject).collect());
    }
    let one = |path: &std::path::PathBuf| Subject::read(path, args.layout, args.backend);
    args.directories.iter().map(one).collect::<Result<_, _>>().map_err(refused)
}

/// Says that nothing has changed: that is as it should be.
pub(super) fn nothing(args: &Args, unchanged: Vec<NotApplicable>, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if args.list {
        for one in &unchanged {
            writeln!(context.out, "{}: {}", one.name, one.reason)?;
        }
        return Ok(Exit::Met);
    }
    let directory = output::directory(args.output.as_ref(), &run_name("rehearse"), context)?;
    let mut report = RehearseReport::new("rehearse", Some(args.seed), "none");
    (report.not_applicable, report.verdict) = (unchanged, VerdictKind::Pass);
    directory.rehearsed(&report).map_err(unwritable)?;
    print(&report, args.format, rehearsed::write, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(verdict_exit(report.verdict))
}

pub(super) fn filtered() -> Failure {
    Failure::usage(miette::miette!(
        help = "driftlock rehearse --list shows what there is",
        "nothing is left to rehearse: the filters exclude everything"
    ))
}

impl From<ChangedError> for Failure {
    fn from(error: ChangedError) -> Self {
        if error.is_usage() { Self::usage(error) } else { Self::environment(error) }
    }
}
