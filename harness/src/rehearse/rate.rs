//! Throughput and latency of the traffic over a stretch of time.

use serde::{Deserialize, Serialize};

use super::blame::between;
use super::course::Stretch;
use super::operation::Operation;
use crate::history::Tick;

/// Into how many parts a stretch is cut to see how much it varies by itself.
const PARTS: u64 = 4;

/// What the traffic did in a stretch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// How long it was, in milliseconds.
    pub stretch_ms: f64,
    /// Operations that ended well, a second.
    pub per_second: f64,
    /// How far the quarters of the stretch lie apart, as a share of their mean.
    pub noise: f64,
    /// The median of the operations' times, in milliseconds.
    pub p50_ms: f64,
    /// What 99 of 100 stay below, in milliseconds.
    pub p99_ms: f64,
    /// The longest, in milliseconds.
    pub max_ms: f64,
}

/// Measures a stretch.
pub fn rate(entries: &[Operation], stretch: Stretch) -> Rate {
    rate_over(entries, &[stretch])
}

/// Measures several stretches of the same length together.
pub fn rate_over(entries: &[Operation], stretches: &[Stretch]) -> Rate {
    let length: u64 = stretches.iter().map(|(from, until)| until.0.saturating_sub(from.0)).sum();
    if length == 0 {
        return Rate::default();
    }
    let mut took = Vec::new();
    let mut parts = [0_u32; PARTS as usize];
    let mut before = 0;
    for (from, until) in stretches {
        let ended = |entry: &&Operation| entry.returned >= *from && entry.returned < *until;
        for entry in entries.iter().filter(ended).filter(|entry| entry.class.is_some()) {
            took.push(between(entry.invoked, entry.returned));
            if entry.refused.is_none() {
                parts[((before + entry.returned.0 - from.0) * PARTS / length).min(PARTS - 1) as usize] += 1;
            }
        }
        before += until.0.saturating_sub(from.0);
    }
    took.sort_unstable();
    let at = |share: f64| {
        let index = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
        took.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    };
    let well: u32 = parts.iter().sum();
    let mean = f64::from(well) / PARTS as f64;
    let (most, least) = (parts.iter().max().copied().unwrap_or(0), parts.iter().min().copied().unwrap_or(0));
    Rate {
        stretch_ms: length as f64 / 1e6,
        per_second: f64::from(well) / (length as f64 / 1e9),
        noise: if well == 0 { 0.0 } else { f64::from(most - least) / mean },
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
    }
}

/// When the last operation that had been under way at `end` came back, after it, in milliseconds.
pub fn recovery_ms(entries: &[Operation], end: Tick) -> f64 {
    let under_way = entries.iter().take_while(|entry| entry.invoked <= end).filter(|entry| entry.returned > end);
    under_way.map(|entry| entry.returned.0 - end.0).max().unwrap_or(0) as f64 / 1e6
}
