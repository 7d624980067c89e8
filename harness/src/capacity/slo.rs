//! What responses must keep to, and whether a run shows that they do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::certain::{mean_error, quantile_between};
use super::phase::Phase;
use super::recording::Recording;

/// How many standard errors an answer must be away from the limit.
const SURE: f64 = 1.96;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    /// The response that this part of the tasks stays below.
    Quantile(f64),
    /// The mean response.
    Mean,
    /// The longest response: nobody starves.
    Max,
}

/// One bound.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Term {
    what: What,
    limit: Duration,
}

/// Some bounds, all of which must be kept: `p99<250ms,max<2s`.
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
            let known = || format!("`{text}` is no objective: p99<250ms, p99.9<1s, mean<50ms or max<2s");
            let (what, limit) = text.split_once('<').ok_or_else(known)?;
            let what = match what.trim() {
                "mean" => What::Mean,
                "max" => What::Max,
                what => {
                    let percent = what.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
                    let percent = percent.filter(|percent| *percent > 0.0 && *percent < 100.0);
                    What::Quantile(percent.ok_or_else(known)? / 100.0)
                }
            };
            let span: jiff::SignedDuration = limit.trim().parse().map_err(|_| known())?;
            let limit = Duration::try_from(span).ok().filter(|limit| !limit.is_zero()).ok_or_else(known)?;
            Ok(Term { what, limit })
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
    /// Its limits, each with how it is written, in milliseconds.
    pub fn limits(&self) -> Vec<(String, f64)> {
        let limits = self.terms.iter().map(|term| term.limit.as_secs_f64() * 1e3);
        self.text.split(',').map(|text| text.trim().to_owned()).zip(limits).collect()
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
        let limit = self.limit.as_nanos() as f64;
        let (low, high) = match self.what {
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
    fn nonsense_is_no_objective() {
        for wrong in ["", "p99", "p99<", "p0<1s", "p100<1s", "px<1s", "mean<-1s", "max<0s", "p99<1s,", "p99>1s"] {
            assert!(wrong.parse::<Slo>().is_err(), "{wrong}");
        }
    }
}
