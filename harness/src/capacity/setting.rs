//! What was measured, and where: what two runs must share to be compared, and to be added up.

use std::fmt;

use drift_engine::lock::{Backend, LockStrategy};
use serde::{Deserialize, Serialize};

use super::load::{Arrivals, Load};
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
    /// The job of one of an application's actors, which is what it is where the file is an application.
    #[value(skip)]
    Application,
}

/// How an application reaches its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Through the proxy, which sees what it sends.
    Proxy,
    /// By the server's own address.
    Direct,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proxy => "through the proxy",
            Self::Direct => "directly, without the proxy",
        })
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "engine",
            Self::Lock => "lock",
            Self::Script => "script",
            Self::Application => "application",
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
    /// As an application does it.
    Application {
        /// How it reaches its database.
        way: Way,
    },
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strategy(strategy) => strategy.fmt(f),
            Self::Own { case } => write!(f, "its own locks (case {case})"),
            Self::Application { way } => write!(f, "its own locks ({way})"),
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

/// Why two runs cannot be added up; nothing if they can. All but their seeds must be the same.
pub fn differences(a: (&Setting, &Surroundings), b: (&Setting, &Surroundings)) -> Vec<String> {
    let mut differences = incomparable(a, b);
    let ((a, here), (b, there)) = (a, b);
    if a.strategy != b.strategy {
        differences.push(format!("locks: {} and {}", a.strategy, b.strategy));
    }
    if here.program != there.program && is_debug(here) == is_debug(there) {
        differences.push(format!("program: {} and {}", here.program, there.program));
    }
    differences
}

/// Why two runs cannot be compared; nothing if they can. Seeds, locks and program versions may differ: two locks, or
/// two versions, are what is compared.
pub fn incomparable(a: (&Setting, &Surroundings), b: (&Setting, &Surroundings)) -> Vec<String> {
    let (a, here) = a;
    let (b, there) = b;
    let pairs = [
        ("scenario", a.scenario.clone(), b.scenario.clone()),
        ("work", a.work.to_string(), b.work.to_string()),
        ("backend", a.backend.to_string(), b.backend.to_string()),
        ("tries", a.max_attempts.to_string(), b.max_attempts.to_string()),
        ("data", a.data.clone(), b.data.clone()),
        ("arrivals", arrivals(&a.load), arrivals(&b.load)),
        ("workers", a.load.workers.to_string(), b.load.workers.to_string()),
        ("pool", shown(a.load.pool), shown(b.load.pool)),
        ("keys", keys(&a.load), keys(&b.load)),
        ("added round trip", format!("{:?}", a.load.round_trip_added), format!("{:?}", b.load.round_trip_added)),
        ("warm-up", format!("{:?}", a.load.warm_up), format!("{:?}", b.load.warm_up)),
        ("duration", format!("{:?}", a.load.duration), format!("{:?}", b.load.duration)),
        ("drain", format!("{:?}", a.load.drain), format!("{:?}", b.load.drain)),
        ("database version", here.version.clone(), there.version.clone()),
        ("profile", here.profile.clone(), there.profile.clone()),
        ("machine", here.machine.clone(), there.machine.clone()),
    ];
    let differ = pairs.into_iter().filter(|(_, a, b)| a != b);
    let mut differences: Vec<String> = differ.map(|(what, a, b)| format!("{what}: {a} and {b}")).collect();
    if is_debug(here) != is_debug(there) {
        differences.push(format!("build: {} and {}", here.program, there.program));
    }
    differences
}

fn is_debug(surroundings: &Surroundings) -> bool {
    surroundings.program.ends_with("debug")
}

/// With all digits of the rate: two that are written alike are the same.
fn arrivals(load: &Load) -> String {
    match load.arrivals {
        Arrivals::Closed => "closed loop".to_owned(),
        Arrivals::Poisson(rate) => format!("open loop, Poisson {rate}/s"),
        Arrivals::Constant(rate) => format!("open loop, constant {rate}/s"),
    }
}

fn shown(pool: Option<u32>) -> String {
    pool.map_or_else(|| "none".to_owned(), |connections| format!("{connections} connections"))
}

fn keys(load: &Load) -> String {
    format!("{} of {}", load.keys, load.key_count)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capacity::load::KeyChoice;

    fn run() -> (Setting, Surroundings) {
        let load = Load {
            arrivals: Arrivals::Poisson(100.0),
            workers: 4,
            pool: None,
            keys: KeyChoice::Uniform,
            key_count: 3,
            round_trip_added: Duration::ZERO,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            seed: 1,
        };
        let setting = Setting {
            scenario: "small".to_owned(),
            work: Work::Engine,
            backend: Backend::Postgres,
            strategy: Lock::Strategy(LockStrategy::RowNoKey),
            max_attempts: 10,
            data: "3 customers".to_owned(),
            load,
        };
        let surroundings = Surroundings {
            version: "18.0".to_owned(),
            provisioned: "a local server".to_owned(),
            profile: "durable".to_owned(),
            machine: "linux-x86_64, 2 processors".to_owned(),
            program: "0.1.0 release".to_owned(),
        };
        (setting, surroundings)
    }

    /// Why the usual run cannot be compared with, and not be added to, one of which this is changed.
    fn refused(change: impl Fn(&mut Setting, &mut Surroundings)) -> [Vec<String>; 2] {
        let (usual, mut other) = (run(), run());
        change(&mut other.0, &mut other.1);
        let (a, b) = ((&usual.0, &usual.1), (&other.0, &other.1));
        [incomparable(a, b), differences(a, b)]
    }

    #[test]
    fn runs_that_differ_in_what_matters_are_neither_compared_nor_added_up() {
        type Change = fn(&mut Setting, &mut Surroundings);
        let changes: [(&str, Change); 17] = [
            ("scenario", |setting, _| setting.scenario = "big".to_owned()),
            ("work", |setting, _| setting.work = Work::Lock),
            ("backend", |setting, _| setting.backend = Backend::Sqlite),
            ("tries", |setting, _| setting.max_attempts = 3),
            ("data", |setting, _| setting.data = "4 customers".to_owned()),
            ("arrivals", |setting, _| setting.load.arrivals = Arrivals::Poisson(100.01)),
            ("arrivals", |setting, _| setting.load.arrivals = Arrivals::Constant(100.0)),
            ("workers", |setting, _| setting.load.workers = 5),
            ("pool", |setting, _| setting.load.pool = Some(2)),
            ("keys", |setting, _| setting.load.keys = KeyChoice::One),
            ("keys", |setting, _| setting.load.key_count = 4),
            ("warm-up", |setting, _| setting.load.warm_up = Duration::ZERO),
            ("duration", |setting, _| setting.load.duration = Duration::from_secs(9)),
            ("drain", |setting, _| setting.load.drain = Duration::ZERO),
            ("database version", |_, surroundings| surroundings.version = "17.0".to_owned()),
            ("profile", |_, surroundings| surroundings.profile = "fast".to_owned()),
            ("build", |_, surroundings| surroundings.program = "0.1.0 debug".to_owned()),
        ];
        for (what, change) in changes {
            for refused in refused(change) {
                assert!(refused.len() == 1 && refused[0].starts_with(&format!("{what}: ")), "{what}: {refused:?}");
            }
        }
        assert!(refused(|_, _| {}).concat().is_empty());
        assert!(refused(|setting, _| setting.load.seed = 2).concat().is_empty());
    }

    #[test]
    fn two_locks_and_two_versions_are_compared_but_not_added_up() {
        let lock = refused(|setting, _| setting.strategy = Lock::Strategy(LockStrategy::Advisory));
        let case = refused(|setting, _| setting.strategy = Lock::Own { case: "fixed".to_owned() });
        let version = refused(|_, surroundings| surroundings.program = "0.2.0 release".to_owned());
        for ([compared, added], what) in [(lock, "locks: "), (case, "locks: "), (version, "program: ")] {
            assert!(compared.is_empty(), "{compared:?}");
            assert!(added.len() == 1 && added[0].starts_with(what), "{added:?}");
        }
    }
}
