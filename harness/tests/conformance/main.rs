//! The model agrees with real PostgreSQL and real SQLite, operation by operation; and where one of
//! its rules is broken on purpose, that is noticed.
//!
//! `DRIFTLOCK_CONFORMANCE_PROGRAMS` sets how many programs each backend runs from the fixed seed (and
//! half as many from a fresh one), `DRIFTLOCK_CONFORMANCE_SEED` what the fresh seed is.

mod campaign;
mod explore;
mod lockstep;
mod program;
mod real;
mod table;

use drift_engine::lock::Backend;
use driftlock::model::rule::{Rule, Rules};
use rand::TryRng as _;

use crate::campaign::{Campaign, Databases};

const FIXED_SEED: u64 = 20_260_415;
/// Programs of a backend, unless the environment says otherwise.
const PROGRAMS: u64 = 2_000;
/// A broken rule is noticed within so many.
const PROGRAMS_TO_NOTICE: u64 = 6_000;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn drawn() -> u64 {
    rand::rngs::SysRng.try_next_u64().expect("the system has randomness")
}

#[expect(clippy::print_stderr, reason = "a test says what it drew, and what it compared")]
fn agrees(backend: Backend) {
    let databases = Databases::new(backend);
    let programs = from_environment("DRIFTLOCK_CONFORMANCE_PROGRAMS").unwrap_or(PROGRAMS);
    let fresh = from_environment("DRIFTLOCK_CONFORMANCE_SEED").unwrap_or_else(drawn);
    for (seed, programs) in [(FIXED_SEED, programs), (fresh, programs.div_ceil(2))] {
        let Campaign { tally, took, disagreement } = databases.run(Rules::default(), seed, programs);
        let rate = tally.programs as f64 / took.as_secs_f64();
        eprintln!("{backend}: seed {seed}, {rate:.0} programs a second, {tally:?}");
        if let Some(disagreement) = disagreement {
            panic!("{disagreement}replay:   DRIFTLOCK_CONFORMANCE_SEED={seed} cargo test --test conformance {backend}");
        }
        assert!(tally.waits * 20 > tally.programs, "programs that hardly ever wait show nothing: {tally:?}");
    }
}

#[expect(clippy::print_stderr, reason = "a test says what was noticed, and what it looks like")]
fn notices_each_broken_rule(backend: Backend) {
    let databases = Databases::new(backend);
    let mut unnoticed = Vec::new();
    for rule in Rule::ALL.iter().filter(|rule| rule.backend() == backend) {
        let campaign = databases.run(Rules::without(*rule), FIXED_SEED, PROGRAMS_TO_NOTICE);
        match campaign.disagreement {
            Some(found) => eprintln!("without {rule:?} ({}), in {:?}:\n{found}", rule.source(), campaign.took),
            None => unnoticed.push(*rule),
        }
    }
    assert!(unnoticed.is_empty(), "nobody noticed that these rules were broken: {unnoticed:?}");
}

#[test]
fn postgres_agrees_with_the_model() {
    agrees(Backend::Postgres);
}

#[test]
fn sqlite_agrees_with_the_model() {
    agrees(Backend::Sqlite);
}

#[test]
fn each_broken_rule_of_postgres_is_noticed() {
    notices_each_broken_rule(Backend::Postgres);
}

#[test]
fn each_broken_rule_of_sqlite_is_noticed() {
    notices_each_broken_rule(Backend::Sqlite);
}
