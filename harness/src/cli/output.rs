//! Where a command writes its outputs: where it is told to, or in a directory of its own, of which the newest are kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::common::unwritable;
use super::{Context, Failure};
use crate::report::directory::RunDirectory;

/// Where runs lie that were told nothing else.
const RUNS: &str = "target/driftlock";

/// How many runs of a command are kept there.
const KEPT: usize = 20;

/// What these measured may be compared with later: it is kept, and small.
const MEASURED: [&str; 4] = ["bench", "plan", "compare", "merge"];

/// Where the outputs of a run with this name go.
pub(super) fn path(given: Option<&PathBuf>, name: &str) -> PathBuf {
    given.cloned().unwrap_or_else(|| Path::new(RUNS).join(name))
}

/// The directory for the outputs of a run with this name; what is older there than the newest [`KEPT`] runs of the same
/// command is removed, and that is said.
///
/// # Errors
/// It cannot be made.
pub(super) fn directory(
    given: Option<&PathBuf>,
    name: &str,
    context: &mut Context<'_>,
) -> Result<RunDirectory, Failure> {
    let directory = RunDirectory::create(path(given, name)).map_err(unwritable)?;
    if given.is_none() {
        let removed = remove_older(Path::new(RUNS), name);
        if removed > 0 {
            let command = command_of(name).unwrap_or(name);
            let runs = if removed == 1 { "run" } else { "runs" };
            writeln!(
                context.err,
                "removed {removed} older {runs} of {command} from {RUNS}: the newest {KEPT} are kept (--output keeps one elsewhere)"
            )?;
        }
    }
    Ok(directory)
}

/// The command of a name that [`run_name`](super::common::run_name) gave; nothing of any other.
fn command_of(name: &str) -> Option<&str> {
    let (rest, process) = name.rsplit_once('-')?;
    let (command, time) = rest.rsplit_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (day, second) = time.split_once('T')?;
    (digits(process) && digits(day) && day.len() == 8 && digits(second) && second.len() == 6).then_some(command)
}

/// Removes the runs of the same command that are older than the newest; how many.
///
/// Only what has a run's name, is no link, and is nobody's just now: a run holds its directory locked. What cannot be
/// removed stays.
fn remove_older(runs: &Path, name: &str) -> usize {
    let Some(command) = command_of(name).filter(|command| !MEASURED.contains(command)) else { return 0 };
    let Ok(entries) = fs::read_dir(runs) else { return 0 };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| command_of(name) == Some(command))
        .collect();
    // The command is the same for all, so the time decides.
    names.sort_unstable_by(|a, b| b.cmp(a));
    let remove = |name: &&String| {
        let path = runs.join(name);
        let free = File::open(&path).is_ok_and(|directory| directory.try_lock().is_ok());
        free && fs::remove_dir_all(&path).is_ok()
    };
    names.iter().filter(|one| *one != name).skip(KEPT - 1).filter(remove).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_runs_of_the_same_command_that_nobody_holds_are_removed() {
        let runs = tempfile::tempdir().unwrap();
        let path = |name: &str| runs.path().join(name);
        let run = |command: &str, second: usize| format!("{command}-20260102T0304{second:02}-77");
        for command in ["verify", "bench"] {
            for second in 0..25 {
                fs::create_dir(path(&run(command, second))).unwrap();
                fs::write(path(&run(command, second)).join("report.json"), "{}").unwrap();
            }
        }
        for other in ["verify", "verify-mine", "verify-20260102-1", "verify-20260102T030405-x"] {
            fs::create_dir(path(other)).unwrap();
        }
        let held = File::open(path(&run("verify", 1))).unwrap();
        held.lock().unwrap();
        // Five are too many, and one of them is held.
        assert_eq!(remove_older(runs.path(), &run("verify", 24)), 4);
        let mut left: Vec<String> =
            fs::read_dir(runs.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort_unstable();
        let mut expected: Vec<String> = (0..25).map(|second| run("bench", second)).collect();
        expected.extend((5..25).chain([1]).map(|second| run("verify", second)));
        expected.extend(["verify", "verify-mine", "verify-20260102-1", "verify-20260102T030405-x"].map(str::to_owned));
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert_eq!(remove_older(runs.path(), &run("bench", 24)), 0);
        assert_eq!(remove_older(runs.path(), "elsewhere"), 0);
    }
}
