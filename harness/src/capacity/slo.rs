//! What responses must keep to, and whether a run shows that they do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::certain::{mean_error, quantile_between};
use super::phase::Phase;
use super::recording::{Recording, Share};

/// How many standard errors an answer must be away from the limit.
const SURE: f64 = 1.96;

/// The tasks of a worker from which on its mean response says something.
const WORKER_TASKS_MIN: u64 = 30;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    /// The response that this part of the tasks stays below.
    Quantile(f64),
    /// The mean response.
    Mean,
    /// The longest response: nobody starves.
    Max,
    /// The longest wait for the lock.
    Wait,
    /// How many times longer than everybody's the mean response of the worker is that is served worst.
    Spread,
}

/// One bound.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Term {
    what: What,
    /// In nanoseconds; of a spread, how many times.
    limit: f64,
}

/// Some bounds, all of which must be kept: `p99<250ms,max<2s,wait<1s,spread<3`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    terms: Vec<Term>,
    text: String,
}

/// What a run shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is kept, and not by chance.
    Yes,
    /// It is not.
    No,
    /// The run was too short to say.
    Unsure,
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let term = |text: &str| -> Result<Term, String> {
            let known =
                || format!("`{text}` is no objective: p99<250ms, p99.9<1s, mean<50ms, max<2s, wait<1s or spread<3");
            let (what, limit) = text.split_once('<').ok_or_else(known)?;
            let what = match what.trim() {
                "mean" => What::Mean,
                "max" => What::Max,
                "wait" => What::Wait,
                "spread" => What::Spread,
                what => {
                    let percent = what.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
                    let percent = percent.filter(|percent| *percent > 0.0 && *percent < 100.0);
                    What::Quantile(percent.ok_or_else(known)? / 100.0)
                }
            };
            if what == What::Spread {
                let times = limit.trim().parse::<f64>().ok().filter(|times| *times > 1.0 && times.is_finite());
                return Ok(Term { what, limit: times.ok_or_else(known)? });
            }
            let span: jiff::SignedDuration = limit.trim().parse().map_err(|_| known())?;
            let limit = Duration::try_from(span).ok().filter(|limit| !limit.is_zero()).ok_or_else(known)?;
            Ok(Term { what, limit: limit.as_nanos() as f64 })
        };
        let terms = text.split(',').map(|part| term(part.trim())).collect::<Result<_, _>>()?;
        Ok(Self { terms, text: text.to_owned() })
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Slo {
    /// The limits of its times, each with how it is written, in milliseconds.
    pub fn limits(&self) -> Vec<(String, f64)> {
        let terms = self.text.split(',').map(|text| text.trim().to_owned()).zip(&self.terms);
        let times = terms.filter(|(_, term)| term.what != What::Spread);
        times.map(|(text, term)| (text, term.limit / 1e6)).collect()
    }

    /// The fewest tasks of a run that can show that the objective is kept: with fewer, a quantile may lie beyond the
    /// longest response.
    pub fn tasks_min(&self) -> f64 {
        let tasks = |term: &Term| match term.what {
            What::Quantile(quantile) => SURE * SURE * quantile / (1.0 - quantile),
            What::Mean | What::Max | What::Wait | What::Spread => 1.0,
        };
        self.terms.iter().map(tasks).fold(1.0, f64::max)
    }

    /// What a run shows. An arrival that nobody came to breaks every objective.
    pub fn kept(&self, recording: &Recording) -> Kept {
        if recording.unfinished > 0 || recording.failed > 0 {
            return Kept::No;
        }
        let answers = self.terms.iter().map(|term| term.kept(recording));
        answers.fold(Kept::Yes, |all, one| match (all, one) {
            (Kept::No, _) | (_, Kept::No) => Kept::No,
            (Kept::Unsure, _) | (_, Kept::Unsure) => Kept::Unsure,
            (Kept::Yes, Kept::Yes) => Kept::Yes,
        })
    }
}

impl Term {
    fn kept(self, recording: &Recording) -> Kept {
        let Some(responses) = recording.histograms.get(&Phase::Response) else { return Kept::Unsure };
        let limit = self.limit;
        let (low, high) = match self.what {
            What::Wait => {
                let longest = recording.workers.iter().map(|share| share.lock_wait_max).max().unwrap_or(0) as f64;
                (longest, longest)
            }
            What::Spread => match spread(&recording.workers) {
                Some(times) => (times, times),
                None => return Kept::Unsure,
            },
            What::Max => (responses.max() as f64, responses.max() as f64),
            What::Mean => {
                let (mean, off) = (responses.mean(), mean_error(recording) * SURE);
                (mean * (-off).exp(), mean * off.exp())
            }
            What::Quantile(quantile) => match quantile_between(recording, quantile, SURE) {
                Some(between) => between,
                None => return Kept::Unsure,
            },
        };
        if high < limit {
            Kept::Yes
        } else if low >= limit {
            Kept::No
        } else {
            Kept::Unsure
        }
    }
}

/// How many times longer than everybody's the mean response of the worker is that is served worst; of workers that
/// did too little to say, nothing.
fn spread(workers: &[Share]) -> Option<f64> {
    let (tasks, all) =
        workers.iter().fold((0, 0.0), |(tasks, all), share| (tasks + share.tasks, all + share.response as f64));
    // A worker with a few tasks is served worst by chance.
    let often = workers.iter().filter(|share| share.tasks >= WORKER_TASKS_MIN);
    let worst = often.map(|share| share.response as f64 / share.tasks as f64).reduce(f64::max)?;
    Some(worst / (all / tasks as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::recording::histogram;

    fn recording(tasks: u64) -> Recording {
        let mut recording = Recording::empty();
        let mut responses = histogram();
        (0..tasks).for_each(|n| responses.record((n * 37 % 100 + 1) * 1_000_000).unwrap());
        recording.histograms.insert(Phase::Response, responses);
        recording
    }

    fn kept(slo: &str, recording: &Recording) -> Kept {
        slo.parse::<Slo>().unwrap().kept(recording)
    }

    #[test]
    fn an_answer_is_given_where_the_run_is_long_enough_for_it() {
        let long = recording(10_000);
        assert_eq!(kept("p50<70ms", &long), Kept::Yes);
        assert_eq!(kept("p50<30ms", &long), Kept::No);
        assert_eq!(kept("p50<70ms, p90<30ms", &long), Kept::No);
        assert_eq!(kept("max<99ms", &long), Kept::No);
        assert_eq!(kept("max<102ms", &long), Kept::Yes);
        assert_eq!(kept("p50<51ms", &recording(100)), Kept::Unsure);
        assert_eq!(kept("p99<200ms", &recording(50)), Kept::Unsure);
        assert_eq!(kept("p99<200ms", &Recording::empty()), Kept::Unsure);
        let late = Recording { unfinished: 1, ..long };
        assert_eq!(kept("p50<70ms", &late), Kept::No);
    }

    #[test]
    fn as_many_tasks_as_are_wanted_are_enough_to_say() {
        for slo in ["p99<200ms", "p50<200ms, p99.9<200ms", "mean<1s, max<2s"] {
            let wanted = slo.parse::<Slo>().unwrap().tasks_min();
            assert_eq!(kept(slo, &recording(wanted as u64 + 2)), Kept::Yes, "{slo}: {wanted}");
            let few = recording(wanted as u64 * 9 / 10);
            assert!(wanted < 10.0 || kept(slo, &few) == Kept::Unsure, "{slo}: {wanted}");
        }
    }

    #[test]
    fn a_worker_that_starves_breaks_the_objective() {
        let share = |mean: u64| Share { tasks: 100, response: 100 * mean, lock_wait_max: mean * 3, ..Share::default() };
        let mut recording = recording(10_000);
        assert_eq!(kept("spread<2", &recording), Kept::Unsure);
        recording.workers = vec![share(1_000_000), share(1_000_000), share(1_600_000)];
        assert_eq!(kept("spread<2, wait<5ms", &recording), Kept::Yes);
        assert_eq!(kept("spread<1.2", &recording), Kept::No);
        assert_eq!(kept("wait<4ms", &recording), Kept::No);
        recording.workers[2] = share(90_000_000);
        assert_eq!(kept("spread<2", &recording), Kept::No);
        let limits = "p99<1s,spread<2,wait<5ms".parse::<Slo>().unwrap().limits();
        assert_eq!(limits, [("p99<1s".to_owned(), 1e3), ("wait<5ms".to_owned(), 5.0)]);
    }

    #[test]
    fn nonsense_is_no_objective() {
        for wrong in [
            "",
            "p99",
            "p99<",
            "p0<1s",
            "p100<1s",
            "px<1s",
            "mean<-1s",
            "max<0s",
            "p99<1s,",
            "p99>1s",
            "spread<1",
            "spread<2s",
            "wait<2",
        ] {
            assert!(wrong.parse::<Slo>().is_err(), "{wrong}");
        }
    }
}
