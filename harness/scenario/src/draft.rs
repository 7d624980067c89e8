//! A scenario file as it was read: every value of the right type and within its bounds, with its
//! place; not yet compared with each other. A value that was wrong is `None`, and has been reported.

use std::path::{Path, PathBuf};
use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::policy::WINDOW_DAYS_MAX;
use drift_engine::run::RunId;
use drift_engine::session::Kind;
use jiff::civil::Date;
use toml::Spanned;
use toml::de::DeValue;

use super::data::CLAIMS_MAX;
use super::read::{Field, Read, Section};
use super::value::{self, Wrong};
use super::{Arrival, Before, Journal, Keys, RunPlan, Until};
use driftlock_history::check::CheckName;
use driftlock_history::history::Fault;

/// The longest wait for a lock, in milliseconds: well below what bounds every statement.
const WAIT_MS_MAX: u64 = 20_000;

pub(super) struct Draft {
    pub name: Read<String>,
    pub summary: Read<String>,
    pub backends: Read<Vec<Spanned<Backend>>>,
    pub strategies: Read<Choice>,
    pub antagonist: Read<bool>,
    pub checks: Read<Vec<Spanned<CheckName>>>,
    pub data: DataDraft,
    pub tasks: TasksDraft,
    pub session: SessionDraft,
    /// `None` when the file says nothing of it.
    pub opening: Option<Spanned<OpeningDraft>>,
    pub arrivals: Option<Spanned<ArrivalsDraft>>,
    pub fault: Option<Spanned<FaultDraft>>,
    pub expect: Vec<Spanned<ExpectDraft>>,
}

/// Which strategies a file asks for.
pub(super) enum Choice {
    /// The default one of each backend.
    Default,
    /// All that exist.
    All,
    /// These.
    These(Vec<Spanned<LockStrategy>>),
}

pub(super) struct DataDraft {
    pub customers: Read<u32>,
    pub claims_per_customer: Field<u32>,
    pub csv: Field<PathBuf>,
    pub seed: Read<u64>,
    pub before: Read<Before>,
    pub as_of: Read<Date>,
    pub baseline_days: Read<u32>,
    pub current_days: Read<u32>,
    pub min_volume: Read<u32>,
}

pub(super) struct TasksDraft {
    pub count: Read<u32>,
    pub workers: Read<u32>,
    pub arrival: Read<Arrival>,
    pub keys: Read<Keys>,
    pub run: Read<RunPlan>,
    pub max_attempts: Read<u32>,
}

pub(super) struct SessionDraft {
    pub lock_timeout: Field<Duration>,
    pub busy_timeout: Field<Duration>,
    pub journal: Field<Journal>,
}

pub(super) struct OpeningDraft {
    /// `Some(None)` inside: nothing is held.
    pub hold: Read<Option<Kind>>,
    pub until: Field<Until>,
}

pub(super) struct ArrivalsDraft {
    pub writers: Read<u32>,
    pub claims_per_writer: Read<u32>,
}

pub(super) struct FaultDraft {
    pub task: Read<u32>,
    pub before: Read<Kind>,
    pub action: Read<Fault>,
}

pub(super) struct ExpectDraft {
    pub backend: Field<Backend>,
    pub strategy: Field<LockStrategy>,
    /// Whether a violation is expected.
    pub violation: Read<bool>,
    pub check: Field<CheckName>,
}

/// Reads the whole file; `directory` is where paths in it start.
pub(super) fn read(file: &mut Section<'_>, directory: &Path) -> Draft {
    let backend = value::word(Backend::ALL.map(|backend| (backend.as_str(), backend)));
    let check = value::word(CheckName::ALL.map(|check| (check.as_str(), check)));
    let both = || Backend::ALL.map(|backend| Spanned::new(file_start(), backend)).to_vec();
    Draft {
        name: file.required("name", name),
        summary: file.required("summary", value::text),
        backends: match file.list("backends", backend) {
            Field::Absent => Some(Spanned::new(file_start(), both())),
            Field::Wrong => None,
            Field::Is(list) => Some(list),
        },
        strategies: strategies(file),
        antagonist: file.or("antagonist", false, value::boolean),
        checks: file.required_list("checks", check),
        data: file.section("data", |section| data(section, directory)),
        tasks: file.section("tasks", tasks),
        session: file.section("session", session),
        opening: file.optional_section("opening", opening),
        arrivals: file.optional_section("arrivals", |section| ArrivalsDraft {
            writers: section.required("writers", value::number(1..=64)),
            claims_per_writer: section.required("claims-per-writer", value::number(1..=10_000)),
        }),
        fault: file.optional_section("fault", fault),
        expect: file.sections("expect", expect),
    }
}

fn file_start() -> std::ops::Range<usize> {
    0..0
}

/// Lower-case words and digits joined by single hyphens: the name is part of commands and file names.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value::text(value)?;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if text.len() <= 64 && text.split('-').all(is_word) {
        return Ok(text);
    }
    Err(Wrong::new("must be lower-case words and digits joined by hyphens, at most 64 bytes").help("As in same-run."))
}

fn strategy(value: &DeValue<'_>) -> Result<LockStrategy, Wrong> {
    value::word(LockStrategy::ALL.map(|strategy| (strategy.as_str(), strategy)))(value)
}

fn strategies(file: &mut Section<'_>) -> Read<Choice> {
    let is_list = file.peek("strategies").is_some_and(DeValue::is_array);
    if is_list {
        return match file.list("strategies", strategy) {
            Field::Is(list) => Some(Spanned::new(list.span(), Choice::These(list.into_inner()))),
            Field::Absent | Field::Wrong => None,
        };
    }
    file.or("strategies", Choice::Default, |value| {
        let every = value::word([("default", false), ("all", true)])(value);
        let every = every.map_err(|wrong| wrong.help("Or a list, as in [\"row\", \"advisory\"]."))?;
        Ok(if every { Choice::All } else { Choice::Default })
    })
}

fn data(section: &mut Section<'_>, directory: &Path) -> DataDraft {
    let default = drift_engine::policy::Policy::default();
    DataDraft {
        customers: section.or("customers", 1, value::number(1..=1_000)),
        claims_per_customer: section.optional("claims-per-customer", value::number(1..=CLAIMS_MAX)),
        csv: section.optional("csv", |value| path(value, directory)),
        // TOML's whole numbers are signed.
        seed: section.or("seed", 1, value::integer(0..=i64::MAX.unsigned_abs())),
        before: section.or(
            "before",
            Before::Nothing,
            value::word([("nothing", Before::Nothing), ("failed", Before::Failed), ("recomputed", Before::Recomputed)]),
        ),
        as_of: section.or("as-of", jiff::civil::date(2026, 4, 15), value::day),
        baseline_days: section.or("baseline-days", default.baseline_days(), value::number(1..=WINDOW_DAYS_MAX)),
        current_days: section.or("current-days", default.current_days(), value::number(1..=WINDOW_DAYS_MAX)),
        min_volume: section.or("min-volume", default.min_volume(), value::number(1..=1_000_000)),
    }
}

fn path(value: &DeValue<'_>, directory: &Path) -> Result<PathBuf, Wrong> {
    let path = PathBuf::from(value::text(value)?);
    if path.is_relative() {
        return Ok(directory.join(path));
    }
    Err(Wrong::new("must be relative to the scenario file, so that the two can be moved together"))
}

fn tasks(section: &mut Section<'_>) -> TasksDraft {
    TasksDraft {
        count: section.required("count", value::number(1..=100_000)),
        workers: section.required("workers", value::number(1..=64)),
        arrival: arrival(section),
        keys: keys(section),
        run: run(section),
        max_attempts: section.or("max-attempts", 10, value::number(1..=100)),
    }
}

fn arrival(section: &mut Section<'_>) -> Read<Arrival> {
    if section.peek("arrival").is_some_and(DeValue::is_table) {
        let found = section.optional_section("arrival", |arrival| {
            let every = arrival.optional("every-ms", value::integer(1..=60_000));
            let rate = arrival.optional("poisson-per-second", value::real(0.001..=1_000_000.0));
            match (every, rate) {
                (Field::Is(ms), Field::Absent) => Some(Arrival::Every(Duration::from_millis(ms.into_inner()))),
                (Field::Absent, Field::Is(rate)) => Some(Arrival::Poisson { per_second: rate.into_inner() }),
                (Field::Wrong, _) | (_, Field::Wrong) => None,
                (Field::Absent, Field::Absent) | (Field::Is(_), Field::Is(_)) => {
                    arrival.refuse("must say either `every-ms` or `poisson-per-second`");
                    None
                }
            }
        })?;
        return Some(Spanned::new(found.span(), found.into_inner()?));
    }
    section.or("arrival", Arrival::Together, |value| {
        let word = value::word([("together", Arrival::Together)])(value);
        word.map_err(|wrong| wrong.help("Or { every-ms = 5 }, or { poisson-per-second = 200 }."))
    })
}

fn keys(section: &mut Section<'_>) -> Read<Keys> {
    if section.peek("keys").is_some_and(DeValue::is_table) {
        let found = section.optional_section("keys", |keys| {
            let exponent = keys.required("zipf", value::real(0.01..=10.0))?;
            Some(Keys::Zipf { exponent: exponent.into_inner() })
        })?;
        return Some(Spanned::new(found.span(), found.into_inner()?));
    }
    section.or("keys", Keys::One, |value| {
        let word = value::word([("one", Keys::One), ("uniform", Keys::Uniform)])(value);
        word.map_err(|wrong| wrong.help("Or { zipf = 1.0 }, where a greater exponent is more skewed."))
    })
}

fn run(section: &mut Section<'_>) -> Read<RunPlan> {
    if section.peek("run").is_some_and(DeValue::is_table) {
        let found = section.optional_section("run", |run| {
            let named = |value: &DeValue<'_>| {
                let text = value::text(value)?;
                RunId::new(&text).map_err(|error| Wrong::new(format!("is no run id: {error}")))
            };
            Some(RunPlan::Named(run.required("named", named)?.into_inner()))
        })?;
        return Some(Spanned::new(found.span(), found.into_inner()?));
    }
    section.or("run", RunPlan::ByWindow, |value| {
        let fresh = value::word([("by-window", false), ("fresh", true)])(value);
        let fresh = fresh.map_err(|wrong| wrong.help("Or { named = \"nightly\" }."))?;
        Ok(if fresh { RunPlan::Fresh } else { RunPlan::ByWindow })
    })
}

fn session(section: &mut Section<'_>) -> SessionDraft {
    let ms = |least| {
        let read = value::integer(least..=WAIT_MS_MAX);
        move |value: &DeValue<'_>| read(value).map(Duration::from_millis)
    };
    let journal = value::word([("wal", Journal::Wal), ("delete", Journal::Delete)]);
    SessionDraft {
        lock_timeout: section.optional("lock-timeout-ms", ms(1)),
        busy_timeout: section.optional("busy-timeout-ms", ms(0)),
        journal: section.optional("journal", journal),
    }
}

fn opening(section: &mut Section<'_>) -> OpeningDraft {
    let hold = value::word([("commit", Some(Kind::Commit)), ("write", Some(Kind::Write)), ("none", None)]);
    let until = value::word([("others-wait", Until::OthersWait), ("others-timed-out", Until::OthersTimedOut)]);
    OpeningDraft { hold: section.or("hold", Some(Kind::Commit), hold), until: section.optional("until", until) }
}

fn fault(section: &mut Section<'_>) -> FaultDraft {
    FaultDraft {
        task: section.required("task", value::number(0..=99_999)),
        before: section.or("before", Kind::Commit, value::word([("commit", Kind::Commit), ("write", Kind::Write)])),
        action: section.or(
            "action",
            Fault::Fail,
            value::word([("fail", Fault::Fail), ("terminate", Fault::Terminate)]),
        ),
    }
}

fn expect(section: &mut Section<'_>) -> ExpectDraft {
    let backend = value::word(Backend::ALL.map(|backend| (backend.as_str(), backend)));
    let check = value::word(CheckName::ALL.map(|check| (check.as_str(), check)));
    ExpectDraft {
        backend: section.optional("backend", backend),
        strategy: section.optional("strategy", strategy),
        violation: section.required("verdict", value::word([("pass", false), ("violation", true)])),
        check: section.optional("check", check),
    }
}
