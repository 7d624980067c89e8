//! What `compare` has to say: the report of a run directory, and the same for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, LineStyle, Table, presets};
use drift_engine::lock::Backend;
use serde::{Deserialize, Serialize};

use super::bench::BenchReport;
use crate::capacity::compare::failures::{Failures, MORE_MAX};
use crate::capacity::compare::machine::{Machine, disturbed, shift};
use crate::capacity::compare::{Compared, Comparison, ERROR_RATE, Finding, LONE_MARGIN, Metric};
use crate::capacity::setting::{Setting, Surroundings};
use crate::exit::Exit;
use crate::outcome::SCHEMA_VERSION;

/// The outcome of `compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompareReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// `compare`.
    pub command: String,
    /// What is to be said of all metrics together.
    pub verdict: Finding,
    /// What is being compared, in a line for each side.
    pub sides: [String; 2],
    /// How many runs each side has.
    pub rounds: [usize; 2],
    /// How much worse a metric may become.
    pub threshold: f64,
    /// The metrics.
    pub metrics: Vec<Compared>,
    /// What was not done; reports of earlier versions do not say it.
    #[serde(default)]
    pub failures: Option<Failures>,
    /// Why the runs say nothing.
    pub doubts: Vec<String>,
    /// With one run a side: what was measured beside each of them.
    #[serde(default)]
    pub machines: Option<[Machine; 2]>,
    /// What was measured, where, and how each side's first run is measured again; reports of earlier versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<[(Setting, Surroundings, String); 2]>,
}

impl CompareReport {
    /// Puts a report together; its verdict follows from what was compared and the doubts.
    pub fn new(base: &[BenchReport], new: &[BenchReport], compared: Comparison, threshold: f64) -> Self {
        let side = |runs: &[BenchReport]| {
            let first = runs.first();
            first.map_or_else(String::new, |run| {
                format!(
                    "{} on {} with {}, {} ({})",
                    run.setting.scenario,
                    run.setting.backend,
                    run.setting.strategy,
                    run.setting.load.arrivals,
                    run.surroundings.program
                )
            })
        };
        let doubts: Vec<String> = [("base", base), ("new", new)]
            .into_iter()
            .flat_map(|(name, runs)| {
                let doubts = runs.iter().enumerate().map(move |(index, run)| (index + 1, &run.doubts));
                doubts.flat_map(move |(round, doubts)| {
                    doubts.iter().map(move |doubt| format!("{name}, round {round}: {doubt}"))
                })
            })
            .collect();
        let machines = match (base, new) {
            ([base], [new]) => Some([base.machine(), new.machine()]),
            _ => None,
        };
        let disturbed = machines.and_then(|[base, new]| disturbed(&base, &new));
        // Where only failed tasks speak against the runs, more of them are what is new.
        let failing = || disturbed.is_none() && base.iter().chain(new).all(is_sound_but_for_failures);
        let verdict = match (doubts.is_empty() && disturbed.is_none(), compared.failures.finding) {
            (true, _) => compared.overall(),
            (false, Finding::Regression) if failing() => Finding::Regression,
            (false, _) => Finding::Inconclusive,
        };
        Self {
            schema_version: SCHEMA_VERSION,
            command: "compare".to_owned(),
            verdict,
            sides: [side(base), side(new)],
            rounds: [base.len(), new.len()],
            threshold,
            metrics: compared.metrics,
            failures: Some(compared.failures),
            doubts: doubts.into_iter().chain(disturbed.clone()).collect(),
            machines,
            measured: base.first().zip(new.first()).map(|(base, new)| {
                [base, new].map(|run| (run.setting.clone(), run.surroundings.clone(), run.replay.clone()))
            }),
        }
    }

    /// The exit code that the verdict comes to.
    pub fn exit(&self) -> Exit {
        match self.verdict {
            Finding::Fine => Exit::Met,
            Finding::Regression => Exit::Regression,
            Finding::Inconclusive => Exit::Inconclusive,
        }
    }
}

/// Writes the report for people.
///
/// # Errors
/// The writer's.
pub fn write(report: &CompareReport, to: &mut dyn Write) -> io::Result<()> {
    for (name, side, rounds) in
        [("base", &report.sides[0], report.rounds[0]), ("new", &report.sides[1], report.rounds[1])]
    {
        writeln!(to, "{name}: {side}, {rounds} runs")?;
    }
    writeln!(to, "\n{}\n", table(report))?;
    rule(report, to)?;
    if let Some(machines) = &report.machines {
        beside(machines, to)?;
    }
    for doubt in &report.doubts {
        writeln!(to, "{doubt}")?;
    }
    let threshold = percent(report.threshold);
    match report.verdict {
        Finding::Fine => writeln!(to, "pass: nothing is worse by {threshold} %"),
        Finding::Regression => writeln!(to, "regression"),
        Finding::Inconclusive => {
            let needed = report.metrics.iter().filter_map(|metric| metric.rounds_needed).max();
            let needed = needed.map_or_else(String::new, |rounds| format!(": about {rounds} rounds a side would tell"));
            writeln!(to, "inconclusive{needed}")
        }
    }
}

/// Whether nothing but failed tasks speaks against what a run says.
fn is_sound_but_for_failures(run: &BenchReport) -> bool {
    let rate = run.setting.load.arrivals.rate();
    run.generator.doubts(&run.recording, rate, run.setting.backend == Backend::Sqlite).is_empty()
}

fn table(report: &CompareReport) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["", "base", "new", "change", "90 % interval (+ is worse)", "p (Holm)", ""]);
    for metric in &report.metrics {
        let value = |value: f64| match metric.metric {
            Metric::Rate => format!("{value:.1}/s"),
            _ => format!("{:.3} ms", value / 1e6),
        };
        let (values, change) = ([metric.base, metric.new].map(value), [metric.change, metric.low, metric.high]);
        table.add_row(row(metric.metric.as_str(), values, (change, "%"), metric.p, metric.finding));
    }
    if let Some(failures) = &report.failures {
        let value = |share: f64| format!("{:.2} %", share * 100.0);
        let (values, change) =
            ([failures.base, failures.new].map(value), [failures.change, failures.low, failures.high]);
        table.add_row(row("arrivals not done", values, (change, "points"), failures.p, failures.finding));
    }
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table
}

/// One thing compared: what it is, both values, the change with its bounds and unit, and what is said of it.
fn row(name: &str, values: [String; 2], change: ([f64; 3], &str), p: f64, finding: Finding) -> [String; 7] {
    let [base, new] = values;
    let ([change, low, high], unit) = change;
    let finding = match finding {
        Finding::Fine => "fine",
        Finding::Regression => "regression",
        Finding::Inconclusive => "no answer",
    };
    [
        name.to_owned(),
        base,
        new,
        in_words(change, unit),
        format!("{:+.1} … {:+.1} {unit}", low * 100.0, high * 100.0),
        if p < 1e-4 { "< 0.0001".to_owned() } else { format!("{p:.4}") },
        finding.to_owned(),
    ]
}

/// A change for people: nobody is worse by less than nothing.
pub(super) fn in_words(change: f64, unit: &str) -> String {
    let shown = format!("{:.1}", change.abs() * 100.0);
    match shown.as_str() {
        "0.0" => "the same".to_owned(),
        _ if change > 0.0 => format!("worse by {shown} {unit}"),
        _ => format!("better by {shown} {unit}"),
    }
}

/// A part in per cent, without the digits that come from calculating with it.
fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

/// Says what is called a regression.
fn rule(report: &CompareReport, to: &mut dyn Write) -> io::Result<()> {
    let threshold = percent(report.threshold);
    let suites = 1.0 / ERROR_RATE;
    write!(to, "a regression is worse by more than {threshold} %")?;
    if report.failures.is_some() {
        write!(to, " (or {} % more of the arrivals were not done)", percent(MORE_MAX))?;
    }
    writeln!(to, ", and not by chance (one wrong alarm in {suites:.0} suites)")?;
    if report.rounds == [1, 1] {
        let least = percent(report.threshold + LONE_MARGIN);
        writeln!(
            to,
            "one run a side does not show how far two runs of one version are apart: only what is worse by more than \
             {least} % is called a regression; --run-base and --run-new find smaller ones"
        )?;
    }
    Ok(())
}

/// What was measured beside both runs, and what follows from it.
fn beside(machines: &[Machine; 2], to: &mut dyn Write) -> io::Result<()> {
    let [base, new] = machines;
    let times = [
        ("a round trip", base.round_trip.zip(new.round_trip)),
        ("a flush", base.flush.zip(new.flush)),
        ("a task alone", base.alone.zip(new.alone)),
    ];
    let both = |(name, times): (&str, Option<(f64, f64)>)| {
        times.map(|(base, new)| format!("{name} {:.3} and {:.3} ms", base / 1e6, new / 1e6))
    };
    let mut said: Vec<String> = times.into_iter().filter_map(both).collect();
    if let (Some(base), Some(new)) = (base.others, new.others) {
        said.push(format!("others {:.0} and {:.0} % of the processors", base * 100.0, new * 100.0));
    }
    if said.is_empty() {
        return Ok(());
    }
    let apart = shift(base, new);
    let counts = if apart > 0.0 {
        format!(
            "; the server's own times are {:.0} % apart, and runs are taken to be so by chance",
            apart.exp_m1() * 100.0
        )
    } else {
        String::new()
    };
    writeln!(to, "measured beside base and new: {}{counts}", said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{in_words, percent};

    #[test]
    fn an_improvement_is_better_and_what_is_worse_is_worse() {
        assert_eq!(in_words(0.0345, "%"), "worse by 3.5 %");
        assert_eq!(in_words(-0.03, "%"), "better by 3.0 %");
        assert_eq!([in_words(0.0004, "points"), in_words(-0.0004, "%")], ["the same", "the same"]);
        assert_eq!([percent(0.05 + 0.1), percent(0.07), percent(0.005)], [15.0, 7.0, 0.5]);
    }
}
