//! What was measured, and where: what two runs must share to be compared.

use std::fmt;

use drift_engine::lock::{Backend, LockStrategy};
use serde::{Deserialize, Serialize};

use super::load::Load;
use crate::scenario::{Scenario, Source};

/// What a task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// The engine's recompute, as it ships.
    #[default]
    Engine,
    /// BEGIN; SELECT … FOR UPDATE; INSERT; COMMIT, each prepared and each one round trip: PostgreSQL only.
    Lock,
    /// A round of one of a script's actors, which is what it is where the file is a script.
    #[value(skip)]
    Script,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "engine",
            Self::Lock => "lock",
            Self::Script => "script",
        })
    }
}

/// How tasks protect themselves from each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Lock {
    /// With a lock of the engine's.
    Strategy(LockStrategy),
    /// As a script does it.
    Own {
        /// In this case of it.
        case: String,
    },
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strategy(strategy) => strategy.fmt(f),
            Self::Own { case } => write!(f, "its own locks (case {case})"),
        }
    }
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The scenario's name.
    pub scenario: String,
    /// What a task is.
    pub work: Work,
    /// The database.
    pub backend: Backend,
    /// The lock.
    pub strategy: Lock,
    /// How often a task may try.
    pub max_attempts: u32,
    /// What is in the database, in words.
    pub data: String,
    /// The load.
    pub load: Load,
}

/// Where it is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The database's version, as it names it.
    pub version: String,
    /// Where the database came from.
    pub provisioned: String,
    /// How it treats the disk.
    pub profile: String,
    /// The operating system, the processor's kind and how many there are.
    pub machine: String,
    /// The version of this program, and how it was built.
    pub program: String,
}

impl Surroundings {
    /// Those of this process.
    pub fn here(version: String, provisioned: String, profile: String) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let built = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self {
            version,
            provisioned,
            profile,
            machine: format!("{}-{}, {cores} processors", std::env::consts::OS, std::env::consts::ARCH),
            program: format!("{} {built}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// A scenario's data in words.
pub fn data_of(scenario: &Scenario) -> String {
    let data = &scenario.data;
    let claims = match &data.source {
        Source::Generated { claims_per_customer } => format!("{claims_per_customer} claims each, seed {}", data.seed),
        Source::Csv(path) => format!("claims of {}", path.file_name().unwrap_or_default().to_string_lossy()),
    };
    format!("{} customers, {claims}, {:?} before, as of {}", data.customers, data.before, data.as_of).to_lowercase()
}

/// Why two runs cannot be compared; nothing if they can. Seeds and program versions may differ.
pub fn differences(a: (&Setting, &Surroundings), b: (&Setting, &Surroundings)) -> Vec<String> {
    let (a, here) = a;
    let (b, there) = b;
    let pairs = [
        ("scenario", a.scenario.clone(), b.scenario.clone()),
        ("work", a.work.to_string(), b.work.to_string()),
        ("backend", a.backend.to_string(), b.backend.to_string()),
        ("tries", a.max_attempts.to_string(), b.max_attempts.to_string()),
        ("data", a.data.clone(), b.data.clone()),
        ("arrivals", a.load.arrivals.to_string(), b.load.arrivals.to_string()),
        ("workers", a.load.workers.to_string(), b.load.workers.to_string()),
        ("pool", shown(a.load.pool), shown(b.load.pool)),
        ("keys", keys(&a.load), keys(&b.load)),
        ("added round trip", format!("{:?}", a.load.round_trip_added), format!("{:?}", b.load.round_trip_added)),
        ("warm-up", format!("{:?}", a.load.warm_up), format!("{:?}", b.load.warm_up)),
        ("duration", format!("{:?}", a.load.duration), format!("{:?}", b.load.duration)),
        ("database version", here.version.clone(), there.version.clone()),
        ("profile", here.profile.clone(), there.profile.clone()),
        ("machine", here.machine.clone(), there.machine.clone()),
    ];
    let differ = pairs.into_iter().filter(|(_, a, b)| a != b);
    let mut differences: Vec<String> = differ.map(|(what, a, b)| format!("{what}: {a} and {b}")).collect();
    let build = |surroundings: &Surroundings| surroundings.program.ends_with("debug");
    if build(here) != build(there) {
        differences.push(format!("build: {} and {}", here.program, there.program));
    }
    differences
}

fn shown(pool: Option<u32>) -> String {
    pool.map_or_else(|| "none".to_owned(), |connections| format!("{connections} connections"))
}

fn keys(load: &Load) -> String {
    format!("{} of {}", load.keys, load.key_count)
}
