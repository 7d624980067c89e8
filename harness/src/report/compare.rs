//! What `compare` has to say: the report of a run directory, and the same for people.

use std::io::{self, Write};

use comfy_table::{CellAlignment, LineStyle, Table, presets};
use serde::{Deserialize, Serialize};

use super::SCHEMA_VERSION;
use super::bench::BenchReport;
use crate::capacity::compare::{Compared, ERROR_RATE, Finding, Metric, overall};
use crate::exit::Exit;

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
    /// Why the runs say nothing.
    pub doubts: Vec<String>,
}

impl CompareReport {
    /// Puts a report together; its verdict follows from the metrics and the doubts.
    pub fn new(base: &[BenchReport], new: &[BenchReport], metrics: Vec<Compared>, threshold: f64) -> Self {
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
        let verdict = if doubts.is_empty() { overall(&metrics) } else { Finding::Inconclusive };
        Self {
            schema_version: SCHEMA_VERSION,
            command: "compare".to_owned(),
            verdict,
            sides: [side(base), side(new)],
            rounds: [base.len(), new.len()],
            threshold,
            metrics,
            doubts,
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
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["", "base", "new", "worse by", "90 % interval", "p (Holm)", ""]);
    for metric in &report.metrics {
        let value = |value: f64| match metric.metric {
            Metric::Rate => format!("{value:.1}/s"),
            _ => format!("{:.3} ms", value / 1e6),
        };
        let percent = |share: f64| format!("{:+.1} %", share * 100.0);
        table.add_row([
            metric.metric.as_str().to_owned(),
            value(metric.base),
            value(metric.new),
            percent(metric.change),
            format!("{} … {}", percent(metric.low), percent(metric.high)),
            if metric.p < 1e-4 { "< 0.0001".to_owned() } else { format!("{:.4}", metric.p) },
            match metric.finding {
                Finding::Fine => "fine",
                Finding::Regression => "regression",
                Finding::Inconclusive => "no answer",
            }
            .to_owned(),
        ]);
    }
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    writeln!(to, "\n{table}\n")?;
    let threshold = report.threshold * 100.0;
    writeln!(
        to,
        "a regression is worse by more than {threshold} %, and not by chance (one wrong alarm in {:.0} suites)",
        1.0 / ERROR_RATE
    )?;
    if report.rounds.contains(&1) {
        writeln!(to, "with one run a side, what differs from run to run is taken for the versions' own")?;
    }
    for doubt in &report.doubts {
        writeln!(to, "{doubt}")?;
    }
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
