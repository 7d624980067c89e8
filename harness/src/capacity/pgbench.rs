//! pgbench beside our generator: the same script, the same server, in turns.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;

use crate::provision::ProcessGroup;

/// How much longer than its run pgbench may take.
const MARGIN: Duration = Duration::from_secs(60);

/// What one side came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Side {
    /// Transactions a second.
    pub per_second: f64,
    /// The client's processor time a transaction, in microseconds.
    pub cpu_micros: f64,
}

/// Why pgbench came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PgbenchError {
    /// It cannot be run.
    #[error("failed to run {}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It failed, or said something else than usual.
    #[error("pgbench came to nothing: {0}")]
    Said(String),
    /// It did not come to an end.
    #[error("pgbench did not come to an end")]
    Late,
}

/// What pgbench is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its clients.
    pub clients: u32,
    /// Its threads: as many as the generator beside it has.
    pub threads: usize,
    /// The rows.
    pub rows: u32,
    /// How long; whole seconds.
    pub duration: Duration,
}

impl Size {
    /// The words of the command line for it.
    fn words(&self) -> [String; 8] {
        let seconds = self.duration.as_secs().max(1);
        let word = str::to_owned;
        [
            word("-D"),
            format!("rows={}", self.rows),
            word("-c"),
            self.clients.to_string(),
            word("-j"),
            self.threads.to_string(),
            word("-T"),
            seconds.to_string(),
        ]
    }
}

/// Runs pgbench's prepared mode on a database that is reached through a socket.
///
/// # Errors
/// See [`PgbenchError`].
pub async fn run(program: &Path, script: &Path, options: &PgConnectOptions, size: Size) -> Result<Side, PgbenchError> {
    let mut command = Command::new(program);
    command.args(["-n", "-M", "prepared", "-f"]).arg(script);
    command.args(size.words());
    if let Some(socket) = options.get_socket() {
        command.arg("-h").arg(socket);
    }
    command.args(["-p", &options.get_port().to_string(), "-U", options.get_username()]);
    command.arg(options.get_database().unwrap_or_default()).env_clear().kill_on_drop(true);
    let run = |source| PgbenchError::Run { program: program.to_owned(), source };
    let group = ProcessGroup::start().map_err(run)?;
    command.process_group(group.id());
    let before = children();
    let ended = tokio::time::timeout(size.duration + MARGIN, command.output()).await.map_err(|_| PgbenchError::Late)?;
    let output = ended.map_err(run)?;
    let used = children().saturating_sub(before);
    drop(group);
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers = numbers(&said).filter(|_| output.status.success());
    let (transactions, per_second) =
        numbers.ok_or_else(|| PgbenchError::Said(String::from_utf8_lossy(&output.stderr).trim().to_owned()))?;
    Ok(Side { per_second, cpu_micros: used.as_secs_f64() * 1e6 / transactions })
}

/// The transactions, and how many a second, of what pgbench 14 or later prints.
fn numbers(said: &str) -> Option<(f64, f64)> {
    let after = |words: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(words))?;
        line.split_whitespace().next()?.parse::<f64>().ok().filter(|number| *number > 0.0)
    };
    Some((after("number of transactions actually processed: ")?, after("tps = ")?))
}

/// The processor time of the processes that this one has started and that have ended.
fn children() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)
        .map_or(0, |usage| usage.user_time().num_microseconds().saturating_add(usage.system_time().num_microseconds()));
    Duration::from_micros(u64::try_from(used).unwrap_or(0))
}

/// The median of what was measured several times.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.get(values.len() / 2)) {
        (count, Some(upper)) if count.is_multiple_of(2) => (values[count / 2 - 1] + upper) / 2.0,
        (_, Some(middle)) => *middle,
        (_, None) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgbench_s_numbers_are_read_and_other_words_are_not() {
        let said = "transaction type: x\nnumber of transactions actually processed: 1234\n\
                    tps = 411.5 (without initial connection time)\n";
        assert_eq!(numbers(said), Some((1234.0, 411.5)));
        for wrong in ["", "tps = 411.5\n", "number of transactions actually processed: 0\ntps = 0.0\n"] {
            assert_eq!(numbers(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn pgbench_has_the_threads_that_it_is_given() {
        let size = Size { clients: 16, threads: 7, rows: 100, duration: Duration::from_millis(2_900) };
        assert_eq!(size.words().join(" "), "-D rows=100 -c 16 -j 7 -T 2");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
