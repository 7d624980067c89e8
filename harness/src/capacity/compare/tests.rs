//! The error rates, measured on series whose neighbours are alike and whose runs differ, as real ones do.

use super::series::block_length;
use super::*;

/// A suite's runs on each side, and the intervals of each.
const ROUNDS: usize = 5;
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
}

const USUAL: Noise = Noise { alike: 0.7, interval: 0.10, run: 0.01 };

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

fn suite(seed: u64, noise: Noise, slower: f64, rounds: usize) -> Vec<Compared> {
    let mut rng = Normal::seeded(seed);
    let (mut base, mut new) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        base.push(run(&mut rng, noise, 1.0));
        new.push(run(&mut rng, noise, slower));
    }
    let [base, new]: [Vec<&Recording>; 2] = [base.iter().collect(), new.iter().collect()];
    compare(&base, &new, &metrics(true, true), 0.05).unwrap()
}

/// How many of a thousand suites come to a finding.
fn of_a_thousand(noise: Noise, slower: f64, rounds: usize, finding: Finding) -> usize {
    (0..1_000).filter(|seed| overall(&suite(*seed, noise, slower, rounds)) == finding).count()
}

#[test]
fn alike_versions_are_called_a_regression_in_at_most_one_suite_of_a_hundred() {
    for noise in [USUAL, Noise { alike: 0.95, ..USUAL }, Noise { run: 0.04, ..USUAL }, Noise { alike: 0.0, ..USUAL }] {
        let alarms = of_a_thousand(noise, 1.0, ROUNDS, Finding::Regression);
        assert!(alarms <= 10, "{alarms} of 1,000");
    }
    // The common question, one run a side, knows nothing of what differs between runs.
    let alarms = of_a_thousand(Noise { run: 0.0, ..USUAL }, 1.0, 1, Finding::Regression);
    assert!(alarms <= 10, "{alarms} of 1,000 with one run a side");
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
    let needed = suite(1, wild, 1.0, 3).into_iter().filter_map(|metric| metric.rounds_needed).max();
    assert!(needed.is_some_and(|rounds| rounds > 3), "{needed:?}");
}

/// The broken twin: taking neighbours for independent, alarms are many.
#[test]
fn without_blocks_the_error_would_be_taken_for_smaller_than_it_is() {
    let mut rng = Normal::seeded(1);
    let run = run(&mut rng, Noise { alike: 0.95, ..USUAL }, 1.0);
    let pairs: Vec<(f64, f64)> = run.series.iter().map(|interval| Metric::InLock.of(interval)).collect();
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
    assert_eq!(overall(&suite(1, USUAL, 0.8, ROUNDS)), Finding::Fine);
    assert_eq!(overall(&[]), Finding::Inconclusive);
    let mut rng = Normal::seeded(1);
    let sound = run(&mut rng, USUAL, 1.0);
    let short = Recording { series: sound.series[..5].to_vec(), ..Recording::empty() };
    let idle = Recording { series: vec![Interval::default(); 50], ..Recording::empty() };
    let of = |base: &[&Recording]| compare(base, &[&sound], &metrics(true, true), 0.05).unwrap_err();
    assert_eq!(of(&[]), CompareError::Empty { side: "the base" });
    assert_eq!(of(&[&short]), CompareError::Short { side: "the base", intervals: 5 });
    assert_eq!(of(&[&sound, &idle]), CompareError::Nothing { side: "the base" });
}

#[test]
fn constants_are_alike_or_are_not() {
    let constant = |in_lock| {
        let interval = Interval { done: 10, response: 50, lock_wait: 40, in_lock };
        Recording { series: vec![interval; 50], ..Recording::empty() }
    };
    let (base, same, more) = (constant(1_000), constant(1_000), constant(1_200));
    let of = |new: &Recording| overall(&compare(&[&base], &[new], &metrics(true, true), 0.05).unwrap());
    assert_eq!((of(&same), of(&more)), (Finding::Fine, Finding::Regression));
}
