//! The model agrees with real PostgreSQL and real SQLite, operation by operation; and where one of
//! its rules is broken on purpose, that is noticed.
//!
//! `DRIFTLOCK_CONFORMANCE_PROGRAMS` sets how many programs each backend runs from the fixed seed (and
//! half as many from a fresh one), `DRIFTLOCK_CONFORMANCE_SEED` what the fresh seed is.

mod campaign;
mod explore;
mod lockstep;
mod pinned;
mod program;
mod real;
mod table;

use drift_engine::lock::Backend;
use driftlock::model::rule::{Rule, Rules};
use rand::TryRng as _;

use crate::campaign::{Campaign, Databases};

const FIXED_SEED: u64 = 20_260_415;
/// Programs of a backend from the fixed seed, unless the environment says otherwise: enough to notice
/// every broken rule.
const PROGRAMS: u64 = 2_000;
/// The most operations that a shrunk program needs in order to show what is wrong.
const OPERATIONS_MAX: usize = 8;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn drawn() -> u64 {
    rand::rngs::SysRng.try_next_u64().expect("the system has randomness")
}

/// Runs programs from the fixed seed and from a fresh one. Those from the fixed seed are also held
/// against models with one rule broken: each of them must disagree somewhere.
#[expect(clippy::print_stderr, reason = "a test says what it drew, and what it compared")]
fn agrees(backend: Backend) {
    let databases = Databases::new(backend);
    let programs = from_environment("DRIFTLOCK_CONFORMANCE_PROGRAMS").unwrap_or(PROGRAMS);
    let fresh = from_environment("DRIFTLOCK_CONFORMANCE_SEED").unwrap_or_else(drawn);
    let broken: Vec<Rule> = Rule::ALL.iter().copied().filter(|rule| rule.backend() == backend).collect();
    let broken: Vec<Rule> = broken.into_iter().filter(|rule| !pinned::RULES.contains(rule)).collect();
    for (seed, programs, broken) in [(FIXED_SEED, programs, broken.as_slice()), (fresh, programs.div_ceil(2), &[])] {
        let Campaign { tally, took, disagreement, unnoticed } = databases.run(Rules::default(), broken, seed, programs);
        let rate = tally.programs as f64 / took.as_secs_f64();
        eprintln!("{backend}: seed {seed}, {rate:.0} programs a second, {tally:?}");
        if let Some((disagreement, _)) = disagreement {
            panic!("{disagreement}replay:   DRIFTLOCK_CONFORMANCE_SEED={seed} cargo test --test conformance {backend}");
        }
        assert!(tally.waits * 20 > tally.programs, "programs that hardly ever wait show nothing: {tally:?}");
        let is_enough = programs >= PROGRAMS;
        assert!(unnoticed.is_empty() || !is_enough, "nobody noticed that these rules were broken: {unnoticed:?}");
        if !broken.is_empty() {
            eprintln!("{backend}: {} of {} broken rules noticed", broken.len() - unnoticed.len(), broken.len());
        }
    }
}

/// Breaks a rule: the program that shows it is shrunk, and with every rule in place it shows nothing.
#[expect(clippy::print_stderr, reason = "a test says what was noticed, and what it looks like")]
fn shrinks(rule: Rule) {
    let databases = Databases::new(rule.backend());
    let campaign = databases.run(Rules::without(rule), &[], FIXED_SEED, PROGRAMS);
    let Some((found, Some(program))) = campaign.disagreement else { panic!("nobody noticed that {rule:?} was broken") };
    eprintln!("without {rule:?} ({}), in {:?}:\n{found}", rule.source(), campaign.took);
    assert_eq!(
        databases.try_one(&program, &mut Vec::new()),
        Ok(()),
        "with every rule in place there is no disagreement"
    );
    assert!(program.steps().len() <= OPERATIONS_MAX, "it could be shorter:\n{found}");
}

#[test]
fn postgres_agrees_with_the_model_and_with_no_broken_one() {
    agrees(Backend::Postgres);
}

#[test]
fn sqlite_agrees_with_the_model_and_with_no_broken_one() {
    agrees(Backend::Sqlite);
}

#[test]
fn a_conflict_at_one_index_is_found_although_the_key_of_another_has_been_taken_meanwhile() {
    let databases = Databases::new(Backend::Postgres);
    let mut unnoticed = pinned::RULES.to_vec();
    for program in pinned::programs() {
        databases.try_one(&program, &mut unnoticed).unwrap_or_else(|disagreement| panic!("{disagreement}{program:?}"));
    }
    assert!(unnoticed.is_empty(), "nobody noticed that these rules were broken: {unnoticed:?}");
}

#[test]
fn a_lock_strength_of_postgres_that_does_not_conflict_is_shown_by_a_small_program() {
    shrinks(Rule::KeyShareExcludesUpdate);
}

#[test]
fn a_second_writer_of_sqlite_is_shown_by_a_small_program() {
    shrinks(Rule::OneWriter);
}
