//! What `plan` has to say: the report of a run directory, and the same in words and numbers.

use std::io::{self, Write};

use comfy_table::{CellAlignment, LineStyle, Table, presets};
use serde::{Deserialize, Serialize};

use super::terminal;
use crate::capacity::calibrate::Calibration;
use crate::capacity::model::OpenPoint;
use crate::capacity::model::response::{ENDLESS, Fitted};
use crate::capacity::plan::{Plan, Seen, TRUSTED};
use crate::capacity::setting::{Setting, Surroundings, Work};
use crate::capacity::slo::Slo;
use crate::outcome::{SCHEMA_VERSION, VerdictKind};

/// How far off a prediction may be that is to be trusted: 15 %.
const OFF_MAX: f64 = 0.15;

/// What another lock comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OtherLock {
    /// Its name.
    pub strategy: String,
    /// Tasks a second of a closed loop with as many workers as the plan finds enough.
    pub rate: f64,
    /// The mean response, in nanoseconds.
    pub response: f64,
    /// The longest response, in nanoseconds.
    pub longest: u64,
    /// The tasks that were given up, of all.
    pub failed: [u64; 2],
}

/// The outcome of `plan`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// `plan`.
    pub command: String,
    /// Pass: there is an answer. Inconclusive: there is none, or the generator was in doubt.
    pub verdict: VerdictKind,
    /// The objective.
    pub slo: String,
    /// Its limits, each as it is written, in milliseconds.
    pub limits: Vec<(String, f64)>,
    /// What was measured; the load's arrivals and workers are the plan's own.
    pub setting: Setting,
    /// Where.
    pub surroundings: Surroundings,
    /// What was found.
    pub plan: Plan,
    /// What the parts take alone.
    pub calibration: Option<Calibration>,
    /// The locks, with the same number of workers; the planned one first.
    pub locks: Vec<OtherLock>,
    /// The command that does it again.
    pub replay: String,
}

impl PlanReport {
    /// Puts a report together; its verdict follows from the plan.
    pub fn new(
        (setting, surroundings): (Setting, Surroundings),
        slo: &Slo,
        mut plan: Plan,
        (calibration, locks): (Option<Calibration>, Vec<OtherLock>),
        replay: String,
    ) -> Self {
        plan.doubts.extend(drift(&plan, &locks));
        let answered = plan.kept.is_some() && plan.doubts.is_empty();
        let verdict = if answered { VerdictKind::Pass } else { VerdictKind::Inconclusive };
        let command = "plan".to_owned();
        Self {
            schema_version: SCHEMA_VERSION,
            command,
            verdict,
            slo: slo.to_string(),
            limits: slo.limits(),
            setting,
            surroundings,
            plan,
            calibration,
            locks,
            replay,
        }
    }
}

/// The same load beside the open loops and at the end must come to the same.
fn drift(plan: &Plan, locks: &[OtherLock]) -> Option<String> {
    let before = Some(plan.reached()).filter(|rate| *rate > 0.0)?;
    let last = locks.first()?.rate;
    ((last / before).ln().abs() > OFF_MAX.ln_1p()).then(|| {
        format!(
            "{} workers came to {before:.1}/s before and to {last:.1}/s at the end: something else changed",
            plan.enough_workers
        )
    })
}

/// Why the predictions are not to be trusted, if they are not.
fn mistrust(plan: &Plan) -> Option<String> {
    let rate = plan.candidates.first().and_then(|chosen| chosen.error);
    let below = plan.responses.iter().filter(|one| one.rate < TRUSTED * plan.reached());
    let response = below.map(|one| one.mean.off()).reduce(f64::max);
    let percent = |error: f64| if error > 10.0 { "far".to_owned() } else { format!("{:.0} %", error * 100.0) };
    match rate {
        None => Some("no model could be checked".to_owned()),
        Some(rate) if rate > OFF_MAX => Some(format!("the rates were off by {}", percent(rate))),
        Some(_) => match response {
            None => Some("no response could be checked".to_owned()),
            Some(off) => (off > OFF_MAX).then(|| format!("a mean response was off by {}", percent(off))),
        },
    }
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(head);
    table.column_iter_mut().for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table
}

fn millis(nanos: f64) -> String {
    format!("{:.2}", nanos / 1e6)
}

/// Writes the report for people.
///
/// # Errors
/// The writer's.
pub fn write(report: &PlanReport, to: &mut dyn Write) -> io::Result<()> {
    let PlanReport { setting, plan, surroundings, .. } = report;
    writeln!(
        to,
        "{} on {} with {}, keys {} of {}: {}\n",
        setting.scenario, setting.backend, setting.strategy, setting.load.keys, setting.load.key_count, report.slo
    )?;
    let mut closed = table(&["workers", "tasks/s", "mean ms", "longest ms", "fairness"]);
    for point in &plan.closed {
        closed.add_row([
            point.workers.to_string(),
            format!("{:.1}", point.rate),
            millis(point.response),
            millis(point.longest as f64),
            format!("{:.3}", point.fairness),
        ]);
    }
    let mut open = table(&["arrivals/s", "mean ms", "p50", "p90", "p99", "p99.9", "longest", "tasks", ""]);
    for point in &plan.open {
        let [p50, p90, p99, p999] = point.quantiles.map(|nanos| millis(nanos as f64));
        open.add_row([
            format!("{:.1}", point.rate),
            millis(point.mean),
            p50,
            p90,
            p99,
            p999,
            millis(point.longest as f64),
            point.tasks.to_string(),
            word(point).to_owned(),
        ]);
    }
    let workers = plan.enough_workers;
    writeln!(to, "closed loop\n{closed}\n\nopen loop, Poisson, {workers} workers\n{open}\n")?;
    answer(report, to)?;
    checks(plan, to)?;
    for doubt in &plan.doubts {
        writeln!(to, "inconclusive: {doubt}")?;
    }
    let [some, all] = plan.disturbed;
    if some > 0 {
        writeln!(
            to,
            "{some} of {all} passes were disturbed by others on this machine or by a flush that stood still, and do not \
             count where three others do"
        )?;
    }
    if let Some([least, usual, most]) = plan.pace {
        writeln!(
            to,
            "beside the open loops, the same workers in a closed loop came to {least:.1} to {most:.1}/s, {usual:.1}/s in the \
             median: arrivals were put on in proportion, and rates are those at the median, as are responses that were predicted"
        )?;
    }
    if let Some(others) = plan.others {
        writeln!(to, "others on this machine used up to {:.0} % of its processors during a run", others * 100.0)?;
    }
    writeln!(to, "{} {} ({})", setting.backend, surroundings.version, surroundings.provisioned)?;
    writeln!(to, "profile {}, seed {}", terminal::profile(&surroundings.profile), setting.load.seed)?;
    writeln!(to, "again: {}", report.replay)
}

/// Whether an open loop met the objective.
fn word(point: &OpenPoint) -> &'static str {
    match (point.met, point.unsure) {
        (true, _) => "kept",
        (false, true) => "too short to say",
        (false, false) => "not kept",
    }
}

/// The answer, in words.
fn answer(report: &PlanReport, to: &mut dyn Write) -> io::Result<()> {
    let PlanReport { plan, slo, .. } = report;
    match (plan.kept, plan.broken) {
        (Some(kept), Some(broken)) => writeln!(
            to,
            "largest rate with {slo}: {kept:.1}/s ({:.0} % of what {} workers come to beside it); {broken:.1}/s does not keep it",
            kept / plan.reached() * 100.0,
            plan.enough_workers,
        )?,
        (Some(kept), None) => writeln!(to, "{slo} is kept up to {kept:.1}/s, the highest rate that was tried")?,
        (None, Some(broken)) => writeln!(to, "{slo} was not kept at any rate; the lowest tried was {broken:.1}/s")?,
        (None, None) if plan.open.is_empty() => writeln!(to, "no task came to its end: there is nothing to plan with")?,
        (None, None) => {
            writeln!(to, "the runs were too short to say whether {slo} is kept: a longer --duration would")?
        }
    }
    writeln!(
        to,
        "highest closed loop: {:.1}/s; with {} workers, each with a connection, 97 % of it are reached, and more only wait",
        plan.highest(),
        plan.enough_workers
    )?;
    if let Some(crowded) = &plan.crowded {
        writeln!(
            to,
            "with {} workers instead, {:.1}/s have a mean of {} ms and a 99th percentile of {} ms: {}",
            report.setting.load.workers,
            crowded.rate,
            millis(crowded.mean),
            millis(crowded.quantiles[2] as f64),
            word(crowded)
        )?;
    }
    let [low, middle, high] = plan.limit;
    writeln!(
        to,
        "limit by the queues: {middle:.1}/s for any number of workers ({low:.1} … {high:.1} in 90 % of refits)"
    )?;
    if let Some(usl) = &plan.usl {
        let peak = usl.peak();
        let peak = if peak.is_finite() && peak < 1e4 {
            format!("most at {peak:.0} workers")
        } else {
            "more never hurt".to_owned()
        };
        let (sigma, kappa) = (usl.sigma, usl.kappa);
        let between = plan.usl_between.map_or_else(Default::default, |[_, sigma, kappa]| {
            let ([s, sigma], [k, kappa]) = (sigma, kappa);
            format!(" (in 90 % of refits σ {s:.3} … {sigma:.3}, κ {k:.5} … {kappa:.5})")
        });
        writeln!(to, "universal scalability law: σ = {sigma:.3}, κ = {kappa:.5}, {peak}{between}")?;
    }
    let what = if report.setting.work == Work::Lock { "row" } else { "customer" };
    match plan.hottest {
        Some((key, share, mean, all)) => writeln!(
            to,
            "{what} {key}, with {:.0} % of the load, breaks it first: {} ms on average where all have {} ms",
            share * 100.0,
            millis(mean),
            millis(all)
        )?,
        None => writeln!(to, "no {what} breaks it before the others: none waits markedly longer than all")?,
    }
    let longest = plan.closed.iter().max_by_key(|point| point.longest);
    if let Some(point) = longest {
        writeln!(
            to,
            "starvation: the longest response was {} ms ({} workers); the lowest fairness was {:.3}",
            millis(point.longest as f64),
            point.workers,
            plan.closed.iter().map(|point| point.fairness).fold(1.0, f64::min)
        )?;
    }
    for lock in &report.locks {
        let failed = if lock.failed[0] > 0 {
            format!(", {} of {} given up", lock.failed[0], lock.failed[1])
        } else {
            String::new()
        };
        writeln!(
            to,
            "with {}: {:.1}/s, mean {} ms, longest {} ms{failed}",
            lock.strategy,
            lock.rate,
            millis(lock.response),
            millis(lock.longest as f64)
        )?;
    }
    Ok(())
}

/// How far off the models are where they had not looked.
fn checks(plan: &Plan, to: &mut dyn Write) -> io::Result<()> {
    for candidate in &plan.candidates {
        match (&candidate.refused, candidate.error) {
            (Some(why), _) => writeln!(to, "{}: does not apply: {why}", candidate.name)?,
            (None, None) => writeln!(to, "{}: nothing to check it with", candidate.name)?,
            (None, Some(error)) => {
                let shown: Vec<String> = candidate
                    .checked
                    .iter()
                    .map(|one| {
                        let between = one
                            .between
                            .map_or_else(String::new, |[low, high]| format!(", {low:.0} … {high:.0} with 90 %,"));
                        format!("{:.0}: {:.1}/s{between} for {:.1}/s", one.at, one.predicted, one.measured)
                    })
                    .collect();
                let left_out = candidate
                    .left_out
                    .map_or("does not fit without one".to_owned(), |left_out| format!("{:.1} %", left_out * 100.0));
                writeln!(
                    to,
                    "{}: off by {:.1} % at numbers of workers that no fit had seen ({}); at those it was fitted to, left out in turn: {left_out}",
                    candidate.name,
                    error * 100.0,
                    shown.join(", ")
                )?;
            }
        }
    }
    if let Some(chosen) = plan.candidates.first().filter(|candidate| candidate.error.is_some()) {
        writeln!(to, "chosen by the former: {}", chosen.name)?;
    }
    responses(plan, to)?;
    let (most, enough) = (plan.closed.last().map_or(0, |point| point.workers), plan.enough_workers);
    match mistrust(plan) {
        Some(why) => writeln!(to, "predictions are not to be trusted here: {why}; what was measured stands"),
        None => writeln!(
            to,
            "to be trusted: closed loops of 1 to {most} workers, and responses up to {:.1}/s ({:.0} % of what {enough} workers come to), on this machine, with this data",
            plan.reached() * TRUSTED,
            TRUSTED * 100.0
        ),
    }
}

/// How far off the models of responses are where they had not looked.
fn responses(plan: &Plan, to: &mut dyn Write) -> io::Result<()> {
    let mut checks = table(&["arrivals/s", "mean: said", "measured ms", "off", "p99: said", "measured ms", "off"]);
    for check in &plan.responses {
        let mut row = vec![format!("{:.1}", check.rate)];
        for seen in [&check.mean, &check.p99] {
            row.extend([said(seen), format!("{} ± {:.0} %", millis(seen.measured), seen.error * 100.0), off(seen)]);
        }
        checks.add_row(row);
    }
    writeln!(
        to,
        "\nresponses of the median pass at rates that no fit has seen; in brackets, where they were to be with 90 %\n{checks}\n"
    )?;
    for (what, models) in [("mean", &plan.mean_models), ("p99", &plan.p99_models)] {
        let Some(chosen) = models.first() else {
            writeln!(to, "{what} response: too few rates were served whole to fit a model")?;
            continue;
        };
        let others: String = models.iter().skip(1).map(|other| format!("; not chosen: {}", left_out(other))).collect();
        writeln!(to, "{what} response: {}{others}", left_out(chosen))?;
    }
    let within = |of: fn(&crate::capacity::plan::Response) -> &Seen| {
        format!("{} of {}", plan.responses.iter().filter(|one| of(one).is_within()).count(), plan.responses.len())
    };
    writeln!(
        to,
        "within the 90 % intervals: {} means, {} 99th percentiles",
        within(|one| &one.mean),
        within(|one| &one.p99)
    )
}

fn left_out(fitted: &Fitted) -> String {
    let error = if fitted.left_out > 10.0 { "far".to_owned() } else { format!("{:.0} %", fitted.left_out * 100.0) };
    format!("{} (off by {error} at points left out)", fitted.model.name())
}

fn said(seen: &Seen) -> String {
    if seen.prediction.response >= ENDLESS {
        return "a queue without end".to_owned();
    }
    let [low, high] = seen.prediction.between;
    let high = if high >= ENDLESS { "∞".to_owned() } else { millis(high) };
    format!("{} ({} … {high})", millis(seen.prediction.response), millis(low))
}

fn off(seen: &Seen) -> String {
    if seen.off() > 10.0 { "far".to_owned() } else { format!("{:.0} %", seen.off() * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::model::ClosedPoint;
    use crate::capacity::model::queue::Queues;
    use crate::capacity::model::response::Prediction;
    use crate::capacity::plan::{Candidate, Response};

    const QUEUES: Queues = Queues { lock: 0.01, machine: 0.0, rest: 0.01, spread: 0.0 };

    fn plan(error: f64, responses: Vec<Response>) -> Plan {
        let point =
            |workers, rate| ClosedPoint { workers, rate, error: 0.01, response: 1e6, longest: 1, fairness: 1.0 };
        let candidate = Candidate {
            name: "a".to_owned(),
            refused: None,
            left_out: Some(error),
            checked: Vec::new(),
            error: Some(error),
        };
        Plan {
            closed: vec![point(1, 50.0), point(2, 100.0)],
            open: Vec::new(),
            kept: Some(60.0),
            broken: Some(65.0),
            candidates: vec![candidate],
            rates_foreseen: Vec::new(),
            usl: None,
            usl_between: None,
            queues: QUEUES,
            mean_models: Vec::new(),
            p99_models: Vec::new(),
            foreseen: Vec::new(),
            limit: [99.0, 100.0, 101.0],
            enough_workers: 2,
            crowded: None,
            responses,
            hottest: None,
            doubts: Vec::new(),
            others: None,
            disturbed: [0, 0],
            pace: Some([90.0, 100.0, 104.0]),
        }
    }

    fn lock(rate: f64) -> OtherLock {
        OtherLock { strategy: "row".to_owned(), rate, response: 1.0, longest: 1, failed: [0, 1] }
    }

    #[test]
    fn a_machine_that_changes_is_a_doubt() {
        assert_eq!(drift(&plan(0.0, Vec::new()), &[lock(95.0)]), None);
        // Where no closed loop came to anything, there is nothing that could have changed.
        let nothing = Plan { closed: Vec::new(), pace: None, ..plan(0.0, Vec::new()) };
        assert_eq!(drift(&nothing, &[lock(95.0)]), None);
        for rate in [60.0, 140.0] {
            assert!(drift(&plan(0.0, Vec::new()), &[lock(rate)]).is_some_and(|doubt| doubt.contains("2 workers")));
        }
    }

    #[test]
    fn predictions_that_were_off_are_not_to_be_trusted() {
        let checked = |rate, response| {
            let prediction = Prediction { response, between: [response / 2.0, response * 2.0] };
            let seen = Seen { prediction, measured: 1e6, error: 0.01 };
            Response { rate, mean: seen, p99: seen }
        };
        assert_eq!(mistrust(&plan(0.05, vec![checked(50.0, 1.1e6)])), None);
        // Beyond the range nothing is promised.
        assert_eq!(mistrust(&plan(0.05, vec![checked(50.0, 1e6), checked(90.0, 1e18)])), None);
        assert!(mistrust(&plan(0.05, Vec::new())).is_some_and(|why| why.contains("no response")));
        assert!(mistrust(&plan(0.3, Vec::new())).is_some_and(|why| why.contains("30 %")));
        assert!(mistrust(&plan(0.05, vec![checked(50.0, 2e6)])).is_some_and(|why| why.contains("response")));
        assert!(mistrust(&plan(0.05, vec![checked(50.0, 1e18)])).is_some_and(|why| why.contains("far")));
    }
}
