//! The response of an open loop from what closed loops come to: the flow-equivalent server (Chandy, Herzog and Woo,
//! 1975).
//!
//! Everything that tasks wait for, locks, processors and flushes, is seen as one server, which with n tasks in it ends
//! as many a second as a closed loop of n workers does. Arrivals at random make that a birth-death process, whose mean
//! number of tasks is known exactly, and by Little's law the response. It knows of no parameter of a lock, and sees
//! what a curve that only rises cannot say: that more tasks at a time may come to less. Where tasks vary less than
//! the exponential times of such a process, queues are shorter: `weight` says by how much.

use serde::{Deserialize, Serialize};

use super::response::Measured;
use super::search::least;

/// How far an open loop's limit is expected from what its workers come to in a closed loop, on a logarithmic scale:
/// a queue that never empties is a closed loop, so only the machine's drift lies between.
const SCALE_OFF: f64 = 0.06;
/// The least response and the least weight.
const LEAST: f64 = 1e-6;

/// The fitted server.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// The response where nobody else is there, in nanoseconds: whoever wakes an idle machine waits for that too.
    pub base: f64,
    /// How long queues are against those of the birth-death process.
    pub weight: f64,
    /// What the rates of the closed loops are multiplied by.
    pub scale: f64,
}

impl Flow {
    /// Fits it; `closed` are the rates of 1, 2, … workers.
    pub fn fit(points: &[Measured], closed: &[f64]) -> Self {
        let base = points.iter().map(|point| point.response).fold(f64::INFINITY, f64::min).max(1.0);
        let flow = |[low, weight, scale]: &[f64; 3]| Self {
            base: low.exp().max(base * LEAST),
            weight: weight.exp().max(LEAST),
            scale: scale.exp(),
        };
        let squares = |place: &[f64; 3]| {
            let flow = flow(place);
            let off = |point: &Measured| (flow.at(closed, point.rate) / point.response).ln().powi(2) * point.weight();
            let prior = (flow.scale.ln() / SCALE_OFF).powi(2);
            points.iter().map(off).sum::<f64>() + prior
        };
        // Beyond the limit there is nothing to compare: the search begins where every point has a response.
        let top = points.iter().map(|point| point.rate).fold(0.0, f64::max);
        let room = closed.last().map_or(0.0, |limit| (top * 1.02 / limit).ln().max(0.0));
        flow(&least([base.ln(), 0.0, room], squares))
    }

    /// The response at a rate, in nanoseconds; infinite where a queue only grows.
    pub fn at(&self, closed: &[f64], rate: f64) -> f64 {
        let Some(first) = closed.first() else { return f64::INFINITY };
        let alone = 1.0 / (first * self.scale);
        self.base + self.weight * (response(closed, self.scale, rate) - alone).max(0.0) * 1e9
    }
}

/// The mean response of the birth-death process, in seconds.
fn response(closed: &[f64], scale: f64, rate: f64) -> f64 {
    let limit = closed.last().map_or(0.0, |last| last * scale);
    if rate >= limit {
        return f64::INFINITY;
    }
    // How likely so many tasks are, against none, and the number times that.
    let (mut likely, mut all, mut tasks) = (1.0, 1.0, 0.0);
    for (index, ends) in closed.iter().enumerate() {
        likely *= rate / (ends * scale);
        all += likely;
        tasks += (index + 1) as f64 * likely;
    }
    // With more tasks than workers the others wait, and it goes on like a geometric series.
    let busy = rate / limit;
    let beyond = likely * busy / (1.0 - busy);
    all += beyond;
    tasks += beyond * (closed.len() as f64 + 1.0 / (1.0 - busy));
    tasks / all / rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_is_the_queue_that_everybody_knows() {
        // M/M/1: 1 / (service rate - rate).
        assert!((response(&[500.0], 1.0, 300.0) - 1.0 / 200.0).abs() < 1e-12);
        assert!(response(&[500.0], 1.0, 500.0).is_infinite());
        // M/M/2 at 75 %: 1 / (1 - 0.75²) of a task's own time.
        assert!((response(&[100.0, 200.0], 1.0, 150.0) - 0.01 / (1.0 - 0.75 * 0.75)).abs() < 1e-12);
        // Twice as fast and twice the load: half the response.
        assert!((response(&[100.0, 200.0], 2.0, 300.0) * 2.0 - response(&[100.0, 200.0], 1.0, 150.0)).abs() < 1e-12);
    }

    #[test]
    fn workers_that_hurt_each_other_make_queues_longer() {
        let calm = response(&[500.0, 900.0, 1_100.0], 1.0, 800.0);
        let hurt = response(&[500.0, 900.0, 1_100.0, 1_000.0, 950.0, 900.0], 1.0, 800.0);
        assert!(hurt > 1.2 * calm, "{hurt} and {calm}");
    }

    #[test]
    fn what_was_measured_is_found_again_and_predicts_what_was_not() {
        let closed = [720.0, 1_060.0, 1_360.0, 1_500.0];
        let truth = Flow { base: 1.8e6, weight: 0.6, scale: 0.97 };
        let point = |rate: f64| Measured { rate, response: truth.at(&closed, rate), error: 0.03 };
        let found = Flow::fit(&[300.0, 600.0, 900.0, 1_110.0, 1_270.0].map(point), &closed);
        for rate in [450.0, 750.0, 1_020.0, 1_200.0] {
            let (predicted, truth) = (found.at(&closed, rate), truth.at(&closed, rate));
            assert!((predicted / truth - 1.0).abs() < 0.03, "{rate}: {predicted} and {truth}: {found:?}");
        }
        assert!(Flow::fit(&[point(300.0)], &[]).at(&[], 300.0).is_infinite());
    }
}
