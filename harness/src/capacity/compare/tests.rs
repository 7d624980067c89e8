//! The error rates, measured on series whose neighbours are alike and whose runs differ, as real ones do.

use std::time::Duration;

use super::series::block_length;
use super::*;
use crate::capacity::load::{Arrivals, KeyChoice, Load};
use crate::capacity::phase::{Phase, Times};
use crate::capacity::recorder::{Finished, Outcome, Recorder};
use crate::capacity::recording::Share;

/// A suite's runs on each side, where they take turns, and the intervals of each.
const ROUNDS: usize = 5;
const TURNS: usize = 8;
const INTERVALS: usize = 100;

/// How noisy a series is.
#[derive(Clone, Copy)]
struct Noise {
    /// How much of an interval's deviation its neighbour has.
    alike: f64,
    /// The deviation of an interval.
    interval: f64,
    /// The deviation of a run.
    run: f64,
    /// The deviation of a machine from one round to the next, which both runs of a round have.
    round: f64,
}

/// A closed loop whose tasks wait for a lock.
const SUITE: Suite = Suite { closed: true, sections: true, locks: true, shift: 0.0, in_turns: false };
/// The same, both sides in turns.
const IN_TURNS: Suite = Suite { in_turns: true, ..SUITE };
/// The same of an open loop.
const OPEN: Suite = Suite { closed: false, ..SUITE };
const USUAL: Noise = Noise { alike: 0.7, interval: 0.10, run: 0.01, round: 0.0 };
/// A machine that is shared.
const SHARED: Noise = Noise { round: 0.08, ..USUAL };

/// Normal numbers, a pair at a time (Box and Muller, 1958), from SplitMix64.
struct Normal {
    state: u64,
    spare: Option<f64>,
}

impl Normal {
    fn seeded(seed: u64) -> Self {
        Self { state: crate::scenario::data::fork(seed, "noise"), spare: None }
    }

    fn even(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.even()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.even()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

fn normal(rng: &mut Normal) -> f64 {
    rng.next()
}

/// A run whose time in the lock is `slower` times the usual one; the rest follows from it.
fn run(rng: &mut Normal, noise: Noise, slower: f64) -> Recording {
    let level = (normal(rng) * noise.run).exp() * slower;
    let mut deviation = normal(rng) * noise.interval;
    let series = (0..INTERVALS).map(|_| {
        let in_lock = 1e6 * level * deviation.exp();
        let done = (1e8 / in_lock + normal(rng) * 3.0).max(1.0).round();
        let wait = in_lock * 7.0 * (normal(rng) * 0.05).exp();
        deviation = noise.alike * deviation + normal(rng) * noise.interval * (1.0 - noise.alike.powi(2)).sqrt();
        Interval {
            done: done as u64,
            response: (done * (in_lock + wait)) as u64,
            lock_wait: (done * wait) as u64,
            in_lock: (done * in_lock) as u64,
        }
    });
    Recording { series: series.collect(), ..Recording::empty() }
}

fn suite(seed: u64, noise: Noise, slower: f64, rounds: usize) -> Comparison {
    compared(SUITE, seed, noise, slower, rounds)
}

fn compared(suite: Suite, seed: u64, noise: Noise, slower: f64, rounds: usize) -> Comparison {
    let mut rng = Normal::seeded(seed);
    let (mut base, mut new) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let level = (normal(&mut rng) * noise.round).exp();
        base.push(run(&mut rng, noise, level));
        new.push(run(&mut rng, noise, level * slower));
    }
    let [base, new]: [Vec<&Recording>; 2] = [base.iter().collect(), new.iter().collect()];
    compare(&base, &new, suite, 0.05).unwrap()
}

/// How many of a thousand suites come to a finding.
fn of_a_thousand(noise: Noise, slower: f64, rounds: usize, finding: Finding) -> usize {
    found_in(SUITE, noise, slower, rounds, finding)
}

fn found_in(suite: Suite, noise: Noise, slower: f64, rounds: usize, finding: Finding) -> usize {
    (0..1_000).filter(|seed| compared(suite, *seed, noise, slower, rounds).overall() == finding).count()
}

#[test]
fn alike_versions_are_called_a_regression_in_at_most_one_suite_of_a_hundred() {
    for noise in [USUAL, Noise { alike: 0.95, ..USUAL }, Noise { run: 0.04, ..USUAL }, Noise { alike: 0.0, ..USUAL }] {
        let alarms = of_a_thousand(noise, 1.0, ROUNDS, Finding::Regression);
        assert!(alarms <= 10, "{alarms} of 1,000");
    }
}

/// What a shared machine does from one round to the next is no matter where the sides took turns. The broken twin takes
/// the same runs for runs of any time, and has no answer.
#[test]
fn what_both_runs_of_a_round_have_is_held_against_neither() {
    let apart = Noise { run: 0.04, ..SHARED };
    for noise in [SHARED, Noise { round: 0.2, ..SHARED }, Noise { alike: 0.95, ..SHARED }, USUAL, apart] {
        for rounds in [2, 3, TURNS] {
            let alarms = found_in(IN_TURNS, noise, 1.0, rounds, Finding::Regression);
            assert!(alarms <= 10, "{alarms} of 1,000 with {rounds} rounds");
        }
    }
    let found = |suite, slower, finding| found_in(suite, SHARED, slower, TURNS, finding);
    let (worse, fine) = (found(IN_TURNS, 1.10, Finding::Regression), found(IN_TURNS, 1.0, Finding::Fine));
    assert!(worse >= 950 && fine >= 900, "{worse} and {fine} of 1,000");
    let (worse, fine) = (found(SUITE, 1.10, Finding::Regression), found(SUITE, 1.0, Finding::Fine));
    assert!(worse < 200 && fine < 200, "{worse} and {fine} of 1,000");
}

#[test]
fn one_run_a_side_calls_no_regression_that_runs_of_one_version_may_be_apart() {
    for run in [0.0, 0.01, 0.02] {
        let alarms = of_a_thousand(Noise { run, ..USUAL }, 1.0, 1, Finding::Regression);
        assert!(alarms <= 10, "{alarms} of 1,000 with runs {run} apart");
    }
    // Runs long enough to be sure of themselves, and apart all the same.
    let sure = Noise { interval: 0.01, run: 0.03, ..USUAL };
    let alarms = of_a_thousand(sure, 1.0, 1, Finding::Regression);
    assert!(alarms <= 10, "{alarms} of 1,000");
    let small = suite(1, Noise { run: 0.0, ..sure }, 1.10, 1);
    assert_eq!(small.overall(), Finding::Inconclusive);
    assert!(small.metrics.iter().all(|metric| metric.rounds_needed.is_some_and(|rounds| rounds >= 5)));
    assert_eq!(suite(1, Noise { run: 0.0, ..sure }, 1.0, 1).overall(), Finding::Fine);
    let found = of_a_thousand(sure, 1.30, 1, Finding::Regression);
    assert!(found >= 950, "{found} of 1,000");
}

#[test]
fn a_tenth_more_time_in_the_lock_is_found_in_at_least_ninety_five_suites_of_a_hundred() {
    let found = of_a_thousand(USUAL, 1.10, ROUNDS, Finding::Regression);
    assert!(found >= 950, "{found} of 1,000");
    let denied = of_a_thousand(USUAL, 1.10, ROUNDS, Finding::Fine);
    assert!(denied <= 5, "{denied} of 1,000 were called fine");
}

#[test]
fn alike_versions_are_mostly_called_fine_and_noise_is_called_noise() {
    let fine = of_a_thousand(USUAL, 1.0, ROUNDS, Finding::Fine);
    assert!(fine >= 800, "{fine} of 1,000");
    let wild = Noise { interval: 0.8, run: 0.3, ..USUAL };
    let unanswered = of_a_thousand(wild, 1.0, 3, Finding::Inconclusive);
    assert!(unanswered >= 900, "{unanswered} of 1,000");
    // With a second pair more it is also better known how far apart pairs are.
    let few = compared(IN_TURNS, 3, SHARED, 1.0, 2).metrics.into_iter().filter_map(|metric| metric.rounds_needed).max();
    assert!(few.is_none_or(|rounds| (3..50).contains(&rounds)), "{few:?}");
    let needed = suite(1, wild, 1.0, 3).metrics.into_iter().filter_map(|metric| metric.rounds_needed).max();
    assert!(needed.is_some_and(|rounds| rounds > 3), "{needed:?}");
}

/// The broken twin: taking neighbours for independent, alarms are many.
#[test]
fn without_blocks_the_error_would_be_taken_for_smaller_than_it_is() {
    let mut rng = Normal::seeded(1);
    let run = run(&mut rng, Noise { alike: 0.95, ..USUAL }, 1.0);
    let pairs: Vec<(f64, f64)> = SUITE.seen(&run).iter().map(|sums| Metric::InLock.of(sums)).collect();
    let naive = {
        let mean = pairs.iter().map(|pair| pair.0 / pair.1).sum::<f64>() / pairs.len() as f64;
        let squares = pairs.iter().map(|pair| (pair.0 / pair.1 / mean - 1.0).powi(2)).sum::<f64>();
        (squares / (pairs.len() as f64).powi(2)).sqrt()
    };
    let error = series::estimate(&pairs).error;
    assert!(error > 2.0 * naive, "{error} is hardly more than {naive}");
}

#[test]
fn blocks_are_short_where_neighbours_are_strangers_and_long_where_they_are_alike() {
    let of = |alike| {
        let mut rng = Normal::seeded(9);
        let mut last = 0.0;
        let values: Vec<f64> = (0..400)
            .map(|_| {
                last = alike * last + normal(&mut rng);
                last
            })
            .collect();
        block_length(&values)
    };
    assert!(of(0.0) <= 3, "{}", of(0.0));
    assert!(of(0.9) >= 10, "{}", of(0.9));
    assert_eq!(block_length(&[1.0; 50]), 1);
}

#[test]
fn an_improvement_is_fine_and_what_is_not_there_is_an_error() {
    assert_eq!(suite(1, USUAL, 0.8, ROUNDS).overall(), Finding::Fine);
    assert_eq!(overall([]), Finding::Inconclusive);
    let mut rng = Normal::seeded(1);
    let sound = run(&mut rng, USUAL, 1.0);
    let short = Recording { series: sound.series[..5].to_vec(), ..Recording::empty() };
    let idle = Recording { series: vec![Interval::default(); 50], ..Recording::empty() };
    let of = |base: &[&Recording]| compare(base, &[&sound], SUITE, 0.05).unwrap_err();
    assert_eq!(of(&[]), CompareError::Empty { side: "the base" });
    assert_eq!(of(&[&short]), CompareError::Short { side: "the base", intervals: 5 });
    assert_eq!(of(&[&sound, &idle]), CompareError::Nothing { side: "the base" });
    let open = compare(&[&sound], &[&sound], OPEN, 0.05).unwrap_err();
    assert_eq!(open, CompareError::Unsaid { side: "the base" });
}

#[test]
fn constants_are_alike_or_are_not() {
    let constant = |in_lock| {
        let interval = Interval { done: 10, response: 50, lock_wait: 40, in_lock };
        Recording { series: vec![interval; 50], ..Recording::empty() }
    };
    let (base, same, more) = (constant(1_000), constant(1_000), constant(1_200));
    let of = |new: &Recording| compare(&[&base], &[new], SUITE, 0.05).unwrap().overall();
    assert_eq!((of(&same), of(&more)), (Finding::Fine, Finding::Regression));
}

/// How long after its intended start an open loop's task ends, and how; `None`: nobody comes to it.
type Fate = Option<(Duration, Outcome)>;

/// Ten seconds of an open loop, a hundred arrivals a second; tasks take 2 to 3 ms, all of it in the lock.
fn open(rng: &mut Normal, fate: impl Fn(&mut Normal, Duration, Duration) -> Fate) -> Recording {
    let load = Load {
        arrivals: Arrivals::Constant(100.0),
        workers: 1,
        pool: None,
        keys: KeyChoice::One,
        key_count: 1,
        round_trip_added: Duration::ZERO,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(10),
        drain: Duration::from_secs(10),
        seed: 1,
    };
    let recorder = Recorder::new(&load, 1);
    for n in 0..1_000 {
        let intended = Duration::from_millis(10) * n;
        let usual = Duration::from_secs_f64(0.002 + 0.001 * rng.even());
        let Some((takes, outcome)) = fate(rng, intended, usual) else {
            recorder.unfinished(0, intended, load.duration + load.drain);
            continue;
        };
        let mut times = Times::default();
        times.add(Phase::LockWait, (takes - usual).as_nanos() as u64 + 100_000);
        times.add(Phase::InLock, usual.as_nanos() as u64);
        let ended = intended + takes;
        recorder.record(0, &Finished { worker: 0, key: 1, intended, ended, times: &times, outcome });
    }
    recorder.finish()
}

/// So many runs a side of an open loop, compared.
fn opens(seed: u64, rounds: usize, fate: impl Fn(&mut Normal, Duration, Duration) -> Fate) -> Comparison {
    let mut rng = Normal::seeded(seed);
    let sound = |_: &mut Normal, _, usual| Some((usual, Outcome::Done));
    let base: Vec<Recording> = (0..rounds).map(|_| open(&mut rng, sound)).collect();
    let new: Vec<Recording> = (0..rounds).map(|_| open(&mut rng, &fate)).collect();
    let [base, new]: [Vec<&Recording>; 2] = [base.iter().collect(), new.iter().collect()];
    compare(&base, &new, OPEN, 0.05).unwrap()
}

const STALLED: Duration = Duration::from_secs(9);

/// From [`STALLED`] on tasks come to their end, but in the drain.
fn stalls(_: &mut Normal, intended: Duration, usual: Duration) -> Fate {
    let waits =
        if intended < STALLED { Duration::ZERO } else { Duration::from_millis(10_200).saturating_sub(intended) };
    Some((waits + usual, Outcome::Done))
}

#[test]
fn an_open_loop_that_stalls_at_its_end_is_worse_and_an_even_one_is_fine() {
    for (rounds, findings) in [(ROUNDS, &[Finding::Regression][..]), (1, &[Finding::Regression, Finding::Inconclusive])]
    {
        let stalled = opens(1, rounds, stalls);
        assert!(findings.contains(&stalled.overall()), "{rounds} rounds: {stalled:?}");
        let response = stalled.metrics.iter().find(|metric| metric.metric == Metric::Response).unwrap();
        assert!(response.change > 10.0, "{response:?}");
        let even = opens(2, rounds, |_, _, usual| Some((usual, Outcome::Done)));
        assert_eq!(even.overall(), Finding::Fine, "{rounds} rounds: {even:?}");
    }
}

/// The broken twin: by when its tasks ended, within the run, the stall is not there.
#[test]
fn by_when_its_tasks_ended_a_stall_would_not_be_seen() {
    let mut rng = Normal::seeded(1);
    let [base, new] = [open(&mut rng, |_, _, usual| Some((usual, Outcome::Done))), open(&mut rng, stalls)];
    let mean = |run: &Recording| {
        let sums = run.series.iter().fold(Interval::default(), |mut sum, interval| {
            sum.merge(interval);
            sum
        });
        sums.response as f64 / sums.done as f64
    };
    assert!((mean(&new) / mean(&base) - 1.0).abs() < 0.02);
}

#[test]
fn more_tasks_that_fail_or_that_nobody_comes_to_are_a_regression_in_themselves() {
    let fates: [fn(Duration) -> Fate; 2] = [|usual| Some((usual, Outcome::Failed)), |_| None];
    for fate in fates {
        let now_and_then = |share: f64| {
            move |rng: &mut Normal, _: Duration, usual: Duration| {
                if rng.even() < share { fate(usual) } else { Some((usual, Outcome::Done)) }
            }
        };
        for (rounds, share) in [(ROUNDS, 0.04), (1, 0.08)] {
            let failing = opens(1, rounds, now_and_then(share));
            assert_eq!(failing.failures.finding, Finding::Regression, "{rounds} rounds: {failing:?}");
            assert_eq!(failing.overall(), Finding::Regression);
            let few = opens(1, rounds, now_and_then(0.001)).failures;
            assert_eq!(few.finding, Finding::Fine, "{rounds} rounds: {few:?}");
        }
        // With one run a side it might be chance.
        let some = opens(1, 1, now_and_then(0.02)).failures;
        assert_eq!(some.finding, Finding::Inconclusive, "{some:?}");
    }
}

/// An alike run of which half have a burst of failures, of up to a third of their thousand arrivals.
fn bursting(rng: &mut Normal) -> Recording {
    let failed = if rng.even() < 0.5 { rng.even() * 333.0 } else { 0.0 };
    let workers = vec![Share { tasks: 1_000, ..Share::default() }];
    Recording { failed: failed as u64, workers, ..run(rng, USUAL, 1.0) }
}

#[test]
fn failures_that_come_in_bursts_are_no_regression_where_both_sides_have_them() {
    let alarms = (0..1_000).filter(|seed| {
        let mut rng = Normal::seeded(*seed);
        let runs: Vec<Recording> = (0..2 * ROUNDS).map(|_| bursting(&mut rng)).collect();
        let runs: Vec<&Recording> = runs.iter().collect();
        compare(&runs[..ROUNDS], &runs[ROUNDS..], SUITE, 0.05).unwrap().overall() == Finding::Regression
    });
    let alarms = alarms.count();
    assert!(alarms <= 10, "{alarms} of 1,000");
}

#[test]
fn the_rate_is_that_of_the_time_recorded_also_where_the_last_interval_is_a_part() {
    let whole = Interval { done: 10, response: 50, lock_wait: 40, in_lock: 1_000 };
    let half = Interval { done: 5, response: 25, lock_wait: 20, in_lock: 500 };
    let series = [vec![whole; 20], vec![half]].concat();
    let run = Recording { series, measured: Duration::from_millis(2_050), ..Recording::empty() };
    let compared = compare(&[&run], &[&run], SUITE, 0.05).unwrap();
    let rate = compared.metrics.iter().find(|metric| metric.metric == Metric::Rate).unwrap();
    assert!((rate.base - 100.0).abs() < 1e-9, "{rate:?}");
}
