//! Looks, every few milliseconds, at who waits by the word of the busy handlers, and at how much the file has written
//! beside itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::apply::Seen;
use crate::clock::Clock;
use crate::database::sqlite::SqliteDatabase;
use crate::rehearse::sampler::{Sample, Switch, Waiting};

/// How long to rest between two looks.
const SAMPLE_EVERY: Duration = Duration::from_millis(2);
/// How many samples are kept, of those in which somebody waits.
const SAMPLES_MAX: usize = 100_000;

/// What it looks at.
#[derive(Debug)]
struct Wanted {
    ends: AtomicBool,
    /// Whether to look at all.
    switch: Switch,
    /// The most bytes that the log or the journal has had since this was last taken.
    peak: AtomicU64,
}

/// The sampler, running.
#[derive(Debug)]
pub struct Sampler {
    wanted: Arc<Wanted>,
    beside: [PathBuf; 2],
    task: JoinHandle<Vec<Sample>>,
}

fn bytes(paths: &[PathBuf]) -> u64 {
    paths.iter().filter_map(|path| fs::metadata(path).ok()).map(|about| about.len()).max().unwrap_or(0)
}

impl Sampler {
    /// Starts it; it rests until [`Sampler::watch`].
    pub fn start(database: SqliteDatabase, file: &Path, seen: Seen, clock: Clock) -> Self {
        let wanted = Arc::new(Wanted { ends: AtomicBool::new(false), switch: Switch::new(), peak: AtomicU64::new(0) });
        let beside = ["-wal", "-journal"].map(|ending| {
            let mut path = file.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        });
        let task = tokio::spawn(sample(database, seen, clock, wanted.clone(), beside.clone()));
        Self { wanted, beside, task }
    }

    /// Looks from now on, or not.
    pub fn watch(&self, is_on: bool) {
        self.wanted.switch.turn(is_on);
    }

    /// Looks, or rests; returns when it does.
    pub(super) async fn heeded(&self, on: bool) {
        self.wanted.switch.heeded(on).await;
    }

    /// The most bytes that the log or the journal has had since the last call.
    pub fn peak(&self) -> u64 {
        self.wanted.peak.swap(0, Ordering::Relaxed).max(bytes(&self.beside))
    }

    /// Ends it, and hands over what was seen.
    ///
    /// # Panics
    /// The task panicked.
    pub async fn stop(mut self) -> Vec<Sample> {
        self.wanted.ends.store(true, Ordering::Relaxed);
        (&mut self.task).await.expect("the sampler neither panics nor is aborted")
    }
}

/// The task would go on without it.
impl Drop for Sampler {
    fn drop(&mut self) {
        self.wanted.ends.store(true, Ordering::Relaxed);
    }
}

async fn sample(
    database: SqliteDatabase,
    seen: Seen,
    clock: Clock,
    wanted: Arc<Wanted>,
    beside: [PathBuf; 2],
) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !wanted.ends.load(Ordering::Relaxed) {
        if wanted.switch.is_on() && samples.len() < SAMPLES_MAX {
            wanted.peak.fetch_max(bytes(&beside), Ordering::Relaxed);
            samples.extend(look(&database, &seen, &clock));
        }
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
    samples
}

/// One look; nothing, if nobody waits.
fn look(database: &SqliteDatabase, seen: &Seen, clock: &Clock) -> Option<Sample> {
    let from = clock.now();
    let held = seen.holds.load(Ordering::SeqCst);
    let waiting = database.waiting();
    let held = held && seen.holds.load(Ordering::SeqCst);
    let until = clock.now();
    let one = |session: drift_engine::session::SessionId| {
        // Who writes is alone: whoever waits meanwhile waits for it. It waits itself for those who read.
        let behind = match session == seen.session {
            true => seen.others.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            false if held => vec![seen.session.0],
            false => Vec::new(),
        };
        Waiting { pid: session.0, behind, sort: "file".to_owned(), table: None, mode: None }
    };
    let waiting: Vec<Waiting> = waiting.into_iter().map(one).collect();
    let (has, foreign) = (Vec::new(), Vec::new());
    (!waiting.is_empty()).then_some(Sample { from, until, waiting, has, phase: None, foreign })
}
