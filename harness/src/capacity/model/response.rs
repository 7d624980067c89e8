//! Models of what a response of an open loop comes to over the rate, fitted to measured points; the one that is
//! less far off at points left out is chosen, and says how sure it is.
//!
//! Of a single queue the response is `base + weight · rate / (limit − rate)` (Pollaczek and Khinchine: `weight` is
//! what a task finds before it, `limit` the rate at which the queue only grows). [`Curve`] fits these three
//! freely, because the flushes that tasks share, and processors that generator and server share, bend each of
//! them; quantiles have the same shape, their tail being exponential. The others are [`Flow`], which knows what closed
//! loops come to, alone and [`Corrected`], and [`Queues`], scaled, which knows the keys.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::between;
use super::corrected::Corrected;
use super::flow::Flow;
use super::queue::Queues;
use super::search::least;

/// The most that a measured point counts: the standard error of its logarithm counts as at least this, since what a
/// machine drifts from one rate to the next is not seen in the passes of one.
const SURE_MAX: f64 = 0.05;
/// How far the fitted limit is expected from what the workers come to in a closed loop, on a logarithmic scale: a
/// queue that never empties is a closed loop, but the curve is a queue of one server.
const LIMIT_OFF: f64 = 0.1;
/// The least part of the response at low rates that a parameter may be.
const LEAST: f64 = 1e-6;
/// How often a fit is repeated on points that are off by chance.
const REFITS: usize = 60;
/// Stands for a response that does not end, in nanoseconds: a file has no infinity.
pub const ENDLESS: f64 = 1e18;

/// A response that was measured at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Tasks a second.
    pub rate: f64,
    /// The mean or a quantile, in nanoseconds.
    pub response: f64,
    /// The standard error of its logarithm.
    pub error: f64,
}

/// The response of one queue, its three parameters free.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The response where nobody else is there, in nanoseconds.
    pub base: f64,
    /// What the queue adds at half the limit, in nanoseconds.
    pub weight: f64,
    /// The rate at which the queue only grows.
    pub limit: f64,
}

/// A model of responses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// One queue, freely fitted.
    Curve(Curve),
    /// One server that ends tasks as closed loops do.
    Flow(Flow),
    /// The same, with what it misses.
    Corrected(Corrected),
    /// A queue for each key and one for the machine.
    Queues(Queues),
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// The model.
    pub model: Model,
    /// How far it is off at a point that is left out: the mean of the relative errors.
    pub left_out: f64,
    /// The same, fitted to points that are off by chance.
    #[serde(skip)]
    refits: Vec<Model>,
}

/// What models are fitted with.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The queues as closed loops have them.
    pub queues: Queues,
    /// The part of the tasks that each key has.
    pub shares: &'a [f64],
    /// The rates of closed loops of 1, 2, … workers, up to the number that the open loops have.
    pub closed: &'a [f64],
}

impl Known<'_> {
    /// What the workers of the open loops come to when none is idle.
    fn reached(&self) -> f64 {
        self.closed.last().copied().unwrap_or(1.0)
    }
}

/// What a model says of a rate, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The response.
    pub response: f64,
    /// What would be measured lies between these in 90 of 100 cases.
    pub between: [f64; 2],
}

impl Curve {
    /// Fits the curve. The search begins at the least response, and at a limit of `reached`, near which it is
    /// expected: a few points below the knee say little of where the knee is.
    pub fn fit(points: &[Measured], reached: f64) -> Self {
        let top = points.iter().map(|point| point.rate).fold(0.0, f64::max);
        let base = points.iter().map(|point| point.response).fold(f64::INFINITY, f64::min).max(1.0);
        let curve = |[low, weight, limit]: &[f64; 3]| Self {
            base: low.exp().max(base * LEAST),
            weight: weight.exp().max(base * LEAST),
            limit: top * (1.0 + limit.exp()),
        };
        let squares = |place: &[f64; 3]| {
            let curve = curve(place);
            let off = |point: &Measured| (curve.at(point.rate) / point.response).ln().powi(2) * point.weight();
            let prior = ((curve.limit / reached).ln() / LIMIT_OFF).powi(2);
            points.iter().map(off).sum::<f64>() + prior
        };
        let room = (reached / top - 1.0).max(0.05);
        curve(&least([base.ln(), (base * 0.5).ln(), room.ln()], squares))
    }

    /// The response at a rate, in nanoseconds; infinite at the limit and beyond.
    pub fn at(&self, rate: f64) -> f64 {
        if rate >= self.limit { f64::INFINITY } else { self.base + self.weight * rate / (self.limit - rate) }
    }
}

impl Model {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Curve(_) => "one queue, freely fitted",
            Self::Flow(_) => "flow-equivalent server (closed loops' rates)",
            Self::Corrected(_) => "flow-equivalent server, corrected by what it misses around",
            Self::Queues(_) => "queues (M/G/1 for each key)",
        }
    }

    /// The response at a rate, in nanoseconds; infinite where a queue only grows.
    pub fn at(&self, known: &Known<'_>, rate: f64) -> f64 {
        match self {
            Self::Curve(curve) => curve.at(rate),
            Self::Flow(flow) => flow.at(known.closed, rate),
            Self::Corrected(corrected) => corrected.at(known.closed, rate),
            Self::Queues(queues) => queues.open_response(known.shares, rate) * 1e9,
        }
    }

    /// A model of the same kind, fitted to these points.
    fn refitted(&self, points: &[Measured], known: &Known<'_>) -> Self {
        match self {
            Self::Curve(_) => Self::Curve(Curve::fit(points, known.reached())),
            Self::Flow(_) => Self::Flow(Flow::fit(points, known.closed)),
            Self::Corrected(_) => Self::Corrected(Corrected::fit(points, known.closed)),
            Self::Queues(_) => Self::Queues(known.queues.fitted_to_open(points, known.shares)),
        }
    }

    /// How far it is off at a point that is left out, on average: of the points between others, since it is to
    /// say what lies between, each as much as it is sure.
    fn left_out(&self, points: &[Measured], known: &Known<'_>) -> f64 {
        let inside = 1..points.len().saturating_sub(1);
        let off = |index: usize| {
            let mut others = points.to_vec();
            let point = others.remove(index);
            let predicted = self.refitted(&others, known).at(known, point.rate);
            // A point that is not sure itself says less of who is off.
            (point.weight() * (predicted / point.response - 1.0).abs(), point.weight())
        };
        let (off, weight) = inside.map(off).fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        off / weight
    }

    /// The same fitted again and again to points that are off by what they may be off (the parametric bootstrap).
    fn refits(&self, points: &[Measured], known: &Known<'_>, rng: &mut ChaCha8Rng) -> Vec<Self> {
        let moved = |rng: &mut ChaCha8Rng| points.iter().map(|point| point.moved(rng)).collect::<Vec<_>>();
        (0..REFITS).map(|_| self.refitted(&moved(rng), known)).collect()
    }
}

impl Fitted {
    /// What would be measured at `rate` by a run whose own logarithm is off by `error` by chance.
    pub fn predict(&self, known: &Known<'_>, rate: f64, error: f64) -> Prediction {
        let refits = self.refits.iter().map(|refit| refit.at(known, rate)).collect();
        let response = self.model.at(known, rate);
        let finite = |nanos: f64| if nanos.is_finite() { nanos.min(ENDLESS) } else { ENDLESS };
        let between = between(response, refits, error, self.left_out).map(finite);
        Prediction { response: finite(response), between }
    }
}

impl Measured {
    /// How much it counts in a fit: one by the square of its error.
    pub(super) fn weight(&self) -> f64 {
        self.error.max(SURE_MAX).powi(-2)
    }

    fn moved(&self, rng: &mut ChaCha8Rng) -> Self {
        Self { response: self.response * (self.error * normal(rng)).exp(), ..*self }
    }
}

/// A number that is nearly normal: the sum of twelve even ones.
pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// What the points are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Mean responses: all models say something of these.
    Mean,
    /// A quantile, of which the queues of keys say nothing.
    Quantile,
}

/// The models of what the points are of, fitted to points in the order of their rates; the one that is less far off at
/// points left out comes first. None of fewer than four points: three parameters fit any three. `rng` decides by how
/// much points are off in the refits.
pub fn fitted(of: Of, points: &[Measured], known: &Known<'_>, rng: &mut ChaCha8Rng) -> Vec<Fitted> {
    if points.len() < 4 {
        return Vec::new();
    }
    let flow = Flow { base: 1.0, weight: 1.0, scale: 1.0 };
    let mut kinds = vec![
        Model::Curve(Curve { base: 1.0, weight: 1.0, limit: known.reached() }),
        Model::Flow(flow),
        Model::Corrected(Corrected { flow, missed: Vec::new() }),
    ];
    if of == Of::Mean {
        kinds.push(Model::Queues(known.queues));
    }
    let mut models: Vec<Fitted> = kinds
        .iter()
        .map(|kind| Fitted {
            model: kind.refitted(points, known),
            left_out: kind.left_out(points, known).min(ENDLESS),
            refits: kind.refits(points, known, rng),
        })
        .collect();
    models.sort_by(|a, b| a.left_out.total_cmp(&b.left_out));
    models
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const TRUE: Curve = Curve { base: 3e6, weight: 1.2e6, limit: 520.0 };
    const KNOWN: Known<'static> = Known {
        queues: Queues { lock: 0.002, machine: 0.0003, rest: 0.001, spread: 0.5 },
        shares: &[1.0],
        closed: &[330.0, 500.0],
    };

    fn measured(of: impl Fn(f64) -> f64) -> Vec<Measured> {
        let at = |part: f64| Measured { rate: part * 500.0, response: of(part * 500.0), error: 0.03 };
        [0.2, 0.4, 0.6, 0.75, 0.88].map(at).to_vec()
    }

    #[test]
    fn a_curve_is_found_again_and_predicts_between_its_points() {
        let points = measured(|rate| TRUE.at(rate));
        let models = fitted(Of::Mean, &points, &KNOWN, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(!matches!(models[0].model, Model::Queues(_)), "{models:?}");
        for rate in [150.0, 250.0, 340.0, 400.0] {
            let predicted = models[0].model.at(&KNOWN, rate);
            assert!((predicted / TRUE.at(rate) - 1.0).abs() < 0.05, "{rate}: {predicted} {}", TRUE.at(rate));
        }
        assert!(TRUE.at(520.0).is_infinite());
    }

    #[test]
    fn queues_are_chosen_where_they_are_what_there_is() {
        let shares = [0.7, 0.1, 0.1, 0.1];
        let queues = Queues { lock: 0.0024, machine: 0.000_36, rest: 0.0012, ..KNOWN.queues };
        let points = measured(|rate| queues.open_response(&shares, rate) * 1e9);
        // The others expect their limit near what the workers come to, which here says nothing.
        let known = Known { shares: &shares, closed: &[300.0, 1_500.0], ..KNOWN };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let models = fitted(Of::Mean, &points, &known, &mut rng);
        let said: Vec<_> = models.iter().map(|one| (&one.model, one.left_out)).collect();
        assert!(matches!(models[0].model, Model::Queues(_)), "{said:?}");
        assert!(models[0].left_out < 0.02 && models[0].left_out <= models[1].left_out);
        let quantiles = fitted(Of::Quantile, &points, &known, &mut rng);
        assert!(quantiles.iter().all(|one| !matches!(one.model, Model::Queues(_))) && quantiles.len() == 3);
        assert!(fitted(Of::Mean, &points[..3], &known, &mut rng).is_empty());
    }

    /// What two real runs of `plan` came to on a shared machine: the median passes' means in milliseconds, with the
    /// errors of their logarithms. Points that are sure are predicted within 15 %, which is what `plan` asks of itself,
    /// up to 70 % of what the workers come to; at 80 %, where a queue makes much of a little drift, within 25 %.
    #[test]
    fn what_real_runs_came_to_is_predicted_where_they_were_sure() {
        type Points<'a> = &'a [(f64, f64, f64)];
        let zipf = crate::capacity::load::KeyChoice::Zipf(1.1).shares(12);
        let calm = Queues { lock: 0.000_593, machine: 0.000_648, rest: 1.2e-9, spread: 0.018 };
        let other = Queues { lock: 0.001_762, machine: 1.4e-9, rest: 1.4e-9, spread: 0.027 };
        let runs: [(Queues, &[f64], Points<'_>, Points<'_>); 2] = [
            (
                calm,
                &[833.7, 1_140.0, 1_459.0, 1_633.0],
                &[
                    (326.6, 1.47, 0.054),
                    (653.2, 1.68, 0.065),
                    (979.8, 2.4, 0.071),
                    (1_208.4, 3.185, 0.079),
                    (1_388.0, 3.925, 0.119),
                ],
                &[(489.9, 1.57, 0.048), (816.5, 1.915, 0.019), (1_110.4, 2.72, 0.029)],
            ),
            (
                other,
                &[735.0, 1_039.7, 1_370.7, 1_514.0],
                &[
                    (302.8, 1.645, 0.045),
                    (605.6, 1.805, 0.051),
                    (908.4, 2.72, 0.04),
                    (1_120.4, 3.2, 0.106),
                    (1_286.9, 5.7, 0.311),
                ],
                &[(454.2, 1.735, 0.037), (757.0, 2.125, 0.064), (1_029.5, 2.8, 0.036), (1_211.2, 3.615, 0.103)],
            ),
        ];
        for (queues, closed, fitted_to, checks) in runs {
            let known = Known { queues, shares: &zipf, closed };
            let point = |&(rate, millis, error): &(f64, f64, f64)| Measured { rate, response: millis * 1e6, error };
            let points: Vec<Measured> = fitted_to.iter().map(point).collect();
            let models = fitted(Of::Mean, &points, &known, &mut ChaCha8Rng::seed_from_u64(1));
            for check in checks.iter().map(point) {
                let predicted = models[0].model.at(&known, check.rate);
                let off = (predicted / check.response - 1.0).abs();
                let most = if check.rate < 0.75 * known.reached() { 0.15 } else { 0.25 };
                assert!(off < most, "{:.1}/s by {}: {off:.3}", check.rate, models[0].model.name());
            }
        }
    }

    /// The interval keeps its word: of many sets of points that are off by chance, about 90 in 100 have what a
    /// run would measure within it. An interval of half the width would not.
    #[test]
    fn what_is_measured_lies_within_the_interval_as_often_as_is_said() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (mut within, mut narrow, rounds) = (0, 0, 150);
        for _ in 0..rounds {
            let points: Vec<Measured> = measured(|rate| TRUE.at(rate))
                .iter()
                .map(|point| Measured { error: 0.06, ..*point }.moved(&mut rng))
                .collect();
            let model = Model::Curve(Curve::fit(&points, KNOWN.reached()));
            let refits = model.refits(&points, &KNOWN, &mut rng);
            let prediction = Fitted { model, left_out: 0.0, refits }.predict(&KNOWN, 340.0, 0.06);
            let seen = TRUE.at(340.0) * (0.06 * normal(&mut rng)).exp();
            let [low, high] = prediction.between;
            within += u32::from(low <= seen && seen <= high);
            let half = |edge: f64| (edge * prediction.response).sqrt();
            narrow += u32::from(half(low) <= seen && seen <= half(high));
        }
        assert!((0.82..=0.98).contains(&(f64::from(within) / f64::from(rounds))), "{within} of {rounds}");
        assert!(f64::from(narrow) / f64::from(rounds) < 0.75, "{narrow} of {rounds}");
    }
}
